//! The door to SQS: one queue, found by name, URL or ARN, and what is done with it. The only importer of aws-sdk-sqs.
//!
//! Nothing is tried twice in here: a lost answer to a receive is a message in flight that nobody has, so whoever asks
//! decides. Every call has a limit of its own, a receive its wait and [`SLACK`]. No text made here holds a message's
//! body.

mod batch;
mod refusal;

pub use batch::{Entry, EntryEnd, MOST_BYTES, Outgoing};

use crate::outcome::{Exit, RunError};
use crate::sys::aws::{self, Ambient, Arn, Credentials};
use crate::target::Target;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
};
use refusal::Subject;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a call may take beyond what it was asked to wait; for those that do not wait, all of it.
pub const SLACK: Duration = Duration::from_secs(10);

/// The limit for DNS, TCP and TLS of one call.
const CONNECT: Duration = Duration::from_secs(3);

/// The most messages of one call.
pub const BATCH: usize = 10;

/// Which queue is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A name, a URL or an ARN.
    pub name: String,
    /// The queue's own `region`; an ARN's or a URL's wins.
    pub region: Option<String>,
    /// The region where neither the queue nor the environment has one: the secret source's.
    pub fallback_region: Option<String>,
    /// Replaces the service's own; none: AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL.
    pub endpoint: Option<String>,
}

/// A queue that is there. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
    subject: Subject,
}

/// What a receive asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// 1 to [`BATCH`].
    pub most: usize,
    /// Up to 20 s, in whole seconds.
    pub wait: Duration,
    /// In whole seconds; none: the queue's own.
    pub visibility: Option<Duration>,
    /// Of a FIFO queue: the same text gives the same messages again when an answer was lost.
    pub attempt: Option<&'a str>,
}

/// A message as the queue handed it out. Its `Debug` does not show the body.
#[derive(Clone, Default)]
pub struct Received {
    /// Stays the same over all receives.
    pub id: String,
    /// Of this receive.
    pub handle: String,
    /// The text.
    pub body: String,
    /// How often it was received, this time included.
    pub receives: u32,
    /// When it was sent.
    pub sent_at: Option<SystemTime>,
    /// When it was received for the first time.
    pub first_received_at: Option<SystemTime>,
    /// Whose order it keeps, in a FIFO queue.
    pub group: Option<String>,
    /// Who sent it.
    pub sender: Option<String>,
    /// What the sender wrote beside the body.
    pub attributes: Vec<Attribute>,
}

/// A message attribute.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `String`, `Number`, `Binary`, each perhaps with `.` and a word.
    pub kind: String,
    /// Its value.
    pub value: Value,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Of `String` and `Number`.
    Text(String),
    /// Of `Binary`.
    Bytes(Vec<u8>),
}

/// What is known of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Attributes {
    /// Its ARN.
    pub arn: String,
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody has received.
    pub in_flight: u64,
    /// Messages that wait for their delay.
    pub delayed: u64,
    /// Where the queue itself puts what was received too often.
    pub redrive: Option<Redrive>,
}

/// A queue's own rule for what is received too often.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Redrive {
    /// The ARN of the queue that takes it.
    pub target: String,
    /// After this many receives.
    pub max_receives: u32,
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueError {
    /// For the operator.
    pub error: RunError,
    /// Whether another try may help.
    pub again: Again,
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Not without somebody's doing.
    No,
    /// It may be a moment's trouble.
    Soon,
    /// The service asked for patience.
    Later,
}

impl From<QueueError> for RunError {
    fn from(error: QueueError) -> Self {
        error.error
    }
}

impl Queue {
    /// Finds the queue.
    pub async fn open(wanted: &Wanted) -> Result<Queue, QueueError> {
        Self::open_with(wanted, &Ambient::real()).await
    }

