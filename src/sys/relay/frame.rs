//! The form of a relayed line: text for people, one JSON object a line for machines.
//!
//! A record with its line end has at most [`RECORD`] bytes, because container runtimes split longer ones. A longer
//! line is continued in further records, so nothing is lost. Text leaves the bytes of a line as they are, colours,
//! carriage returns and invalid UTF-8 included; JSON escapes them, puts U+FFFD for what is not UTF-8 and says so.

use super::redact::whole_characters;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The most bytes of one record, line end included.
pub const RECORD: usize = 16 * 1024 - 1;

/// Ends a text record whose line goes on.
const CUT: &str = " … [cut]";

/// Begins a text record that goes on with a line.
const CONTINUED: &str = "[continued] … ";

/// What JSON may add behind the message.
const FLAGS: [&str; 3] = [
    ",\"truncated\":true",
    ",\"continued\":true",
    ",\"binary\":true",
];

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `app/2 | the line`
    Text,
    /// `{"time":…,"level":"info","member":"app","replica":2,"stream":"stderr","message":"the line"}`
    Json,
}

/// Which of a process's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The member's or step's name.
    pub member: String,
    /// Which of several replicas; none where there is only one.
    pub replica: Option<u32>,
}

/// Makes records of one stream.
#[derive(Debug)]
pub struct Framer {
    format: Format,
    /// What stands before each line; in JSON, between the time and the message.
    head: Vec<u8>,
    /// A part of the present line is out already.
    open: bool,
}

impl Framer {
    /// For one stream of one process.
    pub fn new(format: Format, label: &Label, stream: Stream) -> Self {
        let head = match (format, label.replica) {
            (Format::Text, Some(replica)) => format!("{}/{replica} | ", label.member),
            (Format::Text, None) => format!("{} | ", label.member),
            (Format::Json, replica) => {
                let mut head = format!(
                    "\",\"level\":\"info\",\"member\":{}",
                    serde_json::Value::from(&*label.member)
                );
                if let Some(replica) = replica {
                    head.push_str(&format!(",\"replica\":{replica}"));
                }
                head + &format!(",\"stream\":\"{}\",\"message\":\"", stream.name())
            }
        };
        Self {
            format,
            head: head.into_bytes(),
            open: false,
        }
    }

    /// Appends the records of `clean` to `out`, until `out` has `enough` bytes or `clean` is used up. What stands in
    /// `clean` behind its last line end is an unfinished line, or, when the stream has `ended`, a line.
    /// Returns how many bytes of `clean` were used.
    pub fn frame(
        &mut self,
        clean: &[u8],
        now: SystemTime,
        ended: bool,
        enough: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let time = match self.format {
            Format::Text => String::new(),
            Format::Json => rfc3339(now),
        };
        let mut at = 0;
        while at < clean.len() && out.len() < enough {
            let end = memchr::memchr(b'\n', &clean[at..]).map(|length| at + length);
            let line = &clean[at..end.unwrap_or(clean.len())];
            // An empty rest of a line that is out already says nothing.
            if !(line.is_empty() && self.open) {
                self.line(line, &time, end.is_none() && !ended, out);
            }
            self.open = end.is_none() && !ended;
            at = end.map_or(clean.len(), |end| end + 1);
        }
        at
    }

    /// The records of one line, or of a part of one whose end is still to come (`unfinished`).
    fn line(&self, line: &[u8], time: &str, unfinished: bool, out: &mut Vec<u8>) {
        let mut rest = match self.format {
            Format::Json if !unfinished => line.strip_suffix(b"\r").unwrap_or(line),
            _ => line,
        };
        let mut continued = self.open;
        loop {
            rest = match self.format {
                Format::Text => self.text(rest, continued, unfinished, out),
                Format::Json => self.json(rest, time, continued, unfinished, out),
            };
            if rest.is_empty() {
                return;
            }
            continued = true;
        }
    }

    /// One text record; returns what did not fit.
    fn text<'a>(
        &self,
        line: &'a [u8],
        continued: bool,
        unfinished: bool,
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        let marks = if continued { CONTINUED.len() } else { 0 } + CUT.len() + 1;
        let room = RECORD.saturating_sub(self.head.len() + marks).max(64);
        let length = match line.get(..room) {
            Some(part) if line.len() > room => whole_characters(part),
            _ => line.len(),
        };
        let (part, rest) = line.split_at(length);
        out.extend_from_slice(&self.head);
        if continued {
            out.extend_from_slice(CONTINUED.as_bytes());
        }
        out.extend_from_slice(part);
        if unfinished || !rest.is_empty() {
            out.extend_from_slice(CUT.as_bytes());
        }
        out.push(b'\n');
        rest
    }

    /// One JSON record; returns what did not fit.
    fn json<'a>(
        &self,
        line: &'a [u8],
        time: &str,
        continued: bool,
        unfinished: bool,
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        let start = out.len();
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(&self.head);
        let used = out.len() - start + FLAGS.map(str::len).iter().sum::<usize>() + "\"}\n".len();
        let mut message = Message {
            room: RECORD.saturating_sub(used).max(64),
            taken: 0,
            binary: false,
        };
        message.write(line, out);
        let rest = &line[message.taken..];
        out.push(b'"');
        for (flag, text) in [unfinished || !rest.is_empty(), continued, message.binary]
            .iter()
            .zip(FLAGS)
        {
            if *flag {
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.extend_from_slice(b"}\n");
        rest
    }
}

