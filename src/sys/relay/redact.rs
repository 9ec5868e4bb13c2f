//! Masks secret values in what is printed.
//!
//! Every byte that belongs to an occurrence of a spelling of a secret is masked, overlapping ones included;
//! a run of masked bytes is shown as one `***`. [`Wash`] gives the same answer for a stream however it is cut
//! into reads: it never lets a byte go before it is known whether a secret has begun there.
//!
//! The search leaps (Wu and Manber): all spellings have at least eight bytes, so a table over three bytes tells
//! how far the window may move. With 20 secrets of ten spellings each it is ten times as fast as an Aho-Corasick
//! automaton of a size that one can afford, and it needs 32 KiB.

use super::spellings::{self, SHORTEST};
use crate::secret::Secret;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// What stands in the place of a secret.
pub const MASK: &[u8] = b"***";

/// An unfinished line longer than this, in bytes, is let go in parts.
const LONG: usize = 16 * 1024;

/// Bits of the leap table's index.
const BITS: u32 = 15;

/// How far the window may move, by the last three bytes in it.
type Leaps = [u8; 1 << BITS];

/// The farthest leap: from no spelling's first eight bytes ending here to the first window that misses these three.
const FAR: u8 = (SHORTEST - 2) as u8;

/// Knows the secrets and finds them.
pub struct Redactor {
    /// None when there is no secret.
    leaps: Option<Box<Leaps>>,
    /// The first eight bytes of each pattern, in the same order.
    heads: Vec<u64>,
    /// Sorted.
    patterns: Vec<Vec<u8>>,
    longest: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} spellings)", self.patterns.len())
    }
}

impl Redactor {
    /// Knows no secret and costs nothing.
    pub fn none() -> Self {
        Self::new([])
    }

    /// Knows these values in every spelling of 8 bytes and more (`spellings.rs`).
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            spellings::collect(secret.expose(), &mut patterns);
        }
        let patterns: Vec<Vec<u8>> = patterns.into_iter().collect();
        Self {
            leaps: leaps(&patterns),
            heads: patterns
                .iter()
                .filter_map(|p| p.first_chunk().copied())
                .map(u64::from_be_bytes)
                .collect(),
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
            patterns,
        }
    }

    /// `text` with every secret masked.
    pub fn redact<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.occurrences(text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        mask(text, 0..text.len(), &found, &mut out);
        Cow::Owned(out)
    }

    /// The longest occurrence at each place that has one, in order; they may overlap.
    fn occurrences(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some((start, candidates)) = self.next_head(text, at) {
            let longest = candidates
                .iter()
                .filter(|p| text[start..].starts_with(p))
                .map(Vec::len)
                .max();
            found.extend(longest.map(|length| start..start + length));
            at = start + 1;
        }
        found
    }

    /// The first place from `at` on where eight bytes stand that patterns begin with, and these patterns.
    fn next_head(&self, text: &[u8], mut at: usize) -> Option<(usize, &[Vec<u8>])> {
        let leaps = self.leaps.as_deref()?;
        loop {
            // Four windows at a time: the processor need not wait for one leap to begin the next.
            // Only FAR itself has all of its bits, so the conjunction is FAR when all four are.
            while let Some(w) = text.get(at..at + 26)
                && leap(leaps, w, 0) & leap(leaps, w, 6) & leap(leaps, w, 12) & leap(leaps, w, 18)
                    == FAR
            {
                at += 24;
            }
            let window: [u8; SHORTEST] = *text.get(at..)?.first_chunk()?;
            match leap(leaps, &window, 0) {
                0 => {
                    let head = u64::from_be_bytes(window);
                    let first = self.heads.partition_point(|&h| h < head);
                    let behind = first + self.heads[first..].partition_point(|&h| h == head);
                    if first < behind {
                        return Some((at, &self.patterns[first..behind]));
                    }
                    at += 1;
                }
                far => at += usize::from(far),
            }
        }
    }

    /// How many of the last bytes may be the beginning of a secret that is not all there yet.
    fn unsure(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let tail = &text[from..];
        let mut at = 0;
        while let Some((start, candidates)) = self.next_head(tail, at) {
            let rest = &tail[start..];
            if candidates
                .iter()
                .any(|p| p.len() > rest.len() && p.starts_with(rest))
            {
                return rest.len();
            }
            at = start + 1;
        }
        let short = (SHORTEST - 1).min(tail.len());
        (1..=short)
            .rev()
            .find(|&length| {
                let rest = &tail[tail.len() - length..];
                let first = self.patterns.partition_point(|p| p.as_slice() < rest);
                self.patterns
                    .get(first)
                    .is_some_and(|p| p.starts_with(rest))
            })
            .unwrap_or(0)
    }
}

