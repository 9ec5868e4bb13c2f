//! The files of `listed_in`: every replica's address stands there, and none beside them that no replica has.
//!
//! Of a file's language no more is known than that ` #` begins a comment and that braces, or lines without
//! indentation, divide it into blocks; an address is what reads like one of this container. A port that is too many is
//! one that continues a service's own, in a block that has some of them, and belongs to no other member: what else a
//! proxy talks to is none of our business.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::roles::scalar::Text;
use crate::roles::spec::Service;
use crate::roles::{Roles, Templates};
use crate::source::{Place, Source};

/// Adds what `listed_in` finds; `files` has what stands at its paths, where they were read.
pub fn check(roles: &Roles, files: &Templates, diagnostics: &mut Diagnostics) {
    // Read once, however many services name the file.
    let read = |(path, text): (&String, &Result<Source, String>)| {
        let addresses = text.as_ref().map(|source| addresses(source.text()));
        (path.clone(), addresses.unwrap_or_default())
    };
    let addresses: BTreeMap<String, Vec<Address>> = files.iter().map(read).collect();
    for (role_name, role) in &roles.file.roles {
        let taken: Vec<_> = role.services.values().filter_map(ports).collect();
        for (name, service) in &role.services {
            let path = ["roles", role_name, "services", name];
            let Some(own) = ports(service) else {
                portless(roles, &path, service, diagnostics);
                continue;
            };
            for file in &service.listed_in {
                let of = Listing {
                    name,
                    place: ports_place(roles, &path),
                    replicas: service.replicas.0,
                    own: own.clone(),
                    taken: &taken,
                };
                let Some(path) = file.literal() else {
                    diagnostics.push(with_expression(file));
                    continue;
                };
                match files.get(path) {
                    Some(Ok(source)) => {
                        let found = &addresses[path];
                        let unlisted = of.unlisted(file, source, found);
                        let wrong = unlisted.into_iter().chain(of.unused(file, source, found));
                        wrong.for_each(|one| diagnostics.push(one));
                    }
                    Some(Err(why)) => diagnostics.push(of.unreadable(file, why)),
                    None => {}
                }
            }
        }
    }
}

/// The ports of all replicas; none where there is no port, or where they would end behind the last that there is.
fn ports(service: &Service) -> Option<RangeInclusive<u32>> {
    let first = u32::from(service.port?.0);
    let last = first.checked_add(service.replicas.0.checked_sub(1)?)?;
    (last <= 65535).then_some(first..=last)
}

/// Where a reader sees which ports there are: the replicas, or else the port.
fn ports_place(roles: &Roles, path: &[&str; 4]) -> Place {
    let replicas = [&path[..], &["replicas"]].concat();
    match roles.tree.at(&replicas) {
        Some(node) => node.place.clone(),
        None => roles.value_place(&[&path[..], &["port"]].concat()),
    }
}

fn portless(roles: &Roles, path: &[&str; 4], service: &Service, diagnostics: &mut Diagnostics) {
    let port = [&path[..], &["port"]].concat();
    if service.listed_in.is_empty() || roles.tree.at(&port).is_some() {
        return;
    }
    let place = roles.place(&[&path[..], &["listed_in"]].concat());
    let message = format!("`{}` has no port that a file could list", path[3]);
    let help = "give the service a `port:`, or remove `listed_in`";
    diagnostics.push(Diagnostic::new(Code::MissingKey, place, message).help(help));
}

fn with_expression(file: &Text) -> Diagnostic {
    let message = "an expression has no value yet when this file is read";
    Diagnostic::new(Code::BadValue, file.place.clone(), message).help("write the file's path")
}

/// What a file is compared with.
struct Listing<'a> {
    name: &'a str,
    place: Place,
    replicas: u32,
    own: RangeInclusive<u32>,
    /// Those of all services of the role.
    taken: &'a [RangeInclusive<u32>],
}

