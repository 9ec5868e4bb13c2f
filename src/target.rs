//! Addresses that people write: an http URL, or `host:port`. Checked here without touching the network.
//!
//! `validate` and the doors share these functions, so what passes one passes the other. No text made
//! here shows user, password, query or fragment of a URL: they may hold secrets.

use std::fmt;
use url::{Host, Url};

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A host name or an IP address, without brackets, in lower case.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// Whether TLS is spoken (`https`).
    pub tls: bool,
}

/// What is wrong with an address, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError {
    /// "`localhost:80` is not an http URL: it does not begin with http:// or https://"
    pub message: String,
    /// "write http://localhost:80"
    pub help: String,
}

impl Target {
    /// Reads `http://host[:port][/path][?query]`, or the same with `https`.
    pub fn parse_http(text: &str) -> Result<Target, TargetError> {
        http_url(text).map(|(_, target)| target)
    }

    /// Reads `host:port`; an IPv6 address stands in brackets.
    pub fn parse_tcp(text: &str) -> Result<Target, TargetError> {
        const EXPECTED: &str = "write host:port, such as 127.0.0.1:5432 or [::1]:5432";
        let wrong = |why: &str| {
            Err(TargetError {
                message: format!("`{}` is not a TCP address: {why}", redact(text)),
                help: EXPECTED.to_owned(),
            })
        };
        if text.contains("://") {
            return wrong("it is a URL");
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("it has no port");
        };
        if host.contains(':') && !host.starts_with('[') {
            return wrong("an IPv6 address needs brackets");
        }
        let digits = port.chars().all(|c| c.is_ascii_digit());
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 && digits => port,
            _ => return wrong("the port is not a number from 1 to 65535"),
        };
        if host.is_empty() {
            return wrong("it has no host");
        }
        match Host::parse(host) {
            Ok(host) => Ok(Target {
                host: bare(&host),
                port,
                tls: false,
            }),
            Err(_) => wrong("the host is not a name or an IP address"),
        }
    }
}

impl fmt::Display for Target {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.help)
    }
}

impl std::error::Error for TargetError {}

/// The URL itself and where it leads, checked as [`Target::parse_http`] does.
pub(crate) fn http_url(text: &str) -> Result<(Url, Target), TargetError> {
    let wrong = |why: &str, help: String| {
        Err(TargetError {
            message: format!("`{}` is not an http URL: {why}", redact(text)),
            help,
        })
    };
    let usual = || "write http://host:port/path".to_owned();
    if text.is_empty() {
        return wrong("it is empty", usual());
    }
    // The URL standard drops or encodes these without a word; nobody means them.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("it contains a blank or a control character", usual());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = match redact(text) {
            path if path.starts_with('/') && !path.starts_with("//") => {
                format!("write http://host:port{path}")
            }
            port if port.starts_with(':') => format!("write http://127.0.0.1{port}"),
            host => format!("write http://{}", host.trim_start_matches('/')),
        };
        return wrong("it does not begin with http:// or https://", help);
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return wrong("it does not begin with http:// or https://", usual());
    }
    if rest.is_empty() || rest.starts_with(['/', ':', '?', '#']) {
        return wrong("it has no host", usual());
    }
    match Url::parse(text) {
        Ok(url) if url.port() == Some(0) => wrong("the port is 0", usual()),
        Ok(url) => {
            let target = Target {
                host: url.host().map(|host| bare(&host)).unwrap_or_default(),
                port: url.port_or_known_default().unwrap_or_default(),
                tls: url.scheme() == "https",
            };
            Ok((url, target))
        }
        Err(why) => wrong(&why.to_string(), usual()),
    }
}

/// A URL or address as it may be shown: no user, no password, no query, no fragment, not overlong.
pub(crate) fn redact(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (scheme, rest) = match text[..end].split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), &text[..end]),
    };
    let path = rest.find('/').unwrap_or(rest.len());
    let host = rest[..path].rsplit('@').next().unwrap_or_default();
    let shown: String = format!("{scheme}{host}{}", &rest[path..])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match shown.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

