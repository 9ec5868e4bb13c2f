//! The text of `runner status`: a headline, what is wrong, and a table that fits into 100 columns.

use crate::engine::event::shown;
use crate::engine::status::{Condition, MemberStatus, Phase, Status, When};

/// The widest line.
const WIDTH: usize = 100;

/// The whole text.
pub fn text(status: &Status) -> String {
    let mut lines = vec![headline(status)];
    if let Some(stop) = &status.stop {
        let left = ago(&stop.until);
        let waiting = match stop.waiting_for.as_slice() {
            [] => String::new(),
            several => format!("; waiting for {}", several.join(", ")),
        };
        let text = format!("stopping: {}{waiting}; killed in {left}", stop.why);
        lines.extend(wrapped(&text, "", WIDTH));
    } else {
        for reason in &status.health.reasons {
            lines.extend(wrapped(reason, "  ", WIDTH));
        }
        for note in &status.health.notes {
            lines.extend(wrapped(&format!("note: {note}"), "  ", WIDTH));
        }
    }
    if let Some(step) = &status.step {
        let since = ago(&step.since);
        let text = format!(
            "step {} of {}: {}, for {since}",
            step.number, step.of, step.name
        );
        lines.extend(wrapped(&text, "", WIDTH));
        lines.extend(wrapped(&step.doing, "  ", WIDTH));
    }
    if !status.members.is_empty() {
        lines.push(String::new());
        lines.extend(table(&status.members));
    }
    lines.join("\n") + "\n"
}

fn headline(status: &Status) -> String {
    let role = match &status.role {
        Some(role) => format!("role {role}"),
        None => "no role yet".to_owned(),
    };
    let phase = match status.phase {
        Phase::Settings => ", resolving settings",
        Phase::Steps => ", running steps",
        Phase::Members | Phase::Stopping => "",
    };
    let state = match status.health.state {
        Condition::Healthy => "healthy",
        Condition::Starting => "starting",
        Condition::Unhealthy => "UNHEALTHY",
        Condition::Stopping => "stopping",
    };
    format!(
        "{role}: {state}{phase}, up {}, pid {}, runner {}",
        ago(&status.started),
        status.pid,
        status.version
    )
}

