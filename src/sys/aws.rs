//! What the doors to AWS share: region, endpoint, HTTP client and the standard chain of credentials.
//!
//! Plain http (a local
//! endpoint, the container's credentials) never loads CA certificates: that costs some 20 ms.

use crate::outcome::{Exit, RunError};
use crate::sys::network;
use crate::target::{Target, TargetError};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::{Builder, Connector, proxy, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;

pub use aws_credential_types::Credentials;
pub use aws_types::os_shim_internal::Env;

/// What the doors to AWS take from their process.
#[derive(Debug, Clone)]
pub struct Ambient {
    /// Where region, endpoint and AWS_CA_BUNDLE are looked up. The chain of credentials reads the real
    /// environment always: the SDK has no other way.
    pub env: Env,
    /// Credentials to use in place of the chain, as for an endpoint on loopback that takes any.
    pub credentials: Option<Credentials>,
}

impl Ambient {
    /// The real environment and the standard chain.
    pub fn real() -> Self {
        Self {
            env: Env::real(),
            credentials: None,
        }
    }
}

/// `arn:aws:secretsmanager:us-east-1:123456789012:secret:name`, in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `secretsmanager`, `sqs`, `iam`, …
    pub service: &'a str,
    /// Empty where the service has none.
    pub region: &'a str,
    /// Twelve digits, or empty.
    pub account: &'a str,
    /// All behind the account.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// None for a text that does not have the form.
    pub fn parse(text: &'a str) -> Option<Arn<'a>> {
        let mut parts = text.splitn(6, ':');
        let (prefix, _partition) = (parts.next()?, parts.next()?);
        let arn = Arn {
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        };
        (prefix == "arn" && !arn.resource.is_empty()).then_some(arn)
    }
}

/// The region: the ARN's own, else the written one, else AWS_REGION or AWS_DEFAULT_REGION.
///
/// The error is the cause and the cure of a [`RunError`] of [`Exit::CONFIG`].
pub fn region(
    arn: Option<Arn<'_>>,
    written: Option<&str>,
    env: &Env,
) -> Result<String, (String, String)> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let variable = |name: &str| env.get(name).ok().and_then(|text| given(&text));
    let found = arn
        .and_then(|arn| given(arn.region))
        .or_else(|| written.and_then(given))
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"));
    match found {
        None => Err((
            "its region is not known".to_owned(),
            "write `region:` beside it, or set AWS_REGION".to_owned(),
        )),
        // It becomes part of a host name.
        Some(region)
            if !region
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-') =>
        {
            Err((
                format!("`{}` is not a region", region.escape_debug()),
                "write one such as us-east-1".to_owned(),
            ))
        }
        Some(region) => Ok(region),
    }
}

/// The endpoint that replaces the service's own: the written one, else `variable`
/// (`AWS_ENDPOINT_URL_SECRETS_MANAGER`, …), else AWS_ENDPOINT_URL.
///
/// The SDK ignores an endpoint that is no URL and asks the real service; here it is an error.
pub fn endpoint(
    written: Option<&str>,
    variable: &str,
    env: &Env,
) -> Result<Option<(String, Target)>, TargetError> {
    let ignored = env
        .get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .is_ok_and(|text| text.eq_ignore_ascii_case("true"));
    let set = |name: &str| {
        env.get(name)
            .ok()
            .filter(|text| !text.is_empty() && !ignored)
    };
    let found = written
        .map(str::to_owned)
        .or_else(|| set(variable))
        .or_else(|| set("AWS_ENDPOINT_URL"));
    found
        .map(|url| Target::parse_http(&url).map(|target| (url, target)))
        .transpose()
}

/// The configuration that a service's client is made of. `connect` limits DNS, TCP and TLS of one try.
///
/// `doing` begins the error: AWS_CA_BUNDLE cannot be read.
pub async fn config(
    ambient: &Ambient,
    region: &str,
    connect: Duration,
    doing: &str,
) -> Result<SdkConfig, RunError> {
    let authorities = match ambient
        .env
        .get("AWS_CA_BUNDLE")
        .ok()
        .filter(|path| !path.is_empty())
    {
        Some(path) => Some(bundle(&path).map_err(|why| {
            RunError::new(Exit::CONFIG, doing, format!("AWS_CA_BUNDLE={path}: {why}"))
        })?),
        None => None,
    };
    let timeouts = aws_config::timeout::TimeoutConfig::builder().connect_timeout(connect);
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .timeout_config(timeouts.build())
        .http_client(http_client(authorities));
    let loader = match &ambient.credentials {
        Some(credentials) => loader.credentials_provider(credentials.clone()),
        None => loader,
    };
    Ok(loader.load().await)
}

