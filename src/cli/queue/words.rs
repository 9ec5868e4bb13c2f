//! Messages as a person gives them and as they are shown.

use std::io::Read;

use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value as Json, json};

use super::super::args::Send;
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::Period;
use crate::roles::schema::MessageSchema;
use crate::sys::queue::{MOST_BYTES, Outgoing, Queue, Received, Value};
use crate::sys::relay::frame::rfc3339;

/// The longest that SQS delays a message.
const LONGEST_DELAY: std::time::Duration = std::time::Duration::from_secs(900);

/// Every body that is to be sent, in the order of the options.
pub fn bodies(options: &Send) -> Result<Vec<String>, RunError> {
    let mut bodies = options.body.clone();
    for text in &options.json {
        let values = values("--json", text)?;
        if values.len() != 1 {
            let cause = format!("it holds {} JSON values", values.len());
            return Err(RunError::new(Exit::USAGE, "cannot use --json", cause)
                .with_help("give one each time"));
        }
        bodies.extend(values);
    }
    for path in &options.file {
        let name = path.display().to_string();
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|error| unreadable(&name, &error))?;
        bodies.extend(values(&name, &text)?);
    }
    if options.stdin.is_some() {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| unreadable("stdin", &error))?;
        bodies.extend(values("stdin", &text)?);
    }
    if bodies.is_empty() {
        let help = "give it with --json, --body or --file, or on stdin with `-`";
        return Err(
            RunError::new(Exit::USAGE, "cannot send", "there is no message").with_help(help),
        );
    }
    Ok(bodies)
}

fn unreadable(name: &str, error: &std::io::Error) -> RunError {
    RunError::new(
        Exit::IO,
        format!("cannot read {name}"),
        crate::sys::reason(error),
    )
}

/// JSON values, one after the other, each in its own words.
fn values(name: &str, text: &str) -> Result<Vec<String>, RunError> {
    let values = Deserializer::from_str(text).into_iter::<&RawValue>();
    let bodies: Result<Vec<String>, _> = values
        .map(|value| value.map(|raw| raw.get().to_owned()))
        .collect();
    bodies.map_err(|error| {
        // The parser's own words can repeat the text, which may be long or secret.
        let cause = format!(
            "what stands at line {}, column {} is not JSON",
            error.line(),
            error.column()
        );
        RunError::new(Exit::FAILED, format!("cannot send {name}"), cause)
    })
}

/// Those that cannot be sent, each with the reason.
pub fn misfits(bodies: &[String], schema: Option<&MessageSchema>) -> Vec<String> {
    let why = |body: &String| match schema.and_then(|schema| schema.misfit(body)) {
        Some(why) => Some(why),
        None if body.is_empty() => Some("it is empty".to_owned()),
        None if body.len() > MOST_BYTES => Some(format!(
            "it has {} bytes, and SQS takes {MOST_BYTES}",
            body.len()
        )),
        None => None,
    };
    let all = bodies.iter().enumerate();
    all.filter_map(|(at, body)| why(body).map(|why| format!("message {}: {why}", at + 1)))
        .collect()
}

/// The messages as SQS takes them.
pub fn outgoing(
    bodies: Vec<String>,
    options: &Send,
    queue: &Queue,
) -> Result<Vec<Outgoing>, RunError> {
    let wrong = |cause: &str, help: &str| {
        Err(RunError::new(
            Exit::USAGE,
            format!("cannot send to {}", queue.name()),
            cause,
        )
        .with_help(help))
    };
    let delay = match options.delay.as_deref().map(Period::parse) {
        None => None,
        Some(Some(delay)) if delay.0 <= LONGEST_DELAY => Some(delay.0),
        Some(_) => {
            return wrong(
                "--delay is not a time of at most 15m",
                "write one such as 30s",
            );
        }
    };
    match (queue.is_fifo(), &options.group, delay) {
        (true, None, _) => {
            return wrong(
                "the queue is FIFO",
                "say whose order the messages keep: --group",
            );
        }
        (true, _, Some(_)) => {
            return wrong(
                "the queue is FIFO, which delays no single message",
                "leave out --delay",
            );
        }
        (false, Some(_), _) => return wrong("the queue is not FIFO", "leave out --group"),
        _ => {}
    }
    let message = |body| Outgoing {
        body,
        group: options.group.clone(),
        delay,
        ..Outgoing::default()
    };
    Ok(bodies.into_iter().map(message).collect())
}

/// A message as one line of JSON.
pub fn shown(message: &Received) -> String {
    let attributes: Map<String, Json> = message
        .attributes
        .iter()
        .map(|attribute| {
            let value = match &attribute.value {
                Value::Text(text) => json!(text),
                Value::Bytes(bytes) => json!(format!("({} bytes)", bytes.len())),
            };
            (attribute.name.clone(), value)
        })
        .collect();
    let line = json!({
        "id": message.id,
        "receive_count": message.receives,
        "sent_at": message.sent_at.map(rfc3339),
        "group": message.group,
        "attributes": attributes,
        "body": message.body,
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_one_after_the_other_and_keep_their_words() {
        let text = "{\"uuid\": 1.0}\n\n[1,\n 2] \"x\"";
        assert_eq!(
            values("f", text).unwrap(),
            ["{\"uuid\": 1.0}", "[1,\n 2]", "\"x\""]
        );
        let error = values("f", "{\"a\": 1}\n{CANARY}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot send f: what stands at line 2, column 2 is not JSON"
        );
    }
}
