use super::*;
use crate::sys::trial::{self, output, sh, with_processes};

/// The namespaces of a PID 1 with a /proc of its own.
const OWN_PIDS: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNS;

fn quiet(script: &str) -> Launch {
    Launch {
        output: process::Output::Inherit,
        ..sh(script)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Waits until as many orphans were reaped.
async fn orphans_reaped(processes: &Processes, count: u64) {
    processes
        .orphans()
        .wait_for(|reaped| *reaped >= count)
        .await
        .expect("the registry is there");
}

/// 200 children with known exit codes, each leaving two orphans, none of which gets lost.
async fn two_hundred(processes: Processes) {
    let children: Vec<_> = (0..200)
        .map(|code| {
            let script = format!("(sleep 0.0{} &); (sleep 0.1 &); exit {code}", code % 10);
            let launch = Launch {
                leftovers: Leftovers::Keep,
                ..quiet(&script)
            };
            (code, processes.spawn(&launch).expect("it starts").process)
        })
        .collect();
    for (code, child) in children {
        assert_eq!(
            child.wait().await,
            Ended {
                code: Some(code),
                signal: None
            }
        );
    }
    orphans_reaped(&processes, 400).await;
    assert!(matches!(peek(), Peek::Childless), "no zombie is left");
    assert_eq!(*processes.orphans().borrow(), 400);
}

#[test]
fn a_subreaper_loses_no_status_and_leaves_no_zombie() {
    let _alone = trial::alone();
    with_processes(two_hundred);
}

#[test]
fn pid_1_loses_no_status_and_leaves_no_zombie() {
    trial::apart(OWN_PIDS, || {
        trial::mount(c"proc", c"/proc", c"");
        with_processes(two_hundred);
    });
}

#[test]
fn every_exit_code_is_told_as_it_was() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        for code in 0..=255u8 {
            let child = processes
                .spawn(&quiet(&format!("exit {code}")))
                .expect("it starts");
            let ended = child.process.wait().await;
            assert_eq!((ended.code, ended.signal), (Some(code.into()), None));
            assert_eq!(ended.exit(), Exit(code));
            assert_eq!(ended.to_string(), format!("exited with {code}"));
            assert_eq!(ended.is_success(), code == 0);
        }
    });
}

#[test]
fn every_fatal_signal_is_told_as_it_was() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
        let stopping = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let fatal = (1..=31).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        for number in
            fatal.filter(|number| !harmless.contains(number) && !stopping.contains(number))
        {
            let child = processes
                .spawn(&quiet("ulimit -c 0; exec sleep 1000"))
                .expect("it starts");
            assert!(child.process.signal(number).expect("it is ours"));
            let ended = child.process.wait().await;
            assert_eq!((ended.code, ended.signal), (None, Some(number)));
            assert_eq!(ended.exit(), Exit::of_signal(number));
            assert_eq!(
                ended.to_string(),
                format!("was killed by {} ({number})", signals::name(number))
            );
        }
        let json = serde_json::to_string(&Ended {
            code: None,
            signal: Some(9),
        })
        .expect("JSON");
        assert_eq!(json, r#"{"code":null,"signal":9}"#);
    });
}

#[test]
fn an_end_before_anybody_waits_is_not_missed_and_all_who_wait_learn_of_it() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let child = processes
            .spawn(&quiet("exit 3"))
            .expect("it starts")
            .process;
        let other = child.clone();
        assert_eq!(child.wait().await.code, Some(3));
        assert_eq!(
            child.ended(),
            Some(Ended {
                code: Some(3),
                signal: None
            })
        );
        assert_eq!(other.wait().await.code, Some(3));
        // Nobody gets a signal in its place.
        assert!(!child.signal(libc::SIGKILL).expect("no error"));
        assert!(!child.kill_group(libc::SIGKILL).expect("no error"));
    });
}

