//! What an answer of SQS that is not the one asked for means, and what to do about it.
//!
//! SQS has two spellings of a code, that of the JSON protocol (`QueueDoesNotExist`) and the older one
//! (`AWS.SimpleQueueService.NonExistentQueue`); both are known here.

use super::{Again, QueueError};
use crate::outcome::{Exit, RunError};
use crate::sys::aws::{brief, seconds};
use crate::sys::network::{self, Fault};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use std::time::Duration;

/// An error of any operation.
pub(super) type SdkError<E> = aws_sdk_sqs::error::SdkError<E>;

/// An operation's own error.
pub(super) trait Coded: ProvideErrorMetadata + std::error::Error + 'static {}
impl<E: ProvideErrorMetadata + std::error::Error + 'static> Coded for E {}

/// A queue as every message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// `host:port` of an endpoint that is not the service's own.
    pub host: Option<String>,
}

impl Subject {
    /// `cannot receive from queue `q` in us-east-1`
    pub fn doing(&self, doing: &str) -> String {
        let (name, region) = (self.name.escape_debug(), &self.region);
        match &self.host {
            Some(host) => format!("cannot {doing} queue `{name}` at {host}"),
            None => format!("cannot {doing} queue `{name}` in {region}"),
        }
    }

    fn reach(&self) -> String {
        match &self.host {
            Some(host) => format!("check that {host} is up and can be reached from here"),
            None => format!(
                "check the way from here to sqs.{}: subnet route, VPC endpoint, security group, DNS, HTTPS_PROXY",
                self.region
            ),
        }
    }
}

/// Whether a code means a moment's trouble, whoever is said to be at fault.
pub(super) fn is_passing(code: &str) -> bool {
    let code = bare(code);
    code.contains("Throttl")
        || matches!(
            code,
            "InternalError"
                | "InternalFailure"
                | "ServiceUnavailable"
                | "OverLimit"
                | "RequestTimeout"
        )
}

/// The code without the older spelling's beginning.
fn bare(code: &str) -> &str {
    code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code)
}

/// No answer came in time.
pub(super) fn late(doing: &str, limit: Duration, subject: &Subject) -> QueueError {
    let cause = format!("no answer within {}", seconds(limit));
    passing(subject.doing(doing), cause, subject)
}

fn passing(doing: String, cause: String, subject: &Subject) -> QueueError {
    QueueError {
        error: RunError::new(Exit::UNAVAILABLE, doing, cause).with_help(subject.reach()),
        again: Again::Soon,
    }
}

/// What an error means.
pub(super) fn explain<E: Coded>(error: &SdkError<E>, doing: &str, subject: &Subject) -> QueueError {
    let said = subject.doing(doing);
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match status {
        Some(status) if !(200..300).contains(&status) => {
            refused(error.code(), error.message(), status, doing, subject)
        }
        Some(_) => passing(said, "the answer is not one of SQS".to_owned(), subject),
        None => match network::cause(error) {
            Some((Fault::Tls, cause)) => QueueError::last(RunError::new(Exit::UNAVAILABLE, said, cause).with_help(
                "install ca-certificates, or name a file of CAs in AWS_CA_BUNDLE or SSL_CERT_FILE; check the clock",
            )),
            Some((_, cause)) => passing(said, cause, subject),
            None if matches!(error, SdkError::ConstructionFailure(_)) => {
                let cause = format!("no request can be made: {}", brief(&network::innermost(error)));
                QueueError::last(RunError::new(Exit::CONFIG, said, cause).with_help("check region and endpoint"))
            }
            None => passing(said, brief(&network::innermost(error)), subject),
        },
    }
}

fn refused(
    code: Option<&str>,
    message: Option<&str>,
    status: u16,
    doing: &str,
    subject: &Subject,
) -> QueueError {
    let message = brief(message.unwrap_or_default());
    let known = bare(code.unwrap_or_default());
    let cause = match (code, message.is_empty()) {
        (Some(_), false) => format!("{}: {message}", brief(known)),
        (Some(_), true) => brief(known),
        (None, _) => format!("HTTP status {status}, without an error of AWS"),
    };
    let error = |exit, again, help: String| QueueError {
        error: RunError::new(exit, subject.doing(doing), cause.clone()).with_help(help),
        again,
    };
    match known {
        _ if status == 429 || known.contains("Throttl") || known == "OverLimit" => {
            let help = match known {
                "OverLimit" => {
                    "too many messages of it are in flight: look for consumers that do not delete"
                }
                _ => "SQS asks for patience",
            };
            error(Exit::UNAVAILABLE, Again::Later, help.to_owned())
        }
        _ if status >= 500 || is_passing(known) => {
            error(Exit::UNAVAILABLE, Again::Soon, subject.reach())
        }
        "QueueDoesNotExist" | "NonExistentQueue" => {
            error(Exit::CONFIG, Again::No, missing(subject))
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken" => {
            let help = "get new credentials; those in AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN win over a profile and a task role";
            error(Exit::NOPERM, Again::Soon, help.to_owned())
        }
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "RequestExpired"
        | "InvalidSecurity" => {
            let help = "check AWS_SECRET_ACCESS_KEY, and the clock of this machine";
            error(Exit::NOPERM, Again::No, help.to_owned())
        }
        _ if known.starts_with("Kms") => {
            let help = "allow the use of the queue's key (kms:Decrypt, kms:GenerateDataKey), and check that it is enabled";
            error(Exit::NOPERM, Again::No, help.to_owned())
        }
        _ if known.starts_with("AccessDenied") || matches!(status, 401 | 403) => {
            error(Exit::NOPERM, Again::No, allow(doing))
        }
        _ => error(
            Exit::CONFIG,
            Again::No,
            "check the queue's name, its URL and its attributes".to_owned(),
        ),
    }
}

fn missing(subject: &Subject) -> String {
    match subject.host {
        Some(_) => "create it there, or check its name".to_owned(),
        None => format!(
            "create it, check its name, that it is in {}, and that the credentials are of the right account; runner never creates a queue",
            subject.region
        ),
    }
}

/// The permission that a call needs.
fn allow(doing: &str) -> String {
    let action = match doing {
        "find" => "GetQueueUrl",
        "receive from" => "ReceiveMessage",
        "delete from" => "DeleteMessage",
        "change messages of" => "ChangeMessageVisibility",
        "send to" => "SendMessage",
        "redrive" => "StartMessageMoveTask",
        _ => "GetQueueAttributes",
    };
    format!("allow `sqs:{action}` on it to the task role or user in use")
}