impl Listing<'_> {
    /// "`5 replicas: ports 6543 to 6547`"
    fn ports(&self) -> String {
        match self.replicas {
            1 => format!("one replica: port {}", self.own.start()),
            n => format!("{n} replicas: ports {}", shown(self.own.clone())),
        }
    }

    fn unreadable(&self, file: &Text, why: &str) -> Diagnostic {
        let message = format!(
            "cannot read `{}`, which is to list the ports of `{}`: {why}",
            file.raw, self.name
        );
        Diagnostic::new(Code::FileUnreadable, file.place.clone(), message)
            .help("a relative path counts from the folder that runner runs in")
    }

    /// Replicas whose address the file does not have.
    fn unlisted(&self, file: &Text, source: &Source, found: &[Address]) -> Option<Diagnostic> {
        let listed: BTreeSet<u32> = found.iter().map(|address| address.port).collect();
        let missing = self.own.clone().filter(|port| !listed.contains(port));
        let missing: BTreeSet<u32> = missing.collect();
        if missing.is_empty() {
            return None;
        }
        let (path, name) = (&file.raw, self.name);
        let message = if missing.len() as u32 == self.replicas {
            format!("`{path}` lists no port of `{name}`")
        } else {
            let word = if missing.len() == 1 { "port" } else { "ports" };
            format!(
                "`{path}` does not list {word} {} of `{name}`",
                all(&missing)
            )
        };
        let mut diagnostic = Diagnostic::new(Code::PortUnlisted, file.place.clone(), message)
            .related(self.place.clone(), self.ports());
        let own = found
            .iter()
            .filter(|address| self.own.contains(&address.port));
        if let Some(last) = own.max_by_key(|address| address.port) {
            diagnostic =
                diagnostic.related(source.place(last.range.clone()), "the last one listed");
        }
        Some(diagnostic.help(if listed.is_empty() {
            "addresses are found where they are written as 127.0.0.1:PORT, localhost:PORT or [::1]:PORT"
                .to_owned()
        } else {
            format!("it lists {}", all(&listed))
        }))
    }

    /// Addresses that go on where the replicas end.
    fn unused(&self, file: &Text, source: &Source, found: &[Address]) -> Option<Diagnostic> {
        let own = found
            .iter()
            .filter(|address| self.own.contains(&address.port));
        let blocks: BTreeSet<usize> = own.map(|address| address.block).collect();
        let beside: Vec<&Address> = found
            .iter()
            .filter(|address| blocks.contains(&address.block))
            .collect();
        let ports: BTreeSet<u32> = beside.iter().map(|address| address.port).collect();
        let stale =
            |port: &u32| ports.contains(port) && !self.taken.iter().any(|own| own.contains(port));
        let above = (self.own.end() + 1..=65535).take_while(stale);
        let below = (1..*self.own.start()).rev().take_while(stale);
        let unused: BTreeSet<u32> = below.chain(above).collect();
        if unused.is_empty() {
            return None;
        }
        let word = if unused.len() == 1 { "port" } else { "ports" };
        let message = format!(
            "`{}` lists {word} {}, and no replica of `{}` has {}",
            file.raw,
            all(&unused),
            self.name,
            if unused.len() == 1 { "it" } else { "them" },
        );
        let mut diagnostic = Diagnostic::new(Code::PortUnused, file.place.clone(), message)
            .related(self.place.clone(), self.ports());
        let listed = beside
            .iter()
            .filter(|address| unused.contains(&address.port));
        for address in listed.take(8) {
            let place = source.place(address.range.clone());
            diagnostic = diagnostic.related(place, "listed here");
        }
        Some(diagnostic.help("remove it from the file, or add replicas"))
    }
}

/// "6543 to 6547, 7000"
fn all(ports: &BTreeSet<u32>) -> String {
    let mut spans: Vec<RangeInclusive<u32>> = Vec::new();
    for port in ports {
        match spans.last_mut() {
            Some(span) if span.end() + 1 == *port => *span = *span.start()..=*port,
            _ => spans.push(*port..=*port),
        }
    }
    let more = if spans.len() > 6 { " …" } else { "" };
    let shown: Vec<String> = spans.into_iter().take(6).map(shown).collect();
    shown.join(", ") + more
}

fn shown(span: RangeInclusive<u32>) -> String {
    match (span.start(), span.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) if last - first == 1 => format!("{first}, {last}"),
        (first, last) => format!("{first} to {last}"),
    }
}

/// An address of this container in a file.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    port: u32,
    range: Range<usize>,
    /// Which block it stands in.
    block: usize,
}