/// One row a member; the last column goes on below itself where it is too long.
fn table(members: &[MemberStatus]) -> Vec<String> {
    let heads = ["MEMBER", "STATE", "PID", "FOR", "RESTARTS"].map(str::to_owned);
    let rows: Vec<[String; 5]> = members.iter().map(row).collect();
    let all = || std::iter::once(&heads).chain(&rows);
    let widths: Vec<usize> = (0..heads.len())
        .map(|at| all().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let left = |row: &[String; 5]| -> String {
        let cells = row.iter().zip(&widths);
        cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect()
    };
    // Names may be as long as their author likes: then the last column has a line of its own.
    let indent = widths.iter().map(|width| width + 2).sum::<usize>();
    let room = WIDTH.saturating_sub(indent);
    let mut lines = vec![format!("{}NEXT", left(&heads))];
    for (row, member) in rows.iter().zip(members) {
        let mut cell = wrapped(&member.next, "", room.max(30));
        for line in beside(member) {
            cell.extend(wrapped(&line, "", room.max(30)));
        }
        let mut cell = cell.into_iter();
        if room >= 30 {
            lines.push(format!("{}{}", left(row), cell.next().unwrap_or_default()));
        } else {
            lines.push(left(row).trim_end().to_owned());
        }
        let indent = if room >= 30 { indent } else { 4 };
        lines.extend(cell.map(|line| format!("{:indent$}{line}", "")));
    }
    lines
}

fn row(member: &MemberStatus) -> [String; 5] {
    let ready = match member.ready {
        Some(true) => ", ready",
        Some(false) => ", not ready",
        None => "",
    };
    let shown = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    [
        member.label(),
        format!("{}{ready}", member.state),
        shown(member.pid.map(|pid| pid.to_string())),
        shown(member.since.as_ref().map(ago)),
        shown(member.restarts.map(|restarts| restarts.to_string())),
    ]
}

/// What else is known of a member, a line each.
fn beside(member: &MemberStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(runs) = member.runs {
        let failed = match member.failures {
            None | Some(0) => String::new(),
            Some(failures) => format!(", the last {failures} failed"),
        };
        let success = match &member.last_success {
            Some(when) => format!(", last success {} ago", ago(when)),
            None => ", no success yet".to_owned(),
        };
        let plural = if runs == 1 { "" } else { "s" };
        lines.push(format!("{runs} run{plural}{failed}{success}"));
    }
    if let Some(end) = &member.last_exit {
        let when = match &member.last_exit_at {
            Some(when) => format!(", {} ago", ago(when)),
            None => String::new(),
        };
        lines.push(format!("last: {end}{when}"));
    }
    if let Some(serde_json::Value::Object(metrics)) = &member.metrics {
        let counted: Vec<String> = metrics.iter().filter_map(counted).collect();
        lines.push(match counted.is_empty() {
            true => "nothing counted yet".to_owned(),
            false => counted.join(", "),
        });
    }
    lines
}

/// A number that a member counts for itself, in words: `in hand 2`, `heartbeat lag 12ms`. What is 0 or not known is
/// left to `--format json`.
fn counted((name, value): (&String, &serde_json::Value)) -> Option<String> {
    let number = value.as_u64().filter(|number| *number > 0)?;
    Some(match name.strip_suffix("_ms") {
        Some(name) => {
            let time = std::time::Duration::from_millis(number);
            format!("{} {}", name.replace('_', " "), shown(time))
        }
        None => format!("{} {number}", name.replace('_', " ")),
    })
}

fn ago(when: &When) -> String {
    let distance = when.distance();
    let seconds = distance.as_secs();
    match seconds / 3600 {
        0 => shown(distance),
        1..=47 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        hours => format!("{}d{}h", hours / 24, hours % 24),
    }
}

/// A text in lines of at most `width`, broken at blanks; a word that is longer is cut.
fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    let room = width - indent.len();
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= room {
                line.push_str(if gap > 0 { " " } else { "" });
                line.extend(&word);
                break;
            }
            if used > 0 {
                lines.push(format!("{indent}{}", std::mem::take(&mut line)));
            } else {
                let head: String = word.drain(..room).collect();
                lines.push(format!("{indent}{head}"));
            }
        }
    }
    if !line.is_empty() {
        lines.push(format!("{indent}{line}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::status::{Health, StopStatus};

    fn when(seconds: f64) -> When {
        When {
            at: String::new(),
            seconds,
        }
    }

    fn status(members: Vec<MemberStatus>) -> Status {
        Status {
            role: Some("portal".to_owned()),
            version: "0.1.0".to_owned(),
            pid: 1,
            started: when(7265.0),
            phase: Phase::Members,
            health: Health {
                state: Condition::Healthy,
                reasons: Vec::new(),
                notes: Vec::new(),
            },
            step: None,
            stop: None,
            members,
        }
    }

    fn member(name: &str, next: &str) -> MemberStatus {
        MemberStatus {
            name: name.to_owned(),
            state: "running".to_owned(),
            pid: Some(123_456),
            since: Some(when(200_000.0)),
            restarts: Some(0),
            next: next.to_owned(),
            ..MemberStatus::default()
        }
    }

    #[test]
    fn a_stranger_can_read_it() {
        let app = MemberStatus {
            replica: Some(0),
            ready: Some(true),
            restarts: Some(2),
            last_exit: Some("exited with 3".to_owned()),
            last_exit_at: Some(when(3700.0)),
            ..member("app", "restarts when it ends")
        };
        let index = MemberStatus {
            pid: None,
            restarts: None,
            state: "waiting".to_owned(),
            since: Some(when(0.4)),
            runs: Some(12),
            failures: Some(0),
            last_success: Some(when(0.4)),
            ..member("index", "run 13 begins in 600ms")
        };
        assert_eq!(
            text(&status(vec![app, index])),
            "\
role portal: healthy, up 2h1m, pid 1, runner 0.1.0

MEMBER  STATE           PID     FOR    RESTARTS  NEXT
app/0   running, ready  123456  2d7h   2         restarts when it ends
                                                 last: exited with 3, 1h1m ago
index   waiting         -       400ms  -         run 13 begins in 600ms
                                                 12 runs, last success 400ms ago
"
        );
    }

    #[test]
    fn what_a_member_counts_is_said_in_words() {
        let queue = MemberStatus {
            metrics: Some(serde_json::json!({
                "received": 12, "lost": 0, "in_hand": 1, "oldest_in_hand_ms": 61_500, "heartbeat_lag_ms": null
            })),
            ..MemberStatus::default()
        };
        assert_eq!(
            beside(&queue),
            ["received 12, in hand 1, oldest in hand 1m1s"]
        );
    }

    #[test]
    fn a_stop_says_whom_it_waits_for_and_until_when() {
        let mut stopping = status(Vec::new());
        stopping.phase = Phase::Stopping;
        stopping.health.state = Condition::Stopping;
        stopping.stop = Some(StopStatus {
            why: "SIGTERM was received".to_owned(),
            since: when(2.0),
            until: when(107.0),
            waiting_for: vec!["nginx".to_owned(), "index".to_owned()],
        });
        assert_eq!(
            text(&stopping),
            "role portal: stopping, up 2h1m, pid 1, runner 0.1.0\n\
             stopping: SIGTERM was received; waiting for nginx, index; killed in 1m47s\n"
        );
    }

    #[test]
    fn no_line_is_too_long_and_no_word_is_lost() {
        let long =
            "is killed in 4.0 s unless its process ends, then stays ended and so on ".repeat(9);
        let path = "/".repeat(250);
        for name in [
            "app",
            "a-service-with-a-name-that-nobody-would-want-to-type-twice",
        ] {
            let mut status = status(vec![member(name, &long), member("b", &path)]);
            status.health.reasons = vec![long.clone()];
            let text = text(&status);
            assert!(
                text.lines().all(|line| line.chars().count() <= WIDTH),
                "{text}"
            );
            assert_eq!(text.matches("unless").count(), 18, "{text}");
            assert_eq!(text.matches('/').count(), 250, "{text}");
        }
    }
}
