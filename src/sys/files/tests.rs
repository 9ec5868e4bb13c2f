use super::*;
use crate::sys::trial::{self, Folder};

/// The names in a folder.
fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(&folder.0).expect("a directory").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[test]
fn the_new_file_has_its_bytes_and_exactly_its_mode_whatever_the_umask() {
    trial::apart(0, || {
        let folder = Folder::new();
        for umask in [0o000, 0o022, 0o777] {
            for wanted in [0o600, 0o644, 0o400, 0o000, 0o4755, 0o777] {
                let path = folder.0.join(format!("file-{umask:o}-{wanted:o}"));
                // SAFETY: an integer.
                unsafe { libc::umask(umask) };
                write_whole(&path, b"first, and longer", wanted, None, None).expect("written");
                write_whole(&path, b"second", wanted, None, None).expect("replaced");
                // SAFETY: an integer.
                unsafe { libc::umask(0o022) };
                assert_eq!(mode(&path), wanted);
                if wanted & 0o400 != 0 {
                    assert_eq!(fs::read(&path).expect("readable"), b"second");
                }
            }
        }
        assert!(names(&folder).iter().all(|name| name.starts_with("file-")));
    });
}

#[test]
fn owner_and_group_are_set() {
    use std::os::unix::fs::MetadataExt;
    if !trial::is_root("owner_and_group_are_set") {
        return;
    }
    let folder = Folder::new();
    let path = folder.0.join("owned");
    write_whole(&path, b"x", 0o4750, Some(12), Some(34)).expect("written");
    let metadata = fs::metadata(&path).expect("a file");
    assert_eq!(
        (metadata.uid(), metadata.gid(), mode(&path)),
        (12, 34, 0o4750)
    );
}

#[test]
fn a_link_is_replaced_and_its_target_left_alone() {
    let folder = Folder::new();
    let target = folder.file("target", "precious", 0o644);
    let link = folder.0.join("link");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    write_whole(&link, b"new", 0o600, None, None).expect("written");
    assert_eq!(fs::read_to_string(&target).expect("a file"), "precious");
    assert!(fs::symlink_metadata(&link).expect("a file").is_file());
    assert_eq!(fs::read_to_string(&link).expect("a file"), "new");
}

#[test]
fn a_full_disk_leaves_the_old_file_whole_and_nothing_else() {
    trial::apart(libc::CLONE_NEWNS, || {
        let folder = Folder::new();
        let path = std::ffi::CString::new(folder.0.as_os_str().as_bytes()).expect("a path");
        trial::mount(c"tmpfs", &path, c"size=64k");
        let file = folder.0.join("production.ini");
        write_whole(&file, b"old", 0o600, None, None).expect("it fits");
        let error = write_whole(&file, &vec![b'x'; 200_000], 0o600, None, None)
            .expect_err("it does not fit");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write `{}`: 200000 bytes in directory `{}`: no space left on device",
                file.display(),
                folder.0.display()
            )
        );
        assert_eq!(error.exit, Exit::IO);
        assert_eq!(fs::read_to_string(&file).expect("a file"), "old");
        assert_eq!(names(&folder), ["production.ini"]);
        write_whole(&file, &vec![b'y'; 30_000], 0o600, None, None)
            .expect("the space is free again");
        // SAFETY: a C string.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    });
}

