use super::*;
use crate::outcome::Exit;
use crate::sys::reaper::Processes;
use crate::sys::trial::{self, Folder, output, sh, with_processes};
use std::io::Write;

/// The error of a start that must fail.
fn refusal(processes: &Processes, launch: &Launch) -> SpawnError {
    match processes.spawn(launch) {
        Err(error) => error,
        Ok(_) => panic!("{:?} starts", launch.program),
    }
}

fn said(error: SpawnError) -> (u8, String) {
    (error.exit().0, error.to_string())
}

#[test]
fn the_environment_is_what_was_given_and_no_more() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut launch = Launch::new("/usr/bin/env");
        launch.output = Output::Pipe;
        launch.environment = vec![
            ("B".into(), "two words\nand a line".into()),
            ("A".into(), "".into()),
        ];
        launch
            .environment
            .push(("BYTES".into(), OsString::from_vec(vec![b'x', b'='])));
        assert_eq!(
            output(&processes, &launch).await.0,
            "B=two words\nand a line\nA=\nBYTES=x=\n"
        );
        launch.environment.clear();
        assert_eq!(output(&processes, &launch).await.0, "");
        assert!(
            !format!("{launch:?} {:?}", sh("a secret")).contains("secret"),
            "arguments are not shown"
        );
    });
}

#[test]
fn a_child_has_no_descriptor_of_ours_no_blocked_signal_and_a_group_of_its_own() {
    let _alone = trial::alone();
    // Descriptors, an ignored and a blocked signal, as a careless parent would leave them to us.
    // SAFETY: integers, a C string and an initialised set.
    let careless = unsafe {
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR2);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY)
    };
    assert!(careless > 2);
    with_processes(|processes| async move {
        let list = Launch {
            args: vec!["/proc/self/fd".into()],
            program: "ls".into(),
            ..sh("")
        };
        assert_eq!(
            output(&processes, &list).await.0,
            "0\n1\n2\n3\n",
            "3 is the directory that ls reads"
        );
        let (text, _) = output(
            &processes,
            &sh("readlink /proc/self/fd/0; grep -E '^Sig(Blk|Ign)' /proc/self/status"),
        )
        .await;
        assert_eq!(
            text,
            "/dev/null\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
        );

        let spawned = processes
            .spawn(&sh("read -r stat </proc/self/stat; echo $stat"))
            .expect("it starts");
        let stat = trial::read_all(spawned.pipes.stdout).await;
        let group = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(2).map(str::to_owned));
        assert_eq!(group, Some(spawned.process.pid().to_string()));
        spawned.process.wait().await;
    });
    // SAFETY: the descriptor is ours.
    unsafe { libc::close(careless) };
}

#[test]
fn input_goes_in_and_both_outputs_come_out_of_large_pipes() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut launch = sh("cat; echo oops >&2; exit 7");
        launch.input = Input::Pipe;
        let mut child = processes.spawn(&launch).expect("it starts");
        let stdout = child.pipes.stdout.take().expect("a pipe");
        // SAFETY: fcntl with integers.
        let size = unsafe { libc::fcntl(stdout.as_raw_fd(), libc::F_GETPIPE_SZ) };
        assert_eq!(size, PIPE_BYTES);
        let mut stdin = std::fs::File::from(child.pipes.stdin.take().expect("a pipe"));
        stdin.write_all(b"hello\n").expect("the child reads");
        drop(stdin);
        assert_eq!(trial::read_all(Some(stdout)).await, "hello\n");
        assert_eq!(trial::read_all(child.pipes.stderr.take()).await, "oops\n");
        assert_eq!(child.process.wait().await.code, Some(7));
    });
}

#[test]
fn the_program_is_found_in_the_childs_path_from_its_working_directory() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let folder = Folder::new();
        for dir in ["first", "second"] {
            std::fs::create_dir(folder.0.join(dir)).expect("a directory");
        }
        // As execvp(3): what cannot be executed does not end the search.
        folder.file("first/tool", "#!/bin/sh\necho wrong\n", 0o644);
        folder.file("second/tool", "#!/bin/sh\necho right $1; pwd -P\n", 0o755);
        folder.file("here", "#!/bin/sh\necho here\n", 0o755);
        let mut launch = Launch {
            program: "tool".into(),
            args: vec!["x y".into()],
            ..sh("")
        };
        launch.working_dir = Some(folder.0.clone());
        launch.environment = vec![("PATH".into(), "/nowhere:/dev/null/x:first:second:".into())];
        let place = std::fs::canonicalize(&folder.0).expect("a path");
        assert_eq!(
            output(&processes, &launch).await.0,
            format!("right x y\n{}\n", place.display())
        );
        launch.program = "here".into();
        assert_eq!(
            output(&processes, &launch).await.0,
            "here\n",
            "an empty entry is the working directory"
        );
        launch.program = "second/tool".into();
        assert!(output(&processes, &launch).await.0.starts_with("right"));
        launch.environment.clear();
        launch.program = "true".into();
        assert!(
            output(&processes, &launch).await.1.is_success(),
            "without PATH, the default one"
        );
    });
}

