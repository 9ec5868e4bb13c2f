//! `random`: fresh random bytes in a file, replaced and never appended to.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::render::{Target, write};
use super::{Failure, StepKind};
use crate::engine::steps::Cx;
use crate::roles::scalar::{Count, Mode, Text};
use crate::roles::shape::{record, words};
use crate::sys::files;

record! {
    /// Writes fresh random bytes to a file.
    pub struct Random as "a random step" {
        /// How many, and where they go.
        random: Spec => {"destination": "session-secret.b64", "bytes": 256},
    }
}

record! {
    /// How many random bytes, and where they go.
    pub struct Spec as "a random step" short "destination" {
        /// The file that is replaced.
        destination: Text => "session-secret.b64",
        /// How many bytes, before they are encoded.
        bytes: Count = 32 => 256,
        /// How they are written.
        encoding: Encoding = "base64" => "hex",
        /// The file's mode, set before the first byte is written.
        mode: Mode = "0600" => "0640",
        /// The file's owner, a name or a number; by default the user that runner runs as.
        owner: Option<Text> => "nginx",
        /// The file's group.
        group: Option<Text> => "nginx",
    }
}

words! {
    /// How bytes are written.
    pub enum Encoding {
        /// RFC 4648 base64 in one line.
        Base64 = "base64",
        /// Two hexadecimal digits a byte.
        Hex = "hex",
        /// As they are.
        Raw = "raw",
    }
}

impl StepKind for Random {
    const KEY: &'static str = "random";

    fn line(&self) -> String {
        let spec = &self.random;
        format!(
            "write {} random bytes to {}",
            spec.bytes.0, spec.destination.raw
        )
    }

    fn destination(&self) -> Option<&Text> {
        Some(&self.random.destination)
    }

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let spec = &self.random;
        let bytes = files::random(spec.bytes.0 as usize)?;
        let text = match spec.encoding {
            Encoding::Base64 => (BASE64_STANDARD.encode(&bytes) + "\n").into_bytes(),
            Encoding::Hex => {
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                (digits.collect::<String>() + "\n").into_bytes()
            }
            Encoding::Raw => bytes,
        };
        let target = Target {
            path: cx.text(&spec.destination)?,
            mode: spec.mode,
            owner: spec.owner.as_ref().map(|text| cx.text(text)).transpose()?,
            group: spec.group.as_ref().map(|text| cx.text(text)).transpose()?,
        };
        write(target, text, cx, limit).await
    }
}
