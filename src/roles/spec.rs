//! The language: every mapping of roles.yaml with its keys, defaults and examples.
//!
//! The doc comments are what the JSON Schema, the editor and docs/roles.md say.

use indexmap::IndexMap;

use super::scalar::{
    Command, Condition, Count, Decimal, Fraction, Mode, Opaque, Period, Signal, Text,
};
use super::shape::{record, words};
use crate::settings::spec::Settings;
use crate::steps::Step;

record! {
    /// What each role of one container image does.
    pub struct File as "roles.yaml" {
        /// The version of the language.
        version: Version => 1,
        /// Which role runs when `runner run` names none.
        select: Option<Text> => "${application_type}",
        /// What the platform grants the container.
        platform: Platform = {},
        /// Where values come from, and which there are.
        settings: Settings = {},
        /// Steps that every role runs first, in order.
        startup: Vec<Step> = [],
        /// What each role does, by name.
        roles: IndexMap<String, Role>,
    }
}

words! {
    /// The version of the language.
    pub enum Version {
        /// The first.
        One = "1",
    }
}

record! {
    /// What the platform grants the container.
    pub struct Platform as "platform" {
        /// The time between the platform's SIGTERM and its SIGKILL: ECS `stopTimeout` (30 s by default, at most
        /// 120 s on Fargate), Compose `stop_grace_period` (10 s by default).
        stop_timeout: Period = "30s" => "120s",
        /// The task's CPU units, 1024 for one CPU; `validate` checks that Fargate has a task of this size.
        cpu: Option<u32> => 1024,
        /// The task's memory in MiB; `validate` checks that Fargate has it with these CPU units.
        memory: Option<u32> => 2048,
    }
}

record! {
    /// A role: steps, then members that run side by side until the role is told to stop. A role without members
    /// ends with its last step.
    pub struct Role as "a role" {
        /// What the role is for, for people.
        description: Option<String> => "Serves standard API requests",
        /// The whole budget of a stop; by default what the platform grants.
        stop_timeout: Option<Period> => "110s",
        /// Steps that this role runs after those of the file, in order.
        startup: Vec<Step> = [],
        /// Programs that are kept running.
        services: IndexMap<String, Service> = {},
        /// Steps that are run again and again.
        loops: IndexMap<String, Loop> = {},
        /// Queues whose messages are handed to a handler.
        queues: IndexMap<String, Queue> = {},
    }
}

record! {
    /// A program that is kept running.
    pub struct Service as "a service" short "command" {
        /// What the service is for, for people.
        description: Option<String>,
        /// The program and its arguments: a list, or a text split into words with no shell.
        command: Command => ["nginx", "-g", "daemon off;"],
        /// Variables for the program, above the container's own.
        environment: IndexMap<String, Text> = {} => {"PORT": "${port}"},
        /// The user, and with `:` the group, that the program runs as: names or numbers.
        user: Option<Text> => "nginx",
        /// The folder that the program starts in.
        working_dir: Option<Text> => "/srv/app",
        /// How many copies run; `${replica}` is a copy's number, from 0.
        replicas: Count = 1 => 5,
        /// The port of the first copy; copy N has `port` + N, and `${port}` is it.
        port: Option<Port> => 6543,
        /// Files that name the address of every replica, such as a proxy's configuration with its list of servers;
        /// `validate` compares them with `replicas` and `port`.
        listed_in: Vec<Text> = [] => ["docker/nginx.conf"],
        /// When the program is started again after it ended.
        restart: Restart = "always" => "on-failure",
        /// How long to wait before a restart.
        backoff: Backoff = {},
        /// How many restarts within `restart_window` are tried before the service has failed for good; unlimited by
        /// default.
        max_restarts: Option<u32> => 5,
        /// The window in which `max_restarts` counts.
        restart_window: Period = "1m" => "10m",
        /// Whether the role stops, with the service's code, when the service ends for good.
        essential: bool = true => false,
        /// Codes that count as success.
        success_exit_codes: Vec<u8> = [0] => [0, 143],
        /// When the service counts as ready. Readiness never kills.
        readiness: Option<Box<Probe>> => {"http": "http://127.0.0.1:${port}/health"},
        /// When the service counts as alive; one that is not is stopped, and `restart` decides.
        liveness: Option<Box<Probe>> => {"tcp": "127.0.0.1:${port}"},
        /// Members that must have come far enough before this one starts.
        depends_on: IndexMap<String, Dependency> = {} => {"app": {"condition": "ready"}},
        /// The signal that asks the program to stop; it goes to the main process.
        stop_signal: Signal = "SIGTERM" => "SIGQUIT",
        /// How long the program may take to stop before its whole group is killed.
        stop_timeout: Period = "10s" => "30s",
        /// How long a stopping role still leaves this service running, so that the load balancer can take it out
        /// first; a part of the role's `stop_timeout`.
        drain_delay: Period = "0s" => "15s",
        /// Signals that are passed on to the program when runner receives them.
        forward_signals: Vec<Signal> = [] => ["SIGHUP"],
        /// `relay`: each line goes through runner, with the service's name and with secrets redacted. `inherit`: the
        /// program writes straight to the container's output.
        output: Output = "relay" => "inherit",
    }
}

