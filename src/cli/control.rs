//! The commands that ask the running runner: health, status, restart, stop.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{Ask, Global, Restart, Shown, Stop};
use super::{print, say, status as table};
use crate::engine::control::Request;
use crate::engine::status::{Condition, Health, Status};
use crate::outcome::{Exit, RunError};
use crate::sys::control::Caller;

/// How long a runner that is well may take to answer; a restart takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the role is healthy: 0, else 1.
pub fn health(global: &Global, options: &Ask) -> Exit {
    let asked = in_runtime(async || {
        let mut caller = Caller::call(global.socket()).await?;
        match ask(&mut caller, &Request::Health, Some(PATIENCE)).await {
            // Somebody listens and says nothing: that is no health.
            Err(error) if error.exit == Exit::UNAVAILABLE => Err(RunError {
                exit: Exit::FAILED,
                ..error
            }),
            answered => answered,
        }
    });
    answered(asked, options, |health: &Health| {
        let notes = health.notes.iter().map(|note| format!("note: {note}"));
        let mut text = format!("{}\n", health.state.word());
        for line in health.reasons.iter().cloned().chain(notes) {
            text.push_str(&format!("{line}\n"));
        }
        let exit = match health.state {
            Condition::Healthy => Exit::OK,
            Condition::Starting | Condition::Unhealthy | Condition::Stopping => Exit::FAILED,
        };
        (text, exit)
    })
}

/// What every member does.
pub fn status(global: &Global, options: &Ask) -> Exit {
    let asked = in_runtime(async || {
        let mut caller = Caller::call(global.socket()).await?;
        ask(&mut caller, &Request::Status, Some(PATIENCE)).await
    });
    answered(asked, options, |status: &Status| {
        (table::text(status), Exit::OK)
    })
}

/// New processes for a service.
pub fn restart(global: &Global, options: &Restart) -> Exit {
    let (service, replica) = match options.service.rsplit_once('/') {
        None => (options.service.clone(), None),
        Some((service, number)) => match number.parse() {
            Ok(number) => (service.to_owned(), Some(number)),
            Err(_) => {
                say(&format!(
                    "cannot restart `{}`: a replica is a number, such as {service}/0\n",
                    options.service
                ));
                return Exit::USAGE;
            }
        },
    };
    let request = Request::Restart { service, replica };
    let asked = in_runtime(async || {
        let mut caller = Caller::call(global.socket()).await?;
        ask(&mut caller, &request, None).await
    });
    match asked {
        Ok(value) => {
            let names = value["restarted"].as_array().into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            print(&format!("restarted {}\n", names.join(", ")));
            Exit::OK
        }
        Err(error) => refuse(&error),
    }
}

/// The orderly stop.
pub fn stop(global: &Global, options: &Stop) -> Exit {
    let asked = in_runtime(async || {
        let mut caller = Caller::call(global.socket()).await?;
        let value = ask(&mut caller, &Request::Stop, Some(PATIENCE)).await?;
        if options.wait {
            caller.gone().await;
        }
        Ok(value)
    });
    match asked {
        Ok(value) => {
            let within = value["stop"]["until"]["seconds"]
                .as_f64()
                .unwrap_or_default();
            print(&if options.wait {
                "stopped\n".to_owned()
            } else {
                format!("stopping; what is left in {within:.0} s is killed\n")
            });
            Exit::OK
        }
        Err(error) => refuse(&error),
    }
}

/// Prints an answer: as it came, or as text with the exit code that it means.
fn answered<T: DeserializeOwned>(
    asked: Result<Value, RunError>,
    options: &Ask,
    read: impl FnOnce(&T) -> (String, Exit),
) -> Exit {
    let value = match asked {
        Ok(value) => value,
        Err(error) => return refuse(&error),
    };
    let mut json = serde_json::to_string_pretty(&value).unwrap_or_default();
    json.push('\n');
    match serde_json::from_value(value) {
        Ok(known) => {
            let (text, exit) = read(&known);
            print(if options.format == Shown::Json {
                &json
            } else {
                &text
            });
            exit
        }
        Err(error) => refuse(&RunError::new(
            Exit::SOFTWARE,
            "cannot understand the runner's answer; is it of another version?",
            error.to_string(),
        )),
    }
}

/// One question to the runner.
async fn ask(
    caller: &mut Caller,
    request: &Request,
    limit: Option<Duration>,
) -> Result<Value, RunError> {
    let strange = |why: String| RunError::new(Exit::SOFTWARE, "cannot ask the runner", why);
    let question = serde_json::to_string(request).map_err(|error| strange(error.to_string()))?;
    let line = caller.ask(&question, limit).await?;
    let mut answer: Value =
        serde_json::from_str(&line).map_err(|error| strange(error.to_string()))?;
    if let Some(value) = answer.get_mut("ok") {
        return Ok(value.take());
    }
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap_or("it gave no answer");
    let exit = error["exit"].as_u64().and_then(|exit| exit.try_into().ok());
    Err(RunError::new(
        exit.map_or(Exit::SOFTWARE, Exit),
        message,
        "",
    ))
}

fn refuse(error: &RunError) -> Exit {
    say(&format!("{error}\n"));
    error.exit
}

fn in_runtime<T>(work: impl AsyncFnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match built {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => Err(RunError::new(
            Exit::SOFTWARE,
            "cannot start",
            error.to_string(),
        )),
    }
}