/// The table for these patterns.
fn leaps(patterns: &[Vec<u8>]) -> Option<Box<Leaps>> {
    let mut leaps: Box<Leaps> = vec![FAR; 1 << BITS].try_into().ok()?;
    for pattern in patterns {
        for (at, three) in pattern[..SHORTEST].windows(3).enumerate() {
            let leap = &mut leaps[slot(three[0], three[1], three[2])];
            *leap = (*leap).min(FAR - 1 - at as u8);
        }
    }
    (!patterns.is_empty()).then_some(leaps)
}

// The program is built for size; these two are called for every sixth byte that a child prints.
#[inline(always)]
fn leap(leaps: &Leaps, text: &[u8], window: usize) -> u8 {
    leaps[slot(text[window + 5], text[window + 6], text[window + 7])]
}

#[inline(always)]
fn slot(a: u8, b: u8, c: u8) -> usize {
    let three = u32::from_le_bytes([a, b, c, 0]);
    (three.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

/// Appends `part` of `text`, masked; a secret that begins before `part` was announced with the part before.
fn mask(text: &[u8], part: Range<usize>, found: &[Range<usize>], out: &mut Vec<u8>) {
    let mut at = part.start;
    let mut run_end = None;
    for secret in found {
        if secret.start >= part.end {
            break;
        }
        let announced = secret.start < part.start || run_end.is_some_and(|end| secret.start < end);
        run_end = run_end.max(Some(secret.end));
        if secret.start > at {
            out.extend_from_slice(&text[at..secret.start]);
        }
        if !announced {
            out.extend_from_slice(MASK);
        }
        at = at.max(secret.end.min(part.end));
    }
    out.extend_from_slice(&text[at..part.end]);
}

/// How much may be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Whole lines, and of a very long line what is there.
    Line,
    /// All but what may be the beginning of a secret or of a character: nothing more came for a while.
    Pause,
    /// Everything: the stream has ended.
    End,
}

/// A stream on its way through a [`Redactor`].
#[derive(Debug, Default)]
pub struct Wash {
    raw: Vec<u8>,
    /// How many bytes of `raw` were let go before; they are kept because a secret may begin in them.
    seen: usize,
    /// How many bytes of `raw` were searched for a line end.
    looked: usize,
}

impl Wash {
    /// Where what is read is appended.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Whether something waits to be let go.
    pub fn is_pending(&self) -> bool {
        self.raw.len() > self.seen
    }

    /// Appends to `clean` what may be let go, masked.
    pub fn wash(&mut self, redactor: &Redactor, until: Until, clean: &mut Vec<u8>) {
        let length = self.raw.len();
        let lines = memchr::memrchr(b'\n', &self.raw[self.looked..])
            .map_or(self.seen, |at| self.looked + at + 1);
        self.looked = length;
        let safe = match until {
            Until::End => length,
            Until::Line if length - lines <= LONG => lines,
            Until::Line | Until::Pause => {
                let sure = length - redactor.unsure(&self.raw);
                lines.max(whole_characters(&self.raw[..sure]))
            }
        };
        if safe <= self.seen {
            return;
        }
        let found = redactor.occurrences(&self.raw);
        mask(&self.raw, self.seen..safe, &found, clean);
        let across = found
            .iter()
            .find(|secret| secret.start < safe && secret.end > safe);
        let keep = across.map_or(safe, |secret| secret.start);
        self.raw.drain(..keep);
        self.seen = safe - keep;
        self.looked = self.raw.len();
    }
}

/// The length of `text` without an unfinished UTF-8 character at its end.
pub(super) fn whole_characters(text: &[u8]) -> usize {
    let length = text.len();
    for back in 1..=3.min(length) {
        let need = match text[length - back] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if need > back { length - back } else { length };
    }
    length
}

/// The redactor in force: none until the settings are resolved, then swapped in for everybody who holds a copy.
#[derive(Debug, Clone)]
pub struct Redaction(Arc<RwLock<Arc<Redactor>>>);

impl Default for Redaction {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Redactor::none()))))
    }
}

