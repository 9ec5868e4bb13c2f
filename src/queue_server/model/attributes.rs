//! A queue's attributes: their names, ranges and defaults, as text in and out.
//!
//! Ranges and defaults are those of the SQS API reference (CreateQueue, as shipped in botocore 1.44). What needs to
//! know other queues (is the dead-letter queue there?) is asked by the broker, not here.

use super::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a queue does; every duration in seconds, as in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// `DelaySeconds`: how long a new message stays hidden. 0 to 900, default 0.
    pub delay: u32,
    /// `MaximumMessageSize` in bytes. 1 KiB to 1 MiB, default 1 MiB.
    pub max_size: u32,
    /// `MessageRetentionPeriod`. 1 minute to 14 days, default 4 days.
    pub retention: u32,
    /// `ReceiveMessageWaitTimeSeconds`. 0 to 20, default 0.
    pub wait: u32,
    /// `VisibilityTimeout`. 0 to 12 hours, default 30.
    pub visibility: u32,
    /// `RedrivePolicy`.
    pub redrive: Option<Redrive>,
    /// `RedriveAllowPolicy`.
    pub redrive_allow: Option<RedriveAllow>,
    /// `FifoQueue`; set once, at creation.
    pub fifo: bool,
    /// `ContentBasedDeduplication`.
    pub content_deduplication: bool,
    /// `DeduplicationScope` is `messageGroup`.
    pub deduplicate_by_group: bool,
    /// Attributes that are kept and shown and change nothing here: access policies and encryption.
    pub kept: BTreeMap<String, String>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            delay: 0,
            max_size: MAX_SIZE,
            retention: 345_600,
            wait: 0,
            visibility: 30,
            redrive: None,
            redrive_allow: None,
            fifo: false,
            content_deduplication: false,
            deduplicate_by_group: false,
            kept: BTreeMap::new(),
        }
    }
}

/// 1 MiB: the largest message, and the largest batch, in bytes.
pub const MAX_SIZE: u32 = 1_048_576;
/// 12 hours in seconds: the longest visibility timeout, and the longest that one receive may hold a message.
pub const MAX_VISIBILITY: u32 = 43_200;

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redrive {
    /// The ARN of the dead-letter queue.
    #[serde(rename = "deadLetterTargetArn")]
    pub target: String,
    /// A message is moved when a receive would exceed this count. 1 to 1000.
    #[serde(rename = "maxReceiveCount", deserialize_with = "number_or_text")]
    pub max_receives: u32,
}

/// Which queues may name this one as their dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveAllow {
    /// `allowAll`, `denyAll` or `byQueue`.
    pub redrive_permission: String,
    /// For `byQueue`: the ARNs of the sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_queue_arns: Vec<String>,
}

/// `maxReceiveCount` is written as a number by some and as a text by others.
fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::String(text) => text,
        _ => String::new(),
    };
    text.parse()
        .map_err(|_| serde::de::Error::custom("not a whole number"))
}

/// Every name that can be set, in the order of the API reference, then what is only shown.
const SETTABLE: &[&str] = &[
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];

