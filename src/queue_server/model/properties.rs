//! The broker under random use, with a bookkeeper beside it: nothing lost, no two valid leases on one message, order
//! within a group, counts that agree, and a replay that comes to the same state.

use super::exchange::{Receive, Send};
use super::record::Record;
use super::tables::{T, options};
use super::*;
use proptest::prelude::*;

const QUEUES: [&str; 4] = ["plain", "redriven", "dead", "line.fifo"];

#[derive(Debug, Clone)]
enum Step {
    Send {
        queue: usize,
        group: u8,
        id: u8,
        delay: i64,
    },
    Receive {
        queue: usize,
        max: usize,
        visibility: i64,
    },
    /// By the n-th receive so far, counted backwards.
    Delete(usize),
    Change(usize, i64),
    Pass(u64),
    Move,
    Restart {
        compacted: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let queue = 0..QUEUES.len();
    prop_oneof![
        4 => (queue.clone(), 0..3u8, 0..40u8, 0..3i64)
            .prop_map(|(queue, group, id, delay)| Step::Send { queue, group, id, delay }),
        4 => (queue, 1..=10usize, 0..20i64)
            .prop_map(|(queue, max, visibility)| Step::Receive { queue, max, visibility }),
        3 => (0..12usize).prop_map(Step::Delete),
        2 => (0..12usize, 0..20i64).prop_map(|(n, timeout)| Step::Change(n, timeout)),
        3 => (0..8000u64).prop_map(Step::Pass),
        1 => Just(Step::Move),
        1 => any::<bool>().prop_map(|compacted| Step::Restart { compacted }),
    ]
}

/// A receive, as the bookkeeper knows it.
#[derive(Debug, Clone)]
struct Taken {
    queue: usize,
    handle: String,
    body: String,
    until: u64,
}

struct Bookkeeper {
    broker: Broker,
    records: Vec<Record>,
    now: u64,
    starts: u64,
    /// Every body that a send was answered for and no delete took away.
    owed: BTreeSet<String>,
    taken: Vec<Taken>,
}

impl Bookkeeper {
    fn new() -> Self {
        let mut broker = Broker::new(options());
        for name in ["dead", "plain", "redriven", "line.fifo"] {
            let mut attributes = BTreeMap::new();
            if name == "redriven" {
                let policy = format!(
                    r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":2}}"#,
                    broker.arn("dead")
                );
                attributes.insert("RedrivePolicy".to_owned(), policy);
            }
            if name == "line.fifo" {
                attributes.insert("FifoQueue".to_owned(), "true".to_owned());
            }
            broker.create(name, &attributes, T).unwrap();
        }
        Self {
            broker,
            records: Vec::new(),
            now: T,
            starts: 1,
            owed: BTreeSet::new(),
            taken: Vec::new(),
        }
    }

    fn play(&mut self, step: Step, number: usize) -> Result<(), TestCaseError> {
        match step {
            Step::Send {
                queue,
                group,
                id,
                delay,
            } => {
                let line = queue == 3;
                let body = format!("{group}-{number}");
                let send = Send {
                    body: body.clone(),
                    group: line.then(|| group.to_string()),
                    deduplication: line.then(|| id.to_string()),
                    delay: (!line).then_some(delay),
                    ..Send::default()
                };
                let next = self.broker.next_place();
                let sent = self.broker.send(QUEUES[queue], send, self.now).unwrap();
                if sent.seq == next {
                    self.owed.insert(body);
                }
            }
            Step::Receive {
                queue,
                max,
                visibility,
            } => self.receive(queue, max, visibility)?,
            Step::Delete(nth) => {
                if let Some(taken) = self.nth(nth) {
                    let latest = self.is_latest(&taken);
                    let valid = taken.until > self.now;
                    let deleted = self
                        .broker
                        .delete(QUEUES[taken.queue], &taken.handle, self.now);
                    prop_assert_eq!(
                        deleted.is_ok(),
                        valid && latest || taken.queue != 3 || !self.owed.contains(&taken.body)
                    );
                    if deleted.is_ok() && latest {
                        self.owed.remove(&taken.body);
                    }
                }
            }
            Step::Change(nth, timeout) => {
                if let Some(taken) = self.nth(nth) {
                    let held = self.is_latest(&taken)
                        && taken.until > self.now
                        && self.owed.contains(&taken.body);
                    let changed = self.broker.change_visibility(
                        QUEUES[taken.queue],
                        &taken.handle,
                        timeout,
                        self.now,
                    );
                    prop_assert_eq!(changed.is_ok(), held, "{:?}", changed);
                    let now = self.now;
                    for known in self
                        .taken
                        .iter_mut()
                        .filter(|known| held && known.handle == taken.handle)
                    {
                        known.until = now + timeout as u64 * 1000;
                    }
                }
            }
            Step::Pass(time) => self.now += time,
            Step::Move => {
                let dead = self.broker.arn("dead");
                // Its messages become new ones: what was taken before is no longer theirs.
                if self
                    .broker
                    .start_move(&dead, Some(&self.broker.arn("plain")), None, self.now)
                    .is_ok()
                {
                    while self.broker.step_moves(self.now).is_some() {}
                }
            }
            Step::Restart { compacted } => self.restart(compacted),
        }
        self.records.extend(self.broker.drain());
        self.check()
    }

