//! The door to AWS Secrets Manager: fetches the current value of one secret.
//!
//! What may pass by itself (throttling, 5xx, a broken or slow connection, an answer that is not one) is tried
//! again with a growing, jittered pause, all within one budget of time; a refusal is final at once. Every
//! failure is one sentence that says what to check, and never shows an answer's body. Dropping the future
//! stops everything but a name lookup under way, which ends by itself on its own thread.

mod refusal;

use crate::outcome::{Exit, RunError};
use crate::secret::Secret;
use crate::sys::aws::{self, Ambient, Arn, Credentials, seconds};
use crate::sys::network::{self, Fault};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Which secret to fetch, and with what patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRequest {
    /// A name or an ARN; an ARN's own region wins over all others.
    pub name: String,
    /// None: AWS_REGION or AWS_DEFAULT_REGION.
    pub region: Option<String>,
    /// Replaces the service's own; none: AWS_ENDPOINT_URL_SECRETS_MANAGER or AWS_ENDPOINT_URL.
    pub endpoint: Option<String>,
    /// Time and tries.
    pub limits: Limits,
}

/// The patience of one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Name lookup, connection and TLS of one try; 3 s.
    pub connect: Duration,
    /// One whole try; 8 s.
    pub attempt: Duration,
    /// Everything, credentials and pauses included; 30 s.
    pub total: Duration,
    /// The number of tries, the first included; 5.
    pub attempts: u32,
    /// The longest first pause, doubled each time; 250 ms. Four times that when throttled.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(8),
            total: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(250),
        }
    }
}

/// The current value of a secret.
#[derive(Debug, Clone)]
pub struct SecretText {
    /// The text as stored; for a GAC a JSON object. Never empty.
    pub text: Secret,
    /// The version id, as origins show it.
    pub version: Option<String>,
    /// The full ARN.
    pub arn: Option<String>,
}

/// Fetches the value that has the stage AWSCURRENT.
///
/// Exit codes: 77 refused, expired or no credentials; 78 not found, binary, empty, no region; 69 unreachable,
/// throttled or 5xx to the end, not done in time.
pub async fn fetch(request: &SecretRequest) -> Result<SecretText, RunError> {
    fetch_with(request, &Ambient::real()).await
}

/// The same with a given environment or credentials.
pub async fn fetch_with(
    request: &SecretRequest,
    ambient: &Ambient,
) -> Result<SecretText, RunError> {
    let started = Instant::now();
    let subject = Subject::of(request, ambient)?;
    let limits = &request.limits;
    let doing = subject.doing();
    let config = aws::config(ambient, &subject.region, limits.connect, &doing).await?;
    let credentials = aws::credentials(&config, limits.total, &doing).await?;
    let client = client(&config, &subject, credentials);
    let mut tries = 0;
    loop {
        tries += 1;
        let left = limits.total.saturating_sub(started.elapsed());
        let failure = match attempt(&client, &subject, limits.attempt.min(left), limits).await {
            Ok(secret) => return Ok(secret),
            Err(failure) => failure,
        };
        let pause = match failure.again {
            Again::No => return Err(failure.error(&doing, None)),
            Again::Soon => limits.pause,
            Again::Later => limits.pause * 4,
        };
        let pause = jittered(pause.saturating_mul(1 << (tries - 1).min(16)));
        if tries >= limits.attempts || started.elapsed() + pause >= limits.total {
            return Err(failure.error(&doing, Some((tries, started.elapsed()))));
        }
        sleep(pause).await;
    }
}

/// What is fetched, as every message names it.
#[derive(Debug)]
struct Subject {
    name: String,
    region: String,
    /// The endpoint's URL and its `host:port`, when it is not the service's own.
    endpoint: Option<(String, String)>,
}

/// Why a try failed, and whether another one may help.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    cause: String,
    help: String,
    exit: Exit,
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Soon,
    /// The service asked for patience.
    Later,
}

impl Subject {
    fn of(request: &SecretRequest, ambient: &Ambient) -> Result<Subject, RunError> {
        let wrong = |doing: &str, cause: String, help: String| {
            Err(RunError::new(Exit::CONFIG, doing, cause).with_help(help))
        };
        if request.name.is_empty() {
            let help = "set IDENTITY, or what the source names".to_owned();
            return wrong("cannot read a secret", "its name is empty".to_owned(), help);
        }
        let doing = format!("cannot read secret `{}`", request.name.escape_debug());
        let arn = match Arn::parse(&request.name) {
            Some(arn) if arn.service != "secretsmanager" => {
                let cause = format!(
                    "this is an ARN of the service `{}`",
                    arn.service.escape_debug()
                );
                return wrong(&doing, cause, "give a secret's name or its ARN".to_owned());
            }
            arn => arn,
        };
        let region = match aws::region(arn, request.region.as_deref(), &ambient.env) {
            Ok(region) => region,
            Err((cause, help)) => return wrong(&doing, cause, help),
        };
        const VARIABLE: &str = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
        let endpoint = aws::endpoint(request.endpoint.as_deref(), VARIABLE, &ambient.env);
        match endpoint {
            Err(error) => wrong(
                &doing,
                format!("its endpoint: {}", error.message),
                error.help,
            ),
            Ok(endpoint) => Ok(Subject {
                name: request.name.clone(),
                region,
                endpoint: endpoint.map(|(url, target)| (url, target.to_string())),
            }),
        }
    }