/// The inside of a JSON string, as far as there is room.
struct Message {
    /// Bytes that may still be written.
    room: usize,
    /// Bytes of the line that were written.
    taken: usize,
    /// Something was not UTF-8.
    binary: bool,
}

impl Message {
    fn write(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if let Ok(text) = std::str::from_utf8(line) {
            return self.escape(text, out);
        }
        for chunk in line.utf8_chunks() {
            let before = self.taken;
            self.escape(chunk.valid(), out);
            if self.taken - before < chunk.valid().len() {
                return;
            }
            if !chunk.invalid().is_empty() {
                let sign = "\u{FFFD}".as_bytes();
                if self.room < sign.len() {
                    return;
                }
                self.room -= sign.len();
                self.taken += chunk.invalid().len();
                self.binary = true;
                out.extend_from_slice(sign);
            }
        }
    }

    fn escape(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut rest = text;
        loop {
            let plain = plain(rest.as_bytes());
            let length = rest.floor_char_boundary(plain.min(self.room));
            out.extend_from_slice(&rest.as_bytes()[..length]);
            self.room -= length;
            self.taken += length;
            if length < plain {
                return;
            }
            let Some(&special) = rest.as_bytes().get(plain) else {
                return;
            };
            let code = match special {
                b'"' => "\\\"".to_owned(),
                b'\\' => "\\\\".to_owned(),
                b'\t' => "\\t".to_owned(),
                b'\r' => "\\r".to_owned(),
                b'\n' => "\\n".to_owned(),
                other => format!("\\u{other:04x}"),
            };
            if self.room < code.len() {
                return;
            }
            out.extend_from_slice(code.as_bytes());
            self.room -= code.len();
            self.taken += 1;
            rest = &rest[plain + 1..];
        }
    }
}

/// How many of the first bytes stand in a JSON string as they are. Eight at a time: a log is mostly plain.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let mut at = 0;
    while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*eight);
        // Sets the highest bit of each byte below `limit`; up to the first such byte, the answer is exact.
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let slash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = (below(word, 0x20) | quote | slash) & (ONES * 0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    at + text[at..]
        .iter()
        .position(special)
        .unwrap_or(text.len() - at)
}

