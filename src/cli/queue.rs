//! `runner queue`: add tasks, count them, look at them, bring dead letters back; and the server of a laptop.

mod which;
mod words;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::args::{Depth, Global, Peek, Queue as Command, Send, Serve, Shown, Which};
use super::live::quietly;
use super::{print, say};
use crate::engine::Ending;
use crate::engine::world::World;
use crate::outcome::{Exit, RunError};
use crate::queue_server::model::OnUse;
use crate::queue_server::{self, Config};
use crate::sys::queue::{Ask, Attributes, BATCH, Entry, EntryEnd, Outgoing, Queue, SLACK};
use which::Found;

/// How long messages that are looked at are hidden while more are asked for.
const LOOK: Duration = Duration::from_secs(10);

/// Does what is asked.
pub fn run(global: &Global, command: &Command) -> ExitCode {
    quietly(global, async |world: &Rc<World>| {
        let work = async {
            match command {
                Command::Send(options) => send(global, options, world).await,
                Command::Depth(options) => depth(global, options, world).await,
                Command::Peek(options) => peek(global, options, world).await,
                Command::Redrive(options) => redrive(global, options, world).await,
                Command::Serve(options) => return serve(options, world).await,
            }
        };
        // The server stops in order; everything else can be left at any time.
        if matches!(command, Command::Serve(_)) {
            return work.await;
        }
        tokio::select! {
            biased;
            () = world.shutdown.requested() => Err(Ending::Stopped),
            done = work => done,
        }
    })
}

async fn send(global: &Global, options: &Send, world: &Rc<World>) -> Result<Exit, Ending> {
    let bodies = words::bodies(options)?;
    let found = which::find(global, &options.which, world).await?;
    let misfits = words::misfits(&bodies, found.schema.as_ref());
    if !misfits.is_empty() {
        let all = misfits.join("\n  ");
        say(&format!("runner: cannot send: nothing was sent\n  {all}\n"));
        return Ok(Exit::FAILED);
    }
    let queue = found.open().await?;
    let messages = words::outgoing(bodies, options, &queue)?;
    let (mut sent, mut failed) = (0, Vec::new());
    let mut rest = messages.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(Outgoing::fitting(rest));
        let first = messages.len() - rest.len();
        for (at, end) in send_some(&queue, now).await.into_iter().enumerate() {
            match end {
                EntryEnd::Done => sent += 1,
                EntryEnd::Refused(why) | EntryEnd::Failed(why) => {
                    failed.push(format!("message {}: {why}", first + at + 1));
                }
            }
        }
        rest = later;
    }
    let of = if sent == 1 { "message" } else { "messages" };
    print(&format!("{sent} {of} sent to {}\n", queue.name()));
    if failed.is_empty() {
        return Ok(Exit::OK);
    }
    say(&format!(
        "runner: {} were not sent\n  {}\n",
        failed.len(),
        failed.join("\n  ")
    ));
    Ok(Exit::UNAVAILABLE)
}

/// Sends one batch; what failed for a moment is tried a second and a third time.
async fn send_some(queue: &Queue, messages: &[Outgoing]) -> Vec<EntryEnd> {
    let mut ends = vec![EntryEnd::Failed("not tried".to_owned()); messages.len()];
    for pause in [0, 1, 3] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let left: Vec<usize> = (0..messages.len())
            .filter(|at| matches!(ends[*at], EntryEnd::Failed(_)))
            .collect();
        if left.is_empty() {
            break;
        }
        let some: Vec<Outgoing> = left.iter().map(|at| messages[*at].clone()).collect();
        match queue.send(&some).await {
            Ok(new) => left.iter().zip(new).for_each(|(at, end)| ends[*at] = end),
            Err(error) => {
                let text = error.error.to_string();
                let end = match error.again {
                    crate::sys::queue::Again::No => EntryEnd::Refused(text),
                    _ => EntryEnd::Failed(text),
                };
                left.iter().for_each(|at| ends[*at] = end.clone());
            }
        }
    }
    ends
}

