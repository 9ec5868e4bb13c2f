//! The image, built as docker/Dockerfile says and run as the platform runs it: each role by `application_type`, stopped,
//! read-only, short of memory, killed.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[allow(dead_code)]
#[path = "../portal/http.rs"]
mod http;
mod podman;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::{Load, Went};
use podman::{Container, PATIENCE, Podman};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// More than any role's stop_timeout.
const GRACE: Duration = Duration::from_secs(120);

fn role<'a>(podman: &'a Podman, name: &str, role: &str, options: &[&str]) -> Container<'a> {
    let chosen = format!("application_type={role}");
    let mut all = vec!["--env", &chosen];
    all.extend(options);
    podman.run(name, &all)
}

/// A file that a container can be given.
fn file(name: &str, content: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("container-files");
    fs::create_dir_all(&folder).expect("the target directory is writable");
    let path = folder.join(name);
    fs::write(&path, content).expect("it is writable");
    path
}

/// roles.yaml with a portal that stops sooner: that the drain takes its time is tested elsewhere.
fn roles_with_drain(name: &str, drain: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("roles.yaml")).expect("it is there");
    let changed = text.replace("drain_delay: 15s", &format!("drain_delay: {drain}"));
    assert_ne!(text, changed);
    format!("{}:/app/roles.yaml:ro", file(name, &changed).display())
}

#[test]
fn the_image_says_what_it_is() {
    let Some(podman) = Podman::ready("the_image_says_what_it_is") else {
        return;
    };
    let text = podman.text(&["inspect", "--type", "image", "runner-test"]);
    let image: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let config = &image[0]["Config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["runner", "run"]));
    assert_eq!(config["User"], "nginx");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["ExposedPorts"], serde_json::json!({"8000/tcp": {}}));
    let health = &image[0]["Healthcheck"]["Test"];
    assert_eq!(health, &serde_json::json!(["CMD", "runner", "health"]));

    let look =
        "cat versions.json && find /app -name 'gac*' -o -name '*.rs' -o -name session-secret.b64";
    let inside = podman.text(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        "runner-test",
        "-c",
        look,
    ]);
    let versions: serde_json::Value =
        serde_json::from_str(&inside).expect("the versions and nothing beside them");
    let expected = serde_json::json!({
        "APP_VERSION": "1.2.3",
        "PROJECT_VERSION": "7.8.9", // found in the application's pyproject.toml
        "SNOVAULT_VERSION": "4.5",
        "UTILS_VERSION": "6.7",
    });
    assert_eq!(versions, expected);
}