    /// The same with a given environment or credentials.
    pub async fn open_with(wanted: &Wanted, ambient: &Ambient) -> Result<Queue, QueueError> {
        let address = Address::of(wanted, ambient)?;
        let subject = address.subject;
        let doing = subject.doing("open");
        let mut ambient = ambient.clone();
        if address.takes_any && ambient.credentials.is_none() && !has_credentials(&ambient) {
            ambient.credentials = Some(Credentials::new("local", "local", None, None, "loopback"));
        }
        let config = aws::config(&ambient, &subject.region, CONNECT, &doing)
            .await
            .map_err(QueueError::last)?;
        // Asked for once here, for a sentence that helps; afterwards the client renews them by itself.
        aws::credentials(&config, SLACK, &doing)
            .await
            .map_err(|error| match error.exit {
                Exit::UNAVAILABLE => QueueError {
                    error,
                    again: Again::Soon,
                },
                _ => QueueError::last(error),
            })?;
        let mut builder = Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(url) = &address.endpoint {
            builder = builder.endpoint_url(url);
        }
        let client = Client::from_conf(builder.build());
        let mut queue = Queue {
            client,
            url: address.url.unwrap_or_default(),
            subject,
        };
        if queue.url.is_empty() {
            let call = queue
                .client
                .get_queue_url()
                .queue_name(&queue.subject.name)
                .set_queue_owner_aws_account_id(address.account)
                .send();
            let found = queue.within("find", SLACK, call).await?;
            queue.url = found.queue_url.unwrap_or_default();
        }
        Ok(queue)
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.subject.name
    }

    /// Whether it keeps the order of each group.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }

    /// Waits for messages; none come back when none came in time.
    pub async fn receive(&self, ask: Ask<'_>) -> Result<Vec<Received>, QueueError> {
        let call = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(whole(ask.most.clamp(1, BATCH) as u64))
            .wait_time_seconds(whole(ask.wait.as_secs()))
            .set_visibility_timeout(ask.visibility.map(|time| whole(time.as_secs())))
            .set_receive_request_attempt_id(ask.attempt.map(str::to_owned))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send();
        let answer = self.within("receive from", ask.wait + SLACK, call).await?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().map(received).collect())
    }

    /// Deletes up to [`BATCH`] messages; the ends stand in the order of the handles.
    pub async fn delete(
        &self,
        handles: &[String],
        limit: Duration,
    ) -> Result<Vec<EntryEnd>, QueueError> {
        let call = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(batch::deletions(handles)))
            .send();
        let answer = self.within("delete from", limit, call).await?;
        Ok(batch::ends(handles.len(), &answer.failed))
    }

    /// Sets for how long from now up to [`BATCH`] messages stay hidden, each in whole seconds.
    pub async fn hide(
        &self,
        entries: &[Entry],
        limit: Duration,
    ) -> Result<Vec<EntryEnd>, QueueError> {
        let call = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(batch::changes(entries)))
            .send();
        let answer = self.within("change messages of", limit, call).await?;
        Ok(batch::ends(entries.len(), &answer.failed))
    }

    /// Sends up to [`BATCH`] messages of at most 1 MiB together. An end that is done holds no id: the order tells.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<Vec<EntryEnd>, QueueError> {
        let call = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(batch::sends(messages)))
            .send();
        let answer = self.within("send to", SLACK * 3, call).await?;
        Ok(batch::ends(messages.len(), &answer.failed))
    }

    /// How many messages there are, and the queue's own rules.
    pub async fn attributes(&self) -> Result<Attributes, QueueError> {
        let call = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::All)
            .send();
        let answer = self.within("read the attributes of", SLACK, call).await?;
        Ok(attributes(&answer.attributes.unwrap_or_default()))
    }

    /// Begins to move dead letters back to where they came from, or to the queue of another ARN.
    pub async fn redrive(&self, source: &str, destination: Option<&str>) -> Result<(), QueueError> {
        let call = self
            .client
            .start_message_move_task()
            .source_arn(source)
            .set_destination_arn(destination.map(str::to_owned))
            .send();
        self.within("redrive", SLACK, call).await.map(|_| ())
    }

    async fn within<T, E>(
        &self,
        doing: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, refusal::SdkError<E>>>,
    ) -> Result<T, QueueError>
    where
        E: refusal::Coded,
    {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refusal::explain(&error, doing, &self.subject)),
            Err(_) => Err(refusal::late(doing, limit, &self.subject)),
        }
    }
}

