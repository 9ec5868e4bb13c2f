//! Roles played by the built binary: steps, loops, stops, exit codes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

#[path = "../common/mod.rs"]
mod common;

mod choice;
mod exits;
mod files;
mod loops;
mod network;
mod settings;
mod steps;
mod stop;