    fn doing(&self) -> String {
        let name = self.name.escape_debug();
        match &self.endpoint {
            Some((_, host)) => format!("cannot read secret `{name}` in {} at {host}", self.region),
            None => format!("cannot read secret `{name}` in {}", self.region),
        }
    }

    /// What to check when it cannot be reached.
    fn reach(&self) -> String {
        match &self.endpoint {
            Some((_, host)) => format!("check that {host} is up and can be reached from here"),
            None => format!(
                "check the way from here to secretsmanager.{}: subnet route, VPC endpoint, security group, DNS, HTTPS_PROXY",
                self.region
            ),
        }
    }
}

impl Failure {
    /// `spent`: tries and time, for what was tried again in vain.
    fn error(self, doing: &str, spent: Option<(u32, Duration)>) -> RunError {
        let cause = match spent {
            Some((1, time)) => format!("{}; gave up after {}", self.cause, seconds(time)),
            Some((tries, time)) => {
                format!(
                    "{}; gave up after {tries} tries in {}",
                    self.cause,
                    seconds(time)
                )
            }
            None => self.cause,
        };
        RunError::new(self.exit, doing, cause).with_help(self.help)
    }

    fn unavailable(cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            help: help.into(),
            exit: Exit::UNAVAILABLE,
            again: Again::Soon,
        }
    }

    fn config(cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            help: help.into(),
            exit: Exit::CONFIG,
            again: Again::No,
        }
    }
}

/// The credentials were resolved before: a try's time is the service's alone.
fn client(config: &SdkConfig, subject: &Subject, credentials: Credentials) -> Client {
    let mut builder = Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .credentials_provider(credentials);
    if let Some((url, _)) = &subject.endpoint {
        builder = builder.endpoint_url(url);
    }
    Client::from_conf(builder.build())
}

async fn attempt(
    client: &Client,
    subject: &Subject,
    within: Duration,
    limits: &Limits,
) -> Result<SecretText, Failure> {
    let call = client
        .get_secret_value()
        .secret_id(&subject.name)
        .version_stage("AWSCURRENT")
        .send();
    match timeout(within, call).await {
        Ok(Ok(answer)) => accept(answer),
        Ok(Err(error)) => Err(failure(&error, subject, limits)),
        Err(_) => Err(Failure::unavailable(
            format!("no answer within {}", seconds(within)),
            subject.reach(),
        )),
    }
}

fn accept(answer: GetSecretValueOutput) -> Result<SecretText, Failure> {
    match answer.secret_string {
        Some(text) if !text.is_empty() => Ok(SecretText {
            text: Secret::new(text),
            version: answer.version_id,
            arn: answer.arn,
        }),
        None if answer.secret_binary.is_some() => Err(Failure::config(
            "it holds binary data",
            "store the settings as text: --secret-string, not --secret-binary",
        )),
        _ => Err(Failure::config(
            "the answer holds no text",
            "check that the secret has a value, and that the endpoint is Secrets Manager",
        )),
    }
}

fn failure(error: &SdkError<GetSecretValueError>, subject: &Subject, limits: &Limits) -> Failure {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match (error, status) {
        (SdkError::ConstructionFailure(_), _) => Failure::config(
            format!(
                "no request can be made: {}",
                aws::brief(&network::innermost(error))
            ),
            "check region and endpoint",
        ),
        (_, Some(status)) if !(200..300).contains(&status) => {
            refusal::explain(error.code(), error.message(), status, subject)
        }
        (SdkError::DispatchFailure(dispatch), _) if dispatch.is_timeout() => {
            let cause = format!("no connection within {}", seconds(limits.connect));
            Failure::unavailable(cause, subject.reach())
        }
        (_, status) => match (network::cause(error), status) {
            (Some((fault, cause)), _) => broken(fault, cause, subject),
            (None, Some(_)) => {
                Failure::unavailable("the answer is not one of Secrets Manager", subject.reach())
            }
            (None, None) => Failure::unavailable("the connection failed", subject.reach()),
        },
    }
}

fn broken(fault: Fault, cause: String, subject: &Subject) -> Failure {
    let mut failure = Failure::unavailable(cause, subject.reach());
    if fault == Fault::Tls {
        // The certificate will be the same a second later.
        failure.again = Again::No;
        failure.help = "install ca-certificates, or name a file of CAs in AWS_CA_BUNDLE or SSL_CERT_FILE; check the clock".to_owned();
    }
    failure
}

/// Between half of `pause` and all of it, so that containers started together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests;