impl QueueError {
    fn last(error: RunError) -> Self {
        Self {
            error,
            again: Again::No,
        }
    }
}

/// Where a queue is.
#[derive(Debug)]
struct Address {
    subject: Subject,
    /// Of a queue that was named by its URL.
    url: Option<String>,
    /// Of a queue that was named by its ARN.
    account: Option<String>,
    endpoint: Option<String>,
    /// Its written endpoint is on loopback, where any credentials will do.
    takes_any: bool,
}

impl Address {
    fn of(wanted: &Wanted, ambient: &Ambient) -> Result<Self, QueueError> {
        let wrong = |cause: String, help: String| {
            let doing = match wanted.name.as_str() {
                "" => "cannot open a queue".to_owned(),
                name => format!("cannot open queue `{}`", name.escape_debug()),
            };
            QueueError::last(RunError::new(Exit::CONFIG, doing, cause).with_help(help))
        };
        let name = wanted.name.as_str();
        let arn = Arn::parse(name);
        let url = name.contains("://").then_some(name);
        let own = url
            .map(from_url)
            .transpose()
            .map_err(|(cause, help)| wrong(cause, help))?;
        let bare = match (&arn, &own) {
            (Some(arn), _) if arn.service != "sqs" => {
                let cause = format!(
                    "this is an ARN of the service `{}`",
                    arn.service.escape_debug()
                );
                return Err(wrong(cause, "give a queue's name, URL or ARN".to_owned()));
            }
            (Some(arn), _) => arn.resource,
            (None, Some(own)) => own.name,
            (None, None) => name,
        };
        if !is_name(bare) {
            let cause = format!("`{}` is not a queue's name", bare.escape_debug());
            let help = "it has 1 to 80 letters, digits, `-` and `_`, and `.fifo` at its end where it is FIFO";
            return Err(wrong(cause, help.to_owned()));
        }
        let written = wanted
            .endpoint
            .as_deref()
            .or(own.as_ref().and_then(|own| own.endpoint));
        let endpoint = aws::endpoint(written, "AWS_ENDPOINT_URL_SQS", &ambient.env)
            .map_err(|error| wrong(format!("its endpoint: {}", error.message), error.help))?;
        let takes_any = written.is_some_and(is_loopback);
        let region = match own.as_ref().and_then(|own| own.region) {
            Some(region) => Ok(region.to_owned()),
            None => aws::region(arn, wanted.region.as_deref(), &ambient.env)
                .or_else(|missing| wanted.fallback_region.clone().ok_or(missing)),
        };
        let region = match region {
            Ok(region) => region,
            // The server of a laptop has no region; its signature is not looked at.
            Err(_) if takes_any => "us-east-1".to_owned(),
            Err((cause, help)) => return Err(wrong(cause, help)),
        };
        Ok(Self {
            subject: Subject {
                name: bare.to_owned(),
                region,
                host: endpoint.as_ref().map(|(_, target)| target.to_string()),
            },
            url: url.map(str::to_owned),
            account: arn
                .map(|arn| arn.account.to_owned())
                .filter(|account| !account.is_empty()),
            endpoint: endpoint.map(|(url, _)| url),
            takes_any,
        })
    }
}

/// What a queue's URL tells.
struct FromUrl<'a> {
    name: &'a str,
    region: Option<&'a str>,
    /// Of a URL that is not AWS's own: where it leads.
    endpoint: Option<&'a str>,
}

