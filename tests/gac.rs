//! The GAC: from a file, from a Secrets Manager that was not written by us, and from one that misbehaves.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

mod common;

use std::time::Duration;

use common::moto::{self, Moto};
use common::server::{Act, Server, answer};
use common::{Ended, Place, root};

/// A role that prints A and B, from the environment and, above it, the secret that IDENTITY names.
const ROLES: &str = "settings:\n  sources:\n    - environment\n    - secret: \"${IDENTITY}\"\n      region: us-east-1\n      placeholder: \"XXX: ENTER VALUE\"\n      timeout: 2s\n      attempt_timeout: 400ms\n  keys:\n    IDENTITY: { required: true, description: name of the GAC }\n    A: { required: true, description: the first }\n    B: { default: from roles.yaml }\n    C: { default: \"\" }\nroles:\n  r:\n    startup:\n      - command: [echo, \"${A}|${B}|${C}\"]\n  needless:\n    startup:\n      - command: [echo, done]\n";

/// The same with the patience that is the default.
fn patient() -> String {
    ROLES.replace("      timeout: 2s\n      attempt_timeout: 400ms\n", "")
}

/// Plays the role with this text as the GAC in a file.
fn with_file(text: impl AsRef<[u8]>) -> Ended {
    Place::with(ROLES)
        .file("gac.json", text)
        .env("IDENTITY", "file:gac.json")
        .play()
}

#[test]
fn a_file_that_is_no_gac() {
    for (text, why) in [
        (&b""[..], "it is empty"),
        (b"CANARY", "it is not JSON (line 1, column 1)"),
        (b"{\"A\": CANARY}", "it is not JSON (line 1, column 7)"),
        (
            b"{\"A\": \"CANARY\"",
            "it ends too early (line 1, column 14)",
        ),
        (
            b"[\"CANARY\"]",
            "it is a JSON list, and must be a JSON object",
        ),
        (
            b"\"CANARY\"",
            "it is a single JSON value, and must be a JSON object",
        ),
        (b"{}\n{}", "it is not JSON (line 2, column 1)"),
    ] {
        let ended = with_file(text);
        ended.expect(78, &format!("cannot use the secret file gac.json: {why}"));
        assert!(!ended.stderr.contains("CANARY"), "{}", ended.stderr);
    }
    with_file(b"\xff{}").expect(
        78,
        "cannot read the secret file gac.json: it is not UTF-8 (byte 0)",
    );
    with_file("{}".to_owned() + &" ".repeat(4 * 1024 * 1024)).expect(78, "it is larger than");
}

#[test]
fn a_file_that_is_not_there_or_not_ours() {
    let place = |identity: &str| Place::with(ROLES).env("IDENTITY", identity);
    place("file:gone.json").play().expect(
        78,
        "cannot read the secret file gone.json: there is no such file",
    );
    place("file:.")
        .play()
        .expect(78, "cannot read the secret file .: it is a directory");
    place("file:")
        .play()
        .expect(78, "cannot read the secret file");
    if !root("a_file_that_is_not_there_or_not_ours") {
        return;
    }
    let place = place("file:gac.json").file("gac.json", "{}");
    std::fs::set_permissions(
        place.path("gac.json"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("ours");
    place.play_as_nobody().expect(
        77,
        "cannot read the secret file gac.json: permission denied",
    );
}

#[test]
fn an_empty_identity() {
    let place = Place::with(ROLES).env("IDENTITY", "");
    place.play().expect(78, "IDENTITY is missing");
    place.play().expect(78, "name of the GAC");
    Place::with(ROLES)
        .play()
        .expect(78, "IDENTITY is missing (name of the GAC)");
    let optional = ROLES.replace(
        "IDENTITY: { required: true, description: name of the GAC }",
        "IDENTITY: { default: \"\" }",
    );
    for value in ["", "  "] {
        Place::with(&optional)
            .env("IDENTITY", value)
            .play()
            .expect(
                78,
                "cannot read the secret `${IDENTITY}`: its name is empty",
            )
            .expect(78, "or to file:PATH for a JSON file");
    }
}

#[test]
fn values_become_text() {
    let ended = with_file("\u{feff}{\"A\": 1.10, \"B\": true, \"C\": 12345678901234567890123}");
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["1.10|true|12345678901234567890123"]);
    let ended = with_file("{\"A\": \"00123\", \"B\": \"\", \"C\": \"é\\u00e9\\n\"}");
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["00123||éé", ""]);
}

