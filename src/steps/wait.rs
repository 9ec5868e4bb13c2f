//! `wait`: until a port, a URL or a file is there.

use super::StepKind;
use crate::roles::scalar::{Period, Text};
use crate::roles::shape::record;

record! {
    /// Waits until something is there.
    pub struct Wait as "a wait step" {
        /// What is waited for; with the step's `timeout`, by default 60 s.
        wait: Spec => {"tcp": "db:5432", "interval": "500ms"},
    }
}

record! {
    /// What is waited for: `tcp`, `http` or `file`.
    pub struct Spec as "a wait step" {
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
}
