//! The broker's rules one by one, with the clock in the test's hand: messages here, queues and moves below.

mod queues;

use super::exchange::{Delivery, Receive, Send};
use super::message::{Attribute, Handle, md5_of_attributes, md5_of_body};
use super::record::{Change, Record};
use super::refusal::{Code, Refusal};
use super::*;

pub(super) const T: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;

pub(super) fn options() -> Options {
    Options {
        region: "us-east-1".into(),
        account: "000000000000".into(),
        stale: Stale::Keep,
        on_use: OnUse::Refuse,
        in_flight_limit: 120_000,
        seed: 1,
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn broker(attributes: &[(&str, &str)]) -> Broker {
    let mut broker = Broker::new(options());
    broker.create("q", &map(attributes), T).unwrap();
    broker
}

fn fifo(attributes: &[(&str, &str)]) -> Broker {
    let mut broker = Broker::new(options());
    let mut attributes = map(attributes);
    attributes.insert("FifoQueue".into(), "true".into());
    broker.create("q.fifo", &attributes, T).unwrap();
    broker
}

fn text(body: &str) -> Send {
    Send {
        body: body.into(),
        ..Send::default()
    }
}

fn grouped(body: &str, group: &str, id: &str) -> Send {
    Send {
        body: body.into(),
        group: Some(group.into()),
        deduplication: Some(id.into()),
        ..Send::default()
    }
}

fn up_to(max: usize) -> Receive {
    Receive {
        max,
        ..Receive::default()
    }
}

fn bodies(broker: &mut Broker, name: &str, found: &[Delivery], now: u64) -> Vec<String> {
    let queue = broker.queue(name, now).unwrap();
    found
        .iter()
        .map(|d| queue.message(d.seq).unwrap().body.clone())
        .collect()
}

fn take(broker: &mut Broker, name: &str, max: usize, now: u64) -> Vec<String> {
    let found = broker.receive(name, &up_to(max), now).unwrap();
    bodies(broker, name, &found, now)
}

fn one(broker: &mut Broker, name: &str, now: u64) -> Option<Delivery> {
    broker.receive(name, &up_to(1), now).unwrap().pop()
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.expect_err("refused").code
}

#[test]
fn a_message_is_hidden_while_it_is_leased_and_comes_back_with_another_handle() {
    let mut b = broker(&[("VisibilityTimeout", "30")]);
    b.send("q", text("a"), T).unwrap();
    let first = one(&mut b, "q", T).unwrap();
    assert_eq!(one(&mut b, "q", T + 30 * SECOND - 1), None);
    let second = one(&mut b, "q", T + 30 * SECOND).unwrap();
    assert_ne!(first.handle, second.handle);
    let message = b.queue("q", T).unwrap().message(second.seq).unwrap();
    assert_eq!((message.receives, message.first_received), (2, Some(T)));
    b.delete("q", &second.handle, T + 31 * SECOND).unwrap();
    assert_eq!(b.queue("q", T).unwrap().counts(), Default::default());
}

#[test]
fn an_old_handle_does_what_was_configured() {
    for (stale, delete, change, left) in [
        (Stale::Keep, None, Some(Code::InvalidParameterValue), 1),
        (Stale::Delete, None, None, 0),
        (
            Stale::Error,
            Some(Code::ReceiptHandleIsInvalid),
            Some(Code::ReceiptHandleIsInvalid),
            1,
        ),
    ] {
        let mut b = Broker::new(Options { stale, ..options() });
        b.create("q", &BTreeMap::new(), T).unwrap();
        b.send("q", text("a"), T).unwrap();
        let old = one(&mut b, "q", T).unwrap().handle;
        let now = T + 30 * SECOND;
        one(&mut b, "q", now).unwrap();
        let changed = b
            .change_visibility("q", &old, 60, now)
            .err()
            .map(|r| r.code);
        let deleted = b.delete("q", &old, now).err().map(|r| r.code);
        let counts = b.queue("q", now).unwrap().counts();
        assert_eq!(
            (deleted, changed, counts.in_flight),
            (delete, change, left),
            "{stale:?}"
        );
    }
}

#[test]
fn the_latest_handle_deletes_even_after_its_time_and_a_deleted_message_is_deleted_again() {
    let mut b = broker(&[]);
    b.send("q", text("a"), T).unwrap();
    let handle = one(&mut b, "q", T).unwrap().handle;
    b.delete("q", &handle, T + 60 * SECOND).unwrap();
    assert_eq!(one(&mut b, "q", T + 60 * SECOND), None);
    b.delete("q", &handle, T + 61 * SECOND).unwrap();
    assert_eq!(
        code(b.change_visibility("q", &handle, 1, T)),
        Code::InvalidParameterValue
    );
}

#[test]
fn a_handle_that_was_never_given_out_is_invalid() {
    let mut b = broker(&[]);
    b.create("other", &BTreeMap::new(), T).unwrap();
    b.send("other", text("a"), T).unwrap();
    let elsewhere = one(&mut b, "other", T).unwrap().handle;
    let garbled = format!("A{}", &elsewhere[1..]).replace("AAAA", "AAAB");
    for handle in ["", "x", &elsewhere, &garbled] {
        assert_eq!(
            code(b.delete("q", handle, T)),
            Code::ReceiptHandleIsInvalid,
            "{handle}"
        );
        assert_eq!(
            code(b.change_visibility("q", handle, 1, T)),
            Code::ReceiptHandleIsInvalid
        );
    }
    let whole = Handle {
        queue: 1,
        seq: u64::MAX,
        token: 7,
    };
    assert_eq!(Handle::parse(&whole.text()), Some(whole));
}

#[test]
fn visibility_counts_from_now_and_ends_twelve_hours_after_the_receive() {
    let mut b = broker(&[]);
    b.send("q", text("a"), T).unwrap();
    let handle = one(&mut b, "q", T).unwrap().handle;
    b.change_visibility("q", &handle, 10, T + 15 * SECOND)
        .unwrap();
    assert_eq!(one(&mut b, "q", T + 25 * SECOND - 1), None);
    assert_eq!(
        b.queue("q", T).unwrap().next_change(),
        Some(T + 25 * SECOND)
    );
    b.change_visibility("q", &handle, 43_000, T + 24 * SECOND)
        .unwrap();
    let late = T + 1000 * SECOND;
    assert_eq!(
        code(b.change_visibility("q", &handle, 42_201, late)),
        Code::InvalidParameterValue
    );
    b.change_visibility("q", &handle, 42_200, late).unwrap();
    for timeout in [-1, 43_201] {
        assert_eq!(
            code(b.change_visibility("q", &handle, timeout, late)),
            Code::InvalidParameterValue
        );
        let receive = Receive {
            visibility: Some(timeout),
            ..up_to(1)
        };
        assert_eq!(
            code(b.receive("q", &receive, late)),
            Code::InvalidParameterValue
        );
    }
    b.change_visibility("q", &handle, 0, late).unwrap();
    assert_eq!(
        code(b.change_visibility("q", &handle, 1, late)),
        Code::MessageNotInflight
    );
    assert!(one(&mut b, "q", late).is_some());
}

#[test]
fn delays_hide_a_message_until_they_are_over() {
    let mut b = broker(&[("DelaySeconds", "5")]);
    b.send("q", text("queue's"), T).unwrap();
    b.send(
        "q",
        Send {
            delay: Some(0),
            ..text("none")
        },
        T,
    )
    .unwrap();
    b.send(
        "q",
        Send {
            delay: Some(900),
            ..text("own")
        },
        T,
    )
    .unwrap();
    for delay in [-1, 901] {
        let send = Send {
            delay: Some(delay),
            ..text("x")
        };
        assert_eq!(code(b.send("q", send, T)), Code::InvalidParameterValue);
    }
    let counts = b.queue("q", T).unwrap().counts();
    assert_eq!(
        (counts.visible, counts.in_flight, counts.delayed),
        (1, 0, 2)
    );
    assert_eq!(take(&mut b, "q", 10, T), ["none"]);
    assert_eq!(take(&mut b, "q", 10, T + 5 * SECOND), ["queue's"]);
    assert_eq!(take(&mut b, "q", 10, T + 40 * SECOND), ["queue's", "none"]);
    assert_eq!(
        take(&mut b, "q", 10, T + 900 * SECOND),
        ["queue's", "none", "own"]
    );
}

#[test]
fn what_sqs_does_not_take_is_refused() {
    let mut b = broker(&[("MaximumMessageSize", "1024")]);
    let attribute = |data_type: &str, text: Option<&str>, binary: Option<&str>| Attribute {
        data_type: data_type.into(),
        string_value: text.map(str::to_owned),
        binary_value: binary.map(str::to_owned),
    };
    let with = |name: &str, a: Attribute| Send {
        attributes: BTreeMap::from([(name.to_owned(), a)]),
        ..text("x")
    };
    let some = || attribute("String", Some("v"), None);
    for (send, expected) in [
        (text(""), Code::MissingParameter),
        (text("\u{b}"), Code::InvalidMessageContents),
        (text("\u{fffe}"), Code::InvalidMessageContents),
        (text(&"x".repeat(1025)), Code::InvalidParameterValue),
        (
            with("a", attribute("String", Some(&"x".repeat(1018)), None)),
            Code::InvalidParameterValue,
        ),
        (with("AWS.x", some()), Code::InvalidParameterValue),
        (with("a..b", some()), Code::InvalidParameterValue),
        (
            with("a", attribute("Text", Some("v"), None)),
            Code::InvalidParameterValue,
        ),
        (
            with("a", attribute("String", Some(""), None)),
            Code::InvalidParameterValue,
        ),
        (
            with("a", attribute("Number", Some("one"), None)),
            Code::InvalidParameterValue,
        ),
        (
            with("a", attribute("Binary", None, Some("!"))),
            Code::InvalidParameterValue,
        ),
        (
            Send {
                deduplication: Some("i".into()),
                ..text("x")
            },
            Code::InvalidParameterValue,
        ),
    ] {
        assert_eq!(code(b.send("q", send.clone(), T)), expected, "{send:?}");
    }
    b.send("q", text(&"x".repeat(1024)), T).unwrap();
    b.send("q", text("tab\t and \u{1F600}"), T).unwrap();
    b.send(
        "q",
        with("a.b-c_d", attribute("Number.int", Some("1e3"), None)),
        T,
    )
    .unwrap();
    assert!(
        b.drain()
            .iter()
            .filter(|r| matches!(r, Record::In(_, Change::Sent(_))))
            .count()
            == 3
    );
}

#[test]
fn digests_are_those_of_aws() {
    // The empty text's is RFC 1321's; the attributes' were made with boto3's example of the algorithm.
    assert_eq!(md5_of_body(""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(md5_of_attributes([]), None);
    let text = Attribute {
        data_type: "String".into(),
        string_value: Some("v".into()),
        binary_value: None,
    };
    let binary = Attribute {
        data_type: "Binary".into(),
        string_value: None,
        binary_value: Some("AAE=".into()),
    };
    let digest = md5_of_attributes([("b", &binary), ("a", &text)]);
    assert_eq!(digest, md5_of_attributes([("a", &text), ("b", &binary)]));
    assert_eq!(digest.as_deref(), Some("f3eef722b9e535eb41b93a467449512d"));
}

#[test]
fn a_message_received_too_often_goes_to_the_dead_letter_queue_as_it_is() {
    let mut b = Broker::new(options());
    b.create("dead", &BTreeMap::new(), T).unwrap();
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"2"}"#;
    b.create("q", &map(&[("RedrivePolicy", policy)]), T)
        .unwrap();
    let sent = b.send("q", text("bad"), T).unwrap();
    for round in 0..2 {
        assert!(one(&mut b, "q", T + round * 30 * SECOND).is_some());
    }
    let now = T + 60 * SECOND;
    b.stirred();
    assert_eq!(one(&mut b, "q", now), None);
    assert!(b.stirred().contains("dead"));
    let dead = one(&mut b, "dead", now).unwrap();
    let message = b.queue("dead", now).unwrap().message(dead.seq).unwrap();
    assert_eq!(
        (&message.id, message.sent, message.receives),
        (&sent.id, T, 1)
    );
    assert_eq!(
        message.dead_from.as_deref(),
        Some("arn:aws:sqs:us-east-1:000000000000:q")
    );
    assert_eq!(b.dead_letter_sources("dead", now).unwrap(), ["q"]);
}

#[test]
fn a_group_waits_for_its_message_in_flight_and_keeps_its_order() {
    let mut b = fifo(&[]);
    for (body, group) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")] {
        b.send("q.fifo", grouped(body, group, body), T).unwrap();
    }
    let a1 = one(&mut b, "q.fifo", T).unwrap();
    assert_eq!(take(&mut b, "q.fifo", 10, T), ["b1"]);
    b.delete("q.fifo", &a1.handle, T).unwrap();
    assert_eq!(take(&mut b, "q.fifo", 1, T), ["a2"]);
    assert_eq!(take(&mut b, "q.fifo", 10, T), Vec::<String>::new());
    // A whole run of a group comes in one receive; what is not deleted comes first again.
    assert_eq!(
        take(&mut b, "q.fifo", 10, T + 30 * SECOND),
        ["b1", "a2", "a3"]
    );
}

#[test]
fn a_fifo_queue_asks_for_its_parameters_and_knows_what_was_sent() {
    let mut b = fifo(&[]);
    assert_eq!(code(b.send("q.fifo", text("x"), T)), Code::MissingParameter);
    let no_id = Send {
        group: Some("g".into()),
        ..text("x")
    };
    assert_eq!(
        code(b.send("q.fifo", no_id.clone(), T)),
        Code::InvalidParameterValue
    );
    let delayed = Send {
        delay: Some(1),
        ..grouped("x", "g", "i")
    };
    assert_eq!(
        code(b.send("q.fifo", delayed, T)),
        Code::InvalidParameterValue
    );
    let first = b.send("q.fifo", grouped("x", "g", "i"), T).unwrap();
    let again = b
        .send("q.fifo", grouped("y", "h", "i"), T + 300 * SECOND - 1)
        .unwrap();
    assert_eq!(first, again);
    let later = b
        .send("q.fifo", grouped("y", "h", "i"), T + 300 * SECOND)
        .unwrap();
    assert!(later.seq > first.seq);
    b.set_attributes("q.fifo", &map(&[("ContentBasedDeduplication", "true")]), T)
        .unwrap();
    let first = b.send("q.fifo", no_id.clone(), T).unwrap();
    assert_eq!(b.send("q.fifo", no_id, T).unwrap(), first);
}

#[test]
fn deduplication_may_be_by_group() {
    let mut b = fifo(&[("DeduplicationScope", "messageGroup")]);
    b.send("q.fifo", grouped("x", "g", "i"), T).unwrap();
    b.send("q.fifo", grouped("x", "h", "i"), T).unwrap();
    b.send("q.fifo", grouped("x", "g", "i"), T).unwrap();
    assert_eq!(b.queue("q.fifo", T).unwrap().counts().visible, 2);
}

#[test]
fn a_fifo_receive_is_repeated_by_its_attempt_id_until_something_changed() {
    let mut b = fifo(&[]);
    b.send("q.fifo", grouped("x", "g", "i"), T).unwrap();
    let receive = Receive {
        attempt: Some("try".into()),
        ..up_to(1)
    };
    let first = b.receive("q.fifo", &receive, T).unwrap();
    let again = b.receive("q.fifo", &receive, T + 20 * SECOND).unwrap();
    assert_eq!(first, again);
    assert_eq!(one(&mut b, "q.fifo", T + 50 * SECOND - 1), None);
    b.change_visibility("q.fifo", &first[0].handle, 30, T + 49 * SECOND)
        .unwrap();
    assert_eq!(b.receive("q.fifo", &receive, T + 49 * SECOND).unwrap(), []);
    let late = b.delete("q.fifo", &first[0].handle, T + 90 * SECOND);
    assert_eq!(code(late), Code::InvalidParameterValue);
}

#[test]
fn an_old_handle_deletes_nothing_from_a_fifo_queue() {
    let mut b = fifo(&[]);
    b.send("q.fifo", grouped("x", "g", "i"), T).unwrap();
    let old = one(&mut b, "q.fifo", T).unwrap().handle;
    let new = one(&mut b, "q.fifo", T + 30 * SECOND).unwrap().handle;
    let refused = b.delete("q.fifo", &old, T + 30 * SECOND);
    assert_eq!(code(refused), Code::InvalidParameterValue);
    b.delete("q.fifo", &new, T + 30 * SECOND).unwrap();
    b.delete("q.fifo", &old, T + 30 * SECOND).unwrap();
}

#[test]
fn a_message_is_dropped_when_it_is_too_old_even_in_flight() {
    let mut b = broker(&[("MessageRetentionPeriod", "60")]);
    b.send("q", text("a"), T).unwrap();
    b.send("q", text("b"), T + 1).unwrap();
    let a = b
        .receive(
            "q",
            &Receive {
                visibility: Some(600),
                ..up_to(1)
            },
            T,
        )
        .unwrap();
    assert_eq!(take(&mut b, "q", 10, T + 60 * SECOND), ["b"]);
    assert_eq!(b.queue("q", T).unwrap().message(a[0].seq), None);
}

#[test]
fn the_number_in_flight_has_a_limit() {
    let mut b = Broker::new(Options {
        in_flight_limit: 2,
        ..options()
    });
    b.create("q", &BTreeMap::new(), T).unwrap();
    for body in ["a", "b", "c"] {
        b.send("q", text(body), T).unwrap();
    }
    assert_eq!(take(&mut b, "q", 10, T), ["a", "b"]);
    assert_eq!(code(b.receive("q", &up_to(1), T)), Code::OverLimit);
}