#[test]
fn a_null_hides_what_is_below_and_a_placeholder_counts_as_missing() {
    let place = |gac: &str| {
        Place::with(ROLES)
            .env("IDENTITY", "file:gac.json")
            .env("A", "from the environment")
            .env("B", "from the environment")
            .file("gac.json", gac)
    };
    let ended = place("{}").play();
    assert_eq!(ended.said(), ["from the environment|from the environment|"]);
    let ended = place("{\"B\": null}").play();
    assert_eq!(ended.said(), ["from the environment|from roles.yaml|"]);
    place("{\"A\": null}")
        .play()
        .expect(78, "A is missing (the first)");
    let ended = with_file("{\"A\": \"XXX: ENTER VALUE\", \"B\": \"XXX: ENTER VALUE\"}");
    ended.expect(
        78,
        "A is missing: the secret file gac.json still has the placeholder (the first)",
    );
    assert!(!ended.why().contains("B is"), "it has a default");
    let ended = with_file("{\"A\": \"a\", \"B\": \"XXX: ENTER VALUE\"}");
    assert_eq!(ended.said(), ["a|from roles.yaml|"]);
}

/// What is not filled in is not there: the layer below may still give it.
#[test]
fn a_placeholder_does_not_hide_the_layer_below() {
    let ended = Place::with(ROLES)
        .env("IDENTITY", "file:gac.json")
        .env("A", "from the environment")
        .file("gac.json", "{\"A\": \"XXX: ENTER VALUE\"}")
        .play();
    assert_eq!(ended.said(), ["from the environment|from roles.yaml|"]);
}

#[test]
fn everything_that_is_wrong_is_one_error() {
    let many = ROLES
        .replace(
            "    B: {",
            "    M: { required: true, description: the second }\n    P: { required: true }\n    L: { default: \"\" }\n    O: { required: true }\n    E: { required: true }\n    B: {",
        )
        .replace("${A}|", "${A}|${M}${P}${L}${O}${E}|");
    let place = Place::with(&many)
        .env("IDENTITY", "file:gac.json")
        .file(
            "gac.json",
            r#"{"P": "XXX: ENTER VALUE", "L": ["CANARY"], "O": {"k": "CANARY"}, "E": "", "UNDECLARED": ["x"]}"#,
        );
    let ended = place.play();
    ended
        .expect(78, "cannot use the settings, 6 are wrong")
        .expect(78, "A is missing (the first)")
        .expect(78, "M is missing (the second)")
        .expect(
            78,
            "P is missing: the secret file gac.json still has the placeholder",
        )
        .expect(
            78,
            "L is a list in the secret file gac.json, and a setting is a text",
        )
        .expect(
            78,
            "O is an object in the secret file gac.json, and a setting is a text",
        )
        .expect(78, "E is missing: its value is empty");
    assert!(!ended.stderr.contains("CANARY"));
    assert!(!ended.stderr.contains("UNDECLARED"));
    assert_eq!(ended.said(), Vec::<String>::new());
    // A role that needs none of them does not ask for them.
    place.run(&["run", "needless"]).expect(0, "is done");
}

#[test]
fn a_key_that_stands_twice() {
    let ended = with_file("{\"A\": \"one\", \"B\": \"b\", \"A\": \"two\"}");
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["two|b|"]);
    assert_eq!(
        ended.messages("warning"),
        ["A stands twice in the secret file gac.json; the last one counts"]
    );
}

#[test]
fn a_file_s_name_without_file_is_offered_with_it() {
    let place = Place::with(ROLES)
        .file("gac.json", "{\"A\": \"a\"}")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing");
    let hint = "there is a file of this name: did you mean file:gac.json?";
    let ended = place.env("IDENTITY", "gac.json").play();
    ended.expect(69, "cannot read secret `gac.json`");
    ended.expect(69, hint);
    // Where there is no such file, nothing is guessed.
    let other = Place::with(ROLES)
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing")
        .env("IDENTITY", "gac.json")
        .play();
    other.expect(69, "cannot read secret `gac.json`");
    assert!(!other.stderr.contains("did you mean"), "{}", other.stderr);
}

#[test]
fn a_large_gac() {
    // The largest that Secrets Manager holds: 65 536 bytes.
    let filler = "x".repeat(65_000);
    let ended = with_file(format!("{{\"A\": \"a\", \"X\": \"{filler}\"}}"));
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["a|from roles.yaml|"]);
}

