//! Whom a child runs as: names and numbers of /etc/passwd and /etc/group, read by ourselves.
//!
//! A static binary has no NSS, and a container has no directory service: the two files are all there is. The list of
//! groups is made before the fork, because the forked child may not allocate.

use super::reason;
use crate::outcome::{Exit, RunError};
use std::io;

/// A user to run as, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As it was written: `nginx`, `1000:1000`.
    pub written: String,
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// All groups, the primary one first, each once.
    pub groups: Vec<u32>,
    /// The login name, or the number where /etc/passwd has none.
    pub name: String,
    /// The home directory, or `/` where /etc/passwd has none.
    pub home: String,
}

impl User {
    /// Resolves `name`, `uid`, `name:group` or `uid:gid`.
    ///
    /// As in Docker, a group that is written replaces the user's own and its further groups. Unlike there, a bare
    /// number that /etc/passwd does not know is an error, not a process in the group of root. `uid:gid` needs
    /// neither file.
    ///
    /// # Errors
    /// An unknown name, a number without a group, or an unreadable file.
    pub fn resolve(written: &str) -> Result<User, RunError> {
        let cannot = |cause: String| {
            RunError::new(
                Exit::CONFIG,
                format!("cannot run as user `{written}`"),
                cause,
            )
        };
        let passwd = database("/etc/passwd").map_err(cannot)?;
        let group = database("/etc/group").map_err(cannot)?;
        User::resolve_in(written, &passwd, &group).map_err(cannot)
    }

    fn resolve_in(written: &str, passwd: &str, group: &str) -> Result<User, String> {
        let (user, chosen) = match written.split_once(':') {
            Some((user, chosen)) => (user, Some(chosen)),
            None => (written, None),
        };
        if user.is_empty() || chosen == Some("") {
            return Err("write it as `name`, `uid`, `name:group` or `uid:gid`".into());
        }
        let login = Login::find(passwd, user);
        let uid = match &login {
            Some(login) => login.uid,
            None => number(user).ok_or("it is not in /etc/passwd")?,
        };
        let (gid, groups) = match (chosen, &login) {
            (Some(chosen), _) => {
                let gid = group_in(chosen, group)
                    .ok_or_else(|| format!("group `{chosen}` is not in /etc/group"))?;
                (gid, vec![gid])
            }
            (None, Some(login)) => (login.gid, groups_of(&login.name, login.gid, group)),
            (None, None) => {
                return Err(format!(
                    "{uid} is not in /etc/passwd, so its group is unknown; write `{uid}:GROUP`"
                ));
            }
        };
        Ok(User {
            written: written.into(),
            uid,
            gid,
            groups,
            name: login
                .as_ref()
                .map_or_else(|| uid.to_string(), |login| login.name.clone()),
            home: login.map_or_else(|| "/".into(), |login| login.home),
        })
    }

    /// What a child that runs as this user finds in its environment.
    pub fn environment(&self) -> [(&'static str, &str); 3] {
        [
            ("HOME", &self.home),
            ("USER", &self.name),
            ("LOGNAME", &self.name),
        ]
    }

    /// Whether we are this user already and not root, so that there is nothing to drop.
    pub(crate) fn is_ours(&self) -> bool {
        // SAFETY: these calls take no arguments and cannot fail.
        let (uid, euid, gid, egid) = unsafe {
            (
                libc::getuid(),
                libc::geteuid(),
                libc::getgid(),
                libc::getegid(),
            )
        };
        self.uid != 0 && [uid, euid] == [self.uid; 2] && [gid, egid] == [self.gid; 2]
    }
}

/// The number of a file's owner, given by name or number.
///
/// # Errors
/// A name that /etc/passwd does not have, as the end of a sentence.
pub fn owner_id(written: &str) -> Result<u32, String> {
    let passwd = database("/etc/passwd")?;
    let known = Login::find(&passwd, written).map(|login| login.uid);
    known
        .or_else(|| number(written))
        .ok_or_else(|| format!("user `{written}` is not in /etc/passwd"))
}

/// The number of a group, given by name or number.
///
/// # Errors
/// A name that /etc/group does not have, as the end of a sentence.
pub fn group_id(written: &str) -> Result<u32, String> {
    group_in(written, &database("/etc/group")?)
        .ok_or_else(|| format!("group `{written}` is not in /etc/group"))
}

/// One line of /etc/passwd (passwd(5)).
struct Login {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Login {
    /// The line of a name; failing that, the first of a number, as Docker has it.
    fn find(passwd: &str, user: &str) -> Option<Login> {
        let lines = || passwd.lines().filter_map(Login::read);
        let uid = number(user);
        lines()
            .find(|login| login.name == user)
            .or_else(|| lines().find(|login| Some(login.uid) == uid))
    }