/// `https://sqs.us-east-1.amazonaws.com/123456789012/name`, or `http://127.0.0.1:9324/000000000000/name`.
fn from_url(url: &str) -> Result<FromUrl<'_>, (String, String)> {
    let target = Target::parse_http(url).map_err(|error| (error.message, error.help))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let region = target.host.strip_prefix("sqs.").and_then(|rest| {
        rest.strip_suffix(".amazonaws.com")
            .or(rest.strip_suffix(".amazonaws.com.cn"))
    });
    let origin_ends = url
        .find("://")
        .and_then(|at| url[at + 3..].find('/').map(|slash| at + 3 + slash));
    let (Some(end), false) = (origin_ends, name.is_empty()) else {
        return Err((
            "this URL has no queue's name at its end".to_owned(),
            "write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME".to_owned(),
        ));
    };
    // The slice of the text, as the region is part of it: a host is ASCII in either spelling.
    let region = region.and_then(|region| url.find(region).map(|at| &url[at..at + region.len()]));
    Ok(FromUrl {
        name,
        region,
        endpoint: region.is_none().then(|| &url[..end]),
    })
}

fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    !stem.is_empty()
        && name.len() <= 80
        && stem
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether an endpoint is on this machine.
fn is_loopback(url: &str) -> bool {
    Target::parse_http(url).is_ok_and(|target| {
        target.host == "localhost"
            || target
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// Whether the environment says where credentials are.
fn has_credentials(ambient: &Ambient) -> bool {
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ]
    .iter()
    .any(|name| ambient.env.get(name).is_ok_and(|value| !value.is_empty()))
}

fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn received(message: Message) -> Received {
    let system = message.attributes.unwrap_or_default();
    let text = |name: &MessageSystemAttributeName| system.get(name).cloned();
    let time = |name| {
        let millis = system.get(&name)?.parse().ok()?;
        Some(UNIX_EPOCH + Duration::from_millis(millis))
    };
    let mut attributes: Vec<Attribute> = message
        .message_attributes
        .unwrap_or_default()
        .into_iter()
        .filter_map(attribute)
        .collect();
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Received {
        id: message.message_id.unwrap_or_default(),
        handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receives: text(&MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| count.parse().ok())
            .unwrap_or(1),
        sent_at: time(MessageSystemAttributeName::SentTimestamp),
        first_received_at: time(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp),
        group: text(&MessageSystemAttributeName::MessageGroupId),
        sender: text(&MessageSystemAttributeName::SenderId),
        attributes,
    }
}

fn attribute((name, value): (String, MessageAttributeValue)) -> Option<Attribute> {
    Some(Attribute {
        name,
        value: match (value.string_value, value.binary_value) {
            (Some(text), _) => Value::Text(text),
            (None, Some(bytes)) => Value::Bytes(bytes.into_inner()),
            (None, None) => return None,
        },
        kind: value.data_type,
    })
}

fn attributes(found: &HashMap<QueueAttributeName, String>) -> Attributes {
    let count = |name| {
        found
            .get(&name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    let redrive = found
        .get(&QueueAttributeName::RedrivePolicy)
        .and_then(|text| {
            let policy: serde_json::Value = serde_json::from_str(text).ok()?;
            // A number, or, from older tools, a text.
            let most = &policy["maxReceiveCount"];
            let most = most.as_u64().or_else(|| most.as_str()?.parse().ok())?;
            Some(Redrive {
                target: policy["deadLetterTargetArn"].as_str()?.to_owned(),
                max_receives: u32::try_from(most).ok()?,
            })
        });
    Attributes {
        arn: found
            .get(&QueueAttributeName::QueueArn)
            .cloned()
            .unwrap_or_default(),
        visible: count(QueueAttributeName::ApproximateNumberOfMessages),
        in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
        redrive,
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.id, self.receives, self.body.len());
        write!(
            f,
            "Received(id {}, receive {}, {} bytes)",
            shown.0, shown.1, shown.2
        )
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute({}: {})", self.name, self.kind)
    }
}

#[cfg(test)]
mod tests;
