#!/usr/bin/env python3
"""Makes cases for the comparison with the original, and writes each with what must come of it.

    cases.py make OUT TEMPLATE [--seed N] [--mixed N]   cases over every branch of the start-up, and mixtures
    cases.py take OUT TEMPLATE FROM [--plain]           the cases of another directory (case.json, gac.json, env.json)

OUT/NNNN holds case.json (about, rules, refused), gac.json, env.json, versions.json and template.ini; where the answer
is to be compared, OUT/NNNN/ask holds what the original is asked. `original.py OUT` then fetches the answers.
"""
import argparse
import dataclasses
import itertools
import json
import pathlib
import random

import rules
from rules import Case, Number, PLACEHOLDER

FILE = "file:gac.json"  # both take a secret of this name: runner from the file, the original from its Secrets Manager
VERSIONS = {"APP_VERSION": "v17.0.0-oracle", "PROJECT_VERSION": "17.0.0", "SNOVAULT_VERSION": "11.35.0",
            "UTILS_VERSION": "8.18.8"}
BASE = {
    "ENCODED_IDENTITY": FILE, "ENCODED_BS_ENV": "cgap-one", "ENCODED_DATA_SET": "deploy",
    "ENCODED_ES_SERVER": "search.example:443", "ENCODED_APPLICATION_BUCKET_PREFIX": "one-application-",
    "ENCODED_FOURSIGHT_BUCKET_PREFIX": "one-foursight", "RDS_HOSTNAME": "db.example", "RDS_PORT": "5432",
    "RDS_DB_NAME": "ebdb", "RDS_USERNAME": "postgresql", "RDS_PASSWORD": "db-password",
    "ENCODED_AUTH0_CLIENT": "client", "ENCODED_AUTH0_SECRET": "auth0-secret",
    "ENCODED_AUTH0_ALLOWED_CONNECTIONS": "google-oauth2,github", "GLOBAL_ENV_BUCKET": "oracle-foursight-envs",
}
TEXTS = [  # values that a line of an ini, an expander or a template engine could trip over
    "plain", "two words", "a%b", "100%", "%%", "%(here)s", "%s", "p%40}s{{x}}&<'\"", "a$b", "$$", "$", "$AUTH0_CLIENT",
    "${RDS_PASSWORD}", "$${RDS_PASSWORD}", "'single'", '"double"', '"', "a;b", "; c", "a ; c", "# d", "a # d", "a=b",
    "= b", "a: b", "[app:main]", "{{ x }}", "{% x %}", "{# x #}", "<%% x %%>", "<## x ##>", "\\", "\\n", "a\\tb", "null",
    "true", "00123", "1.10", "1e3", "ünï☃", "日本", "😀", "e\u0301", "a\u00a0b", "a\u2028b", "a\u0085b", "a\x0bb",
    "\x7f", "`id`", "$(id)", "~", "*", "|", "https://k@sentry.example/1?x=%2F", "x" * 3000,
]
BLANKS = ["", " ", "   ", "\t", " \t ", "\x0b", "\u00a0", "\u2028", "  lead", "trail  "]
BREAKS = ["\n", "\r", "a\nb = 1", "\r\n", "x\r", "\t\n \n", "a\n[app:main]\nuse = egg:evil"]


def text_of(gac):
    """A GAC as JSON text; numbers stand as they are written."""
    one = lambda value: str(value) if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)  # noqa: E731
    return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {one(value)}" for key, value in gac.items()) + "}"


