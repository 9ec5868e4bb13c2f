//! The queue's own HTTP endpoint: what `runner queue send`, `depth`, `peek` and `redrive` do, for those who have the
//! token. Off unless roles.yaml asks for it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::fact::Fact;
use crate::diag::nearest;
use crate::engine::steps::Cx;
use crate::engine::tasks::{self, Manner, Tasks};
use crate::outcome::{Exit, RunError};
use crate::roles::spec;
use crate::shutdown::Shutdown;
use crate::sys::queue::{BATCH, Queue};
use crate::sys::serve::{self, Answer, Head, Service};
use crate::target::Target;

/// How long requests under way may take once a stop was asked for.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often it is told at most that somebody was turned away: whoever guesses tokens does not fill the log.
const TOLD: Duration = Duration::from_secs(10);

/// The shortest token that is taken, in bytes: a shorter one can be found by trying.
const SHORTEST: usize = 16;

/// The paths and what can be asked of each.
const PATHS: &[(&str, &[&str])] = &[
    ("/messages", &["GET", "POST"]),
    ("/depth", &["GET"]),
    ("/redrive", &["POST"]),
];

/// The endpoint of one queue.
pub struct Api {
    listener: TcpListener,
    door: Rc<Door>,
}

/// What answers.
struct Door {
    token: String,
    tasks: Tasks,
    queue: Queue,
    tell: Rc<dyn Fn(Fact)>,
    /// When somebody was last told to have been turned away, and how many were since.
    turned_away: Cell<(Option<Instant>, u64)>,
}

impl Api {
    /// Listens.
    ///
    /// # Errors
    /// 78 where address or token cannot be used, 69 where the address cannot be had.
    pub async fn open(
        spec: &spec::Queue,
        api: &spec::Api,
        queue: Queue,
        cx: &Cx,
        tell: &Rc<dyn Fn(Fact)>,
    ) -> Result<Self, RunError> {
        let listen = cx.text(&api.listen)?;
        let doing = || format!("cannot listen on {listen} for tasks of {}", queue.name());
        let wrong = |cause: &str, help: &str| {
            RunError::new(Exit::CONFIG, doing(), cause.to_owned()).with_help(help.to_owned())
        };
        let target =
            Target::parse_tcp(&listen).map_err(|error| wrong(&error.message, &error.help))?;
        let token = cx.text(&api.token)?;
        if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let cause = match token.is_empty() {
                true => "its token is empty",
                false => "its token is too short, or has characters that no header can hold",
            };
            let help =
                "take 16 or more letters and digits, such as those of `openssl rand -hex 32`";
            return Err(wrong(cause, help));
        }
        let cannot = |error: std::io::Error| {
            RunError::new(Exit::UNAVAILABLE, doing(), crate::sys::reason(&error))
        };
        let address = (target.host.as_str(), target.port);
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        tell(Fact::Listening { address });
        let door = Rc::new(Door {
            token,
            tasks: Tasks::of(spec, cx)?,
            queue,
            tell: tell.clone(),
            turned_away: Cell::default(),
        });
        Ok(Self { listener, door })
    }

    /// Serves until the stop.
    pub async fn serve(self, shutdown: Shutdown) {
        serve::serve(self.listener, self.door, &shutdown, GRACE).await;
    }
}

impl Service for Door {
    const MAX_BODY: usize = 12 << 20;

    fn admit(&self, head: &Head) -> Result<(), Answer> {
        if head.is_of_web_page() {
            return Err(refused(403, "this endpoint does not serve web pages"));
        }
        let given = head.header("authorization").and_then(bearer);
        if !given.is_some_and(|given| is_same(given.as_bytes(), self.token.as_bytes())) {
            self.turn_away(head.peer);
            let help = "every request needs the header `Authorization: Bearer TOKEN`";
            return Err(refused(401, help).header("www-authenticate", "Bearer"));
        }
        let known = PATHS.iter().find(|(path, _)| *path == head.path());
        let Some((_, methods)) = known else {
            let paths: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
            let text = format!("there is no such path; there are {}", paths.join(", "));
            return Err(refused(404, &text));
        };
        if !methods.contains(&head.method()) {
            let methods = methods.join(", ");
            let text = format!("{} takes {methods}", head.path());
            return Err(refused(405, &text).header("allow", methods));
        }
        Ok(())
    }

    fn too_long(&self) -> Answer {
        let most = Self::MAX_BODY;
        refused(
            413,
            &format!("a request may have {most} bytes; send several"),
        )
    }

    fn cannot_accept(&self, why: String) {
        let what = format!("cannot accept a connection of who adds tasks: {why}");
        (self.tell)(Fact::Trouble { what });
    }

    async fn answer(&self, head: &Head, body: Vec<u8>) -> Option<Answer> {
        let answered = match (head.method(), head.path()) {
            ("POST", "/messages") => self.send(head, body).await,
            ("GET", "/messages") => self.peek(head).await,
            ("POST", "/redrive") => self.redrive(head).await,
            _ => self.depth(head).await,
        };
        Some(answered.unwrap_or_else(|refusal| refusal))
    }
}

