//! The policy as tables that a person can read: every pair of state and event, every cause of an end against every
//! `restart`, and a few lives told line by line.

use super::*;
use crate::engine::backoff::Backoff;

const PID: Pid = 7;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Round numbers: pauses of 100, 200, 400 … ms, 5 s to stop, stable after 10 s.
fn policy() -> Policy {
    Policy {
        backoff: Backoff {
            jitter: 0.0,
            ..Backoff::default()
        },
        stop_timeout: ms(5_000),
        ..Policy::default()
    }
}

fn no_program() -> RunError {
    RunError::new(Exit::NOT_FOUND, "cannot start `app`", "no such program")
}

fn in_state(state: State) -> Service {
    Service {
        state,
        ..Service::new(ms(0), 1)
    }
}

/// Every state, as it is 1 s after its process was started; what waits, waits until 2 s.
fn states() -> Vec<(&'static str, State)> {
    let process = Process {
        pid: PID,
        started: ms(0),
    };
    let stopping = |then| State::Stopping {
        process,
        kill_at: ms(2_000),
        then,
    };
    let killing = |fate| State::Killing { process, fate };
    let ended = |end| State::Ended { end };
    let failing = Then::Fail { ran_for: ms(500) };
    vec![
        ("pending", State::Pending),
        ("starting", State::Starting),
        (
            "recalled by a stop",
            State::Recalled {
                by: Recall::Stop {
                    deadline: ms(9_000),
                },
            },
        ),
        ("recalled by a kill", State::Recalled { by: Recall::Kill }),
        (
            "running",
            State::Running {
                process,
                ready: Ready::Unknown,
            },
        ),
        (
            "draining",
            State::Draining {
                process,
                until: ms(2_000),
                deadline: ms(9_000),
            },
        ),
        ("stopping to end", stopping(Then::Stop)),
        ("stopping to restart", stopping(Then::Restart)),
        ("stopping as failed", stopping(failing)),
        ("killing to end", killing(Fate::Then(Then::Stop))),
        ("killing to restart", killing(Fate::Then(Then::Restart))),
        ("killing as failed", killing(Fate::Then(failing))),
        ("killing, overrun", killing(Fate::Overrun)),
        ("backoff", State::Backoff { until: ms(2_000) }),
        ("succeeded", ended(End::Succeeded(Ended::Code(0)))),
        ("failed", ended(End::Failed(Failure::Exit(Ended::Code(3))))),
        ("stopped", ended(End::Stopped(Some(Ended::Signal(15))))),
        ("overran", ended(End::Overran(Ended::Signal(9)))),
    ]
}

/// Every event, of the state's own process and of another; the timer before its time and at it.
fn events() -> Vec<(&'static str, u64, Event)> {
    let exited = |pid, ended| Event::Exited { pid, ended };
    let deadline = ms(3_000);
    vec![
        ("dependencies met", 1_000, Event::DependenciesMet),
        ("spawned 7", 1_000, Event::Spawned { pid: PID }),
        ("spawned 8", 1_000, Event::Spawned { pid: 8 }),
        (
            "spawn failed",
            1_000,
            Event::SpawnFailed {
                error: no_program(),
            },
        ),
        ("exited 7 code 0", 1_000, exited(PID, Ended::Code(0))),
        ("exited 7 signal 9", 1_000, exited(PID, Ended::Signal(9))),
        ("exited 8 code 3", 1_000, exited(8, Ended::Code(3))),
        ("ready 7", 1_000, Event::Ready { pid: PID }),
        ("ready 8", 1_000, Event::Ready { pid: 8 }),
        ("unready 7", 1_000, Event::Unready { pid: PID }),
        ("unready 8", 1_000, Event::Unready { pid: 8 }),
        ("liveness 7", 1_000, Event::LivenessFailed { pid: PID }),
        ("liveness 8", 1_000, Event::LivenessFailed { pid: 8 }),
        ("timer early", 1_000, Event::TimerElapsed),
        ("timer due", 2_000, Event::TimerElapsed),
        ("stop by 3 s", 1_000, Event::StopRequested { deadline }),
        ("kill", 1_000, Event::KillRequested),
        ("restart", 1_000, Event::RestartRequested),
    ]
}

