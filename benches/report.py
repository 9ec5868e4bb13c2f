#!/usr/bin/env python3
"""Runs benchmarks and writes what they measured as a table.

    report.py FILE BENCH...        FILE is docs/benchmarks.md; a BENCH is a program that prints rows of JSON

A row is {"what", "ours", "theirs", "unit", "ratio", "spread", "goal", "peer"}: ratio says how many times better ours
is, spread the smallest and the largest of each side; peer is who `theirs` is, by default the original.
"""
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

HEAD = """# Benchmarks

Made by `make bench`; each number is the median of its runs, with the smallest and the largest in brackets. Both sides
ran in turns on the same machine ({cores} cores, {system}), so the ratios say more than the numbers.
"""

# What the numbers do not say by themselves.
FOOT = """## What is not reached, and why

- **Six children in 8 MiB**: about 1 MiB is runner's own; the rest are clean pages of the program and of libc, which
  every container of the image shares.
- **80 % of a bare client with the server on the same machine**: the bare client signs nothing, parses nothing and
  hands over to nobody, on a line without any latency. runner's 70 to 90 µs of CPU a message are for the most part the
  AWS SDK's. From a few milliseconds of distance, as to SQS, it is ahead, since it deletes while it receives.
- **`command`** starts a process for each message; the peers' handlers are functions of their own process.
- **tini** does less: no readiness, no restarts, no settings, no log lines.
"""


def shown(value, spread, unit):
    if value is None:
        return "–"
    text = f"{value:g} {unit}"
    return text + (f" [{spread[0]:g} … {spread[1]:g}]" if spread and spread[0] != spread[1] else "")


def reached(row):
    """A goal that is not reached is said so."""
    goal = row.get("goal")
    if not goal:
        return ""
    number = re.search(r"[\d.]+", goal)
    if number is None:
        return goal
    limit = float(number.group())
    bad = row["ours"] < limit if goal.startswith("≥") else row["ours"] > limit
    return f"{goal} **not reached**" if bad and goal[0] in "≥≤" else goal


def table(rows):
    yield "| what | runner | beside | theirs | better by | goal |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        spread = row.get("spread") or {}
        cells = [
            row["what"], shown(row["ours"], spread.get("ours"), row["unit"]),
            row.get("peer", "the original") if row["theirs"] is not None else "",
            shown(row["theirs"], spread.get("theirs"), row["unit"]),
            f"{row['ratio']:g} ×" if row.get("ratio") is not None else "", reached(row),
        ]
        yield "| " + " | ".join(cells) + " |"


def bench(program):
    """Its rows, also shown as they come, and the first line of what it says of itself."""
    about = pathlib.Path(program).read_text(encoding="utf-8").split('"""')[1].splitlines()[0].rstrip(".")
    about = about.removeprefix("Measures ")
    about = about[0].upper() + about[1:]
    rows = []
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            print(line, end="", flush=True)
            rows.append(json.loads(line))
    if running.returncode != 0:
        sys.exit(f"{program} exited with {running.returncode}; {sys.argv[1]} stays as it was")
    return about, rows


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    system = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    parts = [HEAD.format(cores=os.cpu_count(), system=system)]
    for program in sys.argv[2:]:
        about, rows = bench(program)
        parts.append(f"## {about}\n\n" + "\n".join(table(rows)) + "\n")
    pathlib.Path(sys.argv[1]).write_text("\n".join([*parts, FOOT]), encoding="utf-8")


if __name__ == "__main__":
    main()
