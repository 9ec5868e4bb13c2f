//! One worker's keeper: starts it, hands it messages, listens to it, starts the next one when it dies.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::process::{Turn, Worker};
use super::words::{self, Said};
use super::{Job, Verdict};
use crate::engine::backoff::{Backoff, Dice};
use crate::engine::child;
use crate::engine::event::shown;
use crate::engine::handler::is_missing;
use crate::engine::poll::fact::Fact;
use crate::engine::steps::{self, Cx};
use crate::outcome::RunError;
use crate::roles::scalar::Command;
use crate::roles::spec;
use crate::sys::relay::frame::Label;

/// The pauses before a worker is started again.
const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(200),
    factor: 2.0,
    max: Duration::from_secs(30),
    jitter: 0.1,
};

/// A worker that lived as long as this and then died did not fail to start.
const LIVED: Duration = Duration::from_secs(60);

/// After so many workers in a row that died before they read a message the handler counts as broken: no message is to
/// blame, and the platform should see it.
const STARTS: u32 = 5;

/// How long a worker has between its closed stdin and SIGTERM, and between that and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Keeps one worker going.
pub(super) struct Keeper {
    spec: spec::Handler,
    words: Command,
    label: Label,
    number: u32,
    cx: Cx,
    tell: Rc<dyn Fn(Fact)>,
    dice: Dice,
    /// Workers in a row that died before they read a message.
    failed_starts: u32,
    /// Workers in a row that ended in any way but the stop, since the last answer.
    deaths: u32,
}

/// How a worker's life ended.
enum End {
    /// No message will come any more.
    NoMore,
    /// It died, or was ended; perhaps with a message that it never read.
    Died { how: String, unread: Option<Job> },
}

impl Keeper {
    pub(super) fn new(
        spec: spec::Handler,
        label: Label,
        number: u32,
        cx: Cx,
        tell: Rc<dyn Fn(Fact)>,
    ) -> Result<Self, RunError> {
        let words = spec.worker.clone().unwrap_or_else(|| Command(Vec::new()));
        // What is wrong with its words is found before a message comes.
        cx.launch(
            &words,
            &spec.environment,
            spec.working_dir.as_ref(),
            spec.user.as_ref(),
        )?;
        Ok(Self {
            spec,
            words,
            label,
            number,
            cx,
            tell,
            dice: Dice::new(steps::seed()),
            failed_starts: 0,
            deaths: 0,
        })
    }

