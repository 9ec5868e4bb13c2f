//! ECS task protection: while a message is in hand, neither a scale-in nor a deployment ends the task.
//!
//! `PUT $ECS_AGENT_URI/task-protection/v1/state` (Amazon ECS developer guide, "Task scale-in protection endpoint").
//! It is asked for before a message is handed over, renewed well before it ends, and taken back before the next
//! receive once nothing is in hand, in none of the role's queues: a task has one protection. It does not hold against
//! Spot, StopTask and failing hosts: those send SIGTERM.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::engine::poll::fact::Fact;
use crate::engine::world::World;
use crate::outcome::{Exit, RunError};
use crate::roles::spec::TaskProtection;
use crate::sys::http::{self, Request};

/// How long a protection holds without being renewed, in minutes; ECS takes 1 to 2880.
const MINUTES: u64 = 20;

/// When it is renewed.
const RENEWED: Duration = Duration::from_secs(MINUTES * 60 / 3);

/// After so long without a gap no more messages are received until nothing is in hand, so that a busy queue cannot
/// hold up a deployment for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// The agent is on the same host and asks ECS.
const LIMIT: Duration = Duration::from_secs(10);

/// What the queues of a task share.
#[derive(Default)]
pub struct Shared {
    /// One call at a time.
    calls: tokio::sync::Mutex<()>,
    /// How many queues need the protection.
    holders: Cell<u32>,
}

/// The protection of this task, as one queue sees it.
pub struct Protection {
    /// The agent's endpoint; none where there is nothing to ask for.
    url: Option<String>,
    is_required: bool,
    /// Since when it holds without a gap, and when it was last granted.
    held: Cell<Option<(Instant, Instant)>>,
    warned: Cell<bool>,
    shared: Rc<Shared>,
    tell: Rc<dyn Fn(Fact)>,
    error: RefCell<String>,
}

impl Protection {
    /// # Errors
    /// Where it is required and this is no ECS task.
    pub fn new(
        wish: TaskProtection,
        world: &World,
        tell: Rc<dyn Fn(Fact)>,
    ) -> Result<Rc<Self>, RunError> {
        let agent = world
            .environment
            .iter()
            .find(|(name, _)| name == "ECS_AGENT_URI");
        let agent = agent
            .map(|(_, uri)| uri.to_string_lossy())
            .filter(|uri| !uri.is_empty());
        if wish == TaskProtection::Required && agent.is_none() {
            let doing =
                "cannot protect the task while it works, as `task_protection: required` wants";
            return Err(
                RunError::new(Exit::CONFIG, doing, "ECS_AGENT_URI is not set").with_help(
                    "run it as a task of an ECS service, or write `task_protection: auto`",
                ),
            );
        }
        let url = agent
            .filter(|_| wish != TaskProtection::Off)
            .map(|uri| format!("{}/task-protection/v1/state", uri.trim_end_matches('/')));
        Ok(Rc::new(Self {
            url,
            is_required: wish == TaskProtection::Required,
            held: Cell::new(None),
            warned: Cell::new(false),
            shared: world.protection.clone(),
            tell,
            error: RefCell::default(),
        }))
    }

    /// Asks for it where it does not hold; false where messages must not be handled without.
    pub async fn hold(&self) -> bool {
        if self.held.get().is_some() {
            return true;
        }
        let _alone = self.shared.calls.lock().await;
        if self.held.get().is_some() || self.put(true).await {
            return true;
        }
        !self.is_required
    }

    /// Takes it back: nothing is in hand.
    pub async fn release(&self) {
        if self.held.get().is_none() {
            return;
        }
        let _alone = self.shared.calls.lock().await;
        self.held.set(None);
        let left = self.shared.holders.get() - 1;
        self.shared.holders.set(left);
        if left == 0 {
            // What could not be taken back ends by itself.
            self.put(false).await;
        }
    }

    /// Whether it has held for so long that a gap is due.
    pub fn is_due_for_a_gap(&self) -> bool {
        self.held
            .get()
            .is_some_and(|(since, _)| since.elapsed() >= LONGEST)
    }

    /// Renews it in time; never returns.
    pub async fn renew(self: Rc<Self>) {
        loop {
            let due = self.held.get().map_or(RENEWED, |(_, granted)| {
                RENEWED.saturating_sub(granted.elapsed())
            });
            tokio::time::sleep(due.max(Duration::from_secs(1))).await;
            let _alone = self.shared.calls.lock().await;
            if self
                .held
                .get()
                .is_some_and(|(_, granted)| granted.elapsed() >= RENEWED)
            {
                self.put(true).await;
            }
        }
    }

    /// Why it was last refused.
    pub fn error(&self) -> String {
        self.error.borrow().clone()
    }

    /// Sets it; whether that was granted. Where there is nothing to ask for it is.
    async fn put(&self, enabled: bool) -> bool {
        let Some(url) = &self.url else { return true };
        let mut body = json!({ "ProtectionEnabled": enabled });
        if enabled {
            body["ExpiresInMinutes"] = json!(MINUTES);
        }
        let asked = Instant::now();
        let request = Request {
            method: "PUT".to_owned(),
            url: url.clone(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: Some(body.to_string().into_bytes()),
            timeout: LIMIT,
        };
        let why = match http::send(&request).await {
            Ok(answer) => refusal(answer.status, &answer.body_start),
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else {
            if enabled {
                let held = self.held.replace(Some((asked, asked)));
                match held {
                    Some((since, _)) => self.held.set(Some((since, asked))),
                    None => self.shared.holders.set(self.shared.holders.get() + 1),
                }
            }
            return true;
        };
        if !self.warned.replace(true) || self.is_required {
            let wish = if enabled { "protected" } else { "released" };
            let what = format!("the task cannot be {wish} (ECS task protection): {why}");
            (self.tell)(Fact::Trouble { what });
        }
        *self.error.borrow_mut() = why;
        false
    }
}

/// Why an answer is a refusal. The agent answers with 200 and a `failure`, too.
fn refusal(status: u16, body: &[u8]) -> Option<String> {
    let answer: Json = serde_json::from_slice(body).unwrap_or_default();
    let word = |kind: &str, key: &str| answer[kind][key].as_str().map(str::to_owned);
    let told = word("failure", "Reason")
        .or_else(|| word("error", "Code"))
        .or_else(|| {
            answer
                .get("failure")
                .or(answer.get("error"))
                .map(|_| "refused".to_owned())
        });
    match (status, told) {
        (200..300, None) => None,
        (_, Some(code)) => {
            let detail = word("failure", "Detail").or_else(|| word("error", "Message"));
            Some(crate::sys::aws::brief(&match detail {
                Some(detail) => format!("{code}: {detail}"),
                None => code,
            }))
        }
        (status, None) => Some(format!("the agent answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_may_come_with_200() {
        let granted = br#"{"protection": {"ProtectionEnabled": true, "TaskArn": "x"}}"#;
        assert_eq!(refusal(200, granted), None);
        let blocked = br#"{"failure": {"Arn": "x", "Reason": "DEPLOYMENT_BLOCKED", "Detail": "the service deploys"}}"#;
        assert_eq!(
            refusal(200, blocked).as_deref(),
            Some("DEPLOYMENT_BLOCKED: the service deploys")
        );
        let denied =
            br#"{"error": {"Arn": "x", "Code": "AccessDeniedException", "Message": "no"}}"#;
        assert_eq!(
            refusal(400, denied).as_deref(),
            Some("AccessDeniedException: no")
        );
        assert_eq!(refusal(500, b"").as_deref(), Some("the agent answered 500"));
    }
}