#[test]
fn a_missing_program_is_127_and_names_the_path_searched() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut launch = Launch {
            program: "es-index-data".into(),
            ..sh("")
        };
        launch.environment = vec![("PATH".into(), "/a:/b".into())];
        let error = refusal(&processes, &launch);
        assert_eq!(
            said(error.clone()),
            (127, "no `es-index-data` in PATH (/a:/b)".into())
        );
        let error = error.into_run_error("cannot start service `index`");
        assert_eq!(
            error.to_string(),
            "cannot start service `index`: no `es-index-data` in PATH (/a:/b) (is it installed in this image?)"
        );
        launch.program = "./nope".into();
        assert_eq!(
            said(refusal(&processes, &launch)),
            (127, "there is no file `./nope`".into())
        );
        launch.program = "".into();
        assert_eq!(
            said(refusal(&processes, &launch)),
            (127, "there is no file ``".into())
        );
    });
}

#[test]
fn what_cannot_be_executed_is_126_and_says_why() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let folder = Folder::new();
        let mut other_machine = std::fs::read("/bin/true").expect("a program");
        other_machine[18] ^= 0x5a;
        folder.file("elf", "", 0o755);
        std::fs::write(folder.0.join("elf"), other_machine).expect("a file");
        std::fs::create_dir(folder.0.join("dir")).expect("a directory");
        folder.file("plain", "#!/bin/sh\n", 0o644);
        folder.file("python", "#!/no/python9 -u\nprint()\n", 0o755);
        folder.file("windows", "#!/bin/sh\r\necho\r\n", 0o755);
        folder.file("words", "echo no first line\n", 0o755);
        folder.file("through", "#!/etc/passwd\n", 0o755);
        let busy = folder.file("busy", "#!/bin/sh\n", 0o755);
        let _writer = std::fs::OpenOptions::new()
            .append(true)
            .open(busy)
            .expect("a file");
        for (name, part) in [
            ("plain", "permission denied (mode 0644, no execute bit)"),
            ("dir", "is a directory"),
            (
                "python",
                "names an interpreter that is missing: `/no/python9`",
            ),
            (
                "windows",
                "names an interpreter that is missing: `/bin/sh` (its lines end with CR LF)",
            ),
            ("words", "a script must begin with #!"),
            ("elf", "it is built for another machine"),
            (
                "through",
                "or its interpreter `/etc/passwd` may not be executed",
            ),
            ("busy", "while it is open for writing"),
        ] {
            for program in [folder.0.join(name).into_os_string(), name.into()] {
                let mut launch = Launch { program, ..sh("") };
                launch.environment = vec![("PATH".into(), folder.0.clone().into())];
                let (code, text) = said(refusal(&processes, &launch));
                assert_eq!(code, 126, "{name}: {text}");
                let start = format!("`{}` ", folder.0.join(name).display());
                assert!(
                    text.starts_with(&start) && text.contains(part),
                    "{name}: {text}"
                );
            }
        }
        let huge = Launch {
            args: vec!["x".repeat(200_000).into()],
            ..Launch::new("/bin/true")
        };
        let (code, text) = said(refusal(&processes, &huge));
        assert_eq!((code, text.contains("too large")), (126, true), "{text}");
    });
}

#[test]
fn a_bad_directory_argument_or_variable_is_78() {
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let dir = |dir: &str| Launch {
            working_dir: Some(dir.into()),
            ..sh("")
        };
        let variable = |name: &str, value: &str| Launch {
            environment: vec![(name.into(), value.into())],
            ..sh("")
        };
        for (launch, text) in [
            (
                dir("/no/where"),
                "working directory `/no/where`: no such file or directory",
            ),
            (
                dir("/etc/passwd"),
                "working directory `/etc/passwd`: not a directory",
            ),
            (
                Launch {
                    args: vec!["a".into(), "b\0".into()],
                    ..sh("")
                },
                "argument 2 contains a NUL byte",
            ),
            (
                Launch::new("a\0b"),
                "the program's name contains a NUL byte",
            ),
            (
                variable("A=B", "x"),
                "`A=B` cannot be a name in the environment",
            ),
            (variable("", "x"), "`` cannot be a name in the environment"),
            (
                variable("TOKEN", "hidden\0"),
                "`TOKEN` in the environment contains a NUL byte",
            ),
        ] {
            assert_eq!(said(refusal(&processes, &launch)), (78, text.into()));
        }
    });
}

