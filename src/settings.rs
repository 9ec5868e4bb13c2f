//! Stage 2: settings, from their declaration to their values.

pub mod graph;
pub mod spec;
