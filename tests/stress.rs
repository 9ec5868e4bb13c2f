//! A hundred services that die at random: no zombie, no orphan, no descriptor is left behind.
//!
//! `STRESS_SECONDS` says for how long; `make stress` runs it for a minute, `make test` for a few seconds.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{DEADLINE, Place, kill};

/// How many services there are.
const SERVICES: usize = 100;

/// Lives for up to a third of a second, often leaves a child behind in its group or outside of it, and ends in one of
/// several ways.
const LIFE: &str = r#"
r=$(od -An -N2 -tu2 /dev/urandom)
case $((r % 7)) in
0) sleep 1000 & ;;
1) setsid sleep 1000 & ;;
2) (setsid sh -c 'sleep 0.05 & sleep 1000' &) ;;
esac
echo "$$ lives" >&2
sleep 0.$((r % 3))$((r % 10))
case $((r % 5)) in
0) kill -9 $$ ;;
1) exec sh -c 'exit 3' ;;
2) kill -SEGV $$ ;;
esac
exit 0
"#;

#[test]
fn a_hundred_services_that_die_at_random_leave_nothing_behind() {
    let seconds = std::env::var("STRESS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6);
    let mark = format!("STRESS_MARK={}", std::process::id());
    let (name, value) = mark.split_once('=').expect("it has one");
    let place = Place::with(&format!(
        "roles:\n  r:\n    services:\n      life:\n        command: [sh, life.sh]\n        replicas: {SERVICES}\n        \
         backoff: {{ initial: 10ms, max: 200ms, reset_after: 1h }}\n"
    ))
    .file("life.sh", LIFE)
    .env(name, value);
    let running = place.start(&["run", "r"]);
    let pid = running.pid();
    // Descriptors: two pipes a service, and what runner has itself; twice that would be a leak.
    let bound = SERVICES * 2 + 60;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut looks = 0;
    while Instant::now() < until {
        assert!(zombies_go(pid), "a zombie stayed for {DEADLINE:?}");
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("runner lives")
            .count();
        assert!(open <= bound, "{open} descriptors are open");
        looks += 1;
    }
    assert!(looks > 3, "{looks} looks in {seconds} s");
    kill(pid, libc::SIGTERM);
    let ended = running.wait();
    ended.expect(0, "stopped in order by SIGTERM");
    let restarts = ended.stderr.matches("\"event\":\"restarting\"").count();
    assert!(restarts > SERVICES, "only {restarts} restarts");
    assert_eq!(marked(&mark), Vec::<String>::new(), "these survived");
}

/// Whether every zombie child of `pid` that there is now is reaped in time.
fn zombies_go(pid: i32) -> bool {
    let dead = zombies(pid);
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        let still = zombies(pid);
        if dead.iter().all(|zombie| !still.contains(zombie)) {
            return true;
        }
    }
    false
}

/// Each zombie child with the time of its start, as its number may come back.
fn zombies(parent: i32) -> Vec<(String, String)> {
    numbers()
        .into_iter()
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            let zombie = fields[0] == "Z" && fields[1] == parent.to_string();
            zombie.then(|| (pid, fields[19].to_owned()))
        })
        .collect()
}

/// Every living process that carries a mark in its environment.
fn marked(mark: &str) -> Vec<String> {
    numbers()
        .into_iter()
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes())
        })
        .collect()
}

fn numbers() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}