def branches(template):
    """Every branch of the start-up alone: one thing differs from a typical GAC."""
    def case(about, gac=None, without=(), env=None, text=None, versions=None, own=None, there=True, objects=None):
        whole = {key: value for key, value in {**BASE, **(gac or {})}.items() if key not in without}
        return Case(about, text_of(whole) if text is None else text, {"IDENTITY": FILE, **(env or {})},
                    {**VERSIONS, **(versions or {})}, template if own is None else own, objects or {}, there)

    yield case("typical")
    yield case("everything given", {key: f"v-{key.lower()}" for key in rules.OPTIONAL})
    for key in rules.OPTIONAL:
        yield case(f"{key} absent", without=[key])
        yield case(f"{key} given", {key: "given"})
        yield case(f"{key} empty", {key: ""})
        yield case(f"{key} not filled in", {key: PLACEHOLDER})
        yield case(f"{key} in the environment only", without=[key], env={key: "from-env"})
        yield case(f"{key} in both", {key: "from-gac"}, env={key: "from-env"})
        yield case(f"{key} empty in the GAC hides the environment's", {key: ""}, env={key: "from-env"})
        yield case(f"{key} null in the GAC hides the environment's", {key: None}, env={key: "from-env"})
    for value in ["no", "0", " false", "false", "False", "FALSE", "FALSE ", "TRUE", "fal\u017fe", Number("false"), Number("0")]:
        yield case(f"ENCODED_INDEXER is {value!r}", {"ENCODED_INDEXER": value})
        yield case(f"ENCODED_INDEX_SERVER is {value!r}", {"ENCODED_INDEX_SERVER": value})
    for value in [None, "", "FALSE", "true"]:
        yield case(f"an index server by its version, {value!r} given", {"ENCODED_INDEX_SERVER": value} if value is not None else {},
                   versions={"APP_VERSION": "v17__index_server-3"})
    for key in rules.REQUIRED:
        yield case(f"{key} absent", without=[key])
        yield case(f"{key} empty", {key: ""})
        yield case(f"{key} not filled in", {key: PLACEHOLDER})
        yield case(f"{key} null, and in the environment", {key: None}, env={key: "from-env"})
        yield case(f"{key} in the environment only", without=[key], env={key: "from-env"})
    yield case("nothing but the names", without=[*rules.REQUIRED])
    yield case("an empty object", text="{}")
    for given in itertools.product(["cgap-one", "", None], repeat=3):
        one = {key: value for key, value in zip(rules.NAMES, given) if value is not None}
        objects = {"cgap-one": {"ecosystem": "main"}}
        yield case(f"names given: {one}", one, without=set(rules.NAMES) - set(one), objects=objects)
    for pair in itertools.permutations(rules.NAMES, 2):
        yield case(f"{pair} disagree", {pair[0]: "cgap-one", pair[1]: "cgap-two"}, without=set(rules.NAMES) - set(pair))
    yield case("ENV_NAME of the container agrees", env={"ENV_NAME": "cgap-one"}, objects={"cgap-one": {"ecosystem": "main"}})
    yield case("ENV_NAME of the container disagrees", env={"ENV_NAME": "cgap-two"})
    yield case("no ENCODED_IDENTITY", without=["ENCODED_IDENTITY"])
    yield case("another ENCODED_IDENTITY, and a file", {"ENCODED_IDENTITY": "Another"})
    for name, own in [("Fits", "Fits"), ("Fits", ""), ("Mine", "Yours")]:
        yield case(f"IDENTITY {name}, ENCODED_IDENTITY {own!r}", {"ENCODED_IDENTITY": own}, env={"IDENTITY": name})
    yield case("IDENTITY empty", env={"IDENTITY": ""})
    yield case("no such secret", env={"IDENTITY": "Nowhere"}, there=False)
    yield case("no bucket of the ecosystem", without=["GLOBAL_ENV_BUCKET"])
    for key in ["AUTH0_SECRET", "BS_ENV", "DATA_SET", "S3_BUCKET_ENV", "INDEXER"]:
        yield case(f"{key} in the environment", env={key: "from-env"})
        yield case(f"{key} in the GAC", {key: "from-gac"})
    for written in ["5432", "1.10", "1e5", "-0.0", "12345678901234567890123", "true", "false"]:
        yield case(f"RDS_PORT is {written}", {"RDS_PORT": Number(written)})
        yield case(f"a key that nobody reads is {written}", {"GA4_NUMBER": Number(written)})
    for value in [[], ["a"], {}, {"a": "b"}]:
        yield case(f"ENCODED_SENTRY_DSN is {value}", {"ENCODED_SENTRY_DSN": value})
        yield case(f"a key that nobody reads is {value}", {"ENCODED_ADMIN_USERS": value})
    yield case("the same key twice", text=text_of(BASE)[:-1] + ', "RDS_PORT": "1", "RDS_PORT": "2"}')
    for text in ["null", "[]", '["a"]', '"a"', "1", "", " ", "{", "{'a': 1}", text_of(BASE) + "x", text_of(BASE)[:-1] + ",}",
                 text_of(BASE)[:-1] + ', "x": NaN}', text_of(BASE)[:-1] + ', "x": Infinity}',
                 text_of(BASE)[:-1] + ', "ENCODED_SENTRY_DSN": "\\ud800"}']:
        yield case(f"the secret is {text[-30:]!r}", text=text)
    yield case("a key without a name", {"": "x"})
    yield case("keys with a blank and a dot", {"a key": "x", "a.key": "y"})
    for key in ["APP_VERSION", *rules.VERSIONS]:
        yield case(f"{key} with a percent sign and unicode", versions={key: "1%2-ü"})
    for value in TEXTS + BLANKS:
        yield case(f"values are {value[:20]!r}", {key: value for key in rules.COPIED + ["ENCODED_ES_NAMESPACE"]})
    for value in TEXTS:
        yield case(f"the database URL has {value[:20]!r}", {key: value for key in rules.RDS})
        yield case(f"the buckets have {value[:20]!r}", {"ENCODED_APPLICATION_BUCKET_PREFIX": value, "ENCODED_S3_BUCKET_ENV": value})
    for value in BREAKS:
        for key in ["ENCODED_AUTH0_SECRET", "RDS_PASSWORD", "ENCODED_SYSTEM_BUCKET"]:
            yield case(f"{key} is {value!r}", {key: value})
    yield case("a line break where nobody reads it", {"S3_ENCRYPT_KEY": "a\nb"})
    for about, own in templates():
        yield case(about, {"ENCODED_SENTRY_DSN": "", "ENCODED_AUTH0_CLIENT": "full%",
                           "ENCODED_AUTH0_ALLOWED_CONNECTIONS": " \t "}, own=own)


