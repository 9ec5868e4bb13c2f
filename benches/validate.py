#!/usr/bin/env python3
"""Measures `runner validate` beside check-jsonschema, which knows the same schema.

    validate.py [--runs N]

Prints one JSON row a line, as start.py does. The file is as large as one may be: 4 MiB of roles with one service each.
runner makes all its checks, check-jsonschema those of schema/roles.schema.json alone. The two take turns; check-jsonschema
takes minutes, so it has fewer of them.
"""
import argparse
import pathlib
import tempfile

from start import ORIGINAL as PEERS, ROOT, RUNNER, measured
from rows import row

LARGEST = 4 << 20
PEER = "check-jsonschema"


def roles(size):
    """A file of at most this size, full of roles, and how many they are."""
    parts, left, count = ["version: 1\nroles:\n"], size, 0
    left -= len(parts[0])
    while True:
        part = f"  role-{count}:\n    services:\n      web:\n        command: [nginx, -g, daemon off;]\n"
        if len(part) > left:
            return "".join(parts), count
        parts.append(part)
        left -= len(part)
        count += 1


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", type=int, default=9)
    ask.add_argument("--peer-runs", type=int, default=2)
    options = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = pathlib.Path(name)
        text, count = roles(LARGEST)
        (folder / "roles.yaml").write_text(text)
        env = {"PATH": "/usr/bin:/bin", "HOME": name}
        peer = [PEERS / PEER, "--schemafile", ROOT / "schema" / "roles.schema.json", "roles.yaml"]
        ours, theirs = [], []
        for turn in range(options.runs):
            ours.append(measured([RUNNER, "validate", "--deny-warnings"], env, folder))
            if turn < options.peer_runs:
                theirs.append(measured(peer, env, folder))

        def both(what, at, scale, unit, goal=None):
            row(what, PEER, [run[at] / scale for run in ours], [run[at] / scale for run in theirs], unit, goal)

        both(f"a file of 4 MiB, {count} roles, validated, wall", 0, 1000, "s", "≤ 0.5")
        both("the same, CPU", 1, 1000, "s")
        both("the same, peak memory", 2, 1, "MiB")


if __name__ == "__main__":
    main()
