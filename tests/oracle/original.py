#!/usr/bin/env python3
"""Asks the original: renders every case of a directory with the real dcicutils.

    original.py CASES

A case is a directory; what the original is asked stands in its ask/ (gac.json, env.json, template.ini,
versions.json). The answer is written beside it: expected.ini, or error.txt with the exception's class and
message. Nothing of the original is written here again; it is only called.

One process and one in-memory AWS serve all cases: everything slow (imports, the botocore models) is done once,
then each case runs in a fork of its own, because dcicutils keeps state in its classes and in os.environ.
"""
import gc
import json
import os
import pathlib
import sys
import warnings

warnings.simplefilter("ignore")

BUCKET = "oracle-foursight-envs"
ECOSYSTEM = {  # what the original reads from S3, and runner does not; no case is its production environment
    "ecosystem": "main", "orchestrated_app": "cgap", "full_env_prefix": "cgap-", "is_legacy": False,
    "prd_env_name": "cgap-prd", "public_url_table": [], "dev_data_set_table": {"cgap-test": "test"},
}
REGION = "us-east-1"


def prepare():
    """Everything that the forks share; returns what one case needs to be put in place."""
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_EC2_METADATA_DISABLED="true")
    import botocore.loaders
    import boto3
    from moto import mock_aws

    # botocore reads its service models again for every session; one loader keeps them in memory.
    loader = botocore.loaders.create_loader(os.environ.get("AWS_DATA_PATH"))
    botocore.loaders.create_loader = lambda *args, **kwargs: loader
    mock_aws().start()
    import dcicutils.deployment_utils  # noqa: F401
    import dcicutils.secrets_utils  # noqa: F401
    secrets = boto3.client("secretsmanager", region_name=REGION)
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="main.ecosystem", Body=json.dumps(ECOSYSTEM))
    # Once as the original will ask, so that what this reads from disk is in memory for every fork.
    arn = secrets.create_secret(Name="warm", SecretString="{}")["ARN"]
    boto3.session.Session(region_name=REGION).client("secretsmanager").get_secret_value(SecretId=arn)
    boto3.client("s3").get_object(Bucket=BUCKET, Key="main.ecosystem")
    gc.disable()
    gc.freeze()  # a collection in a fork would copy every page
    return secrets, s3


def render(case, secrets, s3):
    """One case, in a process of its own."""
    ask = case / "ask"
    meta = json.loads((ask / "case.json").read_text())
    versions = json.loads((ask / "versions.json").read_text())
    environment = json.loads((ask / "env.json").read_text())
    if meta["there"] and environment.get("IDENTITY"):
        gac = (ask / "gac.json").read_bytes().decode("utf-8")
        secrets.create_secret(Name=environment["IDENTITY"], SecretString=gac)
    for key, value in meta["objects"].items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(value))

    from dcicutils import deployment_utils
    from dcicutils.misc_utils import override_environ
    from dcicutils.secrets_utils import assume_identity

    # The versions come from the machine in the original; these are its own hooks, and one stub.
    (ask / "manifest.json").write_text(json.dumps({"VersionLabel": versions["APP_VERSION"]}))
    (ask / "pyproject.toml").write_text(
        "[tool.poetry]\nversion = " + json.dumps(versions["PROJECT_VERSION"], ensure_ascii=False) + "\n")
    installed = {"dcicsnovault": versions["SNOVAULT_VERSION"], "dcicutils": versions["UTILS_VERSION"]}

    class Installed:
        @staticmethod
        def get_distribution(name):
            return type("Distribution", (), {"version": installed[name]})

    deployment_utils.pkg_resources = Installed

    class Manager(deployment_utils.BasicOrchestratedCGAPIniFileManager):
        EB_MANIFEST_FILENAME = str(ask / "manifest.json")
        PYPROJECT_FILE_NAME = str(ask / "pyproject.toml")

    aws = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **aws, **environment})
    part = case / "expected.ini.part"
    try:
        with override_environ(**assume_identity()):
            Manager.build_ini_file_from_template(str(ask / "template.ini"), str(part))
    except Exception as error:  # whatever it is, it is the original's answer
        part.unlink(missing_ok=True)
        kind = type(error)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        text = f"class: {name}\nmessage: {error}\n"
        (case / "error.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
    else:
        part.rename(case / "expected.ini")


def main(cases):
    todo = sorted(path.parent for path in pathlib.Path(cases).resolve().glob("*/ask"))
    secrets, s3 = prepare()
    at_once, running, failed = os.cpu_count() or 1, {}, []
    while todo or running:
        if todo and len(running) < at_once:
            case = todo.pop(0)
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    sys.stdout = sys.stderr = open(case / "original.log", "w")
                    render(case, secrets, s3)
                    status = 0
                except BaseException as error:  # a fault of this harness: told to the parent
                    print("harness:", repr(error), file=sys.__stderr__, flush=True)
                finally:
                    os._exit(status)
            running[pid] = case
        else:
            pid, status = os.wait()
            case = running.pop(pid)
            if status:
                failed.append(case.name)
    if failed:
        sys.exit(f"cannot ask the original about {', '.join(failed)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
