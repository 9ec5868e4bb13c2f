//! A message: what was sent, how often it was received, and the lease on it.
//!
//! The digests are those that clients check: boto3 refuses an answer whose `MD5OfBody` is wrong.

use super::refusal::{Code, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A message's place in its queue, and its sequence number where the queue is FIFO; never used twice.
pub type Seq = u64;

/// A message as it stands in a queue. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its place in the queue.
    pub seq: Seq,
    /// `MessageId`: kept when the message goes to a dead-letter queue, new when it comes back.
    pub id: String,
    /// The text.
    pub body: String,
    /// `MessageAttributes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// The system attribute `AWSTraceHeader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Attribute>,
    /// `MessageGroupId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `MessageDeduplicationId`, given or made from the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<String>,
    /// When it was sent.
    pub sent: u64,
    /// What its retention counts from: `sent`, but the move for a FIFO dead-letter queue.
    pub aged_from: u64,
    /// Until when it is hidden: by a delay before the first receive, by a lease after.
    pub until: u64,
    /// How often it was received from this queue.
    #[serde(default)]
    pub receives: u32,
    /// When it was first received from this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_received: Option<u64>,
    /// The latest receive; it is over when `until` has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The ARN of the queue that gave it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_from: Option<String>,
}

/// One receive of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What makes this receive's handle differ from every other's.
    pub token: u64,
    /// When it was received: the 12 hours count from here.
    pub received: u64,
    /// Whether its visibility was changed since.
    #[serde(default)]
    pub changed: bool,
}

/// A message attribute, on the wire and in the journal alike. A binary value is base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "SQS's own names")]
pub struct Attribute {
    #[serde(default)]
    pub data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl Attribute {
    fn bytes(&self) -> Vec<u8> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(base64)) => STANDARD.decode(base64).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

/// Refuses a body or attributes that SQS does not take; returns their size in bytes.
pub fn check(body: &str, attributes: &BTreeMap<String, Attribute>) -> Result<usize, Refusal> {
    if body.is_empty() {
        return Err(Refusal::missing("MessageBody"));
    }
    check_text(body)?;
    if attributes.len() > 10 {
        return Err(Refusal::new(
            Code::InvalidParameterValue,
            format!(
                "Number of message attributes [{}] exceeds the allowed maximum [10].",
                attributes.len()
            ),
        ));
    }
    let mut size = body.len();
    for (name, attribute) in attributes {
        check_attribute(name, attribute)?;
        size += name.len() + attribute.data_type.len() + attribute.bytes().len();
    }
    Ok(size)
}

fn check_attribute(name: &str, attribute: &Attribute) -> Result<(), Refusal> {
    let refuse = |what: &str| {
        Refusal::new(
            Code::InvalidParameterValue,
            format!("The message attribute '{name}' {what}."),
        )
    };
    let lower = name.to_ascii_lowercase();
    let named_well = (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.");
    if !named_well {
        return Err(refuse("has an invalid name"));
    }
    let kind = attribute.data_type.split('.').next().unwrap_or_default();
    match (kind, &attribute.string_value, &attribute.binary_value) {
        ("String" | "Number", Some(text), None) if !text.is_empty() => {
            check_text(text)?;
            if kind == "Number" && text.parse::<f64>().is_err() {
                return Err(refuse("of type Number must hold a number"));
            }
        }
        ("Binary", None, Some(base64)) if !base64.is_empty() => {
            if STANDARD.decode(base64).is_err() {
                return Err(refuse("must hold base64"));
            }
        }
        ("String" | "Number" | "Binary", _, _) => {
            return Err(refuse("must contain a non-empty value of its type"));
        }
        _ => {
            return Err(refuse(
                "has an invalid type: String, Number or Binary must be its beginning",
            ));
        }
    }
    Ok(())
}

/// The characters of XML 1.0, which is all that SQS takes.
fn check_text(text: &str) -> Result<(), Refusal> {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}');
    if text.chars().all(legal) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidMessageContents,
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
    ))
}

/// `MD5OfBody`.
pub fn md5_of_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// `MD5OfMessageAttributes`: every length four bytes big-endian, names sorted; none for no attributes.
pub fn md5_of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a str, &'a Attribute)>,
) -> Option<String> {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by_key(|(name, _)| *name);
    let mut digest = Md5::new();
    let put = |digest: &mut Md5, bytes: &[u8]| {
        digest.update((bytes.len() as u32).to_be_bytes());
        digest.update(bytes);
    };
    for (name, attribute) in sorted {
        put(&mut digest, name.as_bytes());
        put(&mut digest, attribute.data_type.as_bytes());
        digest.update([if attribute.binary_value.is_some() {
            2
        } else {
            1
        }]);
        put(&mut digest, &attribute.bytes());
    }
    Some(hex(&digest.finalize()))
}

/// The deduplication id that a FIFO queue makes from the content.
pub fn sha256_of_body(body: &str) -> String {
    hex(&sha2::Sha256::digest(body.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// What a receipt handle says: which queue, which message, which receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// The queue, by the number it was created with.
    pub queue: u64,
    /// The message.
    pub seq: Seq,
    /// The receive.
    pub token: u64,
}

impl Handle {
    /// As text; base64, so that a client that does not quote it well is found out.
    pub fn text(self) -> String {
        let mut bytes = [0u8; 28];
        bytes[..8].copy_from_slice(&self.queue.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.token.to_be_bytes());
        let check = fold(&bytes[..24]);
        bytes[24..].copy_from_slice(&check);
        STANDARD.encode(bytes)
    }

    /// From text; none for what this server never gave out.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 28] = STANDARD.decode(text).ok()?.try_into().ok()?;
        if fold(&bytes[..24]) != bytes[24..] {
            return None;
        }
        let number = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |n, b| n << 8 | u64::from(*b))
        };
        Some(Self {
            queue: number(0),
            seq: number(8),
            token: number(16),
        })
    }
}

/// Four bytes of check: enough to tell a garbled handle from a stale one.
fn fold(bytes: &[u8]) -> [u8; 4] {
    bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
        .to_be_bytes()
}