#[test]
fn a_signal_goes_to_the_main_process_and_kill_group_to_all() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let inner = "trap 'echo inner USR1' USR1; trap 'echo inner TERM; exit' TERM; echo ready; while :; do sleep 0.02; done";
        let script = format!(
            "trap 'echo outer USR1' USR1; trap 'echo outer TERM; wait; exit 5' TERM; \
             sh -c \"{inner}\" & while :; do wait $!; done"
        );
        let child = processes.spawn(&sh(&script)).expect("it starts");
        let mut lines = Lines::new(child.pipes.stdout);
        assert_eq!(lines.next().await, "ready");
        assert!(child.process.signal(libc::SIGUSR1).expect("it is ours"));
        assert_eq!(lines.next().await, "outer USR1");
        assert!(child.process.kill_group(libc::SIGTERM).expect("it is ours"));
        // Had USR1 come to the inner shell too, it would have said so first.
        let mut last = [lines.next().await, lines.next().await];
        last.sort();
        assert_eq!(last, ["inner TERM", "outer TERM"]);
        assert_eq!(child.process.wait().await.code, Some(5));
        assert_eq!(lines.next().await, "", "the last writer is gone");
    });
}

/// Lines of a pipe as they come.
struct Lines(tokio::io::BufReader<tokio::net::unix::pipe::Receiver>);

impl Lines {
    fn new(pipe: Option<std::os::fd::OwnedFd>) -> Self {
        let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe.expect("a pipe"))
            .expect("a pipe to read");
        Self(tokio::io::BufReader::new(pipe))
    }

    async fn next(&mut self) -> String {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut self.0, &mut line)
            .await
            .expect("UTF-8");
        line.trim_end().to_owned()
    }
}

#[test]
fn what_a_child_leaves_in_its_group_is_killed_unless_it_may_stay() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut launch = quiet("sleep 1000 & exit 4");
        let child = processes.spawn(&launch).expect("it starts").process;
        assert_eq!(child.wait().await.code, Some(4));
        orphans_reaped(&processes, 1).await;
        assert!(living_children().is_empty());

        launch.leftovers = Leftovers::Keep;
        let child = processes.spawn(&launch).expect("it starts").process;
        assert_eq!(child.wait().await.code, Some(4));
        assert_eq!(living_children().len(), 1);
        assert_eq!(processes.kill_everything(soon()).await, Vec::<i32>::new());
        assert!(matches!(peek(), Peek::Childless));
    });
}

#[test]
fn what_escapes_by_setsid_is_found_by_its_mark_with_all_its_children() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut children = Vec::new();
        for unit in ["web/0", "web/1"] {
            let mut launch = sh(
                "setsid sh -c 'trap \"\" TERM; sleep 1000 & echo ready; sleep 1000; :' & read line; exit 0",
            );
            launch.environment.push(("RUNNER_UNIT".into(), unit.into()));
            launch.input = process::Input::Pipe;
            let mut child = processes.spawn(&launch).expect("it starts");
            assert_eq!(Lines::new(child.pipes.stdout.take()).next().await, "ready");
            assert_eq!(
                processes.strays("RUNNER_UNIT", unit),
                Vec::<i32>::new(),
                "its parent still lives"
            );
            drop(child.pipes.stdin.take());
            child.process.wait().await;
            children.push(child);
        }
        assert_eq!(processes.strays("RUNNER_UNIT", "web/0").len(), 1);
        assert_eq!(processes.strays("RUNNER_UNIT", "web/").len(), 0);
        assert_eq!(
            processes.end_strays("RUNNER_UNIT", "web/0", soon()).await,
            Vec::<i32>::new()
        );
        // The shell and its two sleeps, one after the other.
        orphans_reaped(&processes, 3).await;
        assert_eq!(
            processes.strays("RUNNER_UNIT", "web/1").len(),
            1,
            "the other unit is not touched"
        );
        assert_eq!(processes.kill_everything(soon()).await, Vec::<i32>::new());
        assert!(matches!(peek(), Peek::Childless));
    });
}

/// A tree that ignores SIGTERM, with a part in another session.
async fn stubborn_tree(processes: &Processes) {
    let script = "trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000; :' & (sleep 1000 &) ; echo ready; sleep 1000; :";
    let child = processes.spawn(&sh(script)).expect("it starts");
    assert_eq!(Lines::new(child.pipes.stdout).next().await, "ready");
}