#[test]
fn the_portal_serves_on_a_read_only_root_with_little_memory() {
    let test = "the_portal_serves_on_a_read_only_root_with_little_memory";
    let Some(podman) = Podman::ready(test) else {
        return;
    };
    let roles = roles_with_drain("read-only.yaml", "0s");
    let portal = role(
        &podman,
        "runner-test-portal",
        "portal",
        // An unnamed volume begins with what the image has there; its owner may write.
        &[
            "--read-only",
            "--volume",
            "/app",
            "--volume",
            &roles,
            "--tmpfs",
            "/tmp",
            "--memory",
            "400m",
        ],
    );
    portal.wait_for(1, &["\"mode\""]);
    assert!(!portal.health(), "it is only starting");
    portal.wait_for_nginx();
    assert!(portal.health(), "{}", portal.exec(&["runner", "status"]));
    let (status, health) = portal.get("/health?format=json");
    assert_eq!(status, 200, "{health}");
    assert!(
        health.contains(r#""application_version": "0.0.0""#),
        "the GAC is above the image: {health}"
    );
    assert_eq!(
        portal.get("/static/hello.css"),
        (200, "body { color: #333 }".to_owned())
    );
    assert_eq!(portal.get("/static/../base.ini").0, 404);
    as_pid_1_without_privileges(&portal);
    a_worker_that_eats_all_memory_is_replaced(&portal);
    assert_eq!(portal.stop(GRACE), 0, "{}", portal.log());
    portal.wait_for(1, &["\"ended\"", "exit 0: stopped in order by SIGTERM"]);
}

fn as_pid_1_without_privileges(portal: &Container<'_>) {
    portal.wait_for(1, &["\"mode\"", "runner is PID 1"]);
    let status = portal.exec(&["cat", "/proc/1/status"]);
    let field = |name: &str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    assert_eq!(field("Name").as_deref(), Some("runner"));
    assert_eq!(field("CapEff").as_deref(), Some("0000000000000000"));
    assert_ne!(
        field("Uid").expect("it is there").split_whitespace().next(),
        Some("0")
    );
    let modes = portal.exec(&[
        "stat",
        "-c",
        "%a %U",
        "production.ini",
        "session-secret.b64",
    ]);
    assert_eq!(modes, "600 nginx\n600 nginx\n");
}

fn a_worker_that_eats_all_memory_is_replaced(portal: &Container<'_>) {
    portal.wait_for(5, &["\"ready\"", "\"app\""]);
    // nginx hands the request on once, to every worker in turn: each that takes it is killed.
    let (status, _) = portal.get("/eat/600000000");
    assert!(status == 502 || status == 504, "{status}");
    portal.wait_for(1, &["\"exited\"", "\"app\"", "killed by SIGKILL (9)"]);
    portal.wait_for(6, &["\"ready\"", "\"app\""]);
    let deadline = Instant::now() + PATIENCE;
    while portal.get("/health").0 != 200 {
        assert!(Instant::now() < deadline, "the portal does not come back");
    }
}

#[test]
fn requests_outlive_workers_restarts_and_the_stop() {
    let Some(podman) = Podman::ready("requests_outlive_workers_restarts_and_the_stop") else {
        return;
    };
    let roles = roles_with_drain("under-load.yaml", "1s");
    let portal = role(&podman, "runner-test-load", "portal", &["--volume", &roles]);
    portal.wait_for_nginx();
    let load = load_in(&portal);

    let log = portal.log();
    let worker = log
        .lines()
        .find(|line| line.contains("\"started\"") && line.contains("\"replica\":1"))
        .and_then(|line| line.split("(pid ").nth(1)?.split(')').next())
        .expect("it was started");
    portal.exec(&["sh", "-c", &format!("kill -KILL {worker}")]);
    portal.wait_for(1, &["\"exited\"", "\"app\"", "killed by SIGKILL (9)"]);
    portal.wait_for(6, &["\"ready\"", "\"app\""]);
    let said = portal.exec(&["runner", "restart", "app"]);
    assert!(said.contains("app/4"), "{said}");
    portal.wait_for(11, &["\"ready\"", "\"app\""]);
    let before = load.done();
    assert_eq!(portal.stop(GRACE), 0, "{}", portal.log());
    let went = load.finish(true);
    assert!(went.len() > before, "it serves while it drains");

    // What an ending worker had begun to answer is lost with it: one was killed and five restarted. What nginx had
    // not accepted when it closed its door is lost too, one an asker at most.
    let log = portal.log();
    let bad = |(_, went): &&(String, Went)| {
        !matches!(
            went,
            Went::Refused | Went::Answered(http::Answer { status: 200, .. })
        )
    };
    let (accepted, never): (Vec<_>, Vec<_>) = went
        .iter()
        .filter(bad)
        .partition(|(path, _)| log.contains(&format!("GET {path} HTTP")));
    assert!(accepted.len() <= 6, "{accepted:?}");
    assert!(never.len() <= ASKERS, "{never:?}");
    assert!(went.len() > 50, "only {} requests", went.len());
}

const ASKERS: usize = 2;

/// Asks from inside the container's network, as its load balancer would.
fn load_in(portal: &Container<'_>) -> Load {
    let network = format!("/proc/{}/ns/net", portal.inspect("{{.State.Pid}}"));
    let network = fs::File::open(network).expect("it runs");
    // A thread of its own enters it, and those that it starts are there too.
    let entered = std::thread::spawn(move || {
        // SAFETY: the descriptor is open; the namespace is the calling thread's own.
        assert_eq!(
            unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) },
            0
        );
        Load::start(ASKERS)
    });
    entered.join().expect("it does not panic")
}

#[test]
fn a_killed_container_leaves_nothing() {
    let Some(podman) = Podman::ready("a_killed_container_leaves_nothing") else {
        return;
    };
    let portal = role(
        &podman,
        "runner-test-killed",
        "portal",
        &["--memory", "400m"],
    );
    portal.wait_for(1, &["\"started\"", "\"app\""]);
    let pid = portal.inspect("{{.State.Pid}}");
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs");
    assert!(
        in_namespace(&namespace) > 1,
        "its children are in its PID namespace"
    );
    assert_eq!(portal.kill(), 137);
    assert_eq!(in_namespace(&namespace), 0);
}

