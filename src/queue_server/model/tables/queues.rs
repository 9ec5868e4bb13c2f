//! The rules of queues: their names, attributes and dead letters, and the moves between them.

use super::*;

#[test]
fn a_redrive_policy_must_point_to_a_queue_that_fits() {
    let mut b = broker(&[]);
    b.create("d.fifo", &map(&[("FifoQueue", "true")]), T)
        .unwrap();
    b.create(
        "closed",
        &map(&[("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#)]),
        T,
    )
    .unwrap();
    b.create("open", &BTreeMap::new(), T).unwrap();
    let policy = |name: &str, count: &str| {
        map(&[(
            "RedrivePolicy",
            &format!(
                r#"{{"deadLetterTargetArn":"arn:aws:sqs:::{name}","maxReceiveCount":{count}}}"#
            ),
        )])
    };
    for (name, count) in [
        ("none", "1"),
        ("q", "1"),
        ("d.fifo", "1"),
        ("closed", "1"),
        ("open", "0"),
        ("open", "1001"),
    ] {
        let set = b.set_attributes("q", &policy(name, count), T);
        assert_eq!(code(set), Code::InvalidParameterValue, "{name} {count}");
    }
    assert_eq!(
        code(b.set_attributes("q", &map(&[("RedrivePolicy", "{")]), T)),
        Code::InvalidParameterValue
    );
    b.set_attributes("q", &policy("open", "3"), T).unwrap();
    b.set_attributes("q", &map(&[("RedrivePolicy", "")]), T)
        .unwrap();
    assert_eq!(
        b.get_attributes("q", &["RedrivePolicy".into()], T).unwrap(),
        BTreeMap::new()
    );
}

#[test]
fn a_queue_is_created_once_and_its_name_rests_after_its_end() {
    let mut b = broker(&[("VisibilityTimeout", "60")]);
    b.create("q", &BTreeMap::new(), T).unwrap();
    b.create("q", &map(&[("VisibilityTimeout", "60")]), T)
        .unwrap();
    let other = b.create("q", &map(&[("VisibilityTimeout", "61")]), T);
    assert_eq!(code(other), Code::QueueNameExists);
    b.remove("q", T).unwrap();
    assert_eq!(code(b.queue("q", T).map(|_| ())), Code::QueueDoesNotExist);
    let soon = b.create("q", &BTreeMap::new(), T + 60 * SECOND - 1);
    assert_eq!(code(soon), Code::QueueDeletedRecently);
    b.create("q", &BTreeMap::new(), T + 60 * SECOND).unwrap();
    for name in ["", "a b", "q.fifo", &"x".repeat(81)] {
        assert_eq!(
            code(b.create(name, &BTreeMap::new(), T)),
            Code::InvalidParameterValue,
            "{name}"
        );
    }
    let standard = b.create("q2", &map(&[("FifoQueue", "true")]), T);
    assert_eq!(code(standard), Code::InvalidParameterValue);
}

#[test]
fn attributes_are_checked_and_shown() {
    let mut b = broker(&[]);
    for (name, value, expected) in [
        ("VisibilityTimeout", "43201", Code::InvalidAttributeValue),
        ("VisibilityTimeout", "", Code::InvalidAttributeValue),
        ("DelaySeconds", "901", Code::InvalidAttributeValue),
        ("MaximumMessageSize", "1048577", Code::InvalidAttributeValue),
        ("MessageRetentionPeriod", "59", Code::InvalidAttributeValue),
        (
            "ReceiveMessageWaitTimeSeconds",
            "21",
            Code::InvalidAttributeValue,
        ),
        (
            "ContentBasedDeduplication",
            "true",
            Code::InvalidAttributeName,
        ),
        ("FifoQueue", "true", Code::InvalidAttributeName),
        ("Visibility", "1", Code::InvalidAttributeName),
        ("QueueArn", "x", Code::InvalidAttributeName),
    ] {
        assert_eq!(
            code(b.set_attributes("q", &map(&[(name, value)]), T)),
            expected,
            "{name}"
        );
    }
    b.set_attributes(
        "q",
        &map(&[("Policy", "{}"), ("VisibilityTimeout", "7")]),
        T + 5000,
    )
    .unwrap();
    let all = b.get_attributes("q", &["All".into()], T + 5000).unwrap();
    for (name, value) in [
        ("VisibilityTimeout", "7"),
        ("MaximumMessageSize", "1048576"),
        ("Policy", "{}"),
        ("QueueArn", "arn:aws:sqs:us-east-1:000000000000:q"),
        ("CreatedTimestamp", "1700000000"),
        ("LastModifiedTimestamp", "1700000005"),
        ("ApproximateNumberOfMessagesDelayed", "0"),
    ] {
        assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!all.contains_key("FifoQueue") && !all.contains_key("RedrivePolicy"));
    let unknown = b.get_attributes("q", &["Nothing".into()], T);
    assert_eq!(code(unknown), Code::InvalidAttributeName);
}

#[test]
fn a_purge_empties_and_comes_once_a_minute() {
    let mut b = broker(&[]);
    b.send("q", text("a"), T).unwrap();
    let handle = one(&mut b, "q", T).unwrap().handle;
    b.send("q", text("b"), T).unwrap();
    b.purge("q", T).unwrap();
    assert_eq!(b.queue("q", T).unwrap().counts(), Default::default());
    b.delete("q", &handle, T).unwrap();
    assert_eq!(
        code(b.purge("q", T + 60 * SECOND - 1)),
        Code::PurgeQueueInProgress
    );
    b.purge("q", T + 60 * SECOND).unwrap();
}

#[test]
fn dead_letters_are_moved_back_as_new_messages() {
    let mut b = Broker::new(options());
    b.create("dead", &BTreeMap::new(), T).unwrap();
    let dead = b.arn("dead");
    assert_eq!(
        code(b.start_move(&dead, None, None, T)),
        Code::InvalidParameterValue
    );
    let policy = format!(r#"{{"deadLetterTargetArn":"{dead}","maxReceiveCount":1}}"#);
    b.create("q", &map(&[("RedrivePolicy", &policy)]), T)
        .unwrap();
    for body in ["a", "b", "c"] {
        b.send("q", text(body), T).unwrap();
    }
    let ids: Vec<_> = b
        .queue("q", T)
        .unwrap()
        .messages()
        .map(|m| m.id.clone())
        .collect();
    take(&mut b, "q", 10, T);
    let now = T + 30 * SECOND;
    assert_eq!(take(&mut b, "q", 10, now), Vec::<String>::new());
    assert_eq!(b.queue("dead", now).unwrap().counts().visible, 3);
    let task = b.start_move(&dead, None, Some(2), now).unwrap();
    assert_eq!(
        code(b.start_move(&dead, None, None, now)),
        Code::UnsupportedOperation
    );
    // Two a second: one at once, the next half a second later.
    assert_eq!(b.step_moves(now), Some(now + 500));
    assert_eq!(b.step_moves(now + 499), Some(now + 500));
    assert_eq!(b.step_moves(now + 500), Some(now + 1000));
    assert_eq!(b.cancel_move(&task).unwrap(), 2);
    assert_eq!(code(b.cancel_move(&task)), Code::UnsupportedOperation);
    assert_eq!(b.step_moves(now + 5000), None);
    b.start_move(&dead, None, None, now + 5000).unwrap();
    assert_eq!(b.step_moves(now + 5000), None);
    let listed = b.list_moves(&dead, 10).unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|t| (t.status, t.moved, t.to_move))
        .collect();
    assert_eq!(
        listed,
        [
            (moves::Status::Completed, 1, 1),
            (moves::Status::Cancelled, 2, 3)
        ]
    );
    assert_eq!(take(&mut b, "q", 10, now + 5000), ["a", "b", "c"]);
    assert!(
        b.queue("q", now)
            .unwrap()
            .messages()
            .all(|m| !ids.contains(&m.id) && m.receives == 1)
    );
    b.send("dead", text("from nowhere"), now).unwrap();
    b.start_move(&dead, None, None, now + 6000).unwrap();
    b.step_moves(now + 6000);
    assert_eq!(
        b.list_moves(&dead, 1).unwrap()[0].status,
        moves::Status::Failed
    );
}

#[test]
fn a_queue_is_created_on_use_only_when_asked() {
    let mut b = Broker::new(options());
    b.touch("q", T);
    assert!(!b.has("q"));
    let on_use = OnUse::CreateWithDeadLetters { max_receives: 3 };
    let mut b = Broker::new(Options {
        on_use,
        ..options()
    });
    b.touch("q", T);
    b.touch("q.fifo", T);
    b.touch("not a name", T);
    assert_eq!(b.names(""), ["q", "q-dlq", "q-dlq.fifo", "q.fifo"]);
    assert_eq!(b.dead_letter_sources("q-dlq.fifo", T).unwrap(), ["q.fifo"]);
}