#[test]
fn a_subreaper_kills_everything_but_what_it_was_born_with() {
    let _alone = trial::alone();
    // The shell that exec'd us had a child, say.
    let born_with = process::start(&quiet("exec sleep 1000"))
        .expect("it starts")
        .pid;
    with_processes(|processes| async move {
        stubborn_tree(&processes).await;
        assert_eq!(processes.kill_everything(soon()).await, Vec::<i32>::new());
        assert_eq!(living_children(), [born_with]);
        assert!(kill(born_with, libc::SIGKILL).expect("it is still ours"));
        orphans_reaped(&processes, 1).await;
    });
}

#[test]
fn pid_1_kills_everything() {
    trial::apart(OWN_PIDS, || {
        trial::mount(c"proc", c"/proc", c"");
        with_processes(|processes| async move {
            assert_eq!(processes.mode(), Mode::Pid1);
            stubborn_tree(&processes).await;
            assert_eq!(processes.kill_everything(soon()).await, Vec::<i32>::new());
            let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
            let pids = pids.filter(|entry| {
                entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| name.parse::<i32>().is_ok())
            });
            assert_eq!(pids.count(), 1, "we are alone");
        });
    });
}

#[test]
fn without_adoption_known_groups_are_still_killed() {
    // A fork of its own: the test process may be a subreaper by now.
    trial::apart(0, || {
        trial::refuse_prctl(libc::PR_SET_CHILD_SUBREAPER);
        with_processes(|processes| async move {
            assert_eq!(processes.mode(), Mode::Plain(libc::EPERM));
            let child = processes
                .spawn(&sh("sleep 1000 & echo ready; sleep 1000; :"))
                .expect("it starts");
            let mut lines = Lines::new(child.pipes.stdout);
            assert_eq!(lines.next().await, "ready");
            assert_eq!(processes.kill_everything(soon()).await, Vec::<i32>::new());
            assert_eq!(lines.next().await, "", "the whole group is gone");
            assert_eq!(child.process.wait().await.signal, Some(libc::SIGKILL));
        });
    });
}

#[test]
fn a_status_taken_by_another_waiter_hangs_nobody() {
    let _alone = trial::alone();
    trial::on_runtime(async {
        let (processes, _reaper) = Processes::new(Mode::detect()).expect("SIGCHLD can be watched");
        let child = processes
            .spawn(&quiet("exit 3"))
            .expect("it starts")
            .process;
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(child.pid(), std::ptr::null_mut(), 0) };
        processes.drain();
        let ended = child.wait().await;
        assert_eq!(
            (ended.code, ended.signal, ended.exit()),
            (None, None, Exit::SOFTWARE)
        );
    });
}

#[test]
fn no_descriptor_is_lost_over_starts_and_refusals() {
    let _alone = trial::alone();
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc").count();
    with_processes(|processes| async move {
        let mut launch = sh("cat; exit 0");
        launch.input = process::Input::Pipe;
        let missing = Launch {
            program: "/nowhere".into(),
            ..launch.clone()
        };
        let round = async || {
            let mut child = processes.spawn(&launch).expect("it starts");
            drop(child.pipes.stdin.take());
            assert_eq!(trial::read_all(child.pipes.stdout.take()).await, "");
            child.process.wait().await;
            processes
                .spawn(&missing)
                .expect_err("there is no such program");
        };
        round().await;
        let before = open();
        for _ in 0..50 {
            round().await;
        }
        assert_eq!(open(), before);
        assert_eq!(output(&processes, &sh("echo still")).await.0, "still\n");
    });
}

#[test]
fn after_a_bug_no_child_is_left() {
    trial::apart(0, || {
        trial::on_runtime(async {
            let (processes, _reaper) = Processes::new(Mode::detect()).unwrap();
            let started = processes
                .spawn(&trial::sh("sleep 1000 & echo up; sleep 1000"))
                .unwrap();
            let group = started.process.pid();
            let mut stdout = std::fs::File::from(started.pipes.stdout.unwrap());
            let mut line = [0; 3];
            std::io::Read::read_exact(&mut stdout, &mut line).unwrap();
            abandon();
            // The pipe closes when the last of the group is gone.
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut rest).unwrap();
            assert_eq!(rest, b"");
            assert!(group > 1);
        });
    });
}
