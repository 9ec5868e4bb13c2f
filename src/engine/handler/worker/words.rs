//! What is said between us and a worker: one line each way.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value as Json, json};

use crate::engine::handler::{Verdict, time};
use crate::roles::scalar::Period;
use crate::sys::queue::{Received, Value};

/// The most of a reason that is kept, in characters.
const REASON: usize = 500;

/// What a line of a worker's stdout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Not an answer: output like any other.
    Output,
    /// An answer for the message of this id.
    Answer { id: String, verdict: Verdict },
    /// Meant as an answer, and none; why.
    Garbage(String),
}

/// A message as a worker gets it.
pub(super) fn line(message: &Received, queue: &str) -> Vec<u8> {
    let attributes: Map<String, Json> = message
        .attributes
        .iter()
        .map(|attribute| {
            let value = match &attribute.value {
                Value::Text(text) => text.clone(),
                Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
            };
            (attribute.name.clone(), Json::String(value))
        })
        .collect();
    let line = json!({
        "id": message.id,
        "queue": queue,
        "body": message.body,
        "receive_count": message.receives,
        "sent_at": time(message.sent_at),
        "first_received_at": time(message.first_received_at),
        "group": message.group,
        "attributes": attributes,
    });
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Reads a line of a worker's stdout. An answer is a JSON object with an `outcome`.
pub(super) fn read(line: &[u8]) -> Said {
    let Ok(Json::Object(answer)) = serde_json::from_slice::<Json>(line) else {
        return Said::Output;
    };
    let Some(outcome) = answer.get("outcome") else {
        return Said::Output;
    };
    let Some(Json::String(id)) = answer.get("id") else {
        return Said::Garbage("an answer without the message's id".to_owned());
    };
    let reason = match answer.get("reason") {
        Some(Json::String(text)) => text.chars().take(REASON).collect(),
        _ => "the worker gave no reason".to_owned(),
    };
    let verdict = match outcome.as_str() {
        Some("done") => Verdict::Done,
        Some("reject") => Verdict::Reject { reason },
        Some("retry") => match pause(answer.get("delay")) {
            Ok(pause) => Verdict::Retry { reason, pause },
            Err(why) => return Said::Garbage(why),
        },
        _ => {
            let why = "an answer whose outcome is not `done`, `retry` or `reject`";
            return Said::Garbage(why.to_owned());
        }
    };
    Said::Answer {
        id: id.clone(),
        verdict,
    }
}

fn pause(delay: Option<&Json>) -> Result<Option<Duration>, String> {
    match delay {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => match Period::parse(text) {
            Some(period) => Ok(Some(period.0)),
            None => Err("an answer whose `delay` is not a duration such as \"30s\"".to_owned()),
        },
        Some(_) => Err("an answer whose `delay` is not a text such as \"30s\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Said {
        read(line.as_bytes())
    }

    #[test]
    fn an_answer_has_an_id_and_an_outcome_and_everything_else_is_output() {
        let answer = |verdict| Said::Answer {
            id: "m".to_owned(),
            verdict,
        };
        assert_eq!(
            said(r#"{"id": "m", "outcome": "done"}"#),
            answer(Verdict::Done)
        );
        let reject = said(r#"{"id": "m", "outcome": "reject", "reason": "no such type"}"#);
        let reason = "no such type".to_owned();
        assert_eq!(reject, answer(Verdict::Reject { reason }));
        let retry = said(r#"{"id": "m", "outcome": "retry", "delay": "1m"}"#);
        let pause = Some(Duration::from_secs(60));
        let reason = "the worker gave no reason".to_owned();
        assert_eq!(retry, answer(Verdict::Retry { reason, pause }));
        for output in [
            "",
            "loading …",
            "[1]",
            "{\"level\": \"info\"}",
            "{\"outcome\": \"done\"",
            "\u{0}",
        ] {
            assert_eq!(said(output), Said::Output, "{output}");
        }
        for garbage in [
            r#"{"outcome": "done"}"#,
            r#"{"id": 7, "outcome": "done"}"#,
            r#"{"id": "m", "outcome": "DONE"}"#,
            r#"{"id": "m", "outcome": 1}"#,
            r#"{"id": "m", "outcome": "retry", "delay": 30}"#,
            r#"{"id": "m", "outcome": "retry", "delay": "soon"}"#,
        ] {
            assert!(matches!(said(garbage), Said::Garbage(_)), "{garbage}");
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let message = Received {
            id: "m".to_owned(),
            body: "two\nlines and \u{2028} and \"quotes\"".to_owned(),
            receives: 3,
            ..Received::default()
        };
        let line = String::from_utf8(line(&message, "q")).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let read: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(read["body"], message.body);
        assert_eq!(
            (&read["queue"], &read["receive_count"], &read["group"]),
            (&json!("q"), &json!(3), &Json::Null)
        );
    }
}