impl Door {
    async fn send(&self, head: &Head, body: Vec<u8>) -> Result<Answer, Answer> {
        let mut manner = Manner::default();
        for (name, value) in parameters(head, &["delay", "group", "deduplication"])? {
            let part = match name.as_str() {
                "delay" => &mut manner.delay,
                "group" => &mut manner.group,
                _ => &mut manner.deduplication,
            };
            *part = Some(value);
        }
        let text = String::from_utf8(body).map_err(|_| refused(400, "the body is not UTF-8"))?;
        let bodies = match head.header("content-type") {
            Some(kind) if kind.starts_with("text/plain") => vec![text],
            _ => tasks::values(&text).map_err(|why| refused(400, &why))?,
        };
        if bodies.is_empty() {
            return Err(refused(400, "there is no message in the body"));
        }
        let misfits = tasks::misfits(&bodies, self.tasks.schema.as_ref());
        if !misfits.is_empty() {
            let body = json!({"error": "nothing was sent", "messages": misfits});
            return Err(answer(422, &body));
        }
        let messages = tasks::outgoing(bodies, &manner, &self.queue)
            .map_err(|unfit| refused(400, &unfit.cause))?;
        let sent = tasks::send(&self.queue, &messages).await;
        (self.tell)(Fact::Added {
            count: sent.sent,
            failed: sent.missing,
            peer: head.peer,
        });
        let status = if sent.failed.is_empty() { 200 } else { 502 };
        Ok(answer(status, &json!(sent)))
    }

    async fn depth(&self, head: &Head) -> Result<Answer, Answer> {
        parameters(head, &[])?;
        let depth = self.tasks.depth(&self.queue).await.map_err(unavailable)?;
        Ok(answer(200, &json!(depth)))
    }

    async fn peek(&self, head: &Head) -> Result<Answer, Answer> {
        let (mut count, mut is_of_dead) = (1, false);
        for (name, value) in parameters(head, &["count", "dead"])? {
            let wrong = |expected: &str| refused(400, &format!("`{name}` is not {expected}"));
            match name.as_str() {
                "count" => {
                    let number = value.parse().ok().filter(|n| (1..=BATCH).contains(n));
                    count = number.ok_or_else(|| wrong("a number from 1 to 10"))?;
                }
                _ => is_of_dead = value.parse().map_err(|_| wrong("true or false"))?,
            }
        }
        let peeked = self.tasks.peek(&self.queue, count, is_of_dead).await;
        let peeked = peeked.map_err(unavailable)?;
        let messages: Vec<Json> = peeked.messages.iter().map(tasks::shown).collect();
        let body = json!({"queue": peeked.queue, "messages": messages});
        Ok(answer(200, &body))
    }

    async fn redrive(&self, head: &Head) -> Result<Answer, Answer> {
        parameters(head, &[])?;
        let moved = self.tasks.redrive(&self.queue).await.map_err(unavailable)?;
        Ok(answer(200, &json!(moved)))
    }

    fn turn_away(&self, peer: SocketAddr) {
        let (told, since) = self.turned_away.get();
        let now = Instant::now();
        if told.is_some_and(|told| now < told + TOLD) {
            return self.turned_away.set((told, since + 1));
        }
        self.turned_away.set((Some(now), 0));
        let others = match since {
            0 => String::new(),
            n => format!("; {n} more were since the last one told"),
        };
        let what = format!("{peer} was turned away without the token{others}");
        (self.tell)(Fact::Trouble { what });
    }
}

/// The parameters of a request; one that is not known is refused.
fn parameters(head: &Head, known: &[&str]) -> Result<Vec<(String, String)>, Answer> {
    let given = head.parameters();
    let strange = given.iter().find(|(name, _)| !known.contains(&&**name));
    let Some((name, _)) = strange else {
        return Ok(given);
    };
    let help = match (nearest(name, known.iter().copied()), known) {
        (_, []) => "it takes none".to_owned(),
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, known) => format!("it takes {}", known.join(", ")),
    };
    let name = name.escape_debug();
    Err(refused(
        400,
        &format!("there is no parameter `{name}`: {help}"),
    ))
}

/// The token of `Bearer TOKEN`; the scheme's case does not count (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Compares in a time that does not tell where the first difference is.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

fn answer(status: u16, body: &Json) -> Answer {
    Answer::new(status, "application/json", format!("{body}\n"))
}

fn refused(status: u16, why: &str) -> Answer {
    answer(status, &json!({"error": why}))
}

fn unavailable(error: RunError) -> Answer {
    refused(503, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_its_scheme_in_any_case() {
        assert_eq!(bearer("bEaReR  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("Bearer"), None);
        assert!(is_same(b"abc", b"abc"));
        assert!(!is_same(b"abc", b"abd") && !is_same(b"abc", b"abcd") && !is_same(b"", b"a"));
    }
}
