//! The conduct of a role: what happens once there is a plan.

pub mod backoff;
pub mod service;
