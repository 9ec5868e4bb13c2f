//! Signals that come to `runner`, and the names of all of them.
//!
//! The handlers stand before anything else runs: the kernel drops what is sent to a PID 1 that has no handler for
//! it. SIGTERM and SIGINT ask for the stop; every other signal is only told, and the engine decides whether a
//! service is to have it.
//!
//! SIGQUIT is a stop too where nobody listens for it as one of his `forward_signals`: it is the STOPSIGNAL of nginx's
//! images, and of others that inherit from them, and a `docker stop` that did nothing until SIGKILL would be worse
//! than a stop that was meant otherwise.

use super::reason;
use crate::outcome::{Exit, RunError};
use crate::shutdown::{Reason, Switch};
use crate::signal::name;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;

/// The signals that ask for a stop.
const STOPPING: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// The signals that are told from the first moment; [`Signals::listen`] adds more.
const TOLD: [i32; 5] = [
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// How many signals may wait for a listener that is busy; of more, the oldest are lost.
const WAITING: usize = 64;

/// The signals that come to us. [`Signals::run`] must be running for them to be told.
#[derive(Debug)]
pub struct Signals {
    streams: RefCell<Vec<(i32, Signal)>>,
    /// Wakes `next`, which does not know yet of a stream that was added while it slept.
    waker: RefCell<Option<Waker>>,
    told: broadcast::Sender<i32>,
    switch: Rc<Switch>,
}

impl Signals {
    /// Installs the handlers; needs a running tokio runtime. SIGCHLD is the reaper's.
    ///
    /// Also unblocks every signal (a parent may have left some blocked) and ignores SIGXFSZ, so that a file size
    /// limit is an error of the write and not our death. Children start with neither.
    pub fn install(switch: Rc<Switch>) -> Result<Self, RunError> {
        let signals = Self {
            streams: RefCell::default(),
            waker: RefCell::default(),
            told: broadcast::channel(WAITING).0,
            switch,
        };
        for number in STOPPING.into_iter().chain(TOLD) {
            signals.listen(number)?;
        }
        // SAFETY: `none` is initialised before use, and SIG_IGN is a valid disposition.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        Ok(signals)
    }

    /// Listens for one more signal, such as one of a service's `forward_signals`.
    ///
    /// # Errors
    /// For a signal that nobody can catch (SIGKILL, SIGSTOP), that means a fault of our own (SIGSEGV, SIGILL,
    /// SIGFPE), or that does not exist.
    pub fn listen(&self, number: i32) -> Result<(), RunError> {
        let mut streams = self.streams.borrow_mut();
        if streams.iter().any(|(known, _)| *known == number) {
            return Ok(());
        }
        // tokio panics on these.
        let cannot = [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGSEGV,
            libc::SIGILL,
            libc::SIGFPE,
        ];
        let doing = || format!("cannot listen for {}", name(number));
        if cannot.contains(&number) || !(1..=libc::SIGRTMAX()).contains(&number) {
            return Err(RunError::new(
                Exit::CONFIG,
                doing(),
                "no program can catch it",
            ));
        }
        let stream = signal(SignalKind::from_raw(number))
            .map_err(|error| RunError::new(Exit::SOFTWARE, doing(), reason(&error)))?;
        streams.push((number, stream));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    /// From now on, hears every signal that comes.
    pub fn hear(&self) -> broadcast::Receiver<i32> {
        self.told.subscribe()
    }

    /// Tells signals to those who hear them, and turns the switch where they ask for a stop.
    pub async fn run(&self) -> Infallible {
        loop {
            self.next().await;
        }
    }

    /// Waits for the next signal, tells it, and returns its number. What asks for a stop has reached the switch by
    /// then.
    ///
    /// May be dropped and called again without losing a signal; equal signals that come together count once.
    async fn next(&self) -> i32 {
        let number = poll_fn(|cx| {
            self.waker.replace(Some(cx.waker().clone()));
            for (number, stream) in self.streams.borrow_mut().iter_mut() {
                if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await;
        let is_heard = self.told.send(number).is_ok();
        if STOPPING.contains(&number) || (number == libc::SIGQUIT && !is_heard) {
            self.switch.request(Reason::Signal(number));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::{self, Stage};
    use crate::sys::trial;

    fn raise(number: i32) {
        // SAFETY: sends a signal to ourselves.
        unsafe { libc::kill(libc::getpid(), number) };
    }

    #[test]
    fn a_stop_signal_turns_the_switch_and_a_second_one_turns_it_further() {
        let _alone = trial::alone();
        trial::on_runtime(async {
            let (switch, shutdown) = shutdown::channel();
            let signals = Signals::install(Rc::new(switch)).expect("handlers");
            raise(libc::SIGTERM);
            assert_eq!(signals.next().await, libc::SIGTERM);
            assert_eq!(shutdown.stage(), Stage::Stopping(Reason::Signal(15)));
            raise(libc::SIGINT);
            assert_eq!(signals.next().await, libc::SIGINT);
            assert_eq!(shutdown.stage(), Stage::Killing(Reason::Signal(2)));
        });
    }

    #[test]
    fn other_signals_are_told_and_stop_nothing_even_where_the_parent_blocked_them() {
        let _alone = trial::alone();
        trial::on_runtime(async {
            // SAFETY: the set is initialised by sigfillset.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            }
            let (switch, shutdown) = shutdown::channel();
            let signals = Signals::install(Rc::new(switch)).expect("handlers");
            let mut ear = signals.hear();
            let late = libc::SIGRTMIN() + 3;
            signals.listen(late).expect("one more");
            for number in TOLD.into_iter().chain([late]) {
                raise(number);
                assert_eq!(signals.next().await, number);
                assert_eq!(ear.recv().await, Ok(number));
            }
            assert!(!shutdown.is_requested());
        });
    }

    #[test]
    fn a_signal_that_is_listened_for_late_wakes_the_one_who_waits() {
        let _alone = trial::alone();
        trial::on_runtime(async {
            let (switch, _shutdown) = shutdown::channel();
            let signals = Rc::new(Signals::install(Rc::new(switch)).expect("handlers"));
            let mut ear = signals.hear();
            let running = signals.clone();
            tokio::task::spawn_local(async move { running.run().await });
            tokio::task::yield_now().await;
            signals.listen(libc::SIGURG).expect("one more");
            raise(libc::SIGURG);
            assert_eq!(ear.recv().await, Ok(libc::SIGURG));
        });
    }

    #[test]
    fn sigquit_that_nobody_hears_is_a_stop() {
        let _alone = trial::alone();
        trial::on_runtime(async {
            let (switch, shutdown) = shutdown::channel();
            let signals = Signals::install(Rc::new(switch)).expect("handlers");
            raise(libc::SIGUSR1);
            assert_eq!(signals.next().await, libc::SIGUSR1);
            assert!(!shutdown.is_requested());
            raise(libc::SIGQUIT);
            assert_eq!(signals.next().await, libc::SIGQUIT);
            assert_eq!(
                shutdown.stage(),
                Stage::Stopping(Reason::Signal(libc::SIGQUIT))
            );
        });
    }

    #[test]
    fn sigterm_reaches_a_pid_1() {
        trial::apart(libc::CLONE_NEWPID, || {
            trial::with_processes(|processes| async move {
                let (switch, shutdown) = shutdown::channel();
                let signals = Signals::install(Rc::new(switch)).expect("handlers");
                let sender = trial::sh("kill -TERM 1");
                processes.spawn(&sender).expect("it starts");
                assert_eq!(signals.next().await, libc::SIGTERM);
                assert!(shutdown.is_requested());
            });
        });
    }

    #[test]
    fn what_cannot_be_caught_is_an_error_and_no_panic() {
        let _alone = trial::alone();
        trial::on_runtime(async {
            let (switch, _shutdown) = shutdown::channel();
            let signals = Signals::install(Rc::new(switch)).expect("handlers");
            for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 65] {
                assert!(signals.listen(number).is_err(), "{number}");
            }
            let error = signals.listen(9).expect_err("SIGKILL").to_string();
            assert_eq!(error, "cannot listen for SIGKILL: no program can catch it");
        });
    }
}