    /// Until no more messages come.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut carried: Option<Job> = None;
        loop {
            let worker = match self.start() {
                Ok(worker) => worker,
                Err(error) => {
                    let job = match carried.take() {
                        Some(job) => Some(job),
                        None => jobs.recv().await,
                    };
                    let Some(job) = job else { return };
                    // Something may pass: memory, processes. What is missing stays so.
                    let verdict = match is_missing(&error) {
                        true => Verdict::Broken(error),
                        false => Verdict::retry(error.to_string()),
                    };
                    let _ = job.answer.send(verdict);
                    continue;
                }
            };
            let (pid, started) = (worker.process.pid(), Instant::now());
            (self.tell)(Fact::WorkerStarted {
                pid,
                number: self.number,
            });
            let (how, unread) = match self.live(worker, &mut jobs, carried.take()).await {
                End::NoMore => return,
                End::Died { how, unread } => (how, unread),
            };
            carried = unread;
            let pause = self.pause(started.elapsed());
            (self.tell)(Fact::WorkerEnded {
                pid,
                number: self.number,
                how: how.clone(),
                pause,
            });
            if self.failed_starts >= STARTS
                && let Some(job) = carried.take()
            {
                let _ = job.answer.send(Verdict::Broken(self.broken(&how)));
            }
            if !self.rest(pause, &mut jobs, &mut carried).await {
                return;
            }
        }
    }

    fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= LIVED {
            (self.failed_starts, self.deaths) = (0, 0);
        }
        self.deaths += 1;
        // The first death is an accident, and the next one waits.
        match self.deaths {
            1 => Duration::ZERO,
            n => PAUSES.pause(n - 2, self.dice.roll()),
        }
    }

    fn broken(&self, how: &str) -> RunError {
        let program = self.words.line();
        RunError::new(
            crate::outcome::Exit::FAILED,
            format!("the worker `{program}` cannot do its work"),
            format!(
                "{} times in a row it {how} before it read a message",
                self.failed_starts
            ),
        )
        .with_help("its own words stand above")
    }

    /// The pause before the next start; false when no message will come any more. A message whose stop comes first is
    /// answered.
    async fn rest(
        &self,
        pause: Duration,
        jobs: &mut mpsc::Receiver<Job>,
        carried: &mut Option<Job>,
    ) -> bool {
        let over = Instant::now() + pause;
        loop {
            let stopped = async {
                match carried.as_ref() {
                    Some(job) => job.stop.requested().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped => {}
                () = tokio::time::sleep_until(over) => return true,
                job = jobs.recv(), if carried.is_none() => match job {
                    Some(job) => {
                        *carried = Some(job);
                        continue;
                    }
                    None => return false,
                },
            }
            if let Some(job) = carried.take() {
                let _ = job.answer.send(Verdict::Stopped);
            }
        }
    }

    fn start(&self) -> Result<Worker, RunError> {
        let spec = &self.spec;
        let (dir, user) = (spec.working_dir.as_ref(), spec.user.as_ref());
        let mut launch = self.cx.launch(&self.words, &spec.environment, dir, user)?;
        launch.input = crate::sys::process::Input::Pipe;
        let world = &self.cx.world;
        let spawned = world
            .processes
            .spawn(&launch)
            .map_err(|error| child::start_error(&launch, &error))?;
        Worker::new(spawned, &self.label, world)
    }

    /// From a worker's first message to its end.
    async fn live(
        &mut self,
        mut worker: Worker,
        jobs: &mut mpsc::Receiver<Job>,
        mut carried: Option<Job>,
    ) -> End {
        let mut previous = String::new();
        let mut has_read = false;
        loop {
            let job = match carried.take() {
                Some(job) => job,
                None => tokio::select! {
                    line = worker.line() => match line {
                        Some(line) => match self.idle_line(&mut worker, &line, &previous) {
                            Ok(()) => continue,
                            Err(why) => return self.died(worker, Some(why), None, has_read).await,
                        },
                        None => return self.died(worker, None, None, has_read).await,
                    },
                    job = jobs.recv() => match job {
                        Some(job) => job,
                        None => {
                            worker.farewell(GRACE).await;
                            return End::NoMore;
                        }
                    },
                },
            };
            let id = job.id.clone();
            match self.serve(&mut worker, job, &previous).await {
                Served::Answered => {
                    has_read = true;
                    (self.failed_starts, self.deaths) = (0, 0);
                }
                Served::Ended { why, unread, read } => {
                    let has_read = has_read || read;
                    return self.died(worker, why, unread, has_read).await;
                }
            }
            previous = id;
        }
    }

    /// A line while no message is in hand.
    fn idle_line(&self, worker: &mut Worker, line: &[u8], previous: &str) -> Result<(), String> {
        match words::read(line) {
            Said::Output => worker.say(line),
            Said::Answer { id, .. } if id == previous => self.twice(),
            Said::Answer { .. } => {
                return Err("answered for a message that it does not have".to_owned());
            }
            Said::Garbage(why) => return Err(format!("gave {why}")),
        }
        Ok(())
    }

    fn twice(&self) {
        let what = format!(
            "worker {} answered twice for a message; the first answer counts",
            self.number
        );
        (self.tell)(Fact::Trouble { what });
    }

    async fn died(
        &mut self,
        mut worker: Worker,
        why: Option<String>,
        unread: Option<Job>,
        has_read: bool,
    ) -> End {
        let ended = worker.kill().await;
        self.failed_starts = if has_read { 0 } else { self.failed_starts + 1 };
        let how = why.unwrap_or_else(|| ended.to_string());
        End::Died { how, unread }
    }

    /// Gives one message to the worker and waits for its answer.
    async fn serve(&mut self, worker: &mut Worker, job: Job, previous: &str) -> Served {
        let deadline = job.limit.map(|limit| Instant::now() + limit);
        let (mut written, mut asked_to_stop) = (0, false);
        loop {
            let time_up = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = job.stop.kill_requested() => {
                    let _ = job.answer.send(Verdict::Stopped);
                    return Served::ended("was killed, as its message is not to go on");
                }
                () = job.stop.requested(), if !asked_to_stop => {
                    asked_to_stop = true;
                    let _ = worker.process.signal(libc::SIGTERM);
                }
                () = time_up => {
                    let limit = shown(job.limit.unwrap_or_default());
                    let why = format!("did not answer within {limit}");
                    let _ = job.answer.send(Verdict::retry(format!("the worker {why}")));
                    return Served::ended(&why);
                }
                turn = worker.turn(&job.line[written..]) => match turn {
                    Turn::Took(count) => written += count,
                    Turn::Said(None) => return self.lost_voice(worker, job, written).await,
                    Turn::Said(Some(line)) => match words::read(&line) {
                        Said::Output => worker.say(&line),
                        Said::Answer { id, verdict } if id == job.id => {
                            let _ = job.answer.send(verdict);
                            return Served::Answered;
                        }
                        Said::Answer { id, .. } if id == previous => self.twice(),
                        Said::Answer { .. } => {
                            return wrong(job, "answered for a message that it does not have");
                        }
                        Said::Garbage(why) => return wrong(job, &format!("gave {why}")),
                    },
                },
            }
        }
    }

    /// The worker's stdout ended while it had a message: it died, or is as good as dead.
    async fn lost_voice(&self, worker: &mut Worker, job: Job, written: usize) -> Served {
        // Counted before its end, which closes nothing of ours.
        let unread = worker.unread() >= written;
        let ended = worker.kill().await;
        if job.stop.is_requested() {
            let _ = job.answer.send(Verdict::Stopped);
            return Served::Ended {
                why: Some(ended.to_string()),
                unread: None,
                read: true,
            };
        }
        if unread {
            return Served::Ended {
                why: Some(ended.to_string()),
                unread: Some(job),
                read: false,
            };
        }
        let _ = job
            .answer
            .send(Verdict::retry(format!("the worker {ended}")));
        Served::Ended {
            why: Some(ended.to_string()),
            unread: None,
            read: true,
        }
    }
}

/// How the handing over of one message ended.
enum Served {
    /// With an answer.
    Answered,
    /// With the worker's end.
    Ended {
        why: Option<String>,
        /// The message, where the worker never read it.
        unread: Option<Job>,
        read: bool,
    },
}

impl Served {
    fn ended(why: &str) -> Self {
        Served::Ended {
            why: Some(why.to_owned()),
            unread: None,
            read: true,
        }
    }
}

fn wrong(job: Job, why: &str) -> Served {
    let answer: oneshot::Sender<Verdict> = job.answer;
    let _ = answer.send(Verdict::retry(format!("the worker {why}")));
    Served::ended(why)
}
