#!/usr/bin/env python3
"""Measures the supervisor beside supervisord, s6 and tini: memory, restarts, stops, idling, output.

    supervisor.py [--runs N] [--idle SECONDS] [--megabytes N]

Prints one JSON row a line: what, peer (which theirs is), ours, theirs, unit, ratio (how many times better ours is),
spread (of each side, smallest and largest), goal. supervisord comes from .venv-bench; s6 and tini are measured where they are
installed. Every child says through a FIFO that its first instruction runs, so nobody polls.
"""
import argparse
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from rows import row

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = ROOT / "target" / "release" / "runner"
SUPERVISORD = ROOT / ".venv-bench" / "bin" / "supervisord"
CHILDREN = 6
BUDGET = 2  # seconds that a child has for its stop
STABLE = 1.3  # seconds after which every side restarts at once
PATIENCE = 60


class Told:
    """A FIFO into which children write lines."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        self.end = os.open(path, os.O_RDWR)  # never at its end, whoever comes and goes
        self.rest = b""

    def line(self):
        """The next line, and when it came."""
        deadline = time.perf_counter() + PATIENCE
        while b"\n" not in self.rest:
            if not select.select([self.end], [], [], deadline - time.perf_counter())[0]:
                sys.exit("a child did not start, or did not end, in a minute")
            self.rest += os.read(self.end, 4096)
        came = time.perf_counter()
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(), came


class Side:
    """One supervisor with the same children as the others."""

    name = ""

    def __init__(self, folder, commands):
        self.folder = folder / self.name.split()[0]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.told = Told(self.folder / "told")
        self.children = []
        # The same one shell that becomes the child on every side.
        self.scripts = []
        for number, command in enumerate(commands):
            script = self.folder / f"child-{number}"
            script.write_text(f"#!/bin/sh\n{command.replace('TOLD', str(self.told.path))}\n")
            script.chmod(0o755)
            self.scripts.append(script)
        self.process = subprocess.Popen(
            self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": os.environ["PATH"], "TOKEN": "a-secret-that-is-redacted",
                 # Not where anybody else asks.
                 "RUNNER_SOCKET": str(self.folder / "runner.sock")})

    def command(self):
        raise NotImplementedError

    def up(self):
        """Waits for the first line of every child; the pids."""
        self.children = [int(self.told.line()[0]) for _ in self.scripts]
        return self.children

    def processes(self):
        """The supervisor's own processes."""
        return [self.process.pid] if self.process.poll() is None else []

    def memory(self):
        """Resident memory, and the part of it that is no page of a file; in MiB."""
        def of(pid):
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes = dict(line.split(":") for line in rollup.splitlines()[1:])
            return [int(sizes[kind].split()[0]) / 1024 for kind in ("Rss", "Anonymous")]
        return [sum(sizes) for sizes in zip(*map(of, self.processes()))]

    def wakeups(self):
        """How often their threads have gone to sleep so far, each time after they were woken."""
        total = 0
        for pid in self.processes():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt"):
                        total += int(line.split()[1])
        return total

    def stop(self):
        """SIGTERM; milliseconds to the end."""
        # Popen.wait with a timeout looks every few milliseconds only.
        ended = os.pidfd_open(self.process.pid)
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        if not select.select([ended], [], [], PATIENCE)[0]:
            sys.exit(f"{self.name} did not stop in a minute")
        took = (time.perf_counter() - began) * 1000
        os.close(ended)
        self.process.wait()
        return took

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2 * BUDGET)
        # Some supervisors leave children behind, in sessions of their own.
        for pid in [*self.children, *self.processes()]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if os.readlink(f"/proc/{pid}/cwd").startswith(str(self.folder)):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.told.end)


class Runner(Side):
    name = "runner"
    log = "json"

    def command(self):
        services = {
            f"child{number}": {
                "command": [str(script)], "stop_timeout": f"{BUDGET}s", "backoff": {"reset_after": "1s"},
            } for number, script in enumerate(self.scripts)
        }
        roles = {
            "version": 1,
            "settings": {"sources": ["environment"], "keys": {"TOKEN": {"required": True, "secret": True}}},
            "startup": [{"name": "token", "command": ["true"], "environment": {"TOKEN": "${TOKEN}"}}],
            "roles": {"bench": {"stop_timeout": f"{BUDGET + 8}s", "services": services}},
        }
        (self.folder / "roles.yaml").write_text(json.dumps(roles))  # JSON is YAML
        return [RUNNER, "--log-format", self.log, "run", "bench"]


class RunnerText(Runner):
    log = "text"


class Supervisord(Side):
    name = "supervisord 4.2.5"

    def command(self):
        config = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
        for number, script in enumerate(self.scripts):
            config += (f"[program:child{number}]\ncommand={script}\nautorestart=true\nstopwaitsecs={BUDGET}\n"
                       "stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n")
        (self.folder / "supervisord.conf").write_text(config)
        return [SUPERVISORD, "-c", "supervisord.conf"]


