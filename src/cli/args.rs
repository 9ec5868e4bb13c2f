//! What the command line can say. The texts here are what `--help` teaches.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    about = "Plays one role of a container: settings, start-up steps, then services, loops and queues until it is told to stop.",
    after_help = "Examples:\n  \
        runner validate                     find every mistake in roles.yaml, with no AWS and no image\n  \
        runner plan indexer                 say what the role will do, step by step\n  \
        application_type=portal runner run  play the role, as the container's entrypoint\n  \
        runner render production.ini        show a rendered file, secrets masked\n  \
        runner explain RDS_HOSTNAME         say where a value comes from\n  \
        runner queue send ingestion -       add the tasks that come on stdin",
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// The file that says what each role does
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "RUNNER_CONFIG",
        default_value = "roles.yaml",
        hide_env_values = true
    )]
    pub config: PathBuf,
    /// Set a setting, above every source; may be given more than once
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = KeyValue)]
    pub set: Vec<(String, String)>,
    /// How the log is written: text on a terminal, else json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "RUNNER_LOG_FORMAT",
        hide_env_values = true
    )]
    pub log_format: Option<LogFormat>,
    /// How much is logged
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "RUNNER_LOG_LEVEL",
        default_value = "info",
        hide_env_values = true
    )]
    pub log_level: LogLevel,
    /// Where `run` answers health, status, restart and stop: /run/runner.sock, else /tmp/runner-UID.sock
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "RUNNER_SOCKET",
        hide_env_values = true
    )]
    socket: Option<OsString>,
}

