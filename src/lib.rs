//! `runner` plays one role of a container: it reads roles.yaml, resolves settings, renders templates, runs the
//! role's steps, keeps its members going and stops them in order.
//!
//! The code is a one-way street, and the modules below stand in reading order. Text becomes checked
//! [`roles::Roles`]; roles and declared [`settings`] become a [`plan::Plan`]; a plan and the world become an
//! [`outcome::Outcome`]. Everything before the plan is arithmetic on values and *collects* what is wrong as
//! [`diag::Diagnostics`]; everything after it is conduct, touches the world only through [`sys`], and *reports*
//! what happened. Secret bytes exist only after the plan.

pub mod diag;
pub mod outcome;
pub mod queue_server;
pub mod secret;
pub mod shutdown;
pub mod source;