fn secs(at: Duration) -> String {
    format!("{} s", at.as_secs_f64())
}

fn state_text(state: &State) -> String {
    let then = |then: &Then| match then {
        Then::Stop => "to end",
        Then::Restart => "to restart",
        Then::Fail { .. } => "as failed",
    };
    match state {
        State::Pending => "pending".into(),
        State::Starting => "starting".into(),
        State::Recalled { by } => match by {
            Recall::Stop { deadline } => format!("recalled by a stop by {}", secs(*deadline)),
            Recall::Kill => "recalled by a kill".into(),
        },
        State::Running { process, ready } => match ready {
            Ready::Unknown => format!("running {}", process.pid),
            Ready::Yes => format!("running {}, ready", process.pid),
            Ready::No => format!("running {}, unready", process.pid),
        },
        State::Draining {
            until, deadline, ..
        } => format!("draining until {}, {}", secs(*until), secs(*deadline)),
        State::Stopping {
            kill_at, then: t, ..
        } => format!("stopping {}, kill at {}", then(t), secs(*kill_at)),
        State::Killing { fate, .. } => match fate {
            Fate::Then(t) => format!("killing {}", then(t)),
            Fate::Overrun => "killing, overrun".into(),
        },
        State::Backoff { until } => format!("backoff until {}", secs(*until)),
        State::Ended { end } => end_text(end),
    }
}

fn end_text(end: &End) -> String {
    let how = match end {
        End::Succeeded(ended) => format!("succeeded, {ended}"),
        End::Failed(Failure::Exit(ended)) => format!("failed, {ended}"),
        End::Failed(Failure::Spawn(_)) => "failed, not started".into(),
        End::Failed(Failure::Liveness(ended)) => format!("failed by liveness, {ended}"),
        End::Stopped(Some(ended)) => format!("stopped, {ended}"),
        End::Stopped(None) => "stopped".into(),
        End::Overran(ended) => format!("overran, {ended}"),
    };
    format!("{how} (exit {})", end.exit())
}

/// What is done, without the reports.
fn deeds(effects: &[Effect]) -> String {
    let deed = |effect: &Effect| match effect {
        Effect::Spawn => Some("spawn".into()),
        Effect::Signal { pid, signal } => Some(format!("signal {signal} to {pid}")),
        Effect::KillGroup { pid } => Some(format!("kill group {pid}")),
        Effect::ArmTimer { at } => Some(format!("timer at {}", secs(*at))),
        Effect::StartProbes { .. } => Some("start probes".into()),
        Effect::StopProbes => Some("stop probes".into()),
        Effect::EndedForGood { .. } => Some("tell the end".into()),
        Effect::Report(_) => None,
    };
    let deeds: Vec<String> = effects.iter().filter_map(deed).collect();
    match (deeds.is_empty(), effects.is_empty()) {
        (true, false) => "only report".into(),
        _ => deeds.join(", "),
    }
}

#[test]
fn every_pair_of_state_and_event_is_as_the_table_says() {
    let mut table = String::new();
    for (state_name, state) in states() {
        table += &format!("{state_name}\n");
        let mut unmoved = Vec::new();
        for (event_name, now, event) in events() {
            let before = in_state(state.clone());
            let (after, effects) = on(before.clone(), event, &policy(), ms(now));
            if after == before && effects.is_empty() {
                unmoved.push(event_name);
                continue;
            }
            let becomes = if after.state == state {
                "=".into()
            } else {
                state_text(&after.state)
            };
            let deeds = deeds(&effects);
            let line = format!("  {event_name:<18} {becomes:<43} {deeds}");
            table += line.trim_end();
            table += "\n";
        }
        table += &format!("  nothing: {}\n\n", unmoved.join(", "));
    }
    assert!(
        table.trim() == include_str!("table.txt").trim(),
        "the machine does not do what service/table.txt says; it does:\n{table}"
    );
}

