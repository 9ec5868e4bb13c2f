//! The doors to the world.

pub mod aws;
pub mod http;
mod network;
pub mod vault;

#[cfg(test)]
mod scripted;
