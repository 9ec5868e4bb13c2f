//! Stage 1: a text becomes a tree, the tree becomes specs, the specs are checked.

pub mod scalar;
pub mod shape;
pub mod spec;
pub mod tree;
