//! `command`: one process a message, the body on its stdin.

use super::{Task, Verdict, is_missing, millis};
use crate::engine::child::{self, Run};
use crate::engine::event::shown;
use crate::engine::steps::Cx;
use crate::roles::spec;
use crate::sys::process::Input;
use crate::sys::queue::Value;
use crate::sys::relay::frame::Label;

/// The code that rejects a message; BSD's EX_DATAERR.
const REJECT: i32 = 65;

/// A program that is started for each message.
pub struct Command {
    pub(super) spec: spec::Handler,
    pub(super) member: String,
    pub(super) cx: Cx,
}

impl Command {
    pub(super) async fn handle(&self, task: &Task<'_>) -> Verdict {
        let Some(words) = &self.spec.command else {
            return Verdict::retry("the handler has no program");
        };
        let (dir, user) = (self.spec.working_dir.as_ref(), self.spec.user.as_ref());
        let mut launch = match self.cx.launch(words, &self.spec.environment, dir, user) {
            Ok(launch) => launch,
            Err(error) => return Verdict::Broken(error),
        };
        let variables = variables(task)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        launch.environment = child::with_variables(&launch.environment, variables);
        launch.input = Input::Pipe;
        let program = launch.program.to_string_lossy().into_owned();
        let label = Label {
            member: self.member.clone(),
            replica: None,
        };
        let limit = self.spec.timeout.map(|limit| limit.0);
        let body = task.message.body.clone().into_bytes();
        match child::run_fed(&self.cx.world, launch, &label, limit, task.stop, body).await {
            Err(error) if is_missing(&error) => Verdict::Broken(error),
            Err(error) => Verdict::retry(error.to_string()),
            Ok(Run::Stopped) => Verdict::Stopped,
            Ok(Run::TimedOut) => {
                let limit = shown(limit.unwrap_or_default());
                Verdict::retry(format!("`{program}` took longer than {limit}"))
            }
            Ok(Run::Ended(ended)) => match ended.code {
                Some(0) => Verdict::Done,
                Some(REJECT) => Verdict::Reject {
                    reason: format!("`{program}` {ended}"),
                },
                _ => Verdict::retry(format!("`{program}` {ended}")),
            },
        }
    }
}

/// What the program is told beside the body.
fn variables(task: &Task<'_>) -> Vec<(String, String)> {
    let message = task.message;
    let mut all = vec![
        ("QUEUE_NAME".to_owned(), task.queue.to_owned()),
        ("QUEUE_MESSAGE_ID".to_owned(), message.id.clone()),
        (
            "QUEUE_RECEIVE_COUNT".to_owned(),
            message.receives.to_string(),
        ),
    ];
    let times = [
        ("QUEUE_SENT_AT_MS", message.sent_at),
        ("QUEUE_FIRST_RECEIVED_AT_MS", message.first_received_at),
    ];
    for (name, time) in times {
        all.extend(time.map(|time| (name.to_owned(), millis(time))));
    }
    all.extend(
        message
            .group
            .clone()
            .map(|group| ("QUEUE_MESSAGE_GROUP_ID".to_owned(), group)),
    );
    for attribute in &message.attributes {
        let Value::Text(text) = &attribute.value else {
            continue;
        };
        let name: String = attribute
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        all.push((format!("QUEUE_ATTRIBUTE_{name}"), text.clone()));
    }
    // No variable can hold a NUL; without one the message must still be handled.
    all.retain(|(_, value)| !value.contains('\0'));
    all
}
