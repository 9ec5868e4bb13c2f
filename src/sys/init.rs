//! What `runner` is among the processes: whether orphans come to it.
//!
//! Only a process that orphans come to can reap and end what its children leave behind.

use super::errno_text;
use std::fmt;
use std::io;

/// Where the orphans of our children go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To us: we are the first process of the PID namespace.
    Pid1,
    /// To us: the kernel granted `PR_SET_CHILD_SUBREAPER` (Linux 3.4 and later).
    Subreaper,
    /// To another process: the kernel refused, with this errno.
    Plain(i32),
}

impl Mode {
    /// Finds out, asking to be a subreaper where we are not PID 1. A refusal (seccomp, some lambda-like hosts) is
    /// a weaker mode, not an error.
    pub fn detect() -> Mode {
        if std::process::id() == 1 {
            return Mode::Pid1;
        }
        // SAFETY: prctl with integer arguments only.
        if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } == 0 {
            return Mode::Subreaper;
        }
        Mode::Plain(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Pid1 => f.write_str("runner is PID 1: orphans come to it, and it reaps and ends them"),
            Mode::Subreaper => f.write_str(
                "runner is not PID 1 but a subreaper: orphans of its children come to it, and it reaps and ends them",
            ),
            Mode::Plain(errno) => write!(
                f,
                "runner is neither PID 1 nor a subreaper (prctl: {}): orphans of its children go to another process and are not ended",
                errno_text(*errno)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::trial;

    #[test]
    fn a_process_like_any_other_becomes_a_subreaper() {
        let _alone = trial::alone();
        assert_eq!(Mode::detect(), Mode::Subreaper);
        let mut granted = 0i32;
        // SAFETY: the kernel writes one int.
        unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut granted, 0, 0, 0) };
        assert_eq!(granted, 1);
    }

    #[test]
    fn a_refusal_is_a_mode_and_says_what_it_means() {
        // The filter holds for the forked process only.
        trial::apart(0, || {
            trial::refuse_prctl(libc::PR_SET_CHILD_SUBREAPER);
            let mode = Mode::detect();
            assert_eq!(mode, Mode::Plain(libc::EPERM));
            let text = mode.to_string();
            assert!(text.contains("(prctl: operation not permitted)"), "{text}");
            assert!(text.contains("are not ended"), "{text}");
        });
    }

    #[test]
    fn the_first_process_of_a_namespace_is_pid_1() {
        trial::apart(libc::CLONE_NEWPID, || {
            assert_eq!(Mode::detect(), Mode::Pid1)
        });
    }
}
