//! A server, queues on it, and runners: real processes in a folder of their own.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName as Name;
use runner::queue_server::model::OnUse;
use runner::queue_server::{Config, serve};
use runner::shutdown::{self, Reason, Switch};

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A server in a thread of its own, and a client of it.
pub struct Server {
    pub client: Client,
    pub address: SocketAddr,
    switch: Switch,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub fn start(config: Config) -> Self {
        let (switch, shutdown) = shutdown::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let config = Config {
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), config.listen.port()),
            ..config
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let bound = move |address| tell.send(address).expect("the test waits");
            runtime
                .block_on(serve(config, shutdown, bound))
                .expect("the server ends well");
        });
        let address = told.recv_timeout(DEADLINE).expect("the server listens");
        Self {
            client: client(&format!("http://{address}")),
            address,
            switch,
            thread: Some(thread),
        }
    }

    /// With faults of this test's making.
    pub fn with(faults: Vec<runner::queue_server::Fault>) -> Self {
        Self::start(Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            on_use: OnUse::Refuse,
            faults,
            ..Config::default()
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.switch.request(Reason::Asked);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// A client of an endpoint that takes any credentials.
pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}

/// A queue of a server.
pub struct Queue {
    pub client: Client,
    pub url: String,
}

impl Queue {
    pub async fn create(client: &Client, name: &str, attributes: &[(Name, &str)]) -> Self {
        let mut create = client.create_queue().queue_name(name);
        for (name, value) in attributes {
            create = create.attributes(name.clone(), *value);
        }
        Self {
            client: client.clone(),
            url: create
                .send()
                .await
                .expect("a queue")
                .queue_url
                .expect("its URL"),
        }
    }

    pub async fn send(&self, body: &str) -> String {
        let sent = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await;
        sent.expect("sent").message_id.expect("an id")
    }

    /// Visible, in flight, delayed.
    pub async fn counts(&self) -> (u64, u64, u64) {
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let all = get
            .attribute_names(Name::All)
            .send()
            .await
            .expect("attributes");
        let all = all.attributes.expect("attributes");
        let count = |name| {
            all.get(&name)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        (
            count(Name::ApproximateNumberOfMessages),
            count(Name::ApproximateNumberOfMessagesNotVisible),
            count(Name::ApproximateNumberOfMessagesDelayed),
        )
    }

    /// Waits until its counts are so.
    pub async fn reaches(&self, counts: (u64, u64, u64)) {
        let started = Instant::now();
        loop {
            let now = self.counts().await;
            if now == counts {
                return;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{now:?} instead of {counts:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes one message, hidden for a while.
    pub async fn take(&self) -> Option<aws_sdk_sqs::types::Message> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .wait_time_seconds(1);
        let receive = receive
            .message_attribute_names("All")
            .message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All);
        let found = receive
            .send()
            .await
            .expect("an answer")
            .messages
            .unwrap_or_default();
        found.into_iter().next()
    }

    /// Everything that can be received now, deleted.
    pub async fn drain(&self) -> Vec<aws_sdk_sqs::types::Message> {
        let mut all = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(&self.url);
            let receive = receive
                .max_number_of_messages(10)
                .message_attribute_names("All");
            let found = receive
                .send()
                .await
                .expect("an answer")
                .messages
                .unwrap_or_default();
            if found.is_empty() {
                return all;
            }
            for message in found {
                let delete = self.client.delete_message().queue_url(&self.url);
                let handle = message.receipt_handle.clone().expect("a handle");
                delete.receipt_handle(handle).send().await.expect("deleted");
                all.push(message);
            }
        }
    }
}

/// A folder of its own, gone at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("runner-queue-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A file's lines, none where it is not there yet.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a file has so many lines.
    pub async fn has_lines(&self, name: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} lines in {name}"), || {
            let lines = self.lines(name);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Waits for something that must happen.
pub async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A runner that plays the role `r` of a roles.yaml.
pub struct Runner {
    pub child: Child,
    log: PathBuf,
    /// Where it can be asked.
    pub socket: PathBuf,
}

impl Runner {
    pub fn start(folder: &Folder, roles: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_with(folder, roles, environment, None)
    }

    /// With a stdout and stderr of the test's own; its log is empty then.
    pub fn start_with(
        folder: &Folder,
        roles: &str,
        environment: &[(&str, &str)],
        output: Option<std::os::fd::OwnedFd>,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let roles = folder.write(&format!("roles-{number}.yaml"), roles);
        let log = folder.0.join(format!("log-{number}"));
        let file = std::fs::File::create(&log).expect("a log");
        let file = output.map_or(file, std::fs::File::from);
        let socket = folder.0.join(format!("socket-{number}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .args([
                "run",
                "r",
                "--log-format",
                "json",
                "--log-level",
                "debug",
                "--config",
            ])
            .arg(roles)
            .current_dir(&folder.0)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("RUNNER_SOCKET", &socket)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        Self {
            child: command.spawn().expect("the runner starts"),
            log,
            socket,
        }
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(&self.log);
        let _ = file.and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// How often an event was told.
    pub fn events(&self, event: &str) -> Vec<String> {
        let wanted = format!("\"event\":\"{event}\"");
        self.log()
            .lines()
            .filter(|line| line.contains(&wanted))
            .map(str::to_owned)
            .collect()
    }

    /// Waits for so many events of a kind.
    pub async fn tells(&mut self, event: &str, count: usize) -> Vec<String> {
        let started = Instant::now();
        loop {
            let events = self.events(event);
            if events.len() >= count {
                return events;
            }
            let ended = self.child.try_wait().expect("a child");
            let late = started.elapsed() >= DEADLINE;
            assert!(
                !late && ended.is_none(),
                "no `{event}` ({ended:?}):\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: integers only; the child is not waited for yet, so the number is its.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    pub async fn ends(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "it does not end:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, and the code it ends with.
    pub async fn stop(mut self) -> (i32, String) {
        self.signal(libc::SIGTERM);
        let code = self.ends().await.code().unwrap_or(-1);
        (code, self.log())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(libc::SIGTERM);
            std::thread::sleep(Duration::from_millis(50));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A roles.yaml with one queue, `tasks`, and what else stands in it.
pub fn roles(endpoint: &str, keys: &str) -> String {
    let keys: String = keys
        .trim()
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    format!(
        "version: 1\nplatform: {{ stop_timeout: 9s }}\nroles:\n  r:\n    queues:\n      tasks:\n        queue: tasks\n        \
         endpoint: \"{endpoint}\"\n        region: us-east-1\n{keys}"
    )
}

/// The path of a program of the tests.
pub fn program(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/queue")
        .join(name)
        .display()
        .to_string()
}