/// How many processes are in a PID namespace.
fn in_namespace(namespace: &Path) -> usize {
    let all = fs::read_dir("/proc")
        .expect("it is there")
        .filter_map(Result::ok);
    all.filter(|process| {
        fs::read_link(process.path().join("ns/pid")).is_ok_and(|its| its == namespace)
    })
    .count()
}

#[test]
fn a_stop_that_the_platform_cuts_short_is_137() {
    let Some(podman) = Podman::ready("a_stop_that_the_platform_cuts_short_is_137") else {
        return;
    };
    let portal = role(&podman, "runner-test-cut", "portal", &[]);
    portal.wait_for_nginx();
    // The shipped drain_delay is 15 s.
    assert_eq!(portal.stop(Duration::from_secs(1)), 137);
    let log = portal.log();
    assert!(
        log.contains("\"draining\"") && !log.contains("\"ended\""),
        "{log}"
    );
}

#[test]
fn the_indexer_runs_until_it_is_stopped() {
    let Some(podman) = Podman::ready("the_indexer_runs_until_it_is_stopped") else {
        return;
    };
    let indexer = role(
        &podman,
        "runner-test-indexer",
        "indexer",
        &["--memory", "64m", "--read-only", "--volume", "/app"],
    );
    indexer.wait_for(2, &["es-index-data production.ini --app-name app"]);
    let asked = Instant::now();
    assert_eq!(indexer.stop(GRACE), 0, "{}", indexer.log());
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "the pause between two runs is not waited for"
    );
}

#[test]
fn the_local_role_runs_as_compose_starts_it() {
    let Some(podman) = Podman::ready("the_local_role_runs_as_compose_starts_it") else {
        return;
    };
    let built = Path::new(env!("CARGO_BIN_EXE_runner")).with_file_name("examples");
    assert!(
        built.join("portal").exists(),
        "`cargo build --examples` makes {}",
        built.display()
    );
    let gac = format!("{ROOT}/docker/local:/app/docker/local:ro");
    let examples = format!("{ROOT}/examples:/app/examples:ro");
    // The stand-ins for the application, as `make run` builds them.
    let built = format!("{}:/app/target/debug/examples:ro", built.display());
    let options = [
        "--env",
        "IDENTITY=file:docker/local/gac.json",
        "--volume",
        &gac,
        "--volume",
        &examples,
        "--volume",
        &built,
        "--tmpfs",
        "/app/var:mode=1777",
    ];
    let local = role(&podman, "runner-test-local", "local", &options);
    local.wait_for(1, &["5 new documents indexed"]);
    local.wait_for(1, &["takes messages of cgap-local-ingestion-queue"]);
    assert_eq!(local.stop(Duration::from_secs(10)), 0, "{}", local.log());
}

#[test]
fn the_ingester_takes_a_task_and_stops_in_order() {
    let Some(podman) = Podman::ready("the_ingester_takes_a_task_and_stops_in_order") else {
        return;
    };
    // Stand-ins for the few names of the application that its worker uses.
    let application = format!("{ROOT}/tests/queue/application:/application:ro");
    let options = [
        "--env",
        "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:9324",
        "--env",
        "AWS_ACCESS_KEY_ID=local",
        "--env",
        "AWS_SECRET_ACCESS_KEY=local",
        "--env",
        "PYTHONPATH=/application",
        "--volume",
        &application,
    ];
    let ingester = role(&podman, "runner-test-ingester", "ingester", &options);
    // The queue comes later than the ingester, which waits for it.
    ingester.wait_for(1, &["\"queue-unreachable\""]);
    podman.text(&[
        "exec",
        "--detach",
        &ingester.name,
        "runner",
        "queue",
        "serve",
    ]);
    ingester.wait_for(1, &["takes messages of cgap-local-ingestion-queue"]);
    let task = r#"{"uuid": "u-1", "ingestion_type": "vcf"}"#;
    let sent = ingester.exec(&[
        "runner",
        "queue",
        "send",
        "ingestion",
        "--role",
        "ingester",
        "--json",
        task,
    ]);
    assert_eq!(sent, "1 message sent to cgap-local-ingestion-queue\n");
    ingester.wait_for(1, &["\"ingestion\"", "handling"]);
    let done = Instant::now() + PATIENCE;
    loop {
        let depth = ingester.exec(&[
            "runner",
            "queue",
            "depth",
            "ingestion",
            "--role",
            "ingester",
        ]);
        if ["visible:   0", "in flight: 0", "dead:      0"]
            .iter()
            .all(|none| depth.contains(none))
        {
            break;
        }
        assert!(Instant::now() < done, "{depth}");
    }
    let asked = Instant::now();
    assert_eq!(ingester.stop(GRACE), 0, "{}", ingester.log());
    // A receive under way is let finish; it lasts 20 s at most.
    assert!(
        asked.elapsed() < Duration::from_secs(40),
        "{}",
        ingester.log()
    );
}