#[test]
fn a_user_is_taken_on_whole_and_can_reopen_its_output() {
    if !trial::is_root("a_user_is_taken_on_whole_and_can_reopen_its_output") {
        return;
    }
    let _alone = trial::alone();
    with_processes(|processes| async move {
        let mut launch =
            sh("grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status");
        let mut user = User::resolve("nobody").expect("every machine has nobody");
        user.groups.extend([4, 100]);
        let (uid, gid) = (user.uid, user.gid);
        launch.user = Some(user);
        let (text, _) = output(&processes, &launch).await;
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let (uid, gid) = (uid.to_string(), gid.to_string());
        assert_eq!(lines[0], ["Uid:", &uid, &uid, &uid, &uid]);
        assert_eq!(lines[1], ["Gid:", &gid, &gid, &gid, &gid]);
        assert_eq!(lines[2], ["Groups:", "4", "100", &gid]);
        assert!(
            lines[3..6]
                .iter()
                .all(|line| line[1].trim_matches('0').is_empty()),
            "{text}"
        );
        assert_eq!(lines[6], ["NoNewPrivs:", "1"]);

        launch.args[1] = "echo out >/dev/stdout; echo err >/dev/stderr".into();
        let child = processes.spawn(&launch).expect("it starts");
        assert_eq!(trial::read_all(child.pipes.stdout).await, "out\n");
        assert_eq!(trial::read_all(child.pipes.stderr).await, "err\n");
        child.process.wait().await;

        // What only root may enter is refused in the user's name, with 77.
        launch.working_dir = Some("/root/../proc/1/cwd".into());
        assert_eq!(refusal(&processes, &launch).exit(), Exit::NOPERM);
        launch.working_dir = None;
        let folder = Folder::new();
        launch.program = folder.file("tool", "#!/bin/sh\n", 0o700).into();
        let (code, text) = said(refusal(&processes, &launch));
        assert!(
            code == 126 && text.contains("permission denied for user `nobody` (mode 0700"),
            "{text}"
        );
    });
}

#[test]
fn who_is_not_root_cannot_become_another_and_is_told_so() {
    if !trial::is_root("who_is_not_root_cannot_become_another_and_is_told_so") {
        return;
    }
    trial::apart(0, || {
        // SAFETY: integers only.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setresgid(1000, 1000, 1000), 0);
            assert_eq!(libc::setresuid(1000, 1000, 1000), 0);
        }
        with_processes(|processes| async move {
            let mut launch = sh("id -u");
            launch.user = Some(User::resolve("12345:12345").expect("numbers"));
            let error = refusal(&processes, &launch);
            let text = "cannot run as user `12345:12345`: runner itself runs as uid 1000, not root";
            assert_eq!(said(error), (77, text.into()));
            // To be whom we are is no change.
            launch.user = Some(User::resolve("1000:1000").expect("numbers"));
            assert_eq!(output(&processes, &launch).await.0, "1000\n");
            launch.user = None;

            let limit = |what, most| {
                let limit = libc::rlimit {
                    rlim_cur: most,
                    rlim_max: 4096,
                };
                // SAFETY: the limit outlives the call.
                assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
            };
            limit(libc::RLIMIT_NPROC, 0);
            let error = refusal(&processes, &launch);
            assert_eq!(said(error), (69, "no more processes are allowed".into()));
            limit(libc::RLIMIT_NPROC, 4096);
            limit(libc::RLIMIT_NOFILE, 3);
            let error = refusal(&processes, &launch);
            assert_eq!(said(error), (69, "too many files are open".into()));
        });
    });
}

#[test]
fn a_root_without_the_capability_is_told_which_call_was_refused() {
    if !trial::is_root("a_root_without_the_capability_is_told_which_call_was_refused") {
        return;
    }
    // A user namespace with no mapping but ours, as a container without CAP_SETGID behaves.
    trial::apart(libc::CLONE_NEWUSER, || {
        std::fs::write("/proc/self/setgroups", "deny").expect("setgroups can be denied");
        std::fs::write("/proc/self/uid_map", "0 0 1").expect("a map of one user");
        std::fs::write("/proc/self/gid_map", "0 0 1").expect("a map of one group");
        with_processes(|processes| async move {
            let launch = Launch {
                user: Some(User::resolve("12345:12345").expect("numbers")),
                ..sh("")
            };
            let error = refusal(&processes, &launch);
            let text = "cannot run as user `12345:12345`: setgroups: operation not permitted";
            assert_eq!(said(error.clone()), (77, text.into()));
            assert!(
                error
                    .into_run_error("cannot start")
                    .to_string()
                    .contains("CAP_SETUID")
            );
        });
    });
}