def templates():
    """Templates over the rule by which a line is left out, and over the expansion."""
    empty, blank, full = "${SENTRY_DSN}", "${AUTH0_ALLOWED_CONNECTIONS}", "${AUTH0_CLIENT}"
    keys = ["a", "a1", "a.b", "A/09:x;y<z>?@[q]\\^", "a_b", "a-06", "_10", "01", "a,x", "a+x", "a!x", "a'x", "a`x", "a#x", "é", "aé", "a b"]
    values = [empty, empty + empty, f"{empty} {empty}", empty + "\t", blank, full, f'"{empty}"', empty + "x", f"x{empty}",
              f"{empty} ; comment", "%" + empty, "", full + empty, f"{blank}{empty} "]
    lines = [f"{key} = {empty}" for key in keys] + [f"{key} = {full}" for key in keys]
    yield "keys of lines that are left out", "[app:app]\n" + "\n".join(lines) + "\n"
    lines = [f"a{number} = {value}" for number, value in enumerate(values)]
    yield "values of lines that are left out", "[app:app]\n" + "\n".join(lines) + "\n"
    lines = [form.format(number, value) for number, (form, value) in enumerate(itertools.product(
        ["a{}={}", "a{} ={}", "a{}= {}", " a{} = {}", "\ta{}\t=\t{}", "# a{} = {}", "a{} : {}", "a{} == {}", "a{}== {}", "a{}=b={}"],
        [empty, blank, full]))]
    yield "forms of lines that are left out", "[app:app]\n" + "\n".join(lines) + "\n"
    yield "the last line has no end and is left out", f"[app:app]\na = {full}\nb = {empty}"
    yield "the last line has no end and stays", f"[app:app]\nb = {empty}\na = {full}"
    yield "continued lines", f"[app:app]\na =\n    {full}\n    {empty}\nb = x\n    {blank}\n"
    yield "CRLF", f"[app:app]\r\na = {full}\r\nb = {empty}\r\nc = x\r\n"
    yield "a dollar sign without braces", "[app:app]\na = $AUTH0_CLIENT\nb = $SENTRY_DSN\nc = $\nd = $5\ne = $$\nf = a$-b\n"
    yield "a doubled dollar sign", "[app:app]\na = $${AUTH0_CLIENT}\nb = x$${SENTRY_DSN}\n"
    yield "what other engines would read", "[app:app]\na = {{ x }} {% x %} {# x #} <%% x %%> %(here)s } {\n"
    yield "no setting at all", "[app:app]\na = b\n\n\n"
    yield "an empty template", ""