    fn read(line: &str) -> Option<Login> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        let home = if home.is_empty() { "/" } else { home };
        Some(Login {
            name: name.into(),
            uid: number(uid)?,
            gid: number(gid)?,
            home: home.into(),
        })
    }
}

/// The lines of /etc/group (group(5)): name, number, members.
fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, number(gid)?, fields.next().unwrap_or_default()))
    })
}

fn group_in(written: &str, group: &str) -> Option<u32> {
    group_lines(group)
        .find(|(name, ..)| *name == written)
        .map(|(_, gid, _)| gid)
        .or_else(|| number(written))
}

/// What initgroups(3) would give: the primary group and those that list the user.
fn groups_of(user: &str, primary: u32, group: &str) -> Vec<u32> {
    let mut groups = vec![primary];
    for (_, gid, members) in group_lines(group) {
        if members.split(',').any(|member| member == user) && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    groups
}

/// An id; the largest number means "leave it" to the kernel and is none.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// The text of a database; a missing file is an empty one.
fn database(path: &str) -> Result<String, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {path}: {}", reason(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:102:web:/var/nginx:/bin/false\n\
                          broken line\n+nis::::::\n1234:x:77:78::/named:\nhomeless:x:5:5:::\nodd:x:4294967295:1::/:\n";
    const GROUP: &str = "root:x:0:\nnginx:x:102:\nlogs:x:4:syslog,nginx\nssl:x:9:nginx,root\nagain:x:4:nginx\nweb:x:102:nginx\nnginxlike:x:55:nginx2\n";

    fn resolve(written: &str) -> Result<(u32, u32, Vec<u32>, String, String), String> {
        User::resolve_in(written, PASSWD, GROUP)
            .map(|user| (user.uid, user.gid, user.groups, user.name, user.home))
    }

    #[test]
    fn names_and_numbers_lead_to_the_same_user() {
        let nginx = (
            101,
            102,
            vec![102, 4, 9],
            "nginx".into(),
            "/var/nginx".into(),
        );
        assert_eq!(resolve("nginx"), Ok(nginx.clone()));
        assert_eq!(resolve("101"), Ok(nginx));
        assert_eq!(
            resolve("nginx:logs"),
            Ok((101, 4, vec![4], "nginx".into(), "/var/nginx".into()))
        );
        assert_eq!(
            resolve("101:7"),
            Ok((101, 7, vec![7], "nginx".into(), "/var/nginx".into()))
        );
        // A login that is a number is a name first.
        assert_eq!(
            resolve("1234"),
            Ok((77, 78, vec![78], "1234".into(), "/named".into()))
        );
        assert_eq!(resolve("homeless").map(|user| user.4), Ok("/".into()));
    }

    #[test]
    fn numbers_need_no_files() {
        let user = User::resolve_in("1000:2000", "", "").expect("numbers");
        assert_eq!(
            (user.uid, user.gid, user.groups.clone()),
            (1000, 2000, vec![2000])
        );
        assert_eq!(
            user.environment(),
            [("HOME", "/"), ("USER", "1000"), ("LOGNAME", "1000")]
        );
    }

    #[test]
    fn what_is_unknown_says_so() {
        for (written, part) in [
            ("nobody-here", "not in /etc/passwd"),
            ("nginx:nope", "group `nope` is not in /etc/group"),
            ("4000", "write `4000:GROUP`"),
            ("", "write it as"),
            (":web", "write it as"),
            ("nginx:", "write it as"),
            ("4294967295:1", "not in /etc/passwd"),
            ("odd", "not in /etc/passwd"),
            ("-1:5", "not in /etc/passwd"),
            ("+5:5", "not in /etc/passwd"),
        ] {
            let error = resolve(written).expect_err(written);
            assert!(error.contains(part), "{written}: {error}");
        }
        let error = User::resolve("nobody-here").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "cannot run as user `nobody-here`: it is not in /etc/passwd"
        );
        assert_eq!(error.exit, Exit::CONFIG);
    }

    #[test]
    fn owners_and_groups_of_files() {
        assert_eq!(owner_id("root"), Ok(0));
        assert_eq!(owner_id("12345"), Ok(12345));
        assert_eq!(group_id("root"), Ok(0));
        assert!(owner_id("nobody-here").is_err_and(|error| error.contains("nobody-here")));
        assert!(group_id("nogroup-here").is_err());
    }
}
