use super::*;
use crate::sys::aws::Env;

fn ambient(variables: &[(&str, &str)]) -> Ambient {
    Ambient {
        env: Env::from_slice(variables),
        credentials: None,
    }
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        ..Wanted::default()
    }
}

fn address(name: &str, variables: &[(&str, &str)]) -> Address {
    Address::of(&wanted(name), &ambient(variables)).unwrap()
}

fn refusal(name: &str) -> String {
    let error = Address::of(&wanted(name), &ambient(&[("AWS_REGION", "eu-west-1")])).unwrap_err();
    assert_eq!((error.error.exit, error.again), (Exit::CONFIG, Again::No));
    error.error.to_string()
}

#[test]
fn a_name_an_arn_and_a_url_say_where_the_queue_is() {
    let there = address("tasks", &[("AWS_REGION", "eu-west-1")]);
    assert_eq!(
        (there.subject.region.as_str(), &there.url, &there.endpoint),
        ("eu-west-1", &None, &None)
    );
    let there = address(
        "arn:aws:sqs:eu-north-1:123456789012:tasks.fifo",
        &[("AWS_REGION", "eu-west-1")],
    );
    assert_eq!(there.subject.region, "eu-north-1");
    assert_eq!(
        (there.subject.name.as_str(), there.account.as_deref()),
        ("tasks.fifo", Some("123456789012"))
    );
    let url = "https://sqs.us-west-2.amazonaws.com/123456789012/tasks";
    let there = address(url, &[("AWS_REGION", "eu-west-1")]);
    assert_eq!(
        (
            there.subject.region.as_str(),
            there.url.as_deref(),
            &there.endpoint
        ),
        ("us-west-2", Some(url), &None)
    );
    let there = address("http://127.0.0.1:9324/000000000000/tasks", &[]);
    assert_eq!(there.endpoint.as_deref(), Some("http://127.0.0.1:9324"));
    assert!(there.takes_any);
    assert_eq!(
        there.subject.doing("find"),
        "cannot find queue `tasks` at 127.0.0.1:9324"
    );
}

#[test]
fn any_credentials_will_do_on_loopback_alone_and_only_where_it_is_written() {
    assert!(
        !address(
            "q",
            &[
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                ("AWS_REGION", "x")
            ]
        )
        .takes_any
    );
    for (endpoint, expected) in [
        ("http://localhost:1", true),
        ("http://[::1]:1", true),
        ("http://10.0.0.1:1", false),
    ] {
        let wanted = Wanted {
            endpoint: Some(endpoint.to_owned()),
            region: Some("us-east-1".to_owned()),
            ..wanted("q")
        };
        assert_eq!(
            Address::of(&wanted, &ambient(&[])).unwrap().takes_any,
            expected,
            "{endpoint}"
        );
    }
    assert!(has_credentials(&ambient(&[("AWS_PROFILE", "x")])));
    assert!(!has_credentials(&ambient(&[("AWS_PROFILE", "")])));
}

#[test]
fn the_region_falls_back_to_the_secret_s() {
    let mut wanted = wanted("q");
    let error = Address::of(&wanted, &ambient(&[]))
        .unwrap_err()
        .error
        .to_string();
    assert_eq!(
        error,
        "cannot open queue `q`: its region is not known (write `region:` beside it, or set AWS_REGION)"
    );
    wanted.fallback_region = Some("us-east-2".to_owned());
    assert_eq!(
        Address::of(&wanted, &ambient(&[])).unwrap().subject.region,
        "us-east-2"
    );
}

#[test]
fn what_is_no_queue_is_said() {
    assert!(refusal("").starts_with("cannot open a queue: `` is not a queue's name"));
    assert!(refusal("a b").contains("`a b` is not a queue's name"));
    assert!(refusal(&"x".repeat(81)).contains("1 to 80"));
    assert!(refusal("arn:aws:sns:us-east-1:1:t").contains("an ARN of the service `sns`"));
    assert!(refusal("http://h:1").contains("no queue's name at its end"));
}

#[test]
fn a_batch_takes_what_fits() {
    let of = |bytes: usize| Outgoing {
        body: "x".repeat(bytes),
        ..Outgoing::default()
    };
    let many: Vec<Outgoing> = (0..12).map(|_| of(1)).collect();
    assert_eq!(Outgoing::fitting(&many), 10);
    assert_eq!(
        Outgoing::fitting(&[of(batch::MOST_BYTES - 1), of(1), of(1)]),
        2
    );
    assert_eq!(Outgoing::fitting(&[of(batch::MOST_BYTES + 1)]), 1);
    assert_eq!(Outgoing::fitting(&[]), 0);
}