/// `2026-11-23T09:30:05.123Z`, UTC. A time before 1970 is shown as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date: years begin on 1 March and are counted in eras of 400 (146 097 days); H. Hinnant's
    // `civil_from_days`.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let mut text = String::with_capacity(24);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_426_205_123)
    }

    fn framer(format: Format) -> Framer {
        let label = Label {
            member: "app".into(),
            replica: Some(2),
        };
        Framer::new(format, &label, Stream::Stderr)
    }

    /// All records of `clean`, which ends the stream if `ended`.
    fn framed(framer: &mut Framer, clean: &[u8], ended: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let used = framer.frame(clean, now(), ended, usize::MAX, &mut out);
        assert_eq!(used, clean.len());
        out
    }

    fn objects(out: &[u8]) -> Vec<serde_json::Value> {
        let text = std::str::from_utf8(out).expect("JSON lines are UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .inspect(|line| assert!(line.len() < 16 * 1024, "{} bytes", line.len() + 1))
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect()
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = |seconds| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(now()), "2026-11-23T09:30:05.123Z");
    }

    #[test]
    fn text_is_the_line_behind_its_member() {
        let out = framed(
            &mut framer(Format::Text),
            b"one\r\n\n\x1b[1m\xff\0\nlast",
            true,
        );
        assert_eq!(
            out,
            b"app/2 | one\r\napp/2 | \napp/2 | \x1b[1m\xff\0\napp/2 | last\n"
        );
        let label = Label {
            member: "nginx".into(),
            replica: None,
        };
        let mut single = Framer::new(Format::Text, &label, Stream::Stdout);
        assert_eq!(framed(&mut single, b"x\n", false), b"nginx | x\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let out = framed(&mut framer(Format::Json), b"a \"b\"\\\t\x1b\r\n", false);
        let line = r#"{"time":"2026-11-23T09:30:05.123Z","level":"info","member":"app","replica":2,"stream":"stderr","message":"a \"b\"\\\t\u001b"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
        let label = Label {
            member: "we\"b".into(),
            replica: None,
        };
        let out = framed(
            &mut Framer::new(Format::Json, &label, Stream::Stdout),
            b"\n",
            false,
        );
        let line = r#"{"time":"2026-11-23T09:30:05.123Z","level":"info","member":"we\"b","stream":"stdout","message":""}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
    }

    #[test]
    fn binary_is_replaced_in_json_and_said_so() {
        let out = objects(&framed(
            &mut framer(Format::Json),
            b"\xff\xfe ok \xc3\n",
            false,
        ));
        assert_eq!(out[0]["message"], "\u{FFFD}\u{FFFD} ok \u{FFFD}");
        assert_eq!(out[0]["binary"], true);
    }

    #[test]
    fn a_part_of_a_line_is_marked_and_so_is_what_follows() {
        let mut text = framer(Format::Text);
        assert_eq!(
            framed(&mut text, b"Password: ", false),
            "app/2 | Password:  … [cut]\n".as_bytes()
        );
        assert_eq!(framed(&mut text, b"\nnext\n", false), b"app/2 | next\n");
        assert_eq!(
            framed(&mut text, b"50 %", false),
            "app/2 | 50 % … [cut]\n".as_bytes()
        );
        assert_eq!(
            framed(&mut text, b" 100 %\n", false),
            "app/2 | [continued] …  100 %\n".as_bytes()
        );
        let mut json = framer(Format::Json);
        let first = objects(&framed(&mut json, b"50 %", false));
        let second = objects(&framed(&mut json, b" 100 %", true));
        assert_eq!(
            (&first[0]["truncated"], &first[0]["continued"]),
            (&true.into(), &serde_json::Value::Null)
        );
        assert_eq!(
            (&second[0]["truncated"], &second[0]["continued"]),
            (&serde_json::Value::Null, &true.into())
        );
    }

    #[test]
    fn a_long_line_is_continued_and_no_record_is_too_long() {
        let long = "é\"".repeat(20_000);
        let out = objects(&framed(
            &mut framer(Format::Json),
            format!("{long}\n").as_bytes(),
            false,
        ));
        let message: String = out.iter().map(|o| o["message"].as_str().unwrap()).collect();
        assert_eq!(message, long);
        assert!(out.len() < 8, "{} records", out.len());
        assert!(out[..out.len() - 1].iter().all(|o| o["truncated"] == true));
        assert!(out[1..].iter().all(|o| o["continued"] == true));
        assert!(out[out.len() - 1].get("truncated").is_none());

        let out = framed(
            &mut framer(Format::Text),
            format!("{long}\n").as_bytes(),
            false,
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.len() < RECORD));
        let joined: String = text
            .lines()
            .map(|line| {
                line.trim_start_matches("app/2 | ")
                    .trim_start_matches(CONTINUED)
                    .trim_end_matches(CUT)
            })
            .collect();
        assert_eq!(joined, long);
    }

    #[test]
    fn framing_stops_when_there_is_enough_and_goes_on_where_it_stopped() {
        let clean = b"one\ntwo\nthree\n";
        let mut framer = framer(Format::Text);
        let (mut out, mut at, mut rounds) = (Vec::new(), 0, 0);
        while at < clean.len() {
            let enough = out.len() + 1;
            at += framer.frame(&clean[at..], now(), false, enough, &mut out);
            rounds += 1;
        }
        assert_eq!(rounds, 3);
        assert_eq!(out, b"app/2 | one\napp/2 | two\napp/2 | three\n");
    }

    proptest! {
        #[test]
        fn json_parses_and_text_keeps_every_byte(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("a line", |b| *b != b'\n'), 0..60), 0..20),
            stretch in 1usize..600,
        ) {
            let clean: Vec<u8> = lines.iter().flat_map(|l| [l.repeat(stretch).as_slice(), b"\n"].concat()).collect();
            let out = objects(&framed(&mut framer(Format::Json), &clean, false));
            let mut messages = vec![];
            for object in &out {
                let message = object["message"].as_str().unwrap();
                match messages.last_mut() {
                    Some(last) if object.get("continued").is_some() => *last = format!("{last}{message}"),
                    _ => messages.push(message.to_owned()),
                }
            }
            prop_assert_eq!(messages.len(), lines.len());
            for (message, line) in messages.iter().zip(&lines) {
                let line = line.repeat(stretch);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                prop_assert_eq!(message, &String::from_utf8_lossy(line));
            }
            if clean.split(|b| *b == b'\n').all(|line| line.len() < 16_000) {
                let out = framed(&mut framer(Format::Text), &clean, false);
                let wanted: Vec<u8> = lines.iter().flat_map(|l| [b"app/2 | ", l.repeat(stretch).as_slice(), b"\n"].concat()).collect();
                prop_assert_eq!(out, wanted);
            }
        }
    }
}