class S6(Side):
    name = "s6"

    def command(self):
        for number, script in enumerate(self.scripts):
            service = self.folder / "scan" / f"child{number}"
            service.mkdir(parents=True)
            (service / "run").symlink_to(script)
            (service / "timeout-kill").write_text(f"{BUDGET * 1000}\n")
        return ["s6-svscan", "scan"]

    def processes(self):
        if self.process.poll() is not None:
            return []
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


class Tini(Side):
    name = "tini"

    def command(self):
        return ["tini", "-s", "--", self.scripts[0]]


WILLING = "echo $$ >TOLD; exec sleep 100000"
UNWILLING = "trap '' TERM; echo $$ >TOLD; exec sleep 100000"


def turns(kinds, commands, runs, measure):
    """One after the other on every side, so that a busy machine is busy for all; what was measured, by side."""
    results = {kind.name: [] for kind in kinds}
    for _ in range(runs):
        for kind in kinds:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(pathlib.Path(folder), commands) as side:
                results[kind.name].append(measure(side))
    return results


def rows(what, results, unit, goal):
    ours = results.pop(Runner.name)
    for peer, theirs in results.items():
        row(what, peer, ours, theirs, unit, goal)


def memories(what, results, goal):
    for part, (about, limit) in enumerate([(what, goal), (f"{what}, without the pages of files", None)]):
        rows(about, {name: [sizes[part] for sizes in each] for name, each in results.items()}, "MiB", limit)


def memory(side):
    side.up()
    time.sleep(0.5)  # until it has nothing more to do
    return side.memory()


def successor(side):
    pids = side.up()
    time.sleep(STABLE)
    began = time.perf_counter()
    os.kill(pids[0], signal.SIGKILL)
    pid, came = side.told.line()
    side.children.append(int(pid))
    return (came - began) * 1000


def stopped(side):
    side.up()
    time.sleep(STABLE)
    return side.stop()


def idle(seconds):
    def measure(side):
        side.up()
        time.sleep(STABLE)
        before = side.wakeups()
        time.sleep(seconds)
        return side.wakeups() - before
    return measure


def flood(side):
    pid, began = side.told.line()
    side.children.append(int(pid))
    _, ended = side.told.line()
    return ended - began


def output(kinds, megabytes, runs):
    """A child writes as fast as it is read, lines of 134 bytes; megabytes a second."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tenth = pathlib.Path(folder) / "lines"
        line = ("2026-11-23 12:00:00,000 INFO  [snovault.elasticsearch.indexer] " + "x" * 134)[:133] + "\n"
        tenth.write_text(line * (megabytes * 100_000 // len(line)))
        command = f"echo $$ >TOLD; cat {' '.join([str(tenth)] * 10)}; echo end >TOLD; exec sleep 100000"
        total = tenth.stat().st_size * 10 / 1e6
        results = turns(kinds, [command], runs, flood)
        return {name: [total / seconds for seconds in times] for name, times in results.items()}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", type=int, default=9)
    ask.add_argument("--idle", type=int, default=30)
    ask.add_argument("--megabytes", type=int, default=1000)
    options = ask.parse_args()
    many = [Runner, Supervisord] + ([S6] if shutil.which("s6-svscan") else [])
    one = [Runner, Tini] if shutil.which("tini") else []
    few = max(1, options.runs // 3)
    memories("memory with six children", turns(many, [WILLING] * CHILDREN, few, memory), "≤ 8")
    rows("a killed child to its successor's first instruction",
         turns(many, [WILLING] * CHILDREN, options.runs, successor), "ms", "≤ 10")
    rows("SIGTERM to exit, six willing children", turns(many, [WILLING] * CHILDREN, options.runs, stopped), "ms", "≤ 30")
    results = turns(many, [UNWILLING] + [WILLING] * (CHILDREN - 1), few, stopped)
    beyond = {name: [time - BUDGET * 1000 for time in times] for name, times in results.items()}
    rows(f"SIGTERM to exit beyond the budget of {BUDGET} s, one child ignores it", beyond, "ms", "0")
    rows(f"idle wake-ups in {options.idle} s", turns(many, [WILLING] * CHILDREN, 1, idle(options.idle)), "times", "0")
    rows("relaying a child's output, a JSON object a line, redacted",
         output([Runner, Supervisord], options.megabytes, few), "MB/s", "≥ 300")
    rows("the same, as text", output([RunnerText, Supervisord], options.megabytes, few), "MB/s", "≥ 300")
    if one:
        memories("memory with one child", turns(one, [WILLING], few, memory), None)
        rows("SIGTERM to exit, one willing child", turns(one, [WILLING], few, stopped), "ms", None)


if __name__ == "__main__":
    main()