/// Plays a life: each line is the moment, the state after the event, and what is done.
fn play(policy: &Policy, told: &[(u64, Event)]) -> Vec<String> {
    let mut service = Service::new(ms(0), 1);
    let mut lines = Vec::new();
    for (millis, event) in told {
        let effects;
        (service, effects) = on(service, event.clone(), policy, ms(*millis));
        let state = state_text(&service.state);
        lines.push(format!("{millis}: {state}: {}", deeds(&effects)));
    }
    lines
}

fn spawned(pid: Pid) -> Event {
    Event::Spawned { pid }
}

fn exited(pid: Pid, code: u8) -> Event {
    let ended = Ended::Code(code);
    Event::Exited { pid, ended }
}

#[test]
fn the_cause_of_an_end_against_restart() {
    let causes = [
        ("code 0", Some(Ended::Code(0))),
        ("code 3, a success code here", Some(Ended::Code(3))),
        ("code 1", Some(Ended::Code(1))),
        ("signal 15, not ours", Some(Ended::Signal(15))),
        ("status lost", Some(Ended::Lost)),
        ("liveness, then code 0", None),
        ("not started", None),
    ];
    let mut table = Vec::new();
    for (cause, ended) in causes {
        let mut row = format!("{cause}:");
        for restart in [Restart::Always, Restart::OnFailure, Restart::Never] {
            let policy = Policy {
                restart,
                success_exit_codes: vec![0, 3],
                ..policy()
            };
            let told = match (cause, ended) {
                (_, Some(ended)) => vec![spawned(PID), Event::Exited { pid: PID, ended }],
                ("not started", None) => vec![Event::SpawnFailed {
                    error: no_program(),
                }],
                (_, None) => vec![
                    spawned(PID),
                    Event::LivenessFailed { pid: PID },
                    exited(PID, 0),
                ],
            };
            let mut service = on(
                Service::new(ms(0), 1),
                Event::DependenciesMet,
                &policy,
                ms(0),
            )
            .0;
            for event in told {
                service = on(service, event, &policy, ms(1)).0;
            }
            row += &match service.end() {
                Some(end) => format!(" {} |", end_text(end)),
                None => format!(" {} |", service.state_name()),
            };
        }
        table.push(row);
    }
    #[rustfmt::skip]
    assert_eq!(table, [
        // cause                        always    on-failure                                   never
        "code 0: backoff | succeeded, exited with 0 (exit 1) | succeeded, exited with 0 (exit 1) |",
        "code 3, a success code here: backoff | succeeded, exited with 3 (exit 3) | succeeded, exited with 3 (exit 3) |",
        "code 1: backoff | backoff | failed, exited with 1 (exit 1) |",
        "signal 15, not ours: backoff | backoff | failed, was killed by SIGTERM (15) (exit 143) |",
        "status lost: backoff | backoff | failed, ended, and its exit status is lost (exit 70) |",
        "liveness, then code 0: backoff | backoff | failed by liveness, exited with 0 (exit 1) |",
        "not started: backoff | backoff | failed, not started (exit 127) |",
    ]);
}