impl Global {
    /// The socket that was named; a variable that is set and empty names none.
    pub fn socket(&self) -> Option<&Path> {
        self.socket
            .as_deref()
            .filter(|path| !path.is_empty())
            .map(Path::new)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a role: the container's entrypoint, as PID 1 or not
    Run(Run),
    /// Find every problem of roles.yaml and its templates, all at once
    Validate(Validate),
    /// Say what `run` will do, step by step, with the origin of every setting
    Plan(Plan),
    /// Draw a role for docs and reviews
    Graph(Graph),
    /// Print a rendered template, secrets masked
    Render(Render),
    /// Say where a setting's value comes from, what it overrode, and who uses it
    Explain(Explain),
    /// Run one command after a role's steps, in the container's environment
    Exec(Exec),
    /// Print the JSON Schema of roles.yaml
    Schema(Schema),
    /// Ask the running runner whether it is healthy; for HEALTHCHECK and ECS healthCheck
    #[command(
        after_help = "Exit codes: 0 healthy; 1 starting, unhealthy or stopping; 69 no runner is running here."
    )]
    Health(Ask),
    /// Show what the running runner does: every member, its state and what comes next
    Status(Ask),
    /// Restart a service of the running runner, one replica after the other
    Restart(Restart),
    /// Ask the running runner to stop in order
    Stop(Stop),
    /// Add tasks to a queue, look into it, or serve one on this machine
    #[command(subcommand)]
    Queue(Queue),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Run {
    /// The role; by default the one that `select` in roles.yaml names
    pub role: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Validate {
    /// How findings are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Findings,
    /// Also check a GAC, the JSON of the secret; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub gac: Option<String>,
    /// Also look up every program that a role runs; for use inside the image
    #[arg(long)]
    pub check_commands: bool,
    /// Count warnings as findings
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Schema {
    /// The schema of the GAC that roles.yaml declares, instead
    #[arg(long)]
    pub gac: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Findings {
    /// With the line, a caret and the cure
    Text,
    /// One JSON object
    Json,
    /// GitHub Actions annotations
    Github,
    /// SARIF 2.1.0
    Sarif,
}

#[derive(Debug, ClapArgs)]
pub struct Plan {
    /// The role; by default every role
    pub role: Option<String>,
    /// Say in words what a change means: from OTHER, an older roles.yaml, to this one
    #[arg(long, value_name = "OTHER")]
    pub diff: Option<PathBuf>,
    /// How the plan is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shown,
}

#[derive(Debug, ClapArgs)]
pub struct Graph {
    /// The role
    pub role: String,
    /// How it is drawn
    #[arg(long, value_name = "FORMAT", default_value = "mermaid")]
    pub format: Drawing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// A flowchart that GitHub and many wikis show
    Mermaid,
    /// A picture
    Svg,
}

#[derive(Debug, ClapArgs)]
pub struct Render {
    /// A render step's destination, or a template's path
    pub template: String,
    /// Show secrets
    #[arg(long)]
    pub reveal: bool,
    /// Compare with a file, and exit with 1 where they differ
    #[arg(long, value_name = "FILE")]
    pub diff: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// The setting; by default all of them
    pub key: Option<String>,
    /// Do not read the secret
    #[arg(long)]
    pub offline: bool,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shown,
}

#[derive(Debug, ClapArgs)]
pub struct Exec {
    /// The role whose steps run first
    pub role: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub struct Ask {
    /// How the answer is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shown,
}

#[derive(Debug, ClapArgs)]
pub struct Restart {
    /// The service, or one of its replicas: `app` or `app/2`
    #[arg(value_name = "SERVICE[/REPLICA]")]
    pub service: String,
}

#[derive(Debug, ClapArgs)]
pub struct Stop {
    /// Wait until the runner is gone
    #[arg(long)]
    pub wait: bool,
}

/// What is done with a queue.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// Add messages
    #[command(after_help = "Examples:\n  \
        runner queue send ingestion --json '{\"uuid\": \"…\"}'\n  \
        runner queue send ingestion --file tasks.jsonl      one JSON value after the other\n  \
        make-tasks | runner queue send ingestion -          the same from stdin")]
    Send(Send),
    /// Count the messages: visible, in flight, delayed, dead
    Depth(Depth),
    /// Show messages without taking them; each one shown counts as received once more
    Peek(Peek),
    /// Move the dead letters back into the queue
    Redrive(Which),
    /// Serve queues on this machine: the part of SQS that workers need, with no AWS
    Serve(Serve),
}

/// Which queue is meant.
#[derive(Debug, Clone, ClapArgs)]
pub struct Which {
    /// A queue of roles.yaml, or the name, URL or ARN of another
    #[arg(value_name = "QUEUE")]
    pub queue: String,
    /// The role that the queue is looked for in; by default the one that `select` names, then the only one that has it
    #[arg(long)]
    pub role: Option<String>,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Send {
    #[command(flatten)]
    pub which: Which,
    /// A message, as JSON; may be given more than once
    #[arg(long, value_name = "JSON")]
    pub json: Vec<String>,
    /// A message, as any text; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub body: Vec<String>,
    /// A file of JSON values, one after the other; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Read JSON values from stdin
    #[arg(value_name = "-", value_parser = ["-"])]
    pub stdin: Option<String>,
    /// Whose order the messages keep, in a FIFO queue
    #[arg(long)]
    pub group: Option<String>,
    /// In a FIFO queue: a message with the same text within 5 minutes is not taken again
    #[arg(long, value_name = "TEXT")]
    pub deduplication: Option<String>,
    /// How long the messages cannot be received, such as 30s; at most 15m
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Depth {
    #[command(flatten)]
    pub which: Which,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shown,
}

#[derive(Debug, ClapArgs)]
pub struct Peek {
    #[command(flatten)]
    pub which: Which,
    /// How many messages at most, up to 10
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub count: u8,
    /// Look into the dead letters instead
    #[arg(long)]
    pub dead: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Serve {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9324")]
    pub listen: std::net::SocketAddr,
    /// The file that keeps the messages; without one they are gone when the server ends
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Refuse a queue that was not created, as AWS does; by default it is there when it is first used, with NAME-dlq
    /// beside it
    #[arg(long)]
    pub strict: bool,
    /// After how many receives a message goes to NAME-dlq
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_receives: u32,
}

/// Reads `KEY=VALUE`. Its error does not repeat the text, which may hold a secret; clap's own would.
#[derive(Debug, Clone)]
struct KeyValue;

impl clap::builder::TypedValueParser for KeyValue {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        text: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        match text.to_str().and_then(|text| text.split_once('=')) {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => {
                let wrong = clap::error::ErrorKind::ValueValidation;
                Err(clap::Error::raw(wrong, "expected KEY=VALUE behind --set\n").with_cmd(command))
            }
        }
    }
}