/// Credentials from the standard chain: environment, profile, web identity, container, instance.
///
/// Where there are none, the last link (the instance's metadata) takes about a second to say so.
pub async fn credentials(
    config: &SdkConfig,
    within: Duration,
    doing: &str,
) -> Result<Credentials, RunError> {
    let none = || {
        RunError::new(Exit::NOPERM, doing, "there are no AWS credentials").with_help(
            "give the ECS task a task role; elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    };
    let Some(provider) = config.credentials_provider() else {
        return Err(none());
    };
    let late = || {
        let cause = format!(
            "the source of AWS credentials gave none within {}",
            seconds(within)
        );
        RunError::new(Exit::UNAVAILABLE, doing, cause)
            .with_help("check the task role's endpoint, or the metadata service of the instance")
    };
    match tokio::time::timeout(within, provider.provide_credentials()).await {
        Err(_) => Err(late()),
        Ok(Ok(credentials)) => Ok(credentials),
        Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => Err(none()),
        Ok(Err(error)) => Err(broken_source(&error, doing)),
    }
}

/// A source of credentials is there and does not work: say which way.
fn broken_source(error: &CredentialsError, doing: &str) -> RunError {
    let known = network::cause(error).map(|(_, why)| why);
    let exit = match (&known, error) {
        (Some(_), _) | (None, CredentialsError::ProviderTimedOut(_)) => Exit::UNAVAILABLE,
        _ => Exit::NOPERM,
    };
    let why = known.unwrap_or_else(|| brief(&network::innermost(error)));
    let help = if why.contains("cargo feature") {
        "this profile needs SSO or a credential process, which are not built in: run `eval \"$(aws configure export-credentials --format env)\"` before"
    } else {
        "check AWS_CONTAINER_CREDENTIALS_*, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN or the profile, whichever is meant"
    };
    RunError::new(exit, doing, format!("AWS credentials cannot be had: {why}")).with_help(help)
}

/// A service's own message as it may be shown: its first line, without control characters, 300 characters.
///
/// The message of a wrong signature goes on, behind a line break, with the request it was computed from,
/// session token included: that is why only the first line is kept.
pub fn brief(message: &str) -> String {
    let line = message.trim_start().lines().next().unwrap_or_default();
    let line = line
        .split("The Canonical String")
        .next()
        .unwrap_or_default();
    let text: String = line
        .trim_end()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    match text.char_indices().nth(300) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// `0.3 s`, `30.0 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// One client for both schemes; the one for https is made when the first https request is sent.
fn http_client(authorities: Option<Vec<u8>>) -> SharedHttpClient {
    let plain = Builder::new().build_http();
    let secure = Builder::new().build_with_connector_fn(move |settings, _| {
        let store = match &authorities {
            Some(pem) => tls::TrustStore::empty().with_pem_certificate(pem.as_slice()),
            None => tls::TrustStore::default(),
        };
        let mut connector = Connector::builder().proxy_config(proxy::ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        let connector = connector.tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ));
        match tls::TlsContext::builder().with_trust_store(store).build() {
            Ok(context) => connector.tls_context(context).build(),
            Err(_) => connector.build(),
        }
    });
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(ByScheme {
            plain: plain.http_connector(settings, components),
            secure: secure.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    })
}

#[derive(Debug)]
struct ByScheme {
    plain: SharedHttpConnector,
    secure: SharedHttpClient,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.uri().starts_with("http://") {
            return self.plain.call(request);
        }
        let secure = self.secure.http_connector(&self.settings, &self.components);
        secure.call(request)
    }
}

/// The certificates of a PEM file that can be used; the SDK would panic at the first that cannot.
///
/// As for Python's SDK, which people know AWS_CA_BUNDLE from, they replace the system's.
fn bundle(path: &str) -> Result<Vec<u8>, String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let mut kept = String::new();
    for rest in text.split(BEGIN).skip(1) {
        let Some((body, _)) = rest.split_once(END) else {
            continue;
        };
        let one = format!("{BEGIN}{body}{END}\n");
        let usable = CertificateDer::from_pem_slice(one.as_bytes())
            .is_ok_and(|certificate| rustls::RootCertStore::empty().add(certificate).is_ok());
        if usable {
            kept.push_str(&one);
        }
    }
    if kept.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(kept.into_bytes())
}
