"""Where runner and the original have to agree, and where they differ on purpose.

`judge(case)` says what runner must do with a case: render the same bytes as the original does for the question
that `ask` holds, or refuse, with exit code 78, naming certain keys. Where runner differs by a rule and still
renders, the question is changed so that the original's answer is what the rule demands: "% is doubled" asks the
original about doubled values, "a number is text" about the number's text. So every byte stays the original's own.
"""
import dataclasses
import json
import re

PLACEHOLDER = "XXX: ENTER VALUE"
TOKEN = "\u241b"  # stands for a dollar sign that the original must not see

RDS = ["RDS_HOSTNAME", "RDS_PORT", "RDS_DB_NAME", "RDS_USERNAME", "RDS_PASSWORD"]
VERSIONS = ["PROJECT_VERSION", "SNOVAULT_VERSION", "UTILS_VERSION"]
BUCKETS = ["ENCODED_FILE_UPLOAD_BUCKET", "ENCODED_FILE_WFOUT_BUCKET", "ENCODED_BLOB_BUCKET", "ENCODED_SYSTEM_BUCKET",
           "ENCODED_METADATA_BUNDLES_BUCKET", "ENCODED_TIBANNA_OUTPUT_BUCKET", "ENCODED_TIBANNA_CWLS_BUCKET"]
REQUIRED = ["ENCODED_DATA_SET", "ENCODED_ES_SERVER", "ENCODED_APPLICATION_BUCKET_PREFIX",
            "ENCODED_FOURSIGHT_BUCKET_PREFIX", *RDS]
# Given or not, and copied into the file as they are.
COPIED = ["ENCODED_AUTH0_DOMAIN", "ENCODED_AUTH0_CLIENT", "ENCODED_AUTH0_SECRET", "ENCODED_AUTH0_ALLOWED_CONNECTIONS",
          "ENCODED_SENTRY_DSN", "ENCODED_S3_ENCRYPT_KEY_ID", "ENCODED_BS_MIRROR_ENV"]
NAMES = ["ENCODED_BS_ENV", "ENCODED_ENV_NAME", "ENV_NAME"]
OPTIONAL = [*COPIED, *BUCKETS, "ENCODED_S3_BUCKET_ENV", "ENCODED_ES_NAMESPACE", "ENCODED_INDEXER", "ENCODED_INDEX_SERVER"]
OTHERS = ["application_type", "INITIAL_DEPLOYMENT", "ENCODED_IDENTITY", "GLOBAL_ENV_BUCKET"]
DECLARED = {*REQUIRED, *OPTIONAL, *NAMES, *OTHERS, *VERSIONS, "APP_VERSION", "IDENTITY"}
# Set by the original itself, which refuses to start when they stand in its environment with another value.
DERIVED = ["AUTH0_DOMAIN", "AUTH0_CLIENT", "AUTH0_SECRET", "AUTH0_ALLOWED_CONNECTIONS", "SENTRY_DSN",
           "S3_ENCRYPT_KEY_ID", "BS_ENV", "ES_SERVER", "ES_NAMESPACE", "APPLICATION_BUCKET_PREFIX",
           "FOURSIGHT_BUCKET_PREFIX", "S3_BUCKET_ENV", "DATA_SET", "BS_MIRROR_ENV", "INDEXER", "INDEX_SERVER",
           "FILE_UPLOAD_BUCKET", "FILE_WFOUT_BUCKET", "BLOB_BUCKET", "SYSTEM_BUCKET", "METADATA_BUNDLES_BUCKET",
           "TIBANNA_OUTPUT_BUCKET", "TIBANNA_CWLS_BUCKET"]


@dataclasses.dataclass
class Case:
    about: str
    gac: str  # the text of the secret, JSON or not
    env: dict  # the container's environment, IDENTITY included
    versions: dict
    template: str
    objects: dict = dataclasses.field(default_factory=dict)  # the original's S3 bucket, beyond main.ecosystem
    there: bool = True  # whether the secret exists


