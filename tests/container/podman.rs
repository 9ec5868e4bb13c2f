//! podman without a daemon: the image, built once for all tests of a run, and containers of it.
//!
//! Its storage is under target/, so nothing of it meets the machine's own images.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How long anything may take here; only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a container is asked for what cannot be waited for.
const POLL: Duration = Duration::from_millis(50);

/// The commands of the application that deployment and indexer call.
const STAND_INS: [&str; 6] = [
    "clear-db-es-contents",
    "create-mapping-on-deploy",
    "es-index-data",
    "load-access-keys",
    "load-data",
    "load-data-by-type",
];

/// podman with a storage of its own, and the image in it.
pub struct Podman {
    home: PathBuf,
    /// Of the home, as podman's own storage remembers where it was made.
    mark: String,
}

impl Podman {
    /// With the image built. None, and a line that says why, where podman cannot work.
    pub fn ready(test: &str) -> Option<Self> {
        if let Some(why) = impossible() {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{test} cannot run: {why}");
            println!("skipped: {test}: {why}");
            return None;
        }
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("tmp is in target")
            .join("container");
        fs::create_dir_all(&home).expect("the target directory is writable");
        let mut hasher = DefaultHasher::new();
        home.hash(&mut hasher);
        let mark = format!("{:08x}", hasher.finish() as u32);
        let podman = Self { home, mark };
        podman.build();
        Some(podman)
    }

