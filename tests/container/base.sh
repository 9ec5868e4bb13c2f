#!/bin/sh
# Makes the base image's root for the container tests: a small Debian with Python, and in it the stand-in for the
# application as an application's image has it: its commands on the PATH, its folder /app.
#
#   base.sh FOLDER        FOLDER must not exist; 80 s and a network the first time
set -eu

root=${1:?usage: base.sh FOLDER}
tests=$(cd "$(dirname "$0")/.." && pwd)
python=$tests/../.venv/bin/python
making=$root.making

rm -rf "$making"
debootstrap --variant=minbase --include=ca-certificates,python3 bookworm "$making"
rm -rf "$making"/var/cache/apt/archives/*.deb

"$python" -m pip install --quiet --target "$making/usr/local/lib/python3.11/dist-packages" \
    --no-compile \
    --constraint "$tests/requirements.lock" pyramid waitress PasteDeploy plaster-pastedeploy setuptools

cp -r "$tests/portal_app" "$making/app"
find "$making/app" -name __pycache__ -exec rm -rf {} +
cp "$tests"/container/bin/* "$making/usr/local/bin/"
chmod 755 "$making"/usr/local/bin/*
mv "$making" "$root"
