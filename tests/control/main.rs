//! The running runner, asked and steered over its socket: health, status, restart, stop, signals.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

#[path = "../common/mod.rs"]
mod common;

mod door;
mod life;
mod steer;
mod trees;

use std::time::{Duration, Instant};

use common::{DEADLINE, Ended, Place};
use serde_json::Value as Json;

/// Asks until the answer is what is wanted, and gives it.
#[track_caller]
fn wait_until(place: &Place, command: &str, is_wanted: impl Fn(&str) -> bool) -> Ended {
    let started = Instant::now();
    loop {
        let answer = place.run(&[command]);
        if is_wanted(&answer.stdout) {
            return answer;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "still\n{}{}",
            answer.stdout,
            answer.stderr
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the status holds all of these texts.
#[track_caller]
fn wait_status(place: &Place, wanted: &[&str]) -> String {
    let is_wanted = |text: &str| wanted.iter().all(|wanted| text.contains(wanted));
    wait_until(place, "status", is_wanted).stdout
}

/// Waits until health is this and says all of these texts, and checks its exit code.
#[track_caller]
fn wait_health(place: &Place, state: &str, wanted: &[&str]) -> String {
    let is_wanted = |text: &str| {
        text.lines().next() == Some(state) && wanted.iter().all(|wanted| text.contains(wanted))
    };
    let answer = wait_until(place, "health", is_wanted);
    let expected = i32::from(state != "healthy");
    assert_eq!(answer.code, Some(expected), "{}", answer.stdout);
    answer.stdout
}

/// The status as JSON.
#[track_caller]
fn status(place: &Place) -> Json {
    let answer = place.run(&["status", "--format", "json"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    serde_json::from_str(&answer.stdout).expect("JSON")
}

/// The part of a status that is about one member, or one replica.
#[track_caller]
fn member(status: &Json, name: &str, replica: Option<u64>) -> Json {
    let members = status["members"].as_array().expect("members");
    let mut found = members
        .iter()
        .filter(|member| member["name"] == name && member["replica"].as_u64() == replica);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {status:#}"));
    assert!(found.next().is_none(), "{name} twice in {status:#}");
    first.clone()
}

/// A role `r` with these services (`name: {…}`, a line each), and other keys before them.
fn role(keys: &str, services: &[&str]) -> Place {
    let services: String = services
        .iter()
        .map(|service| format!("      {service}\n"))
        .collect();
    Place::with(&format!(
        "roles:\n  r:\n    {keys}\n    services:\n{services}"
    ))
}

/// Makes an empty file in the place.
fn touch(place: &Place, name: &str) {
    std::fs::write(place.path(name), "").expect("the folder is ours");
}

/// Removes a file from the place.
fn remove(place: &Place, name: &str) {
    std::fs::remove_file(place.path(name)).expect("it was there");
}
