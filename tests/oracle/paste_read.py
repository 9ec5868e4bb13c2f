#!/usr/bin/env python3
"""Reads production.ini files with the real PasteDeploy, as pserve does, and prints what the application gets.

    paste_read.py FILE...

Prints one JSON object: for each file the settings of `[app:app]`, or {"error": …}. A stub base.ini with the
application's own section is written beside each file, so that `use = config:base.ini#app` finds it.
"""
import json
import pathlib
import sys

from paste.deploy.loadwsgi import appconfig

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
    return dict(config.local_conf)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    print(json.dumps({path: read(path) for path in sys.argv[1:]}))
