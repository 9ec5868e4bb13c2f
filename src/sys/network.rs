//! Why a connection failed, in one phrase: the innermost cause that a person can act on.
//!
//! Both HTTP clients wrap one cause in up to six layers whose own texts say nothing ("dispatch failure",
//! "error sending request"); the layers are walked here once, for all doors.

use std::error::Error;
use std::io::ErrorKind;

/// The kinds of failure that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The address cannot be read.
    BadUrl,
    /// The method, a header or the body cannot be sent.
    BadRequest,
    /// The host name has no address.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No route, or another refusal of the network.
    Unreachable,
    /// Not done in time.
    TimedOut,
    /// The TLS handshake failed, or there is no CA to check with.
    Tls,
    /// The connection ended before the answer was complete.
    ClosedEarly,
    /// What came is not HTTP.
    NotHttp,
}

/// The cause in `error` or below it, if one is known.
pub fn cause(error: &(dyn Error + 'static)) -> Option<(Fault, String)> {
    layers(error).find_map(|layer| {
        if let Some(tls) = layer.downcast_ref::<rustls::Error>() {
            return Some((Fault::Tls, tls_text(tls)));
        }
        if let Some(io) = layer.downcast_ref::<std::io::Error>() {
            return io_cause(io);
        }
        let http = layer.downcast_ref::<hyper::Error>()?;
        if http.is_incomplete_message() {
            Some((Fault::ClosedEarly, closed_early()))
        } else if http.is_parse() {
            Some((Fault::NotHttp, "what came back is not HTTP".to_owned()))
        } else {
            None
        }
    })
}

/// The innermost text, for an error of no known kind. Never for one that may hold an answer's body.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    layers(error).last().unwrap_or(error).to_string()
}

fn closed_early() -> String {
    "the connection was closed before the answer was complete".to_owned()
}

fn io_cause(io: &std::io::Error) -> Option<(Fault, String)> {
    match io.kind() {
        ErrorKind::ConnectionRefused => Some((Fault::Refused, "connection refused".to_owned())),
        ErrorKind::TimedOut => Some((Fault::TimedOut, "timed out".to_owned())),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some((Fault::ClosedEarly, closed_early())),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Some((Fault::Unreachable, "no route to the host".to_owned()))
        }
        _ => {
            let text = io.to_string();
            // std has no kind for a failed getaddrinfo; this is its text.
            let reason = text.strip_prefix("failed to lookup address information: ")?;
            Some((
                Fault::Dns,
                format!("the host name cannot be resolved: {reason}"),
            ))
        }
    }
}

fn tls_text(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        return format!("TLS failed: {error}");
    };
    match bad {
        Bad::UnknownIssuer => "its certificate is not signed by a CA known here".to_owned(),
        Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        _ => format!("TLS failed: {error}"),
    }
}

/// `error` and all below it. An `io::Error` hides the error it was made of from `source`.
fn layers<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |layer: &&'a (dyn Error + 'static)| {
        let layer: &'a (dyn Error + 'static) = *layer;
        match layer.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => layer.source(),
        }
    })
}
