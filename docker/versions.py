"""Writes the versions that the application reports, once, when the image is built.

    versions.py FILE

A version is what the environment gives for it; else PROJECT_VERSION is the one in ./pyproject.toml, SNOVAULT_VERSION
and UTILS_VERSION those of the installed packages. APP_VERSION is not guessed: without it roles.yaml says `unknown`.
"""
import importlib.metadata
import json
import os
import pathlib
import sys
import tomllib


def project():
    file = pathlib.Path("pyproject.toml")
    if not file.exists():
        return None
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return content.get("tool", {}).get("poetry", {}).get("version") or content.get("project", {}).get("version")


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


LOOKED_UP = {
    "APP_VERSION": lambda: None,
    "PROJECT_VERSION": project,
    "SNOVAULT_VERSION": lambda: installed("dcicsnovault"),
    "UTILS_VERSION": lambda: installed("dcicutils"),
}

versions = {name: os.environ.get(name) or look_up() for name, look_up in LOOKED_UP.items()}
missing = [name for name, version in versions.items() if not version and name != "APP_VERSION"]
if missing:
    sys.exit(f"versions.py: not given, and not to be found in the image: {', '.join(missing)}; "
             f"give them as build arguments")
pathlib.Path(sys.argv[1]).write_text(
    json.dumps({name: version for name, version in versions.items() if version}, indent=2) + "\n", encoding="utf-8")
