//! The doors to the world: what touches processes, pipes, files and networks stands below here.

pub mod relay;
