//! The kill test: runners are killed at random while their handlers crash, hang and lie, and no task is missing.
//!
//! `STRESS_TASKS` says with how many tasks: 2 000 in `make stress`, 300 otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::stage::{Folder, Queue, Runner, Server, program, roles};

/// Longer than any handling that ends by itself or by its `timeout`, however loaded the machine is.
const VISIBILITY: &str = "10s";

/// Chance that can be repeated: the mixing is Steele, Lea and Flood's SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % below
    }
}

/// What the workers wrote down.
#[derive(Default)]
struct Book {
    done: BTreeSet<u64>,
    /// Handlings that came to their end, by task.
    whole: BTreeMap<u64, Vec<(f64, f64)>>,
    begun: usize,
}

fn read(folder: &Folder) -> Book {
    let mut book = Book::default();
    let mut open: BTreeMap<(u64, &str), f64> = BTreeMap::new();
    let lines = folder.lines("book");
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, number, pid, at] = words[..] else {
            panic!("{line}")
        };
        let (number, at): (u64, f64) = (
            number.parse().expect("a number"),
            at.parse().expect("a time"),
        );
        match what {
            "begin" => {
                book.begun += 1;
                open.insert((number, pid), at);
            }
            _ => {
                let begun = open.remove(&(number, pid)).expect("it began");
                book.whole.entry(number).or_default().push((begun, at));
                if what == "done" {
                    book.done.insert(number);
                }
            }
        }
    }
    book
}

#[tokio::test]
async fn whatever_is_killed_every_task_is_done_or_dead_and_no_two_handlers_have_it() {
    let tasks: u64 = std::env::var("STRESS_TASKS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300);
    let runners = if tasks > 1000 { 4 } else { 2 };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    for number in 0..tasks {
        queue.send(&format!("{{\"n\": {number}}}")).await;
    }
    let folder = Folder::new();
    let keys = format!(
        "dead_letter: dead\nvisibility_timeout: {VISIBILITY}\nwait_time: 1s\nconcurrency: 3\nmax_receives: 8\nbackoff: {{ initial: 1s, max: 2s }}\n\
         handler: {{ timeout: 3s, worker: [python3, \"{}\"] }}",
        program("liar.py")
    );
    let text = roles(&server.endpoint(), &keys).replace("stop_timeout: 9s", "stop_timeout: 4s");
    let start = || Runner::start(&folder, &text, &[]);
    let mut all: Vec<Runner> = (0..runners).map(|_| start()).collect();
    let (begun, limit) = (Instant::now(), Duration::from_secs(240 + tasks / 2));
    let mut kills = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300 + dice.roll(900))).await;
        if queue.counts().await == (0, 0, 0) {
            break;
        }
        assert!(
            begun.elapsed() < limit,
            "{:?} are left (seed {seed})",
            queue.counts().await
        );
        let victim = usize::try_from(dice.roll(runners)).expect("a few");
        all[victim].signal(if dice.roll(2) == 0 {
            libc::SIGKILL
        } else {
            libc::SIGTERM
        });
        all[victim].ends().await;
        all[victim] = start();
        kills += 1;
    }
    for runner in all {
        let (code, log) = runner.stop().await;
        assert_eq!(code, 0, "{log}");
    }
    let book = read(&folder);
    let letters = dead.drain().await;
    let buried: BTreeSet<u64> = letters
        .iter()
        .map(|letter| {
            let body: serde_json::Value =
                serde_json::from_str(letter.body.as_deref().expect("a body")).expect("JSON");
            body["n"].as_u64().expect("a number")
        })
        .collect();
    println!(
        "{kills} kills, {} handlings, {} done, {} dead",
        book.begun,
        book.done.len(),
        buried.len()
    );
    let missing: Vec<u64> = (0..tasks)
        .filter(|n| !book.done.contains(n) && !buried.contains(n))
        .collect();
    assert_eq!(
        missing,
        Vec::<u64>::new(),
        "neither done nor dead (seed {seed})"
    );
    for number in (7..tasks).step_by(20) {
        assert!(
            buried.contains(&number) && !book.done.contains(&number),
            "{number} was rejected (seed {seed})"
        );
    }
    assert!(
        kills >= 2 && book.begun > usize::try_from(tasks).expect("a few"),
        "nothing was put to the test"
    );
    for (number, mut times) in book.whole {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in times.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "two handlers had task {number} at a time: {pair:?} (seed {seed})"
            );
        }
    }
}