async fn depth(global: &Global, options: &Depth, world: &Rc<World>) -> Result<Exit, Ending> {
    let found = which::find(global, &options.which, world).await?;
    let queue = found.open().await?;
    let counts = queue.attributes().await.map_err(RunError::from)?;
    let dead = match found.open_dead(&counts).await? {
        Some(dead) => {
            let counts = dead.attributes().await.map_err(RunError::from)?;
            Some((dead.name().to_owned(), counts))
        }
        None => None,
    };
    let all = |counts: &Attributes| counts.visible + counts.in_flight + counts.delayed;
    match options.format {
        Shown::Json => {
            let value = json!({
                "queue": queue.name(),
                "visible": counts.visible,
                "in_flight": counts.in_flight,
                "delayed": counts.delayed,
                "dead": dead.as_ref().map(|(_, counts)| all(counts)),
                "dead_letter": dead.as_ref().map(|(name, _)| name),
            });
            print(&format!("{value:#}\n"));
        }
        Shown::Text => {
            let dead = match &dead {
                Some((name, counts)) => format!("{} in {name}", all(counts)),
                None => "no dead letters: the queue has no place for them".to_owned(),
            };
            print(&format!(
                "{}\n  visible:   {}\n  in flight: {}\n  delayed:   {}\n  dead:      {dead}\n",
                queue.name(),
                counts.visible,
                counts.in_flight,
                counts.delayed,
            ));
        }
    }
    Ok(Exit::OK)
}

async fn peek(global: &Global, options: &Peek, world: &Rc<World>) -> Result<Exit, Ending> {
    let found = which::find(global, &options.which, world).await?;
    let queue = found.open().await?;
    let queue = match options.dead {
        true => dead(&found, &queue).await?,
        false => queue,
    };
    let mut messages = Vec::new();
    while messages.len() < usize::from(options.count) {
        let received = queue.receive(Ask {
            most: (usize::from(options.count) - messages.len()).min(BATCH),
            wait: Duration::from_secs(1),
            visibility: Some(LOOK),
            attempt: None,
        });
        let received = received.await.map_err(RunError::from)?;
        if received.is_empty() {
            break;
        }
        messages.extend(received);
    }
    let back: Vec<Entry> = messages
        .iter()
        .map(|message| Entry {
            handle: message.handle.clone(),
            time: Duration::ZERO,
        })
        .collect();
    if !back.is_empty() && queue.hide(&back, SLACK).await.is_err() {
        say("runner: the messages come back in 10s: they could not be given back at once\n");
    }
    for message in &messages {
        print(&words::shown(message));
    }
    let name = queue.name();
    say(&match messages.len() {
        0 => format!("no message of {name} can be received now\n"),
        n => format!("{n} of {name} shown; that counts as a receive of each\n"),
    });
    Ok(if messages.is_empty() {
        Exit::FAILED
    } else {
        Exit::OK
    })
}

async fn dead(found: &Found, queue: &Queue) -> Result<Queue, Ending> {
    let attributes = queue.attributes().await.map_err(RunError::from)?;
    let dead = found.open_dead(&attributes).await?;
    dead.ok_or_else(|| {
        let doing = format!("cannot find the dead letters of {}", queue.name());
        let cause =
            "neither roles.yaml (`dead_letter`) nor the queue itself names a place for them";
        RunError::new(Exit::CONFIG, doing, cause).into()
    })
}

async fn redrive(global: &Global, which: &Which, world: &Rc<World>) -> Result<Exit, Ending> {
    let found = which::find(global, which, world).await?;
    let queue = found.open().await?;
    let dead = dead(&found, &queue).await?;
    let to = queue.attributes().await.map_err(RunError::from)?;
    let from = dead.attributes().await.map_err(RunError::from)?;
    dead.redrive(&from.arn, Some(&to.arn))
        .await
        .map_err(RunError::from)?;
    print(&format!(
        "SQS moves {} messages of {} back to {}; `runner queue depth` shows how far it is\n",
        from.visible,
        dead.name(),
        queue.name()
    ));
    Ok(Exit::OK)
}

async fn serve(options: &Serve, world: &Rc<World>) -> Result<Exit, Ending> {
    let config = Config {
        listen: options.listen,
        journal: options.journal.clone(),
        on_use: match options.strict {
            true => OnUse::Refuse,
            false => OnUse::CreateWithDeadLetters {
                max_receives: options.max_receives,
            },
        },
        ..Config::default()
    };
    let kept = match &options.journal {
        Some(path) => format!("kept in {}", path.display()),
        None => "kept in memory only".to_owned(),
    };
    if !options.listen.ip().is_loopback() {
        say("runner: it asks for no credentials, and now others than this machine can reach it\n");
    }
    let bound = |address| say(&format!("queues are served on http://{address}, {kept}\n"));
    queue_server::serve(config, world.shutdown.clone(), bound).await?;
    Ok(Exit::OK)
}
