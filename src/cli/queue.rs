//! `runner queue`: add tasks, count them, look at them, bring dead letters back; and the server of a laptop.

mod which;
mod words;

use std::process::ExitCode;
use std::rc::Rc;

use serde_json::json;

use super::args::{Depth, Global, Peek, Queue as Command, Send, Serve, Shown, Which};
use super::live::quietly;
use super::{print, say};
use crate::engine::Ending;
use crate::engine::tasks::{self, Manner};
use crate::engine::world::World;
use crate::outcome::{Exit, RunError};
use crate::queue_server::model::OnUse;
use crate::queue_server::{self, Config};

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
    let bodies = bodies(options).await?;
    let tasks = which::find(global, &options.which, world).await?;
    let misfits = tasks::misfits(&bodies, tasks.schema.as_ref());
    if !misfits.is_empty() {
        let all = misfits.join("\n  ");
        say(&format!("runner: cannot send: nothing was sent\n  {all}\n"));
        return Ok(Exit::FAILED);
    }
    let queue = tasks.open().await?;
    let manner = Manner {
        delay: options.delay.clone(),
        group: options.group.clone(),
        deduplication: options.deduplication.clone(),
    };
    let messages = tasks::outgoing(bodies, &manner, &queue).map_err(|unfit| {
        let what = match unfit.is_missing {
            true => "say it with",
            false => "look at",
        };
        let doing = format!("cannot send to {}", queue.name());
        RunError::new(Exit::USAGE, doing, unfit.cause).with_help(format!("{what} --{}", unfit.part))
    })?;
    let sent = tasks::send(&queue, &messages).await;
    print(&format!(
        "{} sent to {}\n",
        messages_of(sent.sent),
        sent.queue
    ));
    if sent.failed.is_empty() {
        return Ok(Exit::OK);
    }
    say(&format!(
        "runner: {} not sent\n  {}\n",
        match sent.missing {
            1 => "1 message was".to_owned(),
            n => format!("{n} messages were"),
        },
        sent.failed.join("\n  ")
    ));
    Ok(Exit::UNAVAILABLE)
}

/// Reads what is to be sent in a thread of its own: a stdin that never ends must not be in the way of a signal.
async fn bodies(options: &Send) -> Result<Vec<String>, Ending> {
    let options = options.clone();
    let read = tokio::task::spawn_blocking(move || words::bodies(&options)).await;
    let gone = |_| RunError::new(Exit::SOFTWARE, "cannot read what is to be sent", "");
    Ok(read.map_err(gone)??)
}

fn messages_of(count: usize) -> String {
    match count {
        1 => "1 message".to_owned(),
        n => format!("{n} messages"),
    }
}

async fn depth(global: &Global, options: &Depth, world: &Rc<World>) -> Result<Exit, Ending> {
    let tasks = which::find(global, &options.which, world).await?;
    let depth = tasks.depth(&tasks.open().await?).await?;
    match options.format {
        Shown::Json => print(&format!("{:#}\n", json!(depth))),
        Shown::Text => {
            let dead = match (depth.dead, &depth.dead_letter) {
                (Some(count), Some(name)) => format!("{count} in {name}"),
                _ => "no dead letters: the queue has no place for them".to_owned(),
            };
            print(&format!(
                "{}\n  visible:   {}\n  in flight: {}\n  delayed:   {}\n  dead:      {dead}\n",
                depth.queue, depth.visible, depth.in_flight, depth.delayed,
            ));
        }
    }
    Ok(Exit::OK)
}

async fn peek(global: &Global, options: &Peek, world: &Rc<World>) -> Result<Exit, Ending> {
    let tasks = which::find(global, &options.which, world).await?;
    let queue = tasks.open().await?;
    let peeked = tasks
        .peek(&queue, options.count.into(), options.dead)
        .await?;
    if !peeked.are_back {
        say("runner: the messages come back in 10s: they could not be given back at once\n");
    }
    for message in &peeked.messages {
        print(&format!("{}\n", tasks::shown(message)));
    }
    let name = &peeked.queue;
    say(&match peeked.messages.len() {
        0 => format!("no message of {name} can be received now\n"),
        n => format!("{n} of {name} shown; that counts as a receive of each\n"),
    });
    Ok(if peeked.messages.is_empty() {
        Exit::FAILED
    } else {
        Exit::OK
    })
}

async fn redrive(global: &Global, which: &Which, world: &Rc<World>) -> Result<Exit, Ending> {
    let tasks = which::find(global, which, world).await?;
    let moved = tasks.redrive(&tasks.open().await?).await?;
    let count = messages_of(usize::try_from(moved.messages).unwrap_or(usize::MAX));
    print(&format!(
        "SQS moves {count} of {} back to {}; `runner queue depth` shows how far it is\n",
        moved.from, moved.to
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
