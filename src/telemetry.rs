//! Events as log lines: text for people, one JSON object a line for machines. Only runner's own events are written;
//! what libraries trace is not for operators.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::engine::event::{self, Event, Line};
use crate::sys::relay::frame::{Format, rfc3339};
use crate::sys::relay::{Log, Outlet};

/// The target of runner's own events.
const OWN: &str = "runner";

/// From now on, events of at least `level` are written to `outlet`.
pub fn start(outlet: &Outlet, level: event::Level) {
    let lines = Lines {
        log: std::sync::Mutex::new(outlet.log()),
        format: outlet.format,
        level: tracing_level(level),
    };
    let subscriber = tracing_subscriber::registry().with(lines);
    // A second start, which only tests could ask for, changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Turns an event into a trace.
pub fn hear(event: &Event) {
    let Line {
        level,
        event,
        member,
        replica,
        message,
    } = event.line();
    let member = member.as_deref();
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(target: OWN, Level::$level, event, member, replica, message)
        };
    }
    match level {
        event::Level::Debug => emit!(DEBUG),
        event::Level::Info => emit!(INFO),
        event::Level::Warn => emit!(WARN),
        event::Level::Error => emit!(ERROR),
    }
}

fn tracing_level(level: event::Level) -> Level {
    match level {
        event::Level::Debug => Level::DEBUG,
        event::Level::Info => Level::INFO,
        event::Level::Warn => Level::WARN,
        event::Level::Error => Level::ERROR,
    }
}

/// Writes own events as lines.
struct Lines {
    log: std::sync::Mutex<Log>,
    format: Format,
    level: Level,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with(OWN) && *metadata.level() <= self.level
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = rfc3339(SystemTime::now());
        let line = match self.format {
            Format::Text => fields.text(&time, event.metadata().level()),
            Format::Json => fields.json(&time, event.metadata().level()),
        };
        if let Ok(mut log) = self.log.lock() {
            // Queued, never refused.
            let _ = log.write_all(line.as_bytes());
        }
    }
}

#[derive(Default)]
struct Fields {
    event: String,
    member: Option<String>,
    replica: Option<u64>,
    message: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => self.event = value.to_owned(),
            "member" => self.member = Some(value.to_owned()),
            _ => self.message = value.to_owned(),
        }
    }

    fn record_u64(&mut self, _: &Field, value: u64) {
        self.replica = Some(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    /// `12:00:01.234 INFO app/2: started (pid 17)`
    fn text(&self, time: &str, level: &Level) -> String {
        let clock = time.get(11..23).unwrap_or(time);
        let mut line = format!("{clock} {level:<5} ");
        if let Some(member) = &self.member {
            line.push_str(member);
            if let Some(replica) = self.replica {
                let _ = write!(line, "/{replica}");
            }
            line.push_str(": ");
        }
        line.push_str(&self.message);
        line.push('\n');
        line
    }

    fn json(&self, time: &str, level: &Level) -> String {
        let mut object = serde_json::Map::new();
        object.insert("time".to_owned(), time.into());
        object.insert(
            "level".to_owned(),
            level.as_str().to_ascii_lowercase().into(),
        );
        object.insert("event".to_owned(), self.event.as_str().into());
        if let Some(member) = &self.member {
            object.insert("member".to_owned(), member.as_str().into());
        }
        if let Some(replica) = self.replica {
            object.insert("replica".to_owned(), replica.into());
        }
        object.insert("message".to_owned(), self.message.as_str().into());
        let mut line = serde_json::Value::Object(object).to_string();
        line.push('\n');
        line
    }
}
