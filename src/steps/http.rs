//! `http`: one request, for `/index`, webhooks and warm-up.

use std::time::Duration;

use indexmap::IndexMap;

use super::{Failure, StepKind};
use crate::engine::steps::{Cx, within};
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::{Opaque, Text};
use crate::roles::shape::record;
use crate::sys::http::{self, Request};

/// How long an answer may take where the step has no `timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);

record! {
    /// Sends one HTTP request.
    pub struct Http as "an http step" {
        /// The request and the answer that is expected.
        http: Spec => {"method": "POST", "url": "http://127.0.0.1:6543/index"},
    }
}

record! {
    /// A request and the answer that is expected. Redirects are not followed.
    pub struct Spec as "an http step" short "url" {
        /// The method.
        method: String = "GET" => "POST",
        /// The URL.
        url: Text => "http://127.0.0.1:6543/index",
        /// Headers.
        headers: IndexMap<String, Text> = {} => {"Authorization": "Bearer ${TOKEN}"},
        /// The body as a text.
        body: Option<Text> => "ping",
        /// The body as JSON, with `Content-Type: application/json`; no expressions in it.
        json: Option<Opaque> => {"record": true},
        /// Status codes that count as success; by default 200 to 299.
        expect_status: Vec<u16> = [] => [200, 204],
    }
}

impl StepKind for Http {
    const KEY: &'static str = "http";

    fn line(&self) -> String {
        format!("{} {}", self.http.method, self.http.url.raw)
    }

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let spec = &self.http;
        let url = cx.text(&spec.url)?;
        let shown = format!("{} {}", spec.method, spec.url.raw);
        let mut headers = Vec::new();
        for (name, text) in &spec.headers {
            headers.push((name.clone(), cx.secret(text)?.expose().to_owned()));
        }
        let body = match (&spec.json, &spec.body) {
            (Some(json), _) => {
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
                Some(json.0.to_string().into_bytes())
            }
            (None, Some(text)) => Some(cx.secret(text)?.expose().as_bytes().to_vec()),
            (None, None) => None,
        };
        let limit = limit.unwrap_or(TIMEOUT);
        let request = Request {
            method: spec.method.clone(),
            url,
            headers,
            body,
            // The step's own limit comes first: a request that takes too long is a step that does.
            timeout: limit.saturating_mul(2),
        };
        let doing = || format!("`{shown}` failed");
        let answer = within(cx, Some(limit), doing, async {
            http::send(&request)
                .await
                .map_err(|error| RunError::new(Exit::UNAVAILABLE, doing(), error.to_string()))
        })
        .await?;
        let status = answer.status;
        let good = match spec.expect_status.as_slice() {
            [] => (200..300).contains(&status),
            codes => codes.contains(&status),
        };
        if good {
            return Ok(());
        }
        Err(RunError::new(Exit::FAILED, doing(), format!("the answer was {status}")).into())
    }
}