#[test]
fn the_deployment_ends_with_its_steps() {
    let Some(podman) = Podman::ready("the_deployment_ends_with_its_steps") else {
        return;
    };
    let deployment = role(&podman, "runner-test-deployment", "deployment", &[]);
    assert_eq!(deployment.exit_code(), 0, "{}", deployment.log());
    let log = deployment.log();
    let calls: Vec<&str> = log
        .lines()
        .filter_map(|line| {
            line.split_once("\"message\":\"")?
                .1
                .split_once(" production.ini ")
        })
        .map(|(command, _)| command)
        .filter(|command| !command.contains(' '))
        .collect();
    let expected = [
        "create-mapping-on-deploy",
        "load-data-by-type",
        "load-data-by-type",
        "load-access-keys",
    ];
    assert_eq!(calls, expected, "{log}");

    let first = role(
        &podman,
        "runner-test-first",
        "deployment",
        &["--env", "INITIAL_DEPLOYMENT=yes"],
    );
    assert_eq!(first.exit_code(), 0, "{}", first.log());
    first.wait_for(1, &["clear-db-es-contents production.ini --app-name app --only-if-env cgap-supertest --allow-prod"]);
}

#[test]
fn a_failed_deployment_has_its_steps_exit_code() {
    let Some(podman) = Podman::ready("a_failed_deployment_has_its_steps_exit_code") else {
        return;
    };
    let fails = file("create-mapping-on-deploy.fails", "3");
    let fails = format!("{}:/tmp/create-mapping-on-deploy.fails:ro", fails.display());
    let deployment = role(
        &podman,
        "runner-test-failed",
        "deployment",
        &["--volume", &fails],
    );
    assert_eq!(deployment.exit_code(), 3, "{}", deployment.log());
    assert!(
        !deployment.log().contains("load-access-keys production.ini"),
        "a later step ran"
    );
}

#[test]
fn a_container_without_its_settings_says_so_and_ends() {
    let Some(podman) = Podman::ready("a_container_without_its_settings_says_so_and_ends") else {
        return;
    };
    let unknown = role(&podman, "runner-test-unknown", "portl", &[]);
    assert_eq!(unknown.exit_code(), 78, "{}", unknown.log());
    assert!(
        unknown.log().contains("did you mean `portal`?"),
        "{}",
        unknown.log()
    );
    let nobody = role(
        &podman,
        "runner-test-nobody",
        "portal",
        &["--env", "IDENTITY=file:/run/none.json"],
    );
    assert_eq!(nobody.exit_code(), 78, "{}", nobody.log());
    assert!(nobody.log().contains("/run/none.json"), "{}", nobody.log());
    let unwritable = role(
        &podman,
        "runner-test-unwritable",
        "indexer",
        &["--read-only"],
    );
    assert_eq!(unwritable.exit_code(), 74, "{}", unwritable.log());
    assert!(
        unwritable.log().contains("read-only file system"),
        "{}",
        unwritable.log()
    );
}

#[test]
fn compose_waits_as_long_as_roles_yaml_says() {
    let read = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).expect("it is there");
    let roles = read("roles.yaml");
    let (_, platform) = roles
        .split_once("\nplatform:\n  stop_timeout: ")
        .expect("it says");
    let granted = platform.split_whitespace().next().expect("a duration");
    let compose = read("docker-compose.yml");
    let grace = format!("stop_grace_period: {granted}\n");
    assert!(compose.contains(&grace), "roles.yaml counts on {granted}");
}
