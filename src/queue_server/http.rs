//! The socket: the AWS JSON 1.0 protocol as HTTP requests.
//!
//! What a web page sends is turned away, and so is what has not the protocol's content type, which keeps simple
//! cross-site forms out.

use super::endpoint::{Asked, Endpoint, Said};
use super::model::refusal::{Code, Refusal};
use crate::sys::serve::{Answer, Head, Service};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Everything that connections share.
#[derive(Debug)]
pub struct Door {
    endpoint: Rc<Endpoint>,
    account: String,
    address: SocketAddr,
    requests: Cell<u64>,
}

impl Door {
    /// No request yet.
    pub fn new(endpoint: Rc<Endpoint>, account: String, address: SocketAddr) -> Self {
        Self {
            endpoint,
            account,
            address,
            requests: Cell::new(0),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Answer {
        let code = refusal.code;
        let json = serde_json::json!({
            "__type": format!("com.amazonaws.sqs#{}", code.shape()),
            "message": refusal.message,
        });
        let fault = if code.is_senders() {
            "Sender"
        } else {
            "Receiver"
        };
        self.respond(code.status(), json.to_string().into_bytes())
            .header("x-amzn-query-error", format!("{};{fault}", code.query()))
    }

    fn respond(&self, status: u16, json: Vec<u8>) -> Answer {
        let id = format!(
            "{:08x}-0000-4000-8000-{:012x}",
            std::process::id(),
            self.requests.get()
        );
        Answer::new(status, CONTENT_TYPE, json).header("x-amzn-requestid", id)
    }
}

impl Service for Door {
    /// A batch is 1 MiB of text; as JSON, six bytes for one are the worst case.
    const MAX_BODY: usize = 12 << 20;

    fn admit(&self, head: &Head) -> Result<(), Answer> {
        self.requests.set(self.requests.get() + 1);
        if head.method() == "GET" && head.path() == "/health" {
            return Err(Answer::new(200, "text/plain", "ok\n"));
        }
        if head.is_of_web_page() {
            let message = "This endpoint does not serve web pages.";
            return Err(self.refuse(&Refusal::new(Code::AccessDenied, message)));
        }
        let content_type = head.header("content-type").unwrap_or_default();
        if head.method() != "POST" || !content_type.starts_with(CONTENT_TYPE) {
            let message = format!(
                "This endpoint speaks the AWS JSON 1.0 protocol alone: POST with content type {CONTENT_TYPE}."
            );
            return Err(self.refuse(&Refusal::new(Code::InvalidAction, message)));
        }
        Ok(())
    }

    fn too_long(&self) -> Answer {
        let message = format!("The request is longer than {} bytes.", Self::MAX_BODY);
        self.refuse(&Refusal::new(Code::RequestEntityTooLarge, message))
    }

    fn cannot_accept(&self, why: String) {
        tracing::warn!(why, "cannot accept a connection");
    }

    async fn answer(&self, head: &Head, body: Vec<u8>) -> Option<Answer> {
        let host = head.header("host");
        let host = host.map_or_else(|| self.address.to_string(), str::to_owned);
        let target = head.header("x-amz-target").unwrap_or_default();
        let asked = Asked {
            action: target.strip_prefix("AmazonSQS.").unwrap_or_default(),
            body: &body,
            base: &format!("http://{host}/{}", self.account),
        };
        match self.endpoint.answer(asked).await {
            Said::Json(Ok(json)) => Some(self.respond(200, json)),
            Said::Json(Err(refusal)) => Some(self.refuse(&refusal)),
            Said::Nothing => None,
        }
    }
}
