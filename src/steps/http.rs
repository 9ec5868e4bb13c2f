//! `http`: one request, for `/index`, webhooks and warm-up.

use indexmap::IndexMap;

use super::StepKind;
use crate::roles::scalar::{Opaque, Text};
use crate::roles::shape::record;

record! {
    /// Sends one HTTP request.
    pub struct Http as "an http step" {
        /// The request and the answer that is expected.
        http: Spec => {"method": "POST", "url": "http://127.0.0.1:6543/index"},
    }
}

record! {
    /// A request and the answer that is expected. Redirects are not followed.
    pub struct Spec as "an http step" {
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
}