def mixed(template, seed, number):
    """Mixtures: every key by chance absent, in the GAC, in the environment, in both, null, empty."""
    pick = random.Random(seed)

    def value(key):
        kind = pick.random()
        if kind < 0.5 or (key in rules.REQUIRED and kind >= 0.85):
            return f"v-{key.lower()}-{pick.randrange(100)}"
        return pick.choice(TEXTS) if kind < 0.85 else pick.choice(BLANKS)

    for at in range(number):
        gac = {key: BASE[key] for key in ["ENCODED_IDENTITY", "ENCODED_BS_ENV", "GLOBAL_ENV_BUCKET"]}
        env, damage = {"IDENTITY": FILE}, pick.random()
        for key in rules.REQUIRED + rules.OPTIONAL:
            optional = key not in rules.REQUIRED
            place = pick.choice(["absent", "gac", "gac", "env", "both", "null", "empty"] if optional else ["gac", "gac", "env", "both"])
            if place in ("gac", "both"):
                gac[key] = value(key)
            if place in ("env", "both", "null", "empty"):
                env[key] = value(key)
            if place in ("null", "empty"):
                gac[key] = None if place == "null" else ""
        if damage < 0.15:
            for key in pick.sample(rules.REQUIRED, pick.randrange(1, 5)):
                env.pop(key, None)
                gac[key] = pick.choice(["", None, PLACEHOLDER])
        keys = list(gac)
        pick.shuffle(keys)
        yield Case(f"mixed {seed}.{at}", text_of({key: gac[key] for key in keys}), env, dict(VERSIONS), template)


def taken(source, template):
    """Cases that another directory holds."""
    for folder in sorted(path.parent for path in source.glob("*/case.json")):
        meta = json.loads((folder / "case.json").read_text())
        yield Case(f"{folder.name}: {meta.get('about', '')}", (folder / "gac.json").read_text(),
                   json.loads((folder / "env.json").read_text()), dict(VERSIONS), template,
                   meta.get("ecosystem_objects", {}), meta.get("secret", "string") != "absent")


def write(out, cases, plain):
    """Writes the cases; returns their number. `plain` asks the original what each case says, unchanged."""
    number = 0
    for number, case in enumerate(cases, 1):
        verdict = rules.judge(case)
        put(out / f"{number:04}", case, {"about": case.about, "rules": verdict.rules, "refused": verdict.refused,
                                         "there": case.there, "token": rules.TOKEN, "values": verdict.values})
        if plain or verdict.refused is None:
            about = {"objects": case.objects, "there": case.there}
            put(out / f"{number:04}" / "ask", case if plain else verdict, about)
    return number


def put(folder, case, about):
    folder.mkdir(parents=True)
    for name, text in [("case.json", dump(about)), ("gac.json", case.gac), ("env.json", dump(case.env)),
                       ("versions.json", dump(case.versions)), ("template.ini", case.template)]:
        (folder / name).write_bytes(text.encode("utf-8"))


def dump(value):
    return json.dumps(value, ensure_ascii=False, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "take"])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("template", type=pathlib.Path)
    parser.add_argument("source", type=pathlib.Path, nargs="?")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--mixed", type=int, default=120)
    parser.add_argument("--plain", action="store_true", help="ask the original each case as it stands")
    given = parser.parse_args()
    template = given.template.read_bytes().decode("utf-8")
    if given.what == "take":
        cases = taken(given.source, template)
    else:
        cases = itertools.chain(branches(template), mixed(template, given.seed, given.mixed))
    print(write(given.out, cases, given.plain), "cases")


if __name__ == "__main__":
    main()
