//! The doors to the world: processes, signals, files, users, output, HTTP and AWS.
//!
//! Everything here knows Linux and the network and nothing of roles: these modules never import `roles`, `settings`,
//! `plan` or `engine`. The runtime has one thread; [`reaper`] is the only caller of wait(2), [`process`] the only one
//! that forks, [`signals`] owns the handlers, and [`files`] replaces files whole or not at all.

pub mod aws;
pub mod control;
pub mod files;
pub mod http;
pub mod init;
mod network;
pub mod pipe;
pub mod process;
pub mod queue;
pub mod reaper;
pub mod relay;
pub mod serve;
pub mod signals;
pub mod user;
pub mod vault;

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod trial;

use std::io;

/// The text of an operating system error as it stands at the end of a sentence: "permission denied".
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// [`reason`] of an errno.
pub(crate) fn errno_text(errno: i32) -> String {
    reason(&io::Error::from_raw_os_error(errno))
}

/// Ends the process with no clean-up at all: for the moment after a bug of our own, where clean-up may be what is
/// broken.
pub fn exit_now(exit: crate::outcome::Exit) -> ! {
    // SAFETY: `_exit` takes an integer and does not return.
    unsafe { libc::_exit(exit.0.into()) }
}