#[test]
fn a_file_that_is_mounted_is_refused_with_the_cure() {
    trial::apart(libc::CLONE_NEWNS, || {
        let folder = Folder::new();
        let file = folder.file("file", "mounted", 0o600);
        let path = std::ffi::CString::new(file.as_os_str().as_bytes()).expect("a path");
        trial::mount(c"tmpfs", c"/mnt", c"");
        let null = std::ptr::null();
        // SAFETY: C strings, or null where mount(2) takes it.
        let bound = unsafe {
            libc::mount(
                path.as_ptr(),
                path.as_ptr(),
                null,
                libc::MS_BIND,
                null.cast(),
            )
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let error = write_whole(&file, b"new", 0o600, None, None).expect_err("a mount point");
        assert!(
            error.to_string().contains("mount its directory instead"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&file).expect("a file"), "mounted");
        assert_eq!(names(&folder), ["file"]);
        // SAFETY: a C string.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    });
}

#[test]
fn a_file_size_limit_is_an_error_where_the_handlers_stand() {
    trial::apart(0, || {
        trial::on_runtime(async {
            let (switch, _shutdown) = crate::shutdown::channel();
            let _signals =
                crate::sys::signals::Signals::install(std::rc::Rc::new(switch)).expect("handlers");
            let folder = Folder::new();
            let file = folder.file("file", "old", 0o600);
            let limit = libc::rlimit {
                rlim_cur: 1000,
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: the limit outlives the call.
            assert_eq!(
                unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) },
                0
            );
            let error =
                write_whole(&file, &[b'x'; 5000], 0o600, None, None).expect_err("over the limit");
            assert!(error.to_string().ends_with("file too large"), "{error}");
            assert_eq!(
                (
                    error.exit,
                    fs::read_to_string(&file).expect("a file").as_str()
                ),
                (Exit::IO, "old")
            );
            assert_eq!(names(&folder), ["file"]);
        });
    });
}

#[test]
fn refusals_say_which_path_and_what() {
    let folder = Folder::new();
    let inside = |name: &str| folder.0.join(name);
    let write = |path: &Path| write_whole(path, b"x", 0o600, None, None).expect_err("refused");
    let error = write(&inside("none/file"));
    assert_eq!(error.exit, Exit::IO);
    assert!(
        error.to_string().contains(&format!(
            "no new file in directory `{}`",
            inside("none").display()
        )),
        "{error}"
    );
    for (path, part) in [
        (folder.0.clone(), "it is a directory"),
        (inside("name/"), "not the name of a file"),
        (inside(".."), "not the name of a file"),
        (PathBuf::new(), "not the name of a file"),
        (PathBuf::from("/dev/null"), "it is a device"),
    ] {
        let error = write(&path);
        assert!(
            error.exit == Exit::CONFIG && error.cause.contains(part),
            "{error}"
        );
    }
    assert!(names(&folder).is_empty());
    let error = write(Path::new("/proc/file"));
    assert!(
        error.doing.contains("/proc/file") && error.cause.contains("`/proc`"),
        "{error}"
    );
}

#[test]
fn a_directory_that_refuses_is_77_and_an_owner_that_is_refused_leaves_nothing() {
    if !trial::is_root("a_directory_that_refuses_is_77_and_an_owner_that_is_refused_leaves_nothing")
    {
        return;
    }
    trial::apart(0, || {
        let folder = Folder::new();
        let open = Folder::new();
        fs::set_permissions(&open.0, Permissions::from_mode(0o777)).expect("its mode");
        // SAFETY: integers only; the forked process stays another user.
        assert_eq!(unsafe { libc::setresuid(1000, 1000, 0) }, 0);
        let error =
            write_whole(&folder.0.join("file"), b"x", 0o600, None, None).expect_err("refused");
        let text = format!(
            "no new file in directory `{}`: permission denied",
            folder.0.display()
        );
        assert_eq!((error.exit, error.cause), (Exit::NOPERM, text));
        let error =
            write_whole(&open.0.join("file"), b"x", 0o600, Some(0), None).expect_err("refused");
        assert_eq!(
            (error.exit, error.cause.as_str()),
            (
                Exit::NOPERM,
                format!(
                    "owner `0:` in directory `{}`: operation not permitted",
                    open.0.display()
                )
                .as_str()
            )
        );
        assert!(names(&open).is_empty());
        // SAFETY: back to root, to remove the folders.
        unsafe { libc::setresuid(0, 0, 0) };
    });
}

#[test]
fn readers_see_the_old_file_or_the_new_one_and_never_a_part() {
    let folder = Folder::new();
    let path = folder.0.join("file");
    write_whole(&path, &[b'0'; 10_000], 0o600, None, None).expect("written");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while reads == 0 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                let bytes = fs::read(&path).expect("it is always there");
                assert!(bytes.len() == 10_000 && bytes.iter().all(|byte| *byte == bytes[0]));
                reads += 1;
            }
        });
        for round in 0..50u8 {
            write_whole(&path, &[b'0' + round; 10_000], 0o600, None, None).expect("written");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().expect("no part was seen");
    });
}

#[test]
fn reading_tells_each_fault_apart() {
    let folder = Folder::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let why = |path: &Path| read_limited(path, 10).expect_err("refused").why;
    assert_eq!(
        read_limited(&file("ten", "ünf Bytes".as_bytes()), 10).as_deref(),
        Ok("ünf Bytes")
    );
    assert_eq!(
        why(&file("eleven", b"12345678901")),
        Unreadable::TooLarge(10)
    );
    assert_eq!(why(&file("latin", b"abc\xfcdef")), Unreadable::NotUtf8(3));
    assert_eq!(why(&folder.0), Unreadable::Directory);
    assert_eq!(why(Path::new("/dev/zero")), Unreadable::TooLarge(10));
    assert_eq!(
        why(&folder.0.join("ten/x")),
        Unreadable::Other(libc::ENOTDIR)
    );
    let error = read_limited(&folder.0.join("none"), LIMIT).expect_err("missing");
    let text = format!(
        "cannot read `{}`: there is no such file",
        folder.0.join("none").display()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(
        (RunError::from(error.clone()).to_string(), error.exit()),
        (text, Exit::CONFIG)
    );
}

#[test]
fn random_bytes_come_in_every_number_and_differ() {
    for count in [0, 1, 256, 257, 5000] {
        assert_eq!(random(count).expect("random").len(), count);
    }
    let (one, other) = (random(300).expect("random"), random(300).expect("random"));
    assert_ne!(one, other);
    assert_ne!(one[256..], [0; 44], "the end is filled too");
}

#[test]
fn work_aside_lets_a_stop_through_and_survives_a_panic() {
    // A fork of another test must not come while a panic holds its locks.
    let _alone = trial::alone();
    trial::on_runtime(async {
        assert_eq!(aside(|| 6 * 7).await, Ok(42));
        let (switch, shutdown) = crate::shutdown::channel();
        switch.request(crate::shutdown::Reason::Asked);
        let (release, held) = std::sync::mpsc::channel::<()>();
        // An fsync(2) that hangs, for all the caller can see.
        let stuck = aside(move || held.recv());
        tokio::select! {
            biased;
            _ = stuck => panic!("it cannot end before it is released"),
            () = shutdown.requested() => {}
        }
        drop(release);
        let error = aside(|| panic!("on purpose")).await.expect_err("a panic");
        assert_eq!(error.exit, Exit::SOFTWARE);
    });
}
