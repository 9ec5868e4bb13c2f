#!/bin/sh
# Makes the root of a small Debian with Python and the packages that serve a portal, for the container tests.
#
#   debian.sh FOLDER        FOLDER must not exist; it takes 80 s and a network
set -eu

root=${1:?usage: debian.sh FOLDER}
tests=$(cd "$(dirname "$0")/.." && pwd)
making=$root.making

rm -rf "$making"
debootstrap --variant=minbase --include=ca-certificates,python3 bookworm "$making"
rm -rf "$making"/var/cache/apt/archives/*.deb
# Of the same Python as Debian 12 has.
"$tests/../.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    --target "$making/usr/local/lib/python3.11/dist-packages" --constraint "$tests/requirements.lock" \
    pyramid waitress PasteDeploy plaster-pastedeploy setuptools
mv "$making" "$root"
