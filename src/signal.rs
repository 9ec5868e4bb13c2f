//! Names of Linux's signals (`signal(7)`), both ways; arithmetic only.

/// Names and numbers; where a signal has two names the usual one is first.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The first real-time signal that glibc leaves to programs, and the last (`signal(7)`).
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`; none when there is no such signal.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RT_MAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let plus = match rest.strip_prefix('+') {
            Some(plus) => plus.parse::<i32>().ok().filter(|plus| *plus >= 0)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        return Some(RT_MIN + plus).filter(|number| *number <= RT_MAX);
    }
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// `SIGTERM`, `SIGRTMIN+3`, or `signal 99` for what has no name.
pub fn name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if (RT_MIN..=RT_MAX).contains(&number) => format!("SIGRTMIN+{}", number - RT_MIN),
        None => format!("signal {number}"),
    }
}

/// Every name with its `SIG`.
pub fn names() -> Vec<String> {
    SIGNALS
        .iter()
        .map(|(name, _)| format!("SIG{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_go_both_ways() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(parse(&name(number)), Some(number), "{}", name(number));
            assert_eq!(parse(&number.to_string()), Some(number));
        }
        assert_eq!(parse("QUIT"), Some(libc::SIGQUIT));
        for unknown in [
            "",
            "SIGFOO",
            "0",
            "65",
            "-1",
            "SIGRTMIN+99",
            "SIGRTMIN-1",
            "sigterm",
        ] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }
}
