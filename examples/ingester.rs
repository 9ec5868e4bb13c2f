//! A stand-in for the application's ingester, for `make run`, and an example of a worker: one JSON object a line comes
//! in, one JSON answer a line goes out. What else it prints to stdout is relayed as output.
//!
//! Each task becomes a document in var/documents.tsv, which the portal's next `/index` finds. `ingestion_type` is
//! `vcf` where the task has none; any other is rejected, and stands among the dead letters then.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an example, and no part of runner"
)]

use std::io::{BufRead, Write};

use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all("var")?;
    for line in std::io::stdin().lock().lines() {
        let task: Value = serde_json::from_str(&line?)?;
        let answer = match ingest(task["body"].as_str().unwrap_or_default()) {
            Ok(()) => json!({ "id": task["id"], "outcome": "done" }),
            Err(Trouble::Never(reason)) => {
                json!({ "id": task["id"], "outcome": "reject", "reason": reason })
            }
            Err(Trouble::Now(error)) => {
                json!({ "id": task["id"], "outcome": "retry", "reason": error.to_string() })
            }
        };
        println!("{answer}");
    }
    Ok(())
}

enum Trouble {
    Never(&'static str),
    Now(std::io::Error),
}

fn ingest(body: &str) -> Result<(), Trouble> {
    let task: Value =
        serde_json::from_str(body).map_err(|_| Trouble::Never("the task is not JSON"))?;
    let uuid = task["uuid"].as_str().unwrap_or_default();
    let kind = task["ingestion_type"].as_str().unwrap_or("vcf");
    if kind != "vcf" {
        return Err(Trouble::Never("this stand-in ingests `vcf` only"));
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open("var/documents.tsv")
        .map_err(Trouble::Now)?;
    // A task may come a second time: the index counts a document once.
    writeln!(file, "{uuid}\tsubmission {uuid}, a {kind} file").map_err(Trouble::Now)?;
    println!("ingested {uuid}");
    Ok(())
}