#[test]
fn pauses_grow_until_a_stable_run_and_then_the_restart_is_immediate() {
    let lines = play(
        &policy(),
        &[
            (0, Event::DependenciesMet),
            (0, spawned(1)),
            (50, exited(1, 1)),
            (150, Event::TimerElapsed),
            (150, spawned(2)),
            (160, exited(2, 1)),
            (360, Event::TimerElapsed),
            (360, spawned(3)),
            (10_360, exited(3, 1)),
            (10_361, spawned(4)),
            (10_400, exited(4, 1)),
        ],
    );
    assert_eq!(
        lines,
        [
            "0: starting: spawn",
            "0: running 1: start probes",
            "50: backoff until 0.15 s: stop probes, kill group 1, timer at 0.15 s",
            "150: starting: spawn",
            "150: running 2: start probes",
            "160: backoff until 0.36 s: stop probes, kill group 2, timer at 0.36 s",
            "360: starting: spawn",
            "360: running 3: start probes",
            "10360: starting: stop probes, kill group 3, spawn",
            "10361: running 4: start probes",
            "10400: backoff until 10.5 s: stop probes, kill group 4, timer at 10.5 s",
        ]
    );
}

#[test]
fn a_service_gives_up_when_its_restarts_are_used_up_within_the_window() {
    let policy = Policy {
        budget: Some(RestartBudget {
            max_restarts: 2,
            window: ms(60_000),
        }),
        reset_after: ms(1_000),
        ..policy()
    };
    let life = |second_run: u64| {
        let end = 1_000 + second_run;
        play(
            &policy,
            &[
                (0, Event::DependenciesMet),
                (0, spawned(1)),
                (1_000, exited(1, 9)),
                (1_000, spawned(2)),
                (end, exited(2, 9)),
                (end, spawned(3)),
                (end + 1_000, exited(3, 9)),
            ],
        )
        .pop()
    };
    assert_eq!(
        life(30_000).as_deref(),
        Some("32000: failed, exited with 9 (exit 9): stop probes, kill group 3, tell the end")
    );
    assert_eq!(
        life(60_000).as_deref(),
        Some("62000: starting: stop probes, kill group 3, spawn")
    );
}

#[test]
fn an_operators_restart_spends_no_budget() {
    let policy = Policy {
        budget: Some(RestartBudget {
            max_restarts: 0,
            window: ms(60_000),
        }),
        ..policy()
    };
    let lines = play(
        &policy,
        &[
            (0, Event::DependenciesMet),
            (0, spawned(1)),
            (100, Event::RestartRequested),
            (5_100, Event::TimerElapsed),
            (5_101, exited(1, 0)),
            (5_102, spawned(2)),
            (5_200, exited(2, 4)),
            (9_000, Event::RestartRequested),
            (9_001, spawned(3)),
        ],
    );
    assert_eq!(
        lines,
        [
            "0: starting: spawn",
            "0: running 1: start probes",
            "100: stopping to restart, kill at 5.1 s: stop probes, signal 15 to 1, timer at 5.1 s",
            "5100: killing to restart: kill group 1",
            "5101: starting: kill group 1, spawn",
            "5102: running 2: start probes",
            "5200: failed, exited with 4 (exit 4): stop probes, kill group 2, tell the end",
            "9000: starting: spawn",
            "9001: running 3: start probes",
        ]
    );
}

#[test]
fn a_stop_drains_signals_and_kills_inside_the_roles_deadline() {
    let policy = Policy {
        drain_delay: ms(2_000),
        stop_signal: libc::SIGQUIT,
        ..policy()
    };
    let deadline = ms(6_000);
    let lines = play(
        &policy,
        &[
            (0, Event::DependenciesMet),
            (0, spawned(1)),
            (1_000, Event::StopRequested { deadline }),
            (3_000, Event::TimerElapsed),
            (6_000, Event::TimerElapsed),
            (6_001, exited(1, 0)),
            (6_002, Event::RestartRequested),
        ],
    );
    assert_eq!(
        lines,
        [
            "0: starting: spawn",
            "0: running 1: start probes",
            "1000: draining until 3 s, 6 s: stop probes, timer at 3 s",
            "3000: stopping to end, kill at 6 s: signal 3 to 1, timer at 6 s",
            "6000: killing, overrun: kill group 1",
            "6001: overran, exited with 0 (exit 124): kill group 1, tell the end",
            "6002: overran, exited with 0 (exit 124): ",
        ]
    );
}
