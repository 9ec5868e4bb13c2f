//! Queues as a whole: a real runner, real handlers, and a server over its socket.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod commands;
mod faults;
mod handlers;
mod ingester;
mod protection;
#[path = "../../src/sys/scripted.rs"]
mod scripted;
mod stage;
