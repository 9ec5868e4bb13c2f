//! The binary: everything is in the library, so that tests and the program share one path.

fn main() {}
