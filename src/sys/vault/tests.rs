//! The door against a scripted endpoint: the sentence, the exit code and the number of tries of each failure.

use super::*;
use crate::sys::aws::Env;
use crate::sys::scripted::{Act, Endpoint};

fn ambient() -> Ambient {
    Ambient {
        env: Env::from_slice(&[]),
        credentials: Some(Credentials::new(
            "AKIDEXAMPLE",
            "not-so-secret",
            None,
            None,
            "test",
        )),
    }
}

fn request(endpoint: &Endpoint) -> SecretRequest {
    SecretRequest {
        name: "gac".to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint.url("")),
        limits: Limits {
            pause: Duration::from_millis(1),
            ..Limits::default()
        },
    }
}

fn value() -> Act {
    Act::answer(
        200,
        r#"{"ARN":"arn:aws:secretsmanager:us-east-1:111122223333:secret:gac-AbCdEf","Name":"gac","SecretString":"{\"K\":\"CANARY\"}","VersionId":"v-1","VersionStages":["AWSCURRENT"]}"#,
    )
}

fn refused(status: u16, code: &str, message: &str) -> Act {
    Act::answer(
        status,
        &format!(r#"{{"__type":"{code}","Message":"{message}"}}"#),
    )
}

/// The error of a fetch, its time replaced by `T`, and the tries that the endpoint saw.
async fn fails(
    script: impl IntoIterator<Item = Act>,
    limits: impl Fn(&mut Limits),
) -> (String, u8, usize) {
    let endpoint = Endpoint::new(script).await;
    let mut request = request(&endpoint);
    limits(&mut request.limits);
    let error = fetch_with(&request, &ambient())
        .await
        .expect_err("a failure");
    let text = error.to_string().replace(&endpoint.address(), "HERE");
    (without_time(&text), error.exit.0, endpoint.tries())
}

fn without_time(text: &str) -> String {
    let Some((before, after)) = text.split_once(" tries in ") else {
        return text.to_owned();
    };
    let (_, after) = after.split_once(" s").expect("a time");
    format!("{before} tries in T{after}")
}

fn sentence(cause: &str, help: &str) -> String {
    format!("cannot read secret `gac` in us-east-1 at HERE: {cause} ({help})")
}

const UP: &str = "check that HERE is up and can be reached from here";

#[tokio::test]
async fn the_current_value_is_fetched_in_one_request() {
    let endpoint = Endpoint::new([value()]).await;
    let secret = fetch_with(&request(&endpoint), &ambient())
        .await
        .expect("a value");
    assert_eq!(secret.text.expose(), r#"{"K":"CANARY"}"#);
    assert_eq!(secret.version.as_deref(), Some("v-1"));
    assert_eq!(
        secret.arn.as_deref(),
        Some("arn:aws:secretsmanager:us-east-1:111122223333:secret:gac-AbCdEf")
    );
    assert!(!format!("{secret:?}").contains("CANARY"));
    let asked = endpoint.requests();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("x-amz-target: secretsmanager.GetSecretValue"));
    assert!(asked[0].contains("/us-east-1/secretsmanager/aws4_request"));
    assert!(
        asked[0].ends_with(r#"{"SecretId":"gac","VersionStage":"AWSCURRENT"}"#),
        "{}",
        asked[0]
    );
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    let throttled = || refused(400, "ThrottlingException", "Rate exceeded");
    for script in [
        vec![throttled(), throttled(), value()],
        vec![
            Act::answer(503, "<html>busy</html>"),
            refused(500, "InternalServiceError", "oh"),
            value(),
        ],
        vec![Act::Reset, Act::Cut, value()],
        vec![
            Act::answer(200, "<html>CANARY</html>"),
            Act::raw("garbage\r\n\r\n"),
            value(),
        ],
    ] {
        let endpoint = Endpoint::new(script.clone()).await;
        let fetched = fetch_with(&request(&endpoint), &ambient()).await;
        fetched.unwrap_or_else(|error| panic!("{script:?}: {error}"));
        assert_eq!(endpoint.tries(), 3, "{script:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_given_up_after_the_tries() {
    let gave_up = |cause: &str, help: &str| {
        (
            sentence(&format!("{cause}; gave up after 5 tries in T"), help),
            69,
            5,
        )
    };
    let limit = "Secrets Manager limits calls by account and region: try again later";
    let early = "the connection was closed before the answer was complete";
    let alien = "the answer is not one of Secrets Manager";
    for (act, expected) in [
        (
            refused(400, "ThrottlingException", "Rate exceeded"),
            gave_up("ThrottlingException: Rate exceeded", limit),
        ),
        (
            refused(500, "InternalServiceError", "oh"),
            gave_up("InternalServiceError: oh", UP),
        ),
        (
            Act::answer(502, "<html>CANARY</html>"),
            gave_up("HTTP status 502, without an error of AWS", UP),
        ),
        (Act::Cut, gave_up(early, UP)),
        (Act::Reset, gave_up(early, UP)),
        (Act::answer(200, "<html>CANARY</html>"), gave_up(alien, UP)),
        (
            Act::answer(200, r#"{"SecretString": "CANARY"#),
            gave_up(alien, UP),
        ),
        (
            Act::raw("CANARY\r\n\r\n"),
            gave_up("what came back is not HTTP", UP),
        ),
    ] {
        assert_eq!(fails([act], |_| ()).await, expected);
    }
}

#[tokio::test]
async fn a_refusal_is_final() {
    let denied = "User: arn:aws:sts::111122223333:assumed-role/portal-task/abc is not authorized to perform: secretsmanager:GetSecretValue on resource: gac because no identity-based policy allows it";
    let absent = "Secrets Manager can't find the specified secret.";
    let token = "get new credentials; those in AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN win over a profile and a task role";
    for (status, code, message, help, exit) in [
        (
            400,
            "AccessDeniedException",
            denied,
            "allow `secretsmanager:GetSecretValue` on this secret to role `portal-task` of account 111122223333",
            77,
        ),
        (
            400,
            "ResourceNotFoundException",
            absent,
            "check the name, that it is in us-east-1, and that the credentials are of the right account; a secret of another account needs its ARN",
            78,
        ),
        (
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            token,
            77,
        ),
        (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            token,
            77,
        ),
        (
            403,
            "InvalidSignatureException",
            "Signature expired",
            "check AWS_SECRET_ACCESS_KEY, and the clock of this machine",
            77,
        ),
        (
            400,
            "DecryptionFailure",
            "no",
            "allow `kms:Decrypt` on the secret's key, and check that the key is enabled",
            77,
        ),
    ] {
        let expected = (sentence(&format!("{code}: {message}"), help), exit, 1);
        assert_eq!(
            fails([refused(status, code, message)], |_| ()).await,
            expected
        );
    }
    let proxy = "check that the endpoint is Secrets Manager, and proxies on the way";
    let expected = (
        sentence("HTTP status 404, without an error of AWS", proxy),
        78,
        1,
    );
    assert_eq!(
        fails([Act::answer(404, "<html>CANARY</html>")], |_| ()).await,
        expected
    );
}

#[tokio::test]
async fn a_value_that_is_no_text_is_final() {
    let empty = sentence(
        "the answer holds no text",
        "check that the secret has a value, and that the endpoint is Secrets Manager",
    );
    let binary = sentence(
        "it holds binary data",
        "store the settings as text: --secret-string, not --secret-binary",
    );
    for (body, expected) in [
        ("{}", &empty),
        (r#"{"SecretString":""}"#, &empty),
        (r#"{"SecretBinary":"Q0FOQVJZ"}"#, &binary),
    ] {
        assert_eq!(
            fails([Act::answer(200, body)], |_| ()).await,
            (expected.clone(), 78, 1)
        );
    }
}

#[tokio::test]
async fn a_hung_endpoint_is_given_up_within_the_total() {
    let started = Instant::now();
    let (text, exit, tries) = fails([Act::Hang], |limits| {
        limits.attempt = Duration::from_secs(1);
        limits.total = Duration::from_millis(2600);
    })
    .await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(2500) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!((exit, tries), (69, 3), "{text}");
    // The last try had only what was left of the total.
    assert!(
        text.starts_with("cannot read secret `gac` in us-east-1 at HERE: no answer within 0."),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("; gave up after 3 tries in T ({UP})")),
        "{text}"
    );
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let Act::Raw(bytes) = value() else {
        panic!("raw")
    };
    let endpoint = Endpoint::new([Act::Slow(Duration::from_millis(500), bytes)]).await;
    fetch_with(&request(&endpoint), &ambient())
        .await
        .expect("a value");
    assert_eq!(endpoint.tries(), 1);
}

#[tokio::test]
async fn nobody_there_and_no_such_host() {
    let endpoint = Endpoint::new([]).await;
    let mut request = request(&endpoint);
    let address = endpoint.address();
    endpoint.end().await;
    let error = fetch_with(&request, &ambient()).await.expect_err("refused");
    let text = without_time(&error.to_string().replace(&address, "HERE"));
    assert_eq!(
        text,
        sentence("connection refused; gave up after 5 tries in T", UP)
    );
    assert_eq!(error.exit, Exit::UNAVAILABLE);
    request.endpoint = Some("http://nowhere.invalid".to_owned());
    let error = fetch_with(&request, &ambient()).await.expect_err("no host");
    assert!(
        error
            .cause
            .starts_with("the host name cannot be resolved: "),
        "{error}"
    );
    assert_eq!(error.exit, Exit::UNAVAILABLE);
}

#[tokio::test]
async fn what_is_wrong_before_any_request() {
    let base = SecretRequest {
        name: "gac".to_owned(),
        region: None,
        endpoint: None,
        limits: Limits::default(),
    };
    let with = |change: &dyn Fn(&mut SecretRequest)| {
        let mut request = base.clone();
        change(&mut request);
        request
    };
    for (request, expected) in [
        (
            with(&|_| ()),
            "cannot read secret `gac`: its region is not known (write `region:` beside it, or set AWS_REGION)",
        ),
        (
            with(&|r| r.name.clear()),
            "cannot read a secret: its name is empty (set IDENTITY, or what the source names)",
        ),
        (
            with(&|r| r.region = Some("us east".to_owned())),
            "cannot read secret `gac`: `us east` is not a region (write one such as us-east-1)",
        ),
        (
            with(&|r| r.name = "arn:aws:ssm:us-east-1:1:parameter/x".to_owned()),
            "cannot read secret `arn:aws:ssm:us-east-1:1:parameter/x`: this is an ARN of the service `ssm` (give a secret's name or its ARN)",
        ),
        (
            with(&|r| {
                r.region = Some("us-east-1".to_owned());
                r.endpoint = Some("localhost:4566".to_owned());
            }),
            "cannot read secret `gac`: its endpoint: `localhost:4566` is not an http URL: it does not begin with http:// or https:// (write http://localhost:4566)",
        ),
    ] {
        let error = fetch_with(&request, &ambient()).await.expect_err("wrong");
        assert_eq!(
            (error.to_string().as_str(), error.exit),
            (expected, Exit::CONFIG)
        );
    }
}

#[test]
fn region_and_endpoint_have_their_order() {
    let env = [
        ("AWS_REGION", "r-env"),
        ("AWS_DEFAULT_REGION", "r-default"),
        ("AWS_ENDPOINT_URL", "http://all:1"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://one:1"),
    ];
    let seen = |name: &str, region: Option<&str>, endpoint: Option<&str>, skip: usize| {
        let request = SecretRequest {
            name: name.to_owned(),
            region: region.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            limits: Limits::default(),
        };
        let env: Vec<_> = env
            .iter()
            .enumerate()
            .filter(|(at, _)| *at % 2 >= skip)
            .map(|(_, pair)| *pair)
            .collect();
        let subject = Subject::of(
            &request,
            &Ambient {
                env: Env::from_slice(&env),
                credentials: None,
            },
        )
        .expect("a subject");
        (
            subject.region,
            subject.endpoint.map(|(_, host)| host).unwrap_or_default(),
        )
    };
    let arn = "arn:aws:secretsmanager:r-arn:111122223333:secret:gac-AbCdEf";
    let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        seen(arn, Some("r-written"), Some("http://own:1"), 0),
        text("r-arn", "own:1")
    );
    assert_eq!(
        seen("gac", Some("r-written"), None, 0),
        text("r-written", "one:1")
    );
    assert_eq!(seen("gac", None, None, 0), text("r-env", "one:1"));
    assert_eq!(seen("gac", Some(""), None, 1), text("r-default", "one:1"));
}

#[tokio::test]
async fn a_dropped_fetch_closes_its_connection() {
    let endpoint = Endpoint::new([Act::Hang]).await;
    let request = request(&endpoint);
    let ambient = ambient();
    tokio::select! {
        _ = fetch_with(&request, &ambient) => panic!("the endpoint does not answer"),
        () = endpoint.asked(1) => {}
    }
    endpoint.closed(1).await;
}

#[test]
fn pauses_are_jittered_between_half_and_all() {
    let pauses: Vec<_> = (0..200).map(|_| jittered(Duration::from_secs(1))).collect();
    assert!(
        pauses
            .iter()
            .all(|p| *p >= Duration::from_millis(500) && *p <= Duration::from_secs(1))
    );
    let spread = *pauses.iter().max().unwrap_or(&Duration::ZERO)
        - *pauses.iter().min().unwrap_or(&Duration::ZERO);
    assert!(spread > Duration::from_millis(100), "{spread:?}");
}