impl Attributes {
    /// Every name that can be set.
    pub fn names() -> &'static [&'static str] {
        SETTABLE
    }

    /// Sets one attribute from its text; an unknown name or a value out of range is refused.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let number = |from: u32, to: u32| {
            value
                .parse::<u32>()
                .ok()
                .filter(|n| (from..=to).contains(n))
                .ok_or_else(|| invalid(name))
        };
        match name {
            "DelaySeconds" => self.delay = number(0, 900)?,
            "MaximumMessageSize" => self.max_size = number(1024, MAX_SIZE)?,
            "MessageRetentionPeriod" => self.retention = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait = number(0, 20)?,
            "VisibilityTimeout" => self.visibility = number(0, MAX_VISIBILITY)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "RedriveAllowPolicy" => self.redrive_allow = redrive_allow(value)?,
            // Asked of the name at creation: SQS takes only `true`, and only there.
            "FifoQueue" if value == "true" && self.fifo => {}
            "ContentBasedDeduplication" if self.fifo => {
                self.content_deduplication = truth(name, value)?;
            }
            "DeduplicationScope" if self.fifo => {
                self.deduplicate_by_group = match value {
                    "messageGroup" => true,
                    "queue" => false,
                    _ => return Err(invalid(name)),
                }
            }
            "FifoThroughputLimit"
                if self.fifo && matches!(value, "perQueue" | "perMessageGroupId") =>
            {
                self.kept.insert(name.to_owned(), value.to_owned());
            }
            "Policy"
            | "KmsMasterKeyId"
            | "KmsDataKeyReusePeriodSeconds"
            | "SqsManagedSseEnabled" => {
                if value.is_empty() {
                    self.kept.remove(name);
                } else {
                    self.kept.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => {
                return Err(Refusal::new(
                    Code::InvalidAttributeName,
                    format!("Unknown Attribute {name}."),
                ));
            }
        }
        Ok(())
    }

    /// One attribute as text; none when it is not set or is not known here.
    pub fn get(&self, name: &str) -> Option<String> {
        let for_fifo = |text: &str| self.fifo.then(|| text.to_owned());
        match name {
            "DelaySeconds" => Some(self.delay.to_string()),
            "MaximumMessageSize" => Some(self.max_size.to_string()),
            "MessageRetentionPeriod" => Some(self.retention.to_string()),
            "ReceiveMessageWaitTimeSeconds" => Some(self.wait.to_string()),
            "VisibilityTimeout" => Some(self.visibility.to_string()),
            "RedrivePolicy" => self.redrive.as_ref().map(json),
            "RedriveAllowPolicy" => self.redrive_allow.as_ref().map(json),
            "FifoQueue" => for_fifo("true"),
            "ContentBasedDeduplication" => for_fifo(if self.content_deduplication {
                "true"
            } else {
                "false"
            }),
            "DeduplicationScope" => for_fifo(if self.deduplicate_by_group {
                "messageGroup"
            } else {
                "queue"
            }),
            "FifoThroughputLimit" => self
                .kept
                .get(name)
                .cloned()
                .or_else(|| for_fifo("perQueue")),
            "SqsManagedSseEnabled" => Some(
                self.kept
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "false".to_owned()),
            ),
            _ => self.kept.get(name).cloned(),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn invalid(name: &str) -> Refusal {
    Refusal::new(
        Code::InvalidAttributeValue,
        format!("Invalid value for the parameter {name}."),
    )
}

fn truth(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name)),
    }
}

/// An empty text takes the policy away, as on AWS.
fn redrive(value: &str) -> Result<Option<Redrive>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let refuse = |reason: &str| Refusal::parameter("RedrivePolicy", value, reason);
    let policy: Redrive = serde_json::from_str(value).map_err(|_| {
        refuse("Redrive policy must be JSON with deadLetterTargetArn and maxReceiveCount.")
    })?;
    if !(1..=1000).contains(&policy.max_receives) {
        return Err(refuse(
            "Invalid value for maxReceiveCount: must be between 1 and 1000.",
        ));
    }
    Ok(Some(policy))
}

fn redrive_allow(value: &str) -> Result<Option<RedriveAllow>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let refuse = |reason: &str| Refusal::parameter("RedriveAllowPolicy", value, reason);
    let policy: RedriveAllow =
        serde_json::from_str(value).map_err(|_| refuse("Amazon SQS can't parse the policy."))?;
    match policy.redrive_permission.as_str() {
        "byQueue" if (1..=10).contains(&policy.source_queue_arns.len()) => {}
        "allowAll" | "denyAll" if policy.source_queue_arns.is_empty() => {}
        _ => return Err(refuse("redrivePermission and sourceQueueArns do not fit.")),
    }
    Ok(Some(policy))
}