/// A TCP port.
pub type Port = Count16;

/// A number from 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Count16(pub u16);

impl super::shape::Shape for Count16 {
    fn read(node: &super::tree::Node, reader: &mut super::shape::Reader<'_>) -> Option<Self> {
        let number = u32::read(node, reader)?;
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            let message = format!("`{number}` is not a port: they go from 1 to 65535");
            reader.bad(node, crate::diag::Code::BadValue, message);
        }
        port.map(Self)
    }

    fn schema(_: &mut super::shape::Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

words! {
    /// When a program is started again.
    pub enum Restart {
        /// However it ended.
        Always = "always",
        /// When it ended with a code that is not a success.
        OnFailure = "on-failure",
        /// Never.
        Never = "never",
    }
}

words! {
    /// How a program's output reaches the container's.
    pub enum Output {
        /// Line by line through runner.
        Relay = "relay",
        /// Untouched.
        Inherit = "inherit",
    }
}

record! {
    /// Growing pauses between tries.
    pub struct Backoff as "a backoff" short "initial" {
        /// The first pause.
        initial: Period = "100ms" => "1s",
        /// What each pause is multiplied by for the next.
        factor: Decimal = 2,
        /// The longest pause.
        max: Period = "30s" => "1m",
        /// The part of a pause by which it is varied up and down, so that copies do not move in step.
        jitter: Fraction = 0.1,
        /// How long a program must have run for its next restart to be immediate and the pauses to begin anew.
        reset_after: Period = "10s" => "1m",
    }
}

record! {
    /// A question to a service that it answers or does not: `http`, `tcp` or `exec`.
    pub struct Probe as "a probe" short "tcp" {
        /// A URL that must answer with 200 to 399.
        http: Option<Text> => "http://127.0.0.1:${port}/health?format=json",
        /// A host and port that must accept a connection.
        tcp: Option<Text> => "127.0.0.1:${port}",
        /// A program that must end with 0.
        exec: Option<Command> => ["pg_isready", "-q"],
        /// The pause between two questions.
        interval: Period = "10s" => "1s",
        /// How long an answer may take.
        timeout: Period = "5s",
        /// How many wrong answers in a row count.
        retries: Count = 3,
        /// The time after a start in which wrong answers do not count.
        start_period: Period = "0s" => "120s",
    }
}

record! {
    /// How far another member must have come.
    pub struct Dependency as "a dependency" short "condition" {
        /// `started`: its program runs. `ready`: its readiness said yes. `succeeded`: it ended with success.
        condition: DependencyCondition = "started" => "ready",
    }
}

words! {
    /// How far a member must have come.
    pub enum DependencyCondition {
        /// Its program runs.
        Started = "started",
        /// Its readiness said yes.
        Ready = "ready",
        /// It ended with success.
        Succeeded = "succeeded",
    }
}

record! {
    /// Steps that are run again and again, never overlapping. A failed run is logged and the loop goes on.
    pub struct Loop as "a loop" {
        /// What the loop is for, for people.
        description: Option<String>,
        /// The pause from the end of one run to the start of the next.
        interval: Option<Period> => "1s",
        /// The time from the start of one run to the start of the next; ticks that a long run misses are skipped.
        every: Option<Period> => "5m",
        /// The part of `interval` or `every` by which it is varied up and down.
        jitter: Fraction = 0 => 0.1,
        /// Whether the first run comes at once rather than after the first pause.
        run_on_start: bool = true => false,
        /// How long one run may take.
        timeout: Option<Period> => "10m",
        /// How many runs in a row may fail before `on_max_failures`; 0 means that the loop goes on for ever.
        max_failures: u32 = 0 => 10,
        /// What happens then: the role ends with the run's code, or health says unhealthy.
        on_max_failures: OnMaxFailures = "exit" => "unhealthy",
        /// Members that must have come far enough before the first run.
        depends_on: IndexMap<String, Dependency> = {} => {"app": {"condition": "ready"}},
        /// What one run does, in order; the first failure ends the run.
        steps: Vec<Step> => [{"command": ["es-index-data", "production.ini", "--app-name", "app"]}],
    }
}

words! {
    /// What a loop does when too many runs in a row have failed.
    pub enum OnMaxFailures {
        /// The role ends with the run's code.
        Exit = "exit",
        /// Health says unhealthy, and the loop goes on.
        Unhealthy = "unhealthy",
    }
}

record! {
    /// A queue whose messages are handed to a handler, each under a lease that a heartbeat extends.
    pub struct Queue as "a queue" {
        /// What the queue is for, for people.
        description: Option<String>,
        /// The queue's name or URL.
        queue: Text => "${BS_ENV}-ingestion-queue",
        /// Another endpoint than AWS, such as `runner queue serve`.
        endpoint: Option<Text> => "http://127.0.0.1:9324",
        /// The queue's region; by default AWS_REGION, then the secret source's.
        region: Option<Text> => "us-east-1",
        /// What does the work.
        handler: Handler => {"worker": ["python", "ingest_worker.py", "production.ini"]},
        /// How many messages are in hand at once.
        concurrency: Count = 1 => 4,
        /// How long a message is hidden from others; a heartbeat extends it while the handler runs.
        visibility_timeout: Period = "2m" => "5m",
        /// How long one receive waits for a message.
        wait_time: Period = "20s" => "5s",
        /// After how many receives a message is put into `dead_letter`; by default the queue's own policy decides.
        max_receives: Option<Count> => 5,
        /// The queue that takes rejected messages.
        dead_letter: Option<Text> => "${BS_ENV}-ingestion-queue-dlq",
        /// How long a message that is to be retried stays hidden, growing with its receives; by default from 10s,
        /// doubling, to 15m.
        backoff: Option<Backoff> => {"initial": "1m", "factor": 2, "max": "1h"},
        /// A JSON Schema that a message must fit; one that does not is rejected with the reason.
        message_schema: Option<Opaque> => {"type": "object", "required": ["uuid"]},
        /// What becomes of a message whose handler is still running when the stop budget ends: `release` gives it
        /// back at once, `hold` leaves it hidden until its visibility runs out.
        on_interrupt: OnInterrupt = "release" => "hold",
        /// ECS task protection while a message is in hand.
        task_protection: TaskProtection = "auto" => "required",
        /// Members that must have come far enough before the first receive.
        depends_on: IndexMap<String, Dependency> = {} => {"app": {"condition": "ready"}},
        /// An HTTP endpoint that adds tasks to the queue, counts them and looks at them; none by default.
        api: Option<Api> => {"token": "${QUEUE_TOKEN}"},
    }
}

record! {
    /// An HTTP endpoint for a queue's tasks, open to those who have its token.
    pub struct Api as "an api" {
        /// Where it listens: host and port. Only this machine reaches the default.
        listen: Text = "127.0.0.1:9325" => "0.0.0.0:9325",
        /// What every request must carry: `Authorization: Bearer TOKEN`.
        token: Text => "${QUEUE_TOKEN}",
    }
}

record! {
    /// What handles a message: `command`, `worker` or `http`.
    pub struct Handler as "a handler" short "command" {
        /// One process a message: the body on stdin; exit 0 is done, 65 reject, anything else retry.
        command: Option<Command> => ["./ingest-one"],
        /// A warm process: one JSON object a line on stdin, one JSON answer a line on stdout.
        worker: Option<Command> => ["python", "ingest_worker.py", "production.ini"],
        /// A URL that gets each message by POST, as the Elastic Beanstalk worker daemon sends it: 2xx is done, 422
        /// reject, anything else retry.
        http: Option<Text> => "http://127.0.0.1:6543/ingest",
        /// How long one message may take; unlimited by default, up to the 12 hours of SQS.
        timeout: Option<Period> => "2h",
        /// Variables for the program, above the container's own.
        environment: IndexMap<String, Text> = {},
        /// The user, and with `:` the group, that the program runs as.
        user: Option<Text>,
        /// The folder that the program starts in.
        working_dir: Option<Text>,
    }
}

words! {
    /// What becomes of a message whose handler is still running when the stop budget ends.
    pub enum OnInterrupt {
        /// Given back at once.
        Release = "release",
        /// Left hidden until its visibility runs out.
        Hold = "hold",
    }
}

words! {
    /// ECS task protection while a message is in hand.
    pub enum TaskProtection {
        /// Tried; a refusal is warned of once.
        Auto = "auto",
        /// A message is given back when protection is refused.
        Required = "required",
        /// Never asked for.
        Off = "off",
    }
}

record! {
    /// What every kind of step has.
    pub struct StepCommon as "a step" {
        /// How the log calls the step.
        name: Option<Text> => "production.ini",
        /// A bare expression; the step is skipped where it does not hold.
        r#if: Option<Condition> => "INITIAL_DEPLOYMENT",
        /// How long one try may take.
        timeout: Option<Period> => "10m",
        /// How often a failed step is tried again.
        retry: Option<Retry> => {"attempts": 3},
        /// Whether the role goes on when the step has failed.
        continue_on_error: bool = false => true,
    }
}

record! {
    /// How often a failed step is tried again.
    pub struct Retry as "a retry" short "attempts" {
        /// The total of tries, the first one included.
        attempts: Count = 3 => 5,
        /// The pauses between tries.
        backoff: Backoff = {},
    }
}

/// A mode for a file that holds secrets unless it is said otherwise.
pub const PRIVATE: Mode = Mode(0o600);

/// What runner keeps of a stop's budget, to kill what is left and to say what it did.
pub const STOP_RESERVE: std::time::Duration = std::time::Duration::from_secs(1);
