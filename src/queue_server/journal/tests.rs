//! The journal through lives that end at any byte.

use super::*;
use crate::queue_server::model::exchange::{Receive, Send};
use crate::queue_server::model::{Broker, OnUse, Options, Stale};
use std::collections::BTreeMap;

const T: u64 = 1_700_000_000_000;

fn broker(seed: u64) -> Broker {
    Broker::new(Options {
        region: "r".into(),
        account: "a".into(),
        stale: Stale::Keep,
        on_use: OnUse::Refuse,
        in_flight_limit: 1000,
        seed,
    })
}

fn state(broker: &mut Broker) -> Vec<Record> {
    for name in broker.names("") {
        broker.queue(&name, T + 1000).unwrap();
    }
    broker.snapshot()
}

fn replayed(path: &Path) -> (Broker, Opened) {
    let mut broker = broker(9);
    let opened = open(path, |record| broker.apply(record)).unwrap();
    (broker, opened)
}

/// A life with a bit of everything; returns its records.
fn live(broker: &mut Broker) -> Vec<Record> {
    broker.create("dead", &BTreeMap::new(), T).unwrap();
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#,
        broker.arn("dead")
    );
    broker
        .create("q", &BTreeMap::from([("RedrivePolicy".into(), policy)]), T)
        .unwrap();
    let receive = Receive {
        max: 2,
        visibility: Some(1),
        attempt: None,
    };
    for body in ["a\nb", "\"ü\"", "c"] {
        broker
            .send(
                "q",
                Send {
                    body: body.into(),
                    ..Send::default()
                },
                T,
            )
            .unwrap();
    }
    let found = broker.receive("q", &receive, T).unwrap();
    broker.delete("q", &found[0].handle, T).unwrap();
    broker
        .change_visibility("q", &found[1].handle, 0, T)
        .unwrap();
    broker.receive("q", &receive, T + 500).unwrap();
    broker
        .start_move(&broker.arn("dead"), Some(&broker.arn("q")), None, T + 500)
        .unwrap();
    while broker.step_moves(T + 500).is_some() {}
    broker.drain()
}

#[test]
fn a_journal_cut_at_any_byte_replays_to_the_state_after_its_whole_lines() {
    let folder = Folder::new("cut");
    let path = folder.0.join("queue.jsonl");
    let records = live(&mut broker(1));
    assert!(records.len() >= 12, "{records:?}");
    let mut bytes = HEADER.as_bytes().to_vec();
    records.iter().for_each(|record| put(&mut bytes, record));
    let mut states = Vec::new();
    let mut prefix = broker(2);
    states.push(state(&mut prefix));
    for record in &records {
        prefix.apply(record.clone());
        states.push(state(&mut prefix));
    }
    for end in 0..=bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let (mut broker, opened) = replayed(&path);
        let lines = bytes[..end].iter().filter(|b| **b == b'\n').count();
        assert_eq!(
            state(&mut broker),
            states[lines.saturating_sub(1)],
            "cut at {end}"
        );
        drop(opened);
        let rest = std::fs::read(&path).unwrap();
        assert!(rest.ends_with(b"\n") && rest.len() <= end.max(HEADER.len()));
    }
}

#[tokio::test]
async fn what_was_waited_for_is_in_the_file_and_the_next_life_goes_on_from_it() {
    let folder = Folder::new("lives");
    let path = folder.0.join("queue.jsonl");
    let (mut first, opened) = replayed(&path);
    let mut journal = Journal::start(opened, u64::MAX).unwrap();
    let records = live(&mut first);
    for record in &records {
        let ticket = journal.append(std::slice::from_ref(record), record.must_be_synced());
        journal
            .waiter()
            .wait(ticket, record.must_be_synced())
            .await
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with(&format!("{}\n", serde_json::to_string(record).unwrap())));
    }
    let other = open(&path, |_| ()).unwrap_err();
    assert_eq!(
        (other.exit, other.cause.as_str()),
        (Exit::IO, "another server has it open")
    );
    journal.close().await;
    let (mut second, opened) = replayed(&path);
    assert_eq!(state(&mut second), state(&mut first));
    let mut journal = Journal::start(opened, u64::MAX).unwrap();
    second
        .send(
            "q",
            Send {
                body: "later".into(),
                ..Send::default()
            },
            T,
        )
        .unwrap();
    let ticket = journal.append(&second.drain(), true);
    journal.waiter().wait(ticket, true).await.unwrap();
    journal.close().await;
    assert_eq!(state(&mut replayed(&path).0), state(&mut second));
}

#[tokio::test]
async fn a_grown_journal_is_written_anew_and_loses_nothing() {
    let folder = Folder::new("compact");
    let path = folder.0.join("queue.jsonl");
    let (mut broker, opened) = replayed(&path);
    let mut journal = Journal::start(opened, 4096).unwrap();
    broker.create("q", &BTreeMap::new(), T).unwrap();
    let (mut compactions, mut written) = (0, 0);
    let mut last = journal.append(&[], true);
    for round in 0..200 {
        let body = format!("{round:0100}");
        broker
            .send(
                "q",
                Send {
                    body,
                    ..Send::default()
                },
                T,
            )
            .unwrap();
        if round % 10 != 0 {
            let receive = Receive {
                max: 1,
                ..Receive::default()
            };
            let found = broker.receive("q", &receive, T).unwrap();
            broker.delete("q", &found[0].handle, T).unwrap();
        }
        let records = broker.drain();
        written += serde_json::to_string(&records).unwrap().len() as u64;
        last = journal.append(&records, true);
        if journal.wants_compaction() {
            compactions += 1;
            journal.compact(&broker.snapshot());
        }
    }
    journal.waiter().wait(last, true).await.unwrap();
    journal.close().await;
    assert!(compactions > 2, "{compactions}");
    assert!(std::fs::metadata(&path).unwrap().len() < written / 2);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(state(&mut replayed(&path).0), state(&mut broker));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_file_of_another_kind_is_left_alone_and_a_damaged_line_is_named() {
    let folder = Folder::new("damaged");
    let path = folder.0.join("notes.txt");
    std::fs::write(&path, "my notes").unwrap();
    let error = open(&path, |_| ()).unwrap_err();
    assert_eq!(error.cause, "it is a file of another kind");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
    std::fs::write(
        &path,
        format!("{HEADER}{{\"next\":5}}\n{{\"ne\n{{\"next\":6}}\n"),
    )
    .unwrap();
    let error = open(&path, |_| ()).unwrap_err();
    assert_eq!(error.cause, "line 3 is damaged");
    assert!(
        error
            .help
            .unwrap()
            .contains(&format!("first {} bytes", HEADER.len() + 11))
    );
    // A missing folder is made; a file cannot be one.
    open(&folder.0.join("new/folder/q.jsonl"), |_| ()).unwrap();
    let nowhere = open(&path.join("q.jsonl"), |_| ()).unwrap_err();
    assert_eq!(
        (nowhere.exit, nowhere.cause.as_str()),
        (Exit::IO, "file exists")
    );
}

#[tokio::test]
async fn a_disk_that_refuses_is_a_failure_for_everyone_who_waits() {
    let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let opened = Opened {
        path: "/dev/full".into(),
        file,
        size: 0,
    };
    let mut journal = Journal::start(opened, u64::MAX).unwrap();
    let ticket = journal.append(&[Record::Next(1)], false);
    let waited = journal.waiter().wait(ticket, false).await;
    assert!(waited.unwrap_err().contains("No space left"));
    assert!(journal.waiter().failed().await.contains("No space left"));
}

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("queue-journal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