    /// The text that a command of podman's prints; it must succeed.
    pub fn text(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "podman {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.args(args).output().expect("podman can be run")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.home.join(format!("storage-{}", self.mark)))
            // Short, as sockets are made in it.
            .args(["--runroot", &format!("/run/runner-test-{}", self.mark)])
            .args(["--storage-driver", "overlay"])
            .env(
                "CONTAINERS_CONF",
                format!("{ROOT}/tests/container/containers.conf"),
            )
            // Health is asked for by the tests; there is no systemd to ask on a timer.
            .env("DISABLE_HC_SYSTEMD", "true")
            // conmon leaves a file `oom` where it was started.
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    /// Builds the image as docker/Dockerfile says, unless it is there and nothing has changed since.
    fn build(&self) {
        let lock = File::create(self.home.join("lock")).expect("the target directory is writable");
        // SAFETY: the descriptor is open; the lock goes with it.
        assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
        let stamp = self.home.join(format!("stamp-{}", self.mark));
        let now = inputs();
        if fs::read_to_string(&stamp).is_ok_and(|then| then == now) {
            return;
        }
        self.import_debian();
        let builds = self.home.join("builds");
        let _ = fs::remove_dir_all(&builds);
        self.build_base(&builds.join("base"));
        self.build_builder(&builds.join("builder"));
        self.build_image(
            ROOT,
            &["-f", "docker/Dockerfile", "-t", "runner-test"],
            &[
                "BASE=runner-test-base",
                "BUILDER=runner-test-builder",
                "NGINX_PACKAGES=debian",
                "APP_VERSION=1.2.3",
                "SNOVAULT_VERSION=4.5",
                "UTILS_VERSION=6.7",
            ],
        );
        // What the tags pointed to before.
        self.text(&["image", "prune", "-f"]);
        fs::write(&stamp, now).expect("the target directory is writable");
    }

    fn import_debian(&self) {
        let debian = self.home.join("debian");
        if !debian.exists() {
            let script = format!("{ROOT}/tests/container/debian.sh");
            shell(Command::new("sh").arg(script).arg(&debian));
        }
        if !self.output(&["image", "exists", DEBIAN]).status.success() {
            let tar = self.home.join("debian.tar");
            shell(
                Command::new("tar")
                    .arg("-C")
                    .arg(&debian)
                    .arg("-cf")
                    .arg(&tar)
                    .arg("."),
            );
            self.text(&[
                "import",
                "-q",
                tar.to_str().expect("a path of ASCII"),
                DEBIAN,
            ]);
            let _ = fs::remove_file(tar);
        }
    }

    fn build_base(&self, context: &Path) {
        let from = Path::new(ROOT).join("tests/container/base");
        let commands = context.join("commands");
        fs::create_dir_all(&commands).expect("the target directory is writable");
        copy(&from.join("Dockerfile"), &context.join("Dockerfile"));
        copy(&from.join("pserve"), &commands.join("pserve"));
        for name in STAND_INS {
            copy(&from.join("stand-in"), &commands.join(name));
        }
        for file in files(&Path::new(ROOT).join("tests/portal_app")) {
            let below = file
                .strip_prefix(Path::new(ROOT).join("tests"))
                .expect("it is below");
            let to = context.join(below);
            fs::create_dir_all(to.parent().expect("it has a folder")).expect("it is writable");
            copy(&file, &to);
        }
        self.build_image(
            context.to_str().expect("ASCII"),
            &["-t", "runner-test-base"],
            &[FROM_DEBIAN],
        );
    }

    fn build_builder(&self, context: &Path) {
        let from = Path::new(ROOT).join("tests/container/builder");
        fs::create_dir_all(context).expect("the target directory is writable");
        for name in ["Dockerfile", "cargo", "rustc"] {
            copy(&from.join(name), &context.join(name));
        }
        let runner = Path::new(env!("CARGO_BIN_EXE_runner"));
        let strip = Command::new("strip")
            .arg("-o")
            .arg(context.join("runner"))
            .arg(runner)
            .status();
        if !strip.is_ok_and(|status| status.success()) {
            copy(runner, &context.join("runner"));
        }
        self.build_image(
            context.to_str().expect("ASCII"),
            &["-t", "runner-test-builder"],
            &[FROM_DEBIAN],
        );
    }

    fn build_image(&self, context: &str, options: &[&str], arguments: &[&str]) {
        // Without --format docker there is no HEALTHCHECK; chroot needs nothing of the kernel.
        let mut args = vec![
            "build",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--network",
            "host",
        ];
        args.extend(options);
        for argument in arguments {
            args.extend(["--build-arg", argument]);
        }
        args.push(context);
        let output = self
            .command()
            .args(&args)
            .current_dir(ROOT)
            .output()
            .expect("podman can be run");
        assert!(output.status.success(), "podman {args:?}: {output:#?}");
    }

    /// Starts a container of the image; its name has to be the test's own.
    pub fn run(&self, name: &str, options: &[&str]) -> Container<'_> {
        self.output(&["rm", "-f", "-v", "-t", "0", name]); // of a run that was broken off
        let gac = format!("{ROOT}/docker/local/gac.json:/run/gac.json:ro");
        let mut args = vec![
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            "none",
            "--volume",
            &gac,
        ];
        args.extend(["--env", "IDENTITY=file:/run/gac.json"]);
        args.extend(options);
        args.push("runner-test");
        self.text(&args);
        Container {
            podman: self,
            name: name.to_owned(),
        }
    }
}

const DEBIAN: &str = "runner-test-debian";
const FROM_DEBIAN: &str = "DEBIAN=runner-test-debian";

/// A container, gone with the value.
pub struct Container<'a> {
    podman: &'a Podman,
    pub name: String,
}

