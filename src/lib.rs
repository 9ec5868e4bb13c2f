//! `runner` plays one role of a container: it reads roles.yaml, resolves settings, renders templates, runs the
//! role's steps, keeps its members going and stops them in order.
//!
//! The code is a one-way street, and the modules below stand in reading order. Text becomes checked
//! [`roles::Roles`]; roles and declared [`settings`] become a [`plan::Plan`]; a plan and the world become an
//! [`outcome::Outcome`]. Everything before the plan is arithmetic on values and *collects* what is wrong as
//! [`diag::Diagnostics`]; everything after it is conduct, touches the world only through [`sys`], and *reports*
//! what happened. Secret bytes exist only after the plan.

// Tests may start processes, read the environment and print; clippy.toml says what the program may not.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod cli;
pub mod diag;
pub mod engine;
pub mod order;
pub mod outcome;
pub mod plan;
pub mod queue_server;
pub mod roles;
pub mod secret;
pub mod settings;
pub mod shutdown;
pub mod signal;
pub mod source;
pub mod steps;
pub mod sys;
pub mod target;
pub mod telemetry;
pub mod template;
