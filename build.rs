//! How the binary is linked.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // Cargo speaks to it so.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The binary is position-independent and has some thirty thousand relative relocations: packed (ELF's DT_RELR, known to
    // binutils 2.38 and glibc 2.36) they take 30 kB in place of 700.
    // A static binary relocates itself, and is left as it is.
    let linux = std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if linux && !features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