impl Redaction {
    /// From here on, everything is redacted by `redactor`.
    pub fn set(&self, redactor: Redactor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(redactor);
    }

    /// The one in force now.
    pub fn get(&self) -> Arc<Redactor> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s)).collect();
        Redactor::new(&secrets)
    }

    fn redacted(redactor: &Redactor, text: &str) -> String {
        String::from_utf8(redactor.redact(text.as_bytes()).into_owned()).unwrap()
    }

    /// Byte by byte, with no cleverness.
    fn plainly(redactor: &Redactor, text: &[u8]) -> Vec<u8> {
        let found: Vec<Range<usize>> = (0..text.len())
            .flat_map(|at| {
                redactor
                    .patterns
                    .iter()
                    .filter(move |p| text[at..].starts_with(p))
                    .map(move |p| at..at + p.len())
            })
            .collect();
        let covers = |at: usize| found.iter().any(|o| o.contains(&at));
        let begins =
            |at: usize| covers(at) && !found.iter().any(|o| o.start < at && o.contains(&at));
        let mut out = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            if begins(at) {
                out.extend_from_slice(MASK);
            }
            if !covers(at) {
                out.push(*byte);
            }
        }
        out
    }

    /// What comes out when `text` arrives in the parts that end at `cuts`, with a pause behind each if `pauses`.
    fn streamed(redactor: &Redactor, text: &[u8], cuts: &[usize], pauses: bool) -> Vec<u8> {
        let mut wash = Wash::default();
        let mut clean = Vec::new();
        let mut from = 0;
        for &cut in cuts {
            wash.raw().extend_from_slice(&text[from..cut]);
            from = cut;
            wash.wash(redactor, Until::Line, &mut clean);
            if pauses {
                wash.wash(redactor, Until::Pause, &mut clean);
            }
        }
        wash.raw().extend_from_slice(&text[from..]);
        wash.wash(redactor, Until::Line, &mut clean);
        wash.wash(redactor, Until::End, &mut clean);
        assert!(!wash.is_pending());
        clean
    }

    #[test]
    fn values_of_eight_bytes_are_masked_and_shorter_ones_are_not() {
        let redactor = knowing(&["hunter22", "short", "1", ""]);
        assert_eq!(redacted(&redactor, "hunter22"), "***");
        assert_eq!(
            redacted(&redactor, "pw=hunter22; short 1"),
            "pw=***; short 1"
        );
        assert_eq!(
            redacted(&redactor, "hunter2 hunter22hunter22"),
            "hunter2 ******"
        );
        assert!(matches!(redactor.redact(b"nothing here"), Cow::Borrowed(_)));
        assert!(matches!(
            Redactor::none().redact(b"hunter22"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn the_longest_wins_and_overlapping_secrets_are_masked_together() {
        let redactor = knowing(&["abcdefgh", "abcdefghij", "ghijklmnop"]);
        assert_eq!(redacted(&redactor, "<abcdefghij>"), "<***>");
        assert_eq!(redacted(&redactor, "<abcdefghijklmnop>"), "<***>");
        assert_eq!(redacted(&redactor, "<abcdefgh ghijklmnop>"), "<*** ***>");
    }

    #[test]
    fn every_known_encoding_of_a_json_secret_is_masked() {
        let redactor = knowing(&[r#"{"user": "admin", "password": "p@ss w/rd\"é"}"#]);
        for leak in [
            "p@ss w/rd\"é",
            "postgres://admin:p%40ss%20w%2Frd%22%C3%A9@db",
            "{\"password\": \"p@ss w/rd\\\"\\u00e9\"}",
            "Authorization: Basic YWRtaW46cEBzcyB3L3JkIsOp",
        ] {
            let shown = redacted(&redactor, leak);
            assert!(
                shown.contains("***") && !shown.contains("w/rd") && !shown.contains("BzcyB3"),
                "{shown}"
            );
        }
        assert_eq!(redacted(&redactor, "user admin"), "user admin");
    }

    #[test]
    fn a_secret_is_masked_wherever_reads_and_pauses_cut_it() {
        let redactor = knowing(&["correct horse battery", "staple-of-é-letters"]);
        let text =
            "a correct horse battery and\r\nstaple-of-é-letters, correct horse batter".as_bytes();
        let wanted = redactor.redact(text).into_owned();
        assert_eq!(wanted, b"a *** and\r\n***, correct horse batter");
        for one in 0..=text.len() {
            for two in one..=text.len() {
                for pauses in [false, true] {
                    assert_eq!(
                        streamed(&redactor, text, &[one, two], pauses),
                        wanted,
                        "cut at {one} and {two}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_line_without_end_is_let_go_in_parts_with_no_secret_in_them() {
        let redactor = knowing(&["correct horse battery"]);
        let text = "0123456 correct horse battery".repeat(10_000).into_bytes();
        let wanted = redactor.redact(&text).into_owned();
        for size in [999, 16 * 1024, 65_536] {
            let mut wash = Wash::default();
            let mut clean = Vec::new();
            for part in text.chunks(size) {
                wash.raw().extend_from_slice(part);
                wash.wash(&redactor, Until::Line, &mut clean);
                assert!(
                    wash.raw.len() <= LONG + size,
                    "{} bytes are kept",
                    wash.raw.len()
                );
            }
            wash.wash(&redactor, Until::End, &mut clean);
            assert!(clean == wanted, "reads of {size}");
        }
    }

    #[test]
    fn a_pause_lets_a_prompt_go_but_neither_half_a_secret_nor_half_a_character() {
        let redactor = knowing(&["correct horse"]);
        for (text, wanted) in [
            ("Password: ".as_bytes(), "Password: ".as_bytes()),
            (b"it is correct h", b"it is "),
            (b"it is c", b"it is "),
            ("grü".as_bytes().split_last().unwrap().1, b"gr"),
            (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80"),
        ] {
            let mut wash = Wash::default();
            let mut clean = Vec::new();
            wash.raw().extend_from_slice(text);
            wash.wash(&redactor, Until::Pause, &mut clean);
            assert_eq!(clean, wanted);
        }
    }

    #[test]
    fn a_redaction_is_swapped_for_all_who_hold_it() {
        let redaction = Redaction::default();
        let copy = redaction.clone();
        assert_eq!(redacted(&copy.get(), "hunter22"), "hunter22");
        redaction.set(knowing(&["hunter22"]));
        assert_eq!(redacted(&copy.get(), "hunter22"), "***");
        assert!(!format!("{redaction:?}").contains("hunter22"));
    }

    proptest! {
        #[test]
        fn masking_is_what_it_plainly_should_be(
            secrets in prop::collection::vec("[ab]{8,12}", 1..4),
            // Pieces of secrets, so that whole, cut, adjacent and overlapping ones are common.
            pieces in prop::collection::vec((0usize..4, 0usize..4, 0usize..13, "[ab\n]{0,2}"), 0..10),
            mut cuts in prop::collection::vec(0usize..120, 0..6),
            pauses: bool,
        ) {
            let redactor = knowing(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let text: String = pieces
                .iter()
                .map(|(which, from, to, between)| {
                    let secret = &secrets[which % secrets.len()];
                    format!("{}{between}", secret.get(*from..*to).unwrap_or(secret))
                })
                .collect();
            let wanted = plainly(&redactor, text.as_bytes());
            prop_assert_eq!(&*redactor.redact(text.as_bytes()), &wanted);
            cuts.retain(|&cut| cut <= text.len());
            cuts.sort_unstable();
            prop_assert_eq!(streamed(&redactor, text.as_bytes(), &cuts, pauses), wanted);
        }

        #[test]
        fn no_secret_and_no_spelling_of_it_comes_through(
            secret in "[a-zA-Z0-9/+=%&\"é]{8,40}",
            before in ".{0,40}",
            behind in ".{0,40}",
        ) {
            let redactor = knowing(&[&secret]);
            for pattern in &redactor.patterns {
                let text = [before.as_bytes(), pattern, behind.as_bytes()].concat();
                let shown = redactor.redact(&text);
                for pattern in &redactor.patterns {
                    prop_assert!(memchr::memmem::find(&shown, pattern).is_none());
                }
            }
        }

        #[test]
        fn without_secrets_every_byte_is_kept(
            text in prop::collection::vec(any::<u8>(), 0..2000),
            cut in 0usize..2000,
            pauses: bool,
        ) {
            let cut = cut.min(text.len());
            prop_assert_eq!(streamed(&Redactor::none(), &text, &[cut], pauses), text);
        }
    }
}