    fn nth(&self, nth: usize) -> Option<Taken> {
        self.taken.iter().rev().nth(nth).cloned()
    }

    /// Whether nobody took the message after that, from whichever queue.
    fn is_latest(&self, taken: &Taken) -> bool {
        let last = self.taken.iter().rev().find(|t| t.body == taken.body);
        let here = |q: &Queue| q.messages().any(|m| m.body == taken.body);
        last.is_some_and(|last| last.handle == taken.handle)
            && self
                .broker
                .queues
                .get(QUEUES[taken.queue])
                .is_some_and(here)
    }

    fn receive(&mut self, queue: usize, max: usize, visibility: i64) -> Result<(), TestCaseError> {
        let receive = Receive {
            max,
            visibility: Some(visibility),
            attempt: None,
        };
        let now = self.now;
        let waiting = self.line();
        let found = self.broker.receive(QUEUES[queue], &receive, now).unwrap();
        prop_assert!(found.len() <= max);
        let q = self.broker.queue(QUEUES[queue], now).unwrap();
        let bodies: Vec<String> = found
            .iter()
            .map(|d| q.message(d.seq).unwrap().body.clone())
            .collect();
        for body in &bodies {
            let held = self.taken.iter().rev().find(|t| t.body == *body);
            prop_assert!(
                held.is_none_or(|held| held.until <= now),
                "{} is held twice",
                body
            );
        }
        if queue == 3 {
            for group in ["0", "1", "2"] {
                let of_group = |body: &&String| body.split('-').next() == Some(group);
                let got: Vec<_> = bodies.iter().filter(of_group).collect();
                let line: Vec<_> = waiting.iter().filter(|(body, _)| of_group(&body)).collect();
                let expected: Vec<_> = line.iter().take(got.len()).map(|(body, _)| body).collect();
                prop_assert_eq!(&got, &expected, "out of order");
                let busy = line.iter().any(|(_, in_flight)| *in_flight);
                prop_assert!(got.is_empty() || !busy, "group {} was busy", group);
            }
        }
        let until = now + visibility as u64 * 1000;
        self.taken
            .extend(found.into_iter().zip(bodies).map(|(delivery, body)| Taken {
                queue,
                handle: delivery.handle,
                body,
                until,
            }));
        Ok(())
    }

    /// The FIFO queue's bodies in order, and which are in flight by the bookkeeper's own account.
    fn line(&mut self) -> Vec<(String, bool)> {
        let q = self.broker.queue("line.fifo", self.now).unwrap();
        let bodies: Vec<_> = q.messages().map(|m| m.body.clone()).collect();
        let held = |body: &String| {
            self.taken
                .iter()
                .any(|t| t.body == *body && t.until > self.now)
        };
        bodies
            .into_iter()
            .map(|body| (body.clone(), held(&body)))
            .collect()
    }

    /// Another life, from the records as they stand in a journal.
    fn restart(&mut self, compacted: bool) {
        self.records.extend(self.broker.drain());
        if compacted {
            self.records = self.broker.snapshot();
        }
        self.starts += 1;
        self.broker = replay(&self.records, self.starts);
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = self.now;
        let mut standing = BTreeSet::new();
        for (number, name) in QUEUES.iter().enumerate() {
            let q = self.broker.queue(name, now).unwrap();
            let counts = q.counts();
            let all: Vec<_> = q.messages().map(|m| m.body.clone()).collect();
            prop_assert_eq!(
                counts.visible + counts.in_flight + counts.delayed,
                all.len()
            );
            let held = |body: &&String| {
                let last = self.taken.iter().rev().find(|t| t.body == **body);
                last.is_some_and(|t| t.until > now && t.queue == number)
            };
            prop_assert_eq!(
                counts.in_flight,
                all.iter().filter(held).count(),
                "{}",
                name
            );
            for body in all {
                prop_assert!(standing.insert(body), "a message stands twice");
            }
        }
        prop_assert_eq!(&standing, &self.owed, "lost or undead");
        Ok(())
    }
}

fn replay(records: &[Record], seed: u64) -> Broker {
    let mut broker = Broker::new(Options { seed, ..options() });
    for record in records {
        let line = serde_json::to_string(record).unwrap();
        broker.apply(serde_json::from_str(&line).unwrap());
    }
    broker
}

fn state(broker: &mut Broker, now: u64) -> Vec<Record> {
    for name in QUEUES {
        broker.queue(name, now).unwrap();
    }
    broker.snapshot()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn nothing_is_lost_and_nothing_is_held_twice(steps in prop::collection::vec(step(), 1..80)) {
        let mut bookkeeper = Bookkeeper::new();
        for (number, step) in steps.into_iter().enumerate() {
            bookkeeper.play(step, number)?;
        }
        let now = bookkeeper.now;
        let live = state(&mut bookkeeper.broker, now);
        prop_assert_eq!(&state(&mut replay(&bookkeeper.records, 77), now), &live);
        prop_assert_eq!(&state(&mut replay(&live, 78), now), &live);
    }
}
