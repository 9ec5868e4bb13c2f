//! `wait`: until a port, a URL or a file is there.

use std::path::Path;
use std::time::Duration;

use super::{Failure, StepKind};
use crate::engine::steps::{Cx, within};
use crate::roles::scalar::{Period, Text};
use crate::roles::shape::record;
use crate::sys::http::{self, Request};

/// How long is waited where the step has no `timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long one look may take.
const ONE_LOOK: Duration = Duration::from_secs(5);

record! {
    /// Waits until something is there.
    pub struct Wait as "a wait step" {
        /// What is waited for; with the step's `timeout`, by default 60 s.
        wait: Spec => {"tcp": "db:5432", "interval": "500ms"},
    }
}

record! {
    /// What is waited for: `tcp`, `http` or `file`.
    pub struct Spec as "a wait step" short "tcp" {
        /// A host and port that must accept a connection.
        tcp: Option<Text> => "db:5432",
        /// A URL that must answer with 200 to 399.
        http: Option<Text> => "http://127.0.0.1:9200/",
        /// A file that must be there.
        file: Option<Text> => "/run/ready",
        /// The pause between two looks.
        interval: Period = "500ms" => "1s",
    }
}

impl StepKind for Wait {
    const KEY: &'static str = "wait";

    fn line(&self) -> String {
        let what = [&self.wait.tcp, &self.wait.http, &self.wait.file];
        let what = what.into_iter().flatten().next();
        format!(
            "wait for {}",
            what.map_or("nothing", |text| text.raw.as_str())
        )
    }

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let spec = &self.wait;
        let look = Look {
            tcp: spec.tcp.as_ref().map(|text| cx.text(text)).transpose()?,
            http: spec.http.as_ref().map(|text| cx.text(text)).transpose()?,
            file: spec.file.as_ref().map(|text| cx.text(text)).transpose()?,
        };
        let limit = limit.unwrap_or(TIMEOUT);
        let last = std::cell::RefCell::new(String::new());
        let work = async {
            while let Err(why) = look.once(limit).await {
                *last.borrow_mut() = why;
                tokio::time::sleep(spec.interval.0).await;
            }
            Ok(())
        };
        let doing = || match last.borrow().as_str() {
            "" => format!("cannot {}", self.line()),
            last => format!("cannot {} (at last: {last})", self.line()),
        };
        within(cx, Some(limit), doing, work).await
    }
}

/// What is looked for.
struct Look {
    tcp: Option<String>,
    http: Option<String>,
    file: Option<String>,
}

impl Look {
    /// One look; the error says what is not there.
    async fn once(&self, limit: Duration) -> Result<(), String> {
        let limit = limit.min(ONE_LOOK);
        if let Some(address) = &self.tcp {
            http::connect(address, limit)
                .await
                .map_err(|error| error.to_string())?;
        }
        if let Some(url) = &self.http {
            let answer = http::send(&Request::get(url.clone(), limit))
                .await
                .map_err(|error| error.to_string())?;
            if !(200..400).contains(&answer.status) {
                return Err(format!("the answer was {}", answer.status));
            }
        }
        if let Some(file) = &self.file
            && !Path::new(file).exists()
        {
            return Err("there is no such file".to_owned());
        }
        Ok(())
    }
}
