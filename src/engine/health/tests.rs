use super::*;
use crate::engine::service::{self, Ended, Event, Policy};
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::Period;
use crate::roles::{self, Roles};
use crate::source::Source;

fn roles(text: &str) -> Roles {
    let mut diagnostics = crate::diag::Diagnostics::new();
    let source = Source::new("roles.yaml", text);
    let roles = roles::read(&source, &mut diagnostics).expect("roles");
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    roles
}

fn a_service(more: &str) -> spec::Service {
    let text =
        format!("version: 1\nroles: {{r: {{services: {{app: {{command: [app], {more}}}}}}}}}\n");
    roles(&text).file.roles["r"].services["app"].clone()
}

fn the_loop(more: &str) -> spec::Loop {
    let text = format!(
        "version: 1\nroles: {{r: {{loops: {{index: {{{more}, steps: [{{command: [x]}}]}}}}}}}}\n"
    );
    roles(&text).file.roles["r"].loops["index"].clone()
}

fn at(millis: u64) -> Moment {
    Duration::from_millis(millis)
}

/// A replica after these events, each a second after the one before.
fn after(events: &[Event]) -> Service {
    let mut service = Service::new(at(0), 1);
    for (second, event) in events.iter().enumerate() {
        let now = at(1000 * second as u64);
        service = service::on(service, event.clone(), &Policy::default(), now).0;
    }
    service
}

fn spawned(pid: i32) -> [Event; 2] {
    [Event::DependenciesMet, Event::Spawned { pid }]
}