fn bare<S: AsRef<str>>(host: &Host<S>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> String {
        match Target::parse_http(text) {
            Ok(target) => format!("{target} {}", target.tls),
            Err(error) => error.to_string(),
        }
    }

    fn tcp(text: &str) -> String {
        match Target::parse_tcp(text) {
            Ok(target) => target.to_string(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn http_urls() {
        assert_eq!(
            http("http://127.0.0.1:6543/health?format=json"),
            "127.0.0.1:6543 false"
        );
        assert_eq!(http("HTTPS://Example.org"), "example.org:443 true");
        assert_eq!(http("http://[::1]/"), "[::1]:80 false");
        assert_eq!(http("http://user:pw@my_host:8000/x"), "my_host:8000 false");
        for (text, expected) in [
            (
                "",
                "`` is not an http URL: it is empty (write http://host:port/path)",
            ),
            (
                "localhost:8000/x",
                "`localhost:8000/x` is not an http URL: it does not begin with http:// or https:// (write http://localhost:8000/x)",
            ),
            (
                "/health?full=1",
                "`/health` is not an http URL: it does not begin with http:// or https:// (write http://host:port/health)",
            ),
            (
                ":8000/x",
                "`:8000/x` is not an http URL: it does not begin with http:// or https:// (write http://127.0.0.1:8000/x)",
            ),
            (
                "//h/x",
                "`//h/x` is not an http URL: it does not begin with http:// or https:// (write http://h/x)",
            ),
            (
                "ftp://h/",
                "`ftp://h/` is not an http URL: it does not begin with http:// or https:// (write http://host:port/path)",
            ),
            (
                "http:///x",
                "`http:///x` is not an http URL: it has no host (write http://host:port/path)",
            ),
            (
                "http://h:0/",
                "`http://h:0/` is not an http URL: the port is 0 (write http://host:port/path)",
            ),
            (
                "http://h:99999/",
                "`http://h:99999/` is not an http URL: invalid port number (write http://host:port/path)",
            ),
            (
                "http://h/a b",
                "`http://h/a b` is not an http URL: it contains a blank or a control character (write http://host:port/path)",
            ),
        ] {
            assert_eq!(http(text), expected);
        }
    }

    #[test]
    fn tcp_addresses() {
        assert_eq!(tcp("127.0.0.1:5432"), "127.0.0.1:5432");
        assert_eq!(tcp("[::1]:5432"), "[::1]:5432");
        assert_eq!(tcp("db.internal:1"), "db.internal:1");
        for (text, why) in [
            ("5432", "it has no port"),
            ("tcp://h:1", "it is a URL"),
            ("::1:5432", "an IPv6 address needs brackets"),
            ("h:0", "the port is not a number from 1 to 65535"),
            ("h:65536", "the port is not a number from 1 to 65535"),
            ("h:+80", "the port is not a number from 1 to 65535"),
            (":80", "it has no host"),
            ("a b:80", "the host is not a name or an IP address"),
        ] {
            assert_eq!(tcp(text), format!("`{text}` is not a TCP address: {why}"));
        }
    }

    #[test]
    fn nothing_shown_holds_a_password_or_a_query() {
        for text in [
            "http://u:CANARY@h:1/p?k=CANARY#CANARY",
            "u:CANARY@h:1?CANARY",
            "http://u:CANARY@h:1/p q?CANARY",
            "http://a@CANARY@h:0/",
        ] {
            let shown = redact(text);
            assert!(!shown.contains("CANARY") && shown.contains("h:"), "{shown}");
            assert!(!http(text).contains("CANARY"));
            assert!(!tcp(text).contains("CANARY"));
        }
        assert!(redact(&"x".repeat(1000)).chars().count() < 210);
    }
}