/// Every address outside of comments, in the order of the file.
fn addresses(text: &str) -> Vec<Address> {
    let mut found = Vec::new();
    let mut blocks = 0;
    // The blocks that are open, the file itself first.
    let mut open = vec![0];
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = &line[..comment(line).unwrap_or(line.len())];
        if open.len() == 1 && code.starts_with(|c: char| !c.is_whitespace()) {
            blocks += 1;
            open[0] = blocks;
        }
        let mut rest = 0;
        while rest < code.len() {
            match code.as_bytes()[rest] {
                b'{' => {
                    blocks += 1;
                    open.push(blocks);
                }
                b'}' if open.len() > 1 => {
                    open.pop();
                }
                _ => {
                    if let Some((port, length)) = address(code, rest) {
                        found.push(Address {
                            port,
                            range: start + rest..start + rest + length,
                            block: open.last().copied().unwrap_or(0),
                        });
                        rest += length;
                        continue;
                    }
                }
            }
            rest += 1;
        }
        start += line.len();
    }
    found
}

/// Where a line's comment begins: at a `#` that stands at the start or behind a blank or the end of something.
fn comment(line: &str) -> Option<usize> {
    let begins = |(at, _): &(usize, &str)| {
        *at == 0 || matches!(line.as_bytes()[at - 1], b' ' | b'\t' | b';' | b'{' | b'}')
    };
    line.match_indices('#').find(begins).map(|(at, _)| at)
}

/// The port and the length of an address that stands at `at`.
fn address(code: &str, at: usize) -> Option<(u32, usize)> {
    let bytes = code.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if at > 0 && inside(&bytes[at - 1]) {
        return None;
    }
    let rest = &bytes[at..];
    let host = if rest.len() > 9 && rest[..9].eq_ignore_ascii_case(b"localhost") {
        9
    } else if rest.starts_with(b"[::1]") {
        5
    } else if rest.starts_with(b"127.") {
        let of_ip = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        rest.iter().take_while(|byte| of_ip(byte)).count()
    } else {
        return None;
    };
    let digits = rest.get(host + 1..)?;
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if rest[host] != b':' || count > 5 || digits.get(count).is_some_and(inside) {
        return None;
    }
    let port = std::str::from_utf8(&digits[..count]).ok()?.parse().ok()?;
    (1..=65535)
        .contains(&port)
        .then_some((port, host + 1 + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<(u32, usize)> {
        let found = addresses(text);
        for address in &found {
            let shown = &text[address.range.clone()];
            assert!(shown.ends_with(&format!(":{}", address.port)), "{shown}");
        }
        found.iter().map(|one| (one.port, one.block)).collect()
    }

    #[test]
    fn addresses_of_this_container_are_found_outside_of_comments() {
        let text = "server 127.0.0.1:6543;\nproxy http://localhost:6544/x#y;\n a [::1]:6545,LocalHost:6546\n\
                    # 127.0.0.1:1\n server 127.0.0.9:6547; # 127.0.0.1:2\n";
        let only: Vec<u32> = ports(text).into_iter().map(|(port, _)| port).collect();
        assert_eq!(only, [6543, 6544, 6545, 6546, 6547]);
        for none in [
            "10.0.0.1:6543",
            "mylocalhost:80",
            "1127.0.0.1:80",
            "127.0.0.1:80.5",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "127.0.0.1:123456",
            "127.0.0.1:",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:$port",
            "é[::1",
        ] {
            assert_eq!(ports(none), [], "{none}");
        }
    }

    #[test]
    fn braces_and_lines_without_indentation_divide_a_file() {
        let nginx = "http {\n  upstream a { server 127.0.0.1:1; server 127.0.0.1:2; }\n  server {\n    listen 127.0.0.1:3;\n  }\n}\n";
        assert_eq!(ports(nginx), [(1, 3), (2, 3), (3, 4)]);
        let haproxy = "backend a\n  server x 127.0.0.1:1\n\n  server y 127.0.0.1:2\nbackend b\n  server z 127.0.0.1:3\n";
        assert_eq!(ports(haproxy), [(1, 1), (2, 1), (3, 2)]);
        assert_eq!(ports("}}} 127.0.0.1:1 {"), [(1, 1)]);
    }

    #[test]
    fn ports_are_told_in_few_words() {
        let told = |ports: &[u32]| all(&ports.iter().copied().collect());
        assert_eq!(told(&[1, 2, 3, 5, 7, 8]), "1 to 3, 5, 7, 8");
        assert_eq!(told(&[1, 3, 5, 7, 9, 11, 13]), "1, 3, 5, 7, 9, 11 …");
    }
}