fn said(spec: &spec::Service, replicas: &[(&Service, Option<bool>)], now: Moment) -> String {
    let replicas: Vec<_> = replicas
        .iter()
        .enumerate()
        .map(|(number, (service, alive))| Replica {
            who: format!("app/{number}"),
            service,
            alive: *alive,
        })
        .collect();
    let health = judge(service(spec, &replicas, None, now));
    let mut lines = vec![health.state.word().to_owned()];
    lines.extend(health.reasons);
    lines.extend(health.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

const READINESS: &str = "readiness: {tcp: \"127.0.0.1:1\", start_period: 30s}";

#[test]
fn a_service_without_probes_is_healthy_as_soon_as_it_runs() {
    let plain = a_service("");
    let pending = Service::new(at(0), 1);
    assert_eq!(
        said(&plain, &[(&pending, None)], at(0)),
        "starting\napp/0 is about to start"
    );
    let running = after(&spawned(7));
    assert_eq!(said(&plain, &[(&running, None)], at(1500)), "healthy");
}

#[test]
fn readiness_decides_between_starting_healthy_and_unhealthy() {
    let spec = a_service(READINESS);
    let events = |more: &[Event]| after(&[&spawned(7)[..], more].concat());
    let fresh = events(&[]);
    assert_eq!(
        said(&spec, &[(&fresh, None)], at(4000)),
        "starting\napp/0 is not ready yet, 3s into its start_period of 30s"
    );
    let ready = events(&[Event::Ready { pid: 7 }]);
    assert_eq!(said(&spec, &[(&ready, None)], at(4000)), "healthy");
    let never = events(&[Event::Unready { pid: 7 }]);
    assert_eq!(
        said(&spec, &[(&never, None)], at(40_000)),
        "unhealthy\napp/0 has not become ready in 39s; its start_period is 30s"
    );
    let no_more = events(&[Event::Ready { pid: 7 }, Event::Unready { pid: 7 }]);
    assert_eq!(
        said(&spec, &[(&no_more, None)], at(40_000)),
        "unhealthy\napp/0 is not ready any more"
    );
    // One of two: the other serves, and this one did before.
    assert_eq!(
        said(&spec, &[(&ready, None), (&no_more, None)], at(40_000)),
        "healthy\nnote: app/1 is not ready any more"
    );
    // But never having come up is no trifle.
    assert!(said(&spec, &[(&ready, None), (&never, None)], at(40_000)).starts_with("unhealthy"));
}

#[test]
fn a_crash_is_unhealthy_unless_another_serves_and_a_storm_always_is() {
    let spec = a_service("");
    let crash = |pid| Event::Exited {
        pid,
        ended: Ended::Code(3),
    };
    let running = after(&spawned(7));
    let crashed = after(&[&spawned(7)[..], &[crash(7)]].concat());
    let alone = said(&spec, &[(&crashed, None)], at(2000));
    assert!(
        alone.starts_with("unhealthy\napp/0 exited with 3; restart 1 in a row comes in "),
        "{alone}"
    );
    let beside = said(&spec, &[(&running, None), (&crashed, None)], at(2000));
    assert!(
        beside.starts_with("healthy\nnote: app/1 exited"),
        "{beside}"
    );

    let mut life = spawned(1).to_vec();
    for pid in 1..=5 {
        life.extend([
            crash(pid),
            Event::TimerElapsed,
            Event::TimerElapsed,
            Event::Spawned { pid: pid + 1 },
        ]);
    }
    // The longest of these pauses is 1.6 s: the second tick comes late enough for each.
    let storm = after(&life);
    let born = storm.process().expect("a process").started;
    let text = said(&spec, &[(&running, None), (&storm, None)], born + at(100));
    assert_eq!(
        text,
        "unhealthy\napp/1 has been restarted 5 times in a row; the last process exited with 3"
    );
    let calm = said(&spec, &[(&storm, None)], born + at(10_000));
    assert_eq!(calm, "healthy");
    let side = a_service("essential: false");
    assert!(said(&side, &[(&storm, None)], born).starts_with("healthy\nnote: "));
}

#[test]
fn a_liveness_that_failed_counts_until_the_successor_has_answered() {
    let spec = a_service("liveness: {tcp: \"127.0.0.1:1\"}");
    let running = after(&spawned(7));
    assert_eq!(
        said(&spec, &[(&running, None)], at(2000)),
        "starting\napp/0 has not answered its liveness yet"
    );
    assert_eq!(said(&spec, &[(&running, Some(true))], at(2000)), "healthy");
    let hung = after(&[&spawned(7)[..], &[Event::LivenessFailed { pid: 7 }]].concat());
    let other = (&running, Some(true));
    assert_eq!(
        said(&spec, &[other, (&hung, Some(false))], at(2500)),
        "unhealthy\napp/1 does not answer its liveness and is being stopped"
    );
    assert_eq!(
        said(&spec, &[other, (&running, Some(false))], at(2500)),
        "unhealthy\napp/1 did not answer its liveness, and its successor has not answered yet"
    );
}

#[test]
fn a_rolling_restart_is_no_illness() {
    let spec = a_service(READINESS);
    let ready = [&spawned(7)[..], &[Event::Ready { pid: 7 }]].concat();
    let serving = after(&ready);
    let mut life = ready.clone();
    life.push(Event::RestartRequested);
    let stopping = after(&life);
    let replicas = [(&serving, None), (&stopping, None)];
    assert_eq!(
        said(&spec, &replicas, at(4000)),
        "healthy\nnote: app/1 is being restarted as asked"
    );
    assert_eq!(
        said(&spec, &[(&stopping, None)], at(4000)),
        "starting\napp/0 is being restarted as asked"
    );
}

#[test]
fn what_failed_for_good_says_why() {
    let spec = a_service("restart: never");
    let mut service = Service::new(at(0), 1);
    let policy = Policy {
        restart: service::Restart::Never,
        ..Policy::default()
    };
    let error = RunError::new(Exit::NOT_FOUND, "cannot start `app`", "it is not there");
    for event in [Event::DependenciesMet, Event::SpawnFailed { error }] {
        service = service::on(service, event, &policy, at(0)).0;
    }
    assert_eq!(
        said(&spec, &[(&service, None)], at(1)),
        "unhealthy\napp/0 has failed for good: cannot start `app`: it is not there"
    );
}

#[test]
fn who_waits_is_starting_unless_it_waits_for_ever() {
    let spec = a_service("");
    let pending = Service::new(at(0), 1);
    for (may_come, expected) in [
        (true, "starting: app waits for db to be ready"),
        (
            false,
            "unhealthy: app waits for db to be ready, which can never be",
        ),
    ] {
        let wait = Wait {
            needs: "db to be ready".to_owned(),
            may_come,
        };
        let replica = Replica {
            who: "app".to_owned(),
            service: &pending,
            alive: None,
        };
        let health = judge(service(&spec, &[replica], Some(&wait), at(0)));
        let said = format!("{}: {}", health.state.word(), health.reasons.join("; "));
        assert_eq!(said, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_judged_by_its_failures_and_with_a_timeout_by_its_last_success() {
    let begun = Instant::now();
    let said = |spec: &spec::Loop, progress: &Progress, seconds: u64| {
        let now = begun + Duration::from_secs(seconds);
        let health = judge(a_loop("index", spec, progress, begun, now));
        let text = [&health.reasons[..], &health.notes[..]].concat().join("; ");
        format!("{}: {text}", health.state.word())
    };
    let endless = the_loop("interval: 1s");
    let failing = Progress {
        failures: 3,
        error: Some("`x` exited with 1".to_owned()),
        ..Progress::default()
    };
    assert_eq!(oldest_success(&endless), None);
    assert_eq!(said(&endless, &Progress::default(), 100_000), "healthy: ");
    assert_eq!(
        said(&endless, &failing, 10),
        "healthy: index failed 3 times in a row: `x` exited with 1"
    );
    let limited = the_loop("interval: 1s, max_failures: 3, on_max_failures: unhealthy");
    assert!(said(&limited, &failing, 10).starts_with("unhealthy: index failed 3 times"));

    let timed = the_loop("every: 60s, jitter: 0.5, timeout: 10s");
    assert_eq!(oldest_success(&timed), Some(Duration::from_secs(200)));
    assert_eq!(timed.timeout, Some(Period(Duration::from_secs(10))));
    assert_eq!(said(&timed, &Progress::default(), 200), "healthy: ");
    assert_eq!(
        said(&timed, &Progress::default(), 201),
        "unhealthy: index has not succeeded in 3m21s; two rounds take at most 3m20s"
    );
    let good = Progress {
        succeeded: Some(begun + Duration::from_secs(100)),
        ..Progress::default()
    };
    assert_eq!(said(&timed, &good, 300), "healthy: ");
    assert!(said(&timed, &good, 301).contains("last succeeded 3m21s ago"));
}
