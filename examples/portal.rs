//! A stand-in for the application's portal, for `make run`: a few pages over plain HTTP.
//!
//!     portal production.ini 6543
//!
//! `POST /index` brings a small index up to date, `GET /search?q=WORD` asks it, `GET /health` answers. The documents are
//! examples/documents.tsv (an id, a tab, a title) and what the ingester adds in var/documents.tsv; the index is a file
//! of words with the ids of their documents, under var/ and named by the namespace in production.ini.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an example, and no part of runner"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["examples/documents.tsv", "var/documents.tsv"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(ini), Some(port)) = (args.next(), args.next()) else {
        return Err("usage: portal INI PORT".into());
    };
    let text = std::fs::read_to_string(&ini)?;
    let namespace =
        setting(&text, "indexer.namespace").ok_or("indexer.namespace is not in the ini")?;
    let index = Path::new("var/index").join(namespace);
    std::fs::create_dir_all(&index)?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    println!("serving on http://{}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        // One after the other: this is a laptop, and nobody else is here.
        if let Err(error) = answer(stream, &index) {
            eprintln!("a request failed: {error}");
        }
    }
    Ok(())
}

/// A key's value as PasteDeploy reads it.
fn setting(ini: &str, key: &str) -> Option<String> {
    let pairs = ini.lines().filter_map(|line| line.split_once('='));
    let mut values = pairs
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim());
    values.next().map(|value| value.replace("%%", "%"))
}

fn answer(stream: TcpStream, index: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
    let mut words = request.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (status, body) = match (method, path.split('?').next().unwrap_or_default()) {
        ("GET", "/health") => ("200 OK", "{\"status\": \"up\"}".to_owned()),
        ("POST", "/index") => ("200 OK", update(index)?),
        ("GET", "/search") => (
            "200 OK",
            search(index, path.split_once("q=").map_or("", |(_, word)| word))?,
        ),
        _ => ("404 Not Found", "{\"status\": \"no such page\"}".to_owned()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
    write!(
        reader.get_mut(),
        "{head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Builds the index anew where a document is new, and says how many were.
fn update(index: &Path) -> std::io::Result<String> {
    let texts = DOCUMENTS.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let documents: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.contains('\t'))
        .collect();
    let seen = std::fs::read_to_string(index.join("documents.tsv")).unwrap_or_default();
    let seen: BTreeSet<&str> = seen.lines().collect();
    let new = documents.difference(&seen).count();
    if new > 0 {
        let mut words: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for document in &documents {
            let (id, title) = document.split_once('\t').unwrap_or_default();
            for word in title
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
            {
                words.entry(word.to_lowercase()).or_default().insert(id);
            }
        }
        let lines = words.iter().map(|(word, ids)| {
            let ids: Vec<&str> = ids.iter().copied().collect();
            format!("{word}\t{}\n", ids.join(" "))
        });
        replace(&index.join("words.tsv"), &lines.collect::<String>())?;
        let lines: Vec<&str> = documents.iter().copied().collect();
        replace(&index.join("documents.tsv"), &(lines.join("\n") + "\n"))?;
        println!("{new} new documents indexed, {} in all", documents.len());
    }
    Ok(format!(
        "{{\"indexing_status\": \"finished\", \"indexing_count\": {new}}}"
    ))
}

/// The ids of the documents that have a word.
fn search(index: &Path, word: &str) -> std::io::Result<String> {
    let words = std::fs::read_to_string(index.join("words.tsv")).unwrap_or_default();
    let pairs = words.lines().filter_map(|line| line.split_once('\t'));
    let ids: Vec<String> = pairs
        .filter(|(known, _)| *known == word.to_lowercase())
        .flat_map(|(_, ids)| ids.split(' '))
        .map(|id| format!("\"{id}\""))
        .collect();
    Ok(format!("{{\"found\": [{}]}}\n", ids.join(", ")))
}

/// A file, whole or as it was.
fn replace(path: &PathBuf, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}
