//! What the server says no with: the error codes of SQS, in both of their spellings.
//!
//! The JSON protocol names an error by its shape (`com.amazonaws.sqs#QueueDoesNotExist`); clients that came from
//! the older query protocol read another spelling from the header `x-amzn-query-error`
//! (`AWS.SimpleQueueService.NonExistentQueue`). The spellings are those that aws-sdk-sqs 1.119 matches on.

/// A request that was not carried out: a code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which of SQS's errors it is.
    pub code: Code,
    /// The sentence, in SQS's own words where they are known.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// `Value 21 for parameter WaitTimeSeconds is invalid. Reason: …`
    pub fn parameter(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::new(
            Code::InvalidParameterValue,
            format!("Value {value} for parameter {name} is invalid. Reason: {reason}"),
        )
    }

    /// A parameter that must be there is not.
    pub fn missing(name: &str) -> Self {
        Self::new(
            Code::MissingParameter,
            format!("The request must contain the parameter {name}."),
        )
    }

    /// The queue is not there.
    pub fn no_queue() -> Self {
        Self::new(
            Code::QueueDoesNotExist,
            "The specified queue does not exist.",
        )
    }
}

macro_rules! codes {
    ($($name:ident $status:literal $query:literal;)*) => {
        /// An error code of SQS.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "SQS's own names, documented by AWS")]
        pub enum Code { $($name,)* }

        impl Code {
            /// The shape's name, as in `__type`.
            pub fn shape(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// The older spelling, as in `x-amzn-query-error` and in the `Code` of a batch's failed entry.
            pub fn query(self) -> &'static str {
                match self { $(Code::$name => $query,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
        }
    };
}

codes! {
    AccessDenied 403 "AccessDenied";
    BatchEntryIdsNotDistinct 400 "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
    BatchRequestTooLong 400 "AWS.SimpleQueueService.BatchRequestTooLong";
    EmptyBatchRequest 400 "AWS.SimpleQueueService.EmptyBatchRequest";
    InternalFailure 500 "InternalFailure";
    InvalidAction 400 "InvalidAction";
    InvalidAttributeName 400 "InvalidAttributeName";
    InvalidAttributeValue 400 "InvalidAttributeValue";
    InvalidBatchEntryId 400 "AWS.SimpleQueueService.InvalidBatchEntryId";
    InvalidMessageContents 400 "InvalidMessageContents";
    InvalidParameterValue 400 "InvalidParameterValue";
    MessageNotInflight 400 "AWS.SimpleQueueService.MessageNotInflight";
    MissingParameter 400 "MissingParameter";
    OverLimit 403 "OverLimit";
    PurgeQueueInProgress 403 "AWS.SimpleQueueService.PurgeQueueInProgress";
    QueueDeletedRecently 400 "AWS.SimpleQueueService.QueueDeletedRecently";
    QueueDoesNotExist 400 "AWS.SimpleQueueService.NonExistentQueue";
    QueueNameExists 400 "QueueAlreadyExists";
    ReceiptHandleIsInvalid 400 "ReceiptHandleIsInvalid";
    RequestEntityTooLarge 413 "RequestEntityTooLarge";
    RequestThrottled 403 "RequestThrottled";
    ResourceNotFoundException 404 "ResourceNotFoundException";
    SerializationException 400 "SerializationException";
    ServiceUnavailable 503 "ServiceUnavailable";
    TooManyEntriesInBatchRequest 400 "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
    UnsupportedOperation 400 "AWS.SimpleQueueService.UnsupportedOperation";
}

impl Code {
    /// Whether the one who asked is at fault; else the server is.
    pub fn is_senders(self) -> bool {
        self.status() < 500
    }
}