impl Container<'_> {
    /// A command of podman's on this container, its name last or before `more`.
    fn on(&self, args: &[&str], more: &[&str]) -> Output {
        let mut all = args.to_vec();
        all.push(&self.name);
        all.extend(more);
        self.podman.output(&all)
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        let output = self.on(&["logs"], &[]);
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// Waits until the log has as many lines with all of `words`.
    pub fn wait_for(&self, count: usize, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            if found.count() >= count {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no {count} lines with {words:?} in\n{log}"
            );
            std::thread::park_timeout(POLL);
        }
    }

    /// What a program in the container prints; it must succeed.
    pub fn exec(&self, program: &[&str]) -> String {
        let output = self.on(&["exec"], program);
        assert!(output.status.success(), "{program:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Status and body of a page of nginx's.
    pub fn get(&self, path: &str) -> (u16, String) {
        const SCRIPT: &str = "import sys, urllib.request, urllib.error\n\
            try: answer = urllib.request.urlopen('http://127.0.0.1:8000' + sys.argv[1], timeout=60)\n\
            except urllib.error.HTTPError as error: answer = error\n\
            print(answer.status, answer.read().decode())";
        let text = self.exec(&["python3", "-c", SCRIPT, path]);
        let (status, body) = text.trim_end().split_once(' ').expect("both are printed");
        (status.parse().expect("a status"), body.to_owned())
    }

    /// Waits until nginx answers.
    pub fn wait_for_nginx(&self) {
        self.wait_for(1, &["\"started\"", "\"nginx\""]);
        self.exec(&[
            "python3",
            "-c",
            "import socket, time\n\
             end = time.monotonic() + 60\n\
             while socket.socket().connect_ex(('127.0.0.1', 8000)):\n\
             \x20   assert time.monotonic() < end\n\
             \x20   time.sleep(0.01)",
        ]);
    }

    /// `podman stop`: the image's STOPSIGNAL, and SIGKILL after the grace. The exit code.
    pub fn stop(&self, grace: Duration) -> i32 {
        let grace = grace.as_secs().to_string();
        let output = self.on(&["stop", "-t", &grace], &[]);
        assert!(output.status.success(), "{output:?}");
        self.exit_code()
    }

    /// `podman kill`: SIGKILL for PID 1. The exit code.
    pub fn kill(&self) -> i32 {
        let output = self.on(&["kill", "--signal", "KILL"], &[]);
        assert!(output.status.success(), "{output:?}");
        self.exit_code()
    }

    /// Waits for the end; the exit code.
    pub fn exit_code(&self) -> i32 {
        let output = self.on(&["wait"], &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// One of the container's properties.
    pub fn inspect(&self, format: &str) -> String {
        let output = self.on(&["inspect", "--format", format], &[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The HEALTHCHECK of the image, once: whether it says healthy.
    pub fn health(&self) -> bool {
        self.on(&["healthcheck", "run"], &[]).status.success()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.on(&["rm", "-f", "-v", "-t", "0"], &[]);
    }
}

/// What is missing for podman to work as it does for root.
fn impossible() -> Option<String> {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Some("containers are run by root here".to_owned());
    }
    let missing: Vec<&str> = ["podman", "buildah", "runc", "debootstrap", "tar"]
        .into_iter()
        .filter(|program| {
            let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
            !places
                .iter()
                .any(|place| Path::new(place).join(program).exists())
        })
        .collect();
    (!missing.is_empty())
        .then(|| format!("no {}; `make packages` installs it", missing.join(", no ")))
}

fn shell(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("it can be run");
    assert!(output.status.success(), "{command:?}: {output:#?}");
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to)
        .unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}

/// All that the image is made of, with size and time.
fn inputs() -> String {
    let mut all = vec![PathBuf::from(env!("CARGO_BIN_EXE_runner"))];
    for from in [
        ".dockerignore",
        "roles.yaml",
        "docker",
        "ini-templates",
        "tests/container",
        "tests/portal_app",
    ] {
        all.extend(files(&Path::new(ROOT).join(from)));
    }
    all.sort();
    let line = |path: &PathBuf| {
        let about = fs::metadata(path).expect("it was just found");
        format!(
            "{} {} {:?}\n",
            path.display(),
            about.len(),
            about.modified().ok()
        )
    };
    all.iter().map(line).collect()
}

/// All files below a folder; what Python compiles is none.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    if path.ends_with("__pycache__") {
        return Vec::new();
    }
    let inside = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    inside
        .filter_map(Result::ok)
        .flat_map(|entry| files(&entry.path()))
        .collect()
}
