//! A place of its own for one portal: ports, /tmp and nginx.conf that nobody else sees.
//!
//! roles.yaml and docker/nginx.conf name fixed ports and files. In a network and a mount namespace they can be
//! played unchanged, beside other tests and beside whatever the machine itself runs.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// An empty folder for one test, with what the portal needs in it.
pub struct Place {
    /// The working folder: roles.yaml, ini-templates, base.ini, gac.json.
    pub dir: PathBuf,
    /// Where the application looks for who is let go; see tests/portal_app.
    pub hold: PathBuf,
}

impl Place {
    /// Enters namespaces with the calling thread, for ever: what it starts from now on lives there too. None, and a
    /// line that says why, where that is not possible.
    pub fn enter(test: &str) -> Option<Self> {
        if let Err(why) = possible().and_then(|()| enter().map_err(|error| error.to_string())) {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{test} cannot run: {why}");
            println!("skipped: {test}: {why}");
            return None;
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("portal")
            .join(test);
        let _ = fs::remove_dir_all(&dir);
        let hold = dir.join("hold");
        fs::create_dir_all(&hold).expect("the target directory is writable");
        fs::create_dir(dir.join("ini-templates")).expect("it is new");
        for (from, to) in [
            ("roles.yaml", "roles.yaml"),
            (
                "ini-templates/cgap_any_alpha.ini",
                "ini-templates/cgap_any_alpha.ini",
            ),
            ("docker/local/gac.json", "gac.json"),
            ("tests/portal_app/base.ini", "base.ini"),
        ] {
            fs::copy(Path::new(ROOT).join(from), dir.join(to)).expect("a file of the repository");
        }
        Some(Self { dir, hold })
    }

    /// Changes one thing in this place's roles.yaml; `from` must stand there.
    pub fn change(&self, from: &str, to: &str) {
        let path = self.dir.join("roles.yaml");
        let text = fs::read_to_string(&path).expect("it was copied");
        assert!(text.contains(from), "roles.yaml has no `{from}`");
        fs::write(&path, text.replace(from, to)).expect("it is writable");
    }

    /// Makes a file in the folder that the application watches.
    pub fn make(&self, name: &str) {
        File::create(self.hold.join(name)).expect("it is writable");
    }

    /// Takes a file away from it.
    pub fn take_away(&self, name: &str) {
        fs::remove_file(self.hold.join(name)).expect("it is there");
    }
}

/// Whether there is all that the portal needs; the error is what is missing.
fn possible() -> Result<(), String> {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Err("namespaces need root".to_owned());
    }
    if !Path::new(ROOT).join(".venv/bin/pserve").exists() {
        return Err("no .venv/bin/pserve; `make venv` makes it".to_owned());
    }
    if !Path::new(NGINX_CONF).exists() {
        return Err("no nginx; `make packages` installs it".to_owned());
    }
    Ok(())
}

/// Where Debian's nginx looks.
const NGINX_CONF: &str = "/etc/nginx/nginx.conf";

fn enter() -> io::Result<()> {
    // SAFETY: integers only; both kinds of namespace are the calling thread's own.
    done(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    loopback_up()?;
    mount("none", "/", libc::MS_REC | libc::MS_PRIVATE, None)?;
    mount(
        &format!("{ROOT}/docker/nginx.conf"),
        NGINX_CONF,
        libc::MS_BIND,
        None,
    )?;
    // A repository that itself lies under /tmp has to be seen after /tmp is another.
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(ROOT)?;
    mount("none", "/tmp", 0, Some("tmpfs"))?;
    if !Path::new(ROOT).exists() {
        fs::create_dir_all(ROOT)?;
        let seen = format!("/proc/self/fd/{}", root.as_raw_fd());
        mount(&seen, ROOT, libc::MS_BIND | libc::MS_REC, None)?;
    }
    Ok(())
}

fn mount(from: &str, to: &str, flags: libc::c_ulong, kind: Option<&str>) -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(io::Error::other);
    let (from, to, kind) = (text(from)?, text(to)?, kind.map(text).transpose()?);
    let kind = kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: the texts end in NUL and live until the call returns; no data.
    done(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind, flags, std::ptr::null()) })
}

/// A new network namespace has a loopback that is down.
fn loopback_up() -> io::Result<()> {
    // SAFETY: integers only; the descriptor is ours alone.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    done(socket.min(0))?;
    // SAFETY: it was just opened.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is an ifreq, as SIOCSIFFLAGS reads it.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