@dataclasses.dataclass
class Verdict:
    rules: list  # names of the differences on purpose that apply; empty: plain agreement
    refused: list = None  # None: the same bytes; else the names that the refusal must show
    gac: str = None  # what the original is asked
    env: dict = None
    template: str = None
    versions: dict = None
    values: dict = None  # what each key that is given comes to, from whichever source


class Number(str):
    """A number or boolean of a GAC, as it is written there."""


def parse(text):
    """The GAC with numbers as written; None if it is not JSON by the standard, or not an object."""
    def refuse(name):
        raise ValueError(name)
    try:
        text.encode("utf-8")
        value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def judge(case):
    """What runner must do with the case, and what the original is to be asked."""
    rules, gac = [], parse(case.gac)

    def refuse(rule, names):
        return Verdict([rule], names)

    identity = case.env.get("IDENTITY", "")
    if not identity:
        return refuse("identity-empty", ["IDENTITY"])
    if not case.there:
        return refuse("secret-not-found", [identity])
    if gac is None:
        return refuse("not-a-json-object", [])
    if "" in gac or any("\0" in key for key in gac):
        return refuse("bad-key", [])

    env = dict(case.env)
    for key in [*DERIVED]:
        for place in (env, gac):
            if place.pop(key, None) is not None:
                rules.append("derived-takes-no-source")
    nested = [key for key, value in gac.items() if isinstance(value, (list, dict)) and key in DECLARED]
    if nested:
        return refuse("nested-value", nested)
    given = {}
    for key, value in gac.items():
        if isinstance(value, (list, dict)):
            rules.append("undeclared-nested-value")
        elif value is None:
            env.pop(key, None)
        elif isinstance(value, (bool, Number)):
            rules.append("number-is-text")
            given[key] = str(value) if isinstance(value, Number) else json.dumps(value)
        elif value == PLACEHOLDER and key in DECLARED:
            rules.append("placeholder-is-missing")
        else:
            given[key] = value
    every = {**case.versions, **env, **given}

    missing = [key for key in [*REQUIRED, *VERSIONS] if not every.get(key)]
    if not any(every.get(key) for key in NAMES):
        missing.append("ENCODED_BS_ENV")
    if missing:
        return refuse("required-missing", missing)
    named = [key for key in NAMES if every.get(key)]
    if len({every[key] for key in named}) > 1:
        return refuse("names-disagree", ["ENCODED_BS_ENV" if "ENCODED_BS_ENV" in named else "ENCODED_ENV_NAME"])
    own = every.get("ENCODED_IDENTITY")
    if own and own != identity and not identity.startswith("file:") and f":secret:{own}-" not in identity:
        return refuse("identity-disagrees", ["ENCODED_IDENTITY"])
    breaks = {key.removeprefix("ENCODED_") for key, value in every.items() if re.search("[\r\n]", value)}
    broken = [name for name in re.findall(r"\$\{(\w+)}", case.template) if name in breaks]
    if broken:
        return refuse("line-break-in-value", broken[:1])

    if own != identity:
        rules.append("encoded-identity-optional")
    if "GLOBAL_ENV_BUCKET" not in every:
        rules.append("no-ecosystem-bucket")
    double = {"GLOBAL_ENV_BUCKET", "IDENTITY"}
    if any("%" in value for key, value in every.items() if key not in double):
        rules.append("percent-doubled")
    given = {key: value.replace("%", "%%") for key, value in given.items()}
    env = {key: value if key in double else value.replace("%", "%%") for key, value in env.items()}
    versions = {key: value.replace("%", "%%") for key, value in case.versions.items()}
    given.update(ENCODED_IDENTITY=identity, GLOBAL_ENV_BUCKET="oracle-foursight-envs")
    template = case.template
    bare = re.compile(r"\$\$(?=\{)|\$(?!\{)")
    if bare.search(template):
        rules.append("bare-dollar-is-text")
        template = re.sub(r"\$\$\{", TOKEN + "{", template)
        template = re.sub(r"\$(?!\{)", TOKEN, template)
    return Verdict(sorted(set(rules)), None, json.dumps(given, ensure_ascii=False), env, template, versions, every)
