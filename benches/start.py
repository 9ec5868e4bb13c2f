#!/usr/bin/env python3
"""Measures the start of a role beside the original's, in one run, as ratios.

    start.py [--runs N] [--iterations N]

Prints one JSON row a line: what, ours, theirs, unit, ratio (theirs / ours), spread (of each side, smallest and
largest), goal. The GAC is served over the real protocol by moto on loopback, the same for both sides. The two sides
take turns, so that a busy machine is busy for both.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from rows import row

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = ROOT / "target" / "release" / "runner"
TESTS = ROOT / ".venv" / "bin"
ORIGINAL = ROOT / ".venv-bench" / "bin"
NAME = "BenchApplicationConfiguration"
BUCKET = "bench-envs"


@contextlib.contextmanager
def moto(gac):
    """A Secrets Manager and an S3 on loopback; yields the environment that finds them."""
    script = """
import json, sys, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%d" % server.get_host_and_port()
keys = dict(endpoint_url=url, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
boto3.client("secretsmanager", **keys).create_secret(Name=sys.argv[1], SecretString=open(sys.argv[2]).read())
s3 = boto3.client("s3", **keys)
s3.create_bucket(Bucket=sys.argv[3])
eco = {"ecosystem": "main", "orchestrated_app": "cgap", "full_env_prefix": "cgap-", "is_legacy": False,
       "prd_env_name": "cgap-prd", "public_url_table": [], "dev_data_set_table": {}}
s3.put_object(Bucket=sys.argv[3], Key="main.ecosystem", Body=json.dumps(eco))
print(url, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([TESTS / "python", "-c", script, NAME, gac, BUCKET], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        url = server.stdout.readline().strip()
        yield {
            "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "IDENTITY": NAME,
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1",
        }
        server.stdin.close()


def measured(command, env, cwd):
    """Wall ms, CPU ms and peak MiB of a command that must succeed."""
    began = time.perf_counter()
    with open(cwd / "bench.log", "wb") as log:
        child = subprocess.Popen(command, env=env, cwd=cwd, stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command} exited with {child.returncode}:\n{(cwd / 'bench.log').read_text()}")
    return wall * 1000, (used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss / 1024


def workplace(folder):
    """A folder with the shipped roles.yaml, three roles for measuring beside its own, and a project for poetry."""
    roles = (ROOT / "roles.yaml").read_text()
    roles += """
  bench-render: {}
  bench-first:
    startup:
      - command: [touch, first]
  bench-loop:
    loops:
      index:
        interval: 1s
        steps: [{ command: [./index-stand-in] }]
"""
    (folder / "roles.yaml").write_text(roles)
    shutil.copytree(ROOT / "ini-templates", folder / "ini-templates")
    (folder / "versions.json").write_text(json.dumps({
        "PROJECT_VERSION": "1.0.0", "SNOVAULT_VERSION": "1.0.0", "UTILS_VERSION": "1.0.0", "APP_VERSION": "bench"}))
    (folder / "pyproject.toml").write_text(
        '[tool.poetry]\nname = "bench"\nversion = "1.0.0"\ndescription = ""\nauthors = []\n')
    stand_in = folder / "index-stand-in"
    stand_in.write_text("#!/bin/sh\ndate +%s%N >>started\nsleep 0.05\n")
    stand_in.chmod(0o755)
    # The dcicutils of PyPI asks for the installed version of dcicsnovault, which PyPI does not have.
    info = folder / "dist" / "dcicsnovault-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dcicsnovault\nVersion: 1.0.0\n")


def gac(folder):
    values = json.loads((ROOT / "docker" / "local" / "gac.json").read_text())
    values.update(ENCODED_IDENTITY=NAME, GLOBAL_ENV_BUCKET=BUCKET, ENCODED_S3_BUCKET_ENV="bench", ENCODED_BS_MIRROR_ENV="")
    # The versions come from elsewhere on both sides; the original refuses them in a GAC.
    values = {key: value for key, value in values.items() if not key.endswith("_VERSION")}
    path = folder / "gac.json"
    path.write_text(json.dumps(values))
    return path


def renders(env, folder, runs):
    theirs_env = {**env, "PATH": f"{ORIGINAL}:{env['PATH']}", "PYTHONPATH": str(folder / "dist")}
    template = folder / "ini-templates" / "cgap_any_alpha.ini"
    original = [ORIGINAL / "python", ROOT / "benches" / "original_start.py", template, folder / "theirs.ini",
                folder / "pyproject.toml"]
    ours, theirs = [], []
    for _ in range(runs):
        (folder / "production.ini").unlink(missing_ok=True)
        ours.append(measured([RUNNER, "run", "bench-render"], env, folder))
        assert (folder / "production.ini").stat().st_size > 1000
        theirs.append(measured(original, theirs_env, folder))
        assert (folder / "theirs.ini").stat().st_size > 1000
    row("GAC from Secrets Manager to a written production.ini, wall", "the original", [r[0] for r in ours], [r[0] for r in theirs], "ms", "≤ 20")
    row("the same, CPU", "the original", [r[1] for r in ours], [r[1] for r in theirs], "ms", "≤ 12")
    row("the same, peak memory", "the original", [r[2] for r in ours], [r[2] for r in theirs], "MiB", "≤ 16")
    return original, theirs_env


def firsts(env, folder, runs, original, theirs_env):
    """From the entrypoint to the first instruction of the role's first program."""
    entrypoint = folder / "entrypoint.sh"
    words = " ".join(f"'{word}'" for word in original)
    entrypoint.write_text(f"#!/bin/sh\npoetry run {words}\npoetry run touch first\n")
    entrypoint.chmod(0o755)
    first = folder / "first"

    def until(command, env):
        first.unlink(missing_ok=True)
        began = time.time_ns()
        measured(command, env, folder)
        return (first.stat().st_mtime_ns - began) / 1e6

    ours, theirs = [], []
    for _ in range(runs):
        ours.append(until([RUNNER, "run", "bench-first"], env))
        theirs.append(until(["/bin/sh", entrypoint], theirs_env))
    row("entrypoint to the role's first instruction", "the original", ours, theirs, "ms")


def loops(env, folder, iterations, theirs_env):
    """What a turn of the indexer loop takes beyond its interval and its command."""
    stand_in = folder / "index-stand-in"
    command = statistics.median(measured([stand_in], env, folder)[0] for _ in range(9))
    script = folder / "loop.sh"
    script.write_text("#!/bin/sh\nwhile true; do poetry run ./index-stand-in; sleep 1; done\n")
    started = folder / "started"

    def turns(words, env):
        started.unlink(missing_ok=True)
        child = subprocess.Popen(words, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
        while not started.exists() or len(started.read_text().split()) <= iterations:
            time.sleep(0.05)
        os.killpg(child.pid, 15)
        child.wait()
        times = [int(word) / 1e6 for word in started.read_text().split()][:iterations + 1]
        return [after - before - 1000 - command for before, after in zip(times, times[1:])]

    row("a turn of the indexer loop beyond interval and command", "the original", turns([RUNNER, "run", "bench-loop"], env),
        turns(["/bin/sh", script], theirs_env), "ms", "≤ 2")


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", type=int, default=15)
    ask.add_argument("--iterations", type=int, default=15)
    options = ask.parse_args()
    row("the binary, stripped", "the original", [RUNNER.stat().st_size / 1e6], [], "MB", "≤ 11")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = pathlib.Path(name)
        workplace(folder)
        with moto(gac(folder)) as env:
            original, theirs_env = renders(env, folder, options.runs)
            firsts(env, folder, options.runs, original, theirs_env)
            loops(env, folder, options.iterations, theirs_env)


if __name__ == "__main__":
    main()
