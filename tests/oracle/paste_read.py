#!/usr/bin/env python3
"""Reads production.ini files with the real PasteDeploy, as pserve does, and prints what the application gets.

    paste_read.py FILE...

Prints one JSON object: for each file {"settings": what the factory of `[app:app]` is called with, "sections":
every other section as it is written}, or {"error": …}. A stub base.ini with the application's own section is
written beside each file, so that `use = config:base.ini#app` finds it.
"""
import configparser
import json
import pathlib
import sys
import warnings

warnings.simplefilter("ignore")  # PasteDeploy is of an age with its setuptools

from paste.deploy.loadwsgi import appconfig  # noqa: E402

BASE = "[app:app]\npaste.app_factory = paste_read:application\n"


def application(global_conf, **settings):
    """What base.ini names; never called, only found."""
    raise NotImplementedError


def read(path):
    path = pathlib.Path(path).resolve()
    (path.parent / "base.ini").write_text(BASE)
    try:
        config = appconfig(f"config:{path}", name="app", global_conf={"http_port": "6543"})
    except Exception as error:  # told to the caller, for whom it is a finding
        return {"error": f"{type(error).__name__}: {error}"}
    sections = configparser.RawConfigParser()
    sections.read(path, encoding="utf-8")
    others = {name: dict(sections[name]) for name in sections.sections() if name != "app:app"}
    return {"settings": dict(config.local_conf), "sections": others}


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    print(json.dumps({path: read(path) for path in sys.argv[1:]}))
