//! Names of Linux's signals (`signal(7)`), both ways.

use std::borrow::Cow;

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// The ordinary signals of Linux (signal(7)); the first name of a number is the one shown.
const NAMES: &[(&str, i32)] = named! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM
    SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO
    SIGPWR SIGSYS SIGIOT SIGPOLL
};

/// The number of a signal written as `SIGQUIT`, `QUIT` (in any case), `3`, `SIGRTMIN+3` or `SIGRTMAX-1`.
pub fn parse(text: &str) -> Option<i32> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|number| (1..=*real_time.end()).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| &name[3..] == bare) {
        return Some(*number);
    }
    let (base, offset) = match (bare.strip_prefix("RTMIN"), bare.strip_prefix("RTMAX")) {
        (Some(offset), _) if offset.is_empty() || offset.starts_with('+') => {
            (*real_time.start(), offset)
        }
        (_, Some(offset)) if offset.is_empty() || offset.starts_with('-') => {
            (*real_time.end(), offset)
        }
        _ => return None,
    };
    let offset = if offset.is_empty() {
        0
    } else {
        offset.parse::<i32>().ok()?
    };
    base.checked_add(offset)
        .filter(|number| real_time.contains(number))
}

/// The name of a signal: `SIGTERM`, `SIGRTMIN+3`, or `signal 99` where it has none.
pub fn name(number: i32) -> Cow<'static, str> {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return Cow::Borrowed(name);
    }
    let first = libc::SIGRTMIN();
    match number - first {
        0 => Cow::Borrowed("SIGRTMIN"),
        offset if offset > 0 && number <= libc::SIGRTMAX() => {
            Cow::Owned(format!("SIGRTMIN+{offset}"))
        }
        _ => Cow::Owned(format!("signal {number}")),
    }
}

/// Every ordinary name, for "did you mean".
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_that_leads_back() {
        for number in (1..=31).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            let name = name(number);
            assert!(name.starts_with("SIG"), "{number} is {name}");
            assert_eq!(parse(&name), Some(number), "{name}");
            assert_eq!(parse(&name[3..]), Some(number), "{name}");
            assert_eq!(parse(&number.to_string()), Some(number));
        }
        assert_eq!(parse("sigquit"), Some(3));
        assert_eq!(parse("SIGPOLL"), parse("IO"));
        assert_eq!(parse("SIGRTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(parse("SIGRTMAX-1"), Some(libc::SIGRTMAX() - 1));
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(99), "signal 99");
    }

    #[test]
    fn what_is_no_signal_has_no_number() {
        for text in [
            "",
            "0",
            "65",
            "-9",
            "9x",
            "SIG",
            "SIGSIGTERM",
            "TERMINATE",
            "SIGRTMIN-1",
            "SIGRTMAX+1",
            "SIGRTMIN+x",
            "SIGRTMIN+99",
            "99999999999",
            " TERM",
            "SIGRTMIN++3",
            "SIGRTMIN3",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