#[test]
fn through_a_real_secrets_manager() {
    let Some(moto) = Moto::start("through_a_real_secrets_manager") else {
        return;
    };
    let play =
        |name: &str| moto::at(Place::with(&patient()).env("IDENTITY", name), &moto.url).play();
    moto.put("good", r#"{"A": "a from the secret", "B": null, "C": 5}"#);
    let ended = play("good");
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["a from the secret|from roles.yaml|5"]);
    let from = ended.messages("settings");
    assert!(from[0].contains("the secret good (version "), "{from:?}");

    let filler = "x".repeat(65_000);
    moto.put("large", &format!(r#"{{"A": "a", "X": "{filler}"}}"#));
    assert_eq!(play("large").said(), ["a|from roles.yaml|"]);

    play("gone")
        .expect(78, "cannot read secret `gone` in us-east-1 at 127.0.0.1:")
        .expect(78, "ResourceNotFoundException: ")
        .expect(78, "check the name, that it is in us-east-1");

    moto.put_binary("binary", "Q0FOQVJZ");
    let ended = play("binary");
    ended.expect(78, "it holds binary data (store the settings as text");
    for (name, text, why) in [
        ("list", "[\"CANARY\"]", "it is a JSON list"),
        ("text", "CANARY", "it is not JSON (line 1, column 1)"),
        (
            "nested",
            r#"{"A": {"x": "CANARY"}}"#,
            "A is an object in the secret nested (version ",
        ),
        (
            "unfilled",
            r#"{"A": "XXX: ENTER VALUE", "X": "CANARY"}"#,
            "still has the placeholder",
        ),
        (
            "twice",
            r#"{"A": "", "X": "CANARY"}"#,
            "A is missing: its value is empty",
        ),
    ] {
        moto.put(name, text);
        let ended = play(name);
        ended.expect(78, why);
        assert!(!ended.stderr.contains("CANARY"), "{}", ended.stderr);
    }
    moto.ask("DeleteSecret", &serde_json::json!({"SecretId": "twice"}));
    play("twice").expect(78, "restore it: aws secretsmanager restore-secret");
}

/// The error answers of Secrets Manager that moto does not give.
#[test]
fn refused_throttled_and_broken() {
    let play = |acts: Vec<Act>| {
        let vault = Server::new(acts);
        let place = moto::at(Place::with(ROLES).env("IDENTITY", "gac"), &vault.url(""));
        (place.play(), vault)
    };
    let error = |status: u16, code: &str, message: &str| {
        answer(
            status,
            &serde_json::json!({"__type": code, "message": message}).to_string(),
        )
    };
    let good = answer(
        200,
        r#"{"Name": "gac", "VersionId": "v1", "SecretString": "{\"A\": \"a\"}"}"#,
    );

    let message = "User: arn:aws:sts::111122223333:assumed-role/portal-task/x is not authorized to perform: secretsmanager:GetSecretValue on resource: gac because no identity-based policy allows the secretsmanager:GetSecretValue action";
    let (ended, vault) = play(vec![error(400, "AccessDeniedException", message)]);
    ended
        .expect(77, "cannot read secret `gac` in us-east-1 at 127.0.0.1:")
        .expect(77, "allow `secretsmanager:GetSecretValue` on this secret to role `portal-task` of account 111122223333");
    assert_eq!(vault.requests().len(), 1, "a refusal is not tried again");

    let (ended, vault) = play(vec![error(400, "ExpiredTokenException", "expired")]);
    ended.expect(77, "get new credentials");
    assert_eq!(vault.requests().len(), 1);

    let vault = Server::new([
        error(400, "ThrottlingException", "Rate exceeded"),
        error(500, "InternalServiceError", "sorry"),
        Act::Reset,
        good,
    ]);
    let place = Place::with(&patient()).env("IDENTITY", "gac");
    let ended = moto::at(place, &vault.url("")).play();
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["a|from roles.yaml|"]);
    assert_eq!(vault.requests().len(), 4);

    let (ended, vault) = play(vec![error(400, "ThrottlingException", "Rate exceeded")]);
    ended
        .expect(69, "ThrottlingException: Rate exceeded; gave up after ")
        .expect(69, "try again later");
    assert!(vault.requests().len() > 1);

    let (ended, _) = play(vec![answer(200, "<html>CANARY</html>")]);
    ended.expect(69, "the answer is not one of Secrets Manager");
    assert!(!ended.stderr.contains("CANARY"));
}

#[test]
fn an_endpoint_that_does_not_answer() {
    let vault = Server::new([Act::Hang]);
    let place = moto::at(Place::with(ROLES).env("IDENTITY", "gac"), &vault.url(""));
    let ended = place.play();
    ended
        .expect(69, "cannot read secret `gac` in us-east-1 at 127.0.0.1:")
        .expect(69, "no answer within 0.4 s; gave up after ");
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let place = moto::at(
        Place::with(ROLES).env("IDENTITY", "gac"),
        &format!("http://{address}"),
    );
    place
        .play()
        .expect(69, "connection refused")
        .expect(69, &format!("check that {address} is up"));
}

#[test]
fn what_no_request_can_be_made_of() {
    let play = |identity: &str, roles: &str| {
        moto::at(
            Place::with(roles).env("IDENTITY", identity),
            "http://127.0.0.1:1",
        )
        .play()
    };
    play("arn:aws:s3:us-east-1:111122223333:secret:gac", ROLES)
        .expect(78, "this is an ARN of the service `s3`");
    play("gac", &ROLES.replace("us-east-1", "mars")).expect(69, "cannot read secret `gac` in mars");
    play("gac", &ROLES.replace("      region: us-east-1\n", "")).expect(
        78,
        "its region is not known (write `region:` beside it, or set AWS_REGION)",
    );
    let arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:gac-AbCdEf";
    play(arn, ROLES).expect(69, "in eu-west-1 at 127.0.0.1:1");
    let place = Place::with(ROLES)
        .env("IDENTITY", "gac")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    place
        .play()
        .expect(77, "cannot read secret `gac` in us-east-1: there are no AWS credentials (give the ECS task a task role");
}
