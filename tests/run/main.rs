//! Roles played by the built binary: steps, loops, stops, exit codes.

#[path = "../common/mod.rs"]
mod common;

mod choice;
mod exits;
mod files;
mod loops;
mod network;
mod steps;
mod stop;
