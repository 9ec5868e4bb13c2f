//! Queues as a whole: a real runner, real handlers, and a server over its socket.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod handlers;
mod stage;
