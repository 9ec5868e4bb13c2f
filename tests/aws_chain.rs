//! The door to Secrets Manager in a real environment: the chain of credentials, AWS_CA_BUNDLE, endpoints.
//!
//! The SDK reads the process's own environment, so each case runs this program again with one of its own.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "../src/sys/scripted.rs"]
mod scripted;

use runner::sys::vault::{Limits, SecretRequest, fetch};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use scripted::{Act, Endpoint};
use std::process::Command;
use std::time::{Duration, Instant};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

/// Says to this program that it is the other side.
const FETCH: &str = "RUNNER_TEST_FETCH";

/// The other side: fetches in the environment that it was started with, and prints what came of it.
async fn fetch_here() {
    let request = SecretRequest {
        name: "gac".to_owned(),
        region: None,
        endpoint: None,
        limits: Limits {
            pause: Duration::from_millis(1),
            ..Limits::default()
        },
    };
    match fetch(&request).await {
        Ok(secret) => println!("\nOUTCOME value of {} bytes", secret.text.expose().len()),
        Err(error) => println!("\nOUTCOME {} {error}", error.exit),
    }
}

async fn fetch_in(environment: &[(&str, &str)]) -> String {
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let run = move || {
        Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "keys_and_endpoint_of_the_environment_are_used",
                "--nocapture",
            ])
            .env_clear()
            .envs([
                ("AWS_REGION", "us-east-1"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
                (FETCH, "1"),
            ])
            .envs(environment)
            .output()
    };
    let output = tokio::task::spawn_blocking(run)
        .await
        .expect("no panic")
        .expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = printed
        .lines()
        .find_map(|line| line.strip_prefix("OUTCOME "));
    outcome
        .unwrap_or_else(|| panic!("no outcome: {output:?}"))
        .to_owned()
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENV"),
    ("AWS_SECRET_ACCESS_KEY", "x"),
];

fn value() -> Act {
    Act::answer(200, r#"{"SecretString":"12345"}"#)
}

#[tokio::test]
async fn container_credentials_come_from_the_full_uri_with_its_token() {
    let vault = Endpoint::new([value()]).await;
    let agent = Endpoint::new([Act::answer(
        200,
        r#"{"AccessKeyId":"ASIAAGENT","SecretAccessKey":"x","Token":"session","Expiration":"2099-01-01T00:00:00Z"}"#,
    )])
    .await;
    let outcome = fetch_in(&[
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &agent.url("/role?id=7"),
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &vault.url("")),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ])
    .await;
    assert_eq!(outcome, "value of 5 bytes");
    assert_eq!((agent.tries(), vault.tries()), (1, 1));
    let asked = agent.requests().remove(0);
    assert!(asked.starts_with("GET /role?id=7 "), "{asked}");
    assert!(asked.contains("authorization: let-me-in\r\n"), "{asked}");
    let asked = vault.requests().remove(0);
    assert!(asked.contains("Credential=ASIAAGENT/"), "{asked}");
    assert!(
        asked.contains("x-amz-security-token: session\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn keys_and_endpoint_of_the_environment_are_used() {
    // The others start this one for the fetch alone.
    if std::env::var_os(FETCH).is_some() {
        return fetch_here().await;
    }
    let vault = Endpoint::new([value()]).await;
    // Plain http must not load CAs: in a debug build the SDK panics where it finds none.
    let environment = [
        KEYS[0],
        KEYS[1],
        ("AWS_ENDPOINT_URL", &vault.url("")),
        ("SSL_CERT_FILE", "/dev/null"),
    ];
    assert_eq!(fetch_in(&environment).await, "value of 5 bytes");
    assert!(vault.requests()[0].contains("Credential=AKIDENV/"));
}

#[tokio::test]
async fn without_credentials_it_says_so_and_soon() {
    const NONE: &str = "77 cannot read secret `gac` in us-east-1: there are no AWS credentials (give the ECS task a task role; elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)";
    assert_eq!(fetch_in(&[]).await, NONE);
    // A metadata service that swallows every packet must not cost more than it has to.
    let metadata = Endpoint::new([Act::Hang]).await;
    let started = Instant::now();
    let environment = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*metadata.url("")),
    ];
    assert_eq!(fetch_in(&environment).await, NONE);
    assert_eq!(metadata.tries(), 1);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_broken_source_of_credentials_is_named() {
    const DOING: &str = "cannot read secret `gac` in us-east-1: AWS credentials cannot be had: ";
    const HELP: &str = "(check AWS_CONTAINER_CREDENTIALS_*, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN or the profile, whichever is meant)";
    let agent = Endpoint::new([Act::answer(403, "CANARY")]).await;
    let uri = agent.url("/");
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())];
    let outcome = fetch_in(&environment).await;
    assert_eq!(
        outcome,
        format!(
            "77 {DOING}Non-success status from HTTP credential provider: StatusCode(403) {HELP}"
        )
    );
    agent.end().await;
    let outcome = fetch_in(&environment).await;
    assert_eq!(outcome, format!("69 {DOING}connection refused {HELP}"));
}

#[tokio::test]
async fn a_bundle_of_authorities_replaces_those_of_the_system() {
    let read = |name: &str| std::fs::read(format!("{TLS}/{name}")).expect("a test file");
    let certificate = CertificateDer::from_pem_slice(&read("server.pem")).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).expect("PEM");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key that fits");
    let vault = Endpoint::with_tls([value()], config).await;
    let url = format!("https://{}", vault.address());
    let with = |bundle: String| {
        let url = url.clone();
        async move {
            let bundle = ("AWS_CA_BUNDLE", bundle.as_str());
            fetch_in(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", &url), bundle]).await
        }
    };
    assert_eq!(with(format!("{TLS}/server.pem")).await, "value of 5 bytes");
    assert_eq!(
        with(format!("{TLS}/other.pem")).await,
        format!(
            "69 cannot read secret `gac` in us-east-1 at {}: its certificate is not signed by a CA known here (install ca-certificates, or name a file of CAs in AWS_CA_BUNDLE or SSL_CERT_FILE; check the clock)",
            vault.address()
        )
    );
    assert_eq!(
        with(format!("{TLS}/README.md")).await,
        format!(
            "78 cannot read secret `gac` in us-east-1 at {}: AWS_CA_BUNDLE={TLS}/README.md: no certificate in it",
            vault.address()
        )
    );
}
