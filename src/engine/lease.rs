//! Leases: who has which message in hand, until when, and when the next heartbeat is due.
//!
//! Pure: times come in as arguments. A lease is the handle of the latest receive and a deadline that is never later
//! than the queue's own: it counts from before the call that set it. All leases of a queue are kept up in one beat, at
//! about half the visibility; none goes beyond [`LONGEST`] from its receive. What is refused, or not kept up in time,
//! is lost: its handler must stop, and nothing is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Dice, jittered};

/// The longest that SQS lets a message be hidden, counted from its receive.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What is left of [`LONGEST`] for the clocks' differences: asking for more than SQS grants is refused, not clamped.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a message whose lease is not sure waits for its first heartbeat; its handler does not run by then.
const UNSURE: Duration = Duration::from_secs(1);

/// A lease's number, never used again.
pub type Number = u64;

/// A message in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Of the latest receive.
    pub handle: String,
    /// When it was received.
    pub received: Instant,
    /// When others may have it.
    pub deadline: Instant,
    /// Given back or acknowledged: no heartbeat any more.
    let_go: bool,
    /// Whether it is known to be ours: received just now, or granted by a heartbeat.
    is_sure: bool,
}

/// What a heartbeat asks for one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Whose.
    pub number: Number,
    /// Its handle.
    pub handle: String,
    /// Hidden for so long from now, in whole seconds.
    pub time: Duration,
}

/// All leases of one queue.
#[derive(Debug)]
pub struct Leases {
    visibility: Duration,
    held: BTreeMap<Number, Lease>,
    next: Number,
    beat_at: Option<Instant>,
    dice: Dice,
}

impl Leases {
    /// None yet; `visibility` is what each receive and each heartbeat asks for.
    pub fn new(visibility: Duration, seed: u64) -> Self {
        Self {
            visibility,
            held: BTreeMap::new(),
            next: 0,
            beat_at: None,
            dice: Dice::new(seed),
        }
    }

    /// Takes a message in hand that was received now, by a call that began at `asked`.
    ///
    /// A receive waits for its message, so the lease may be as old as the call or as young as its answer: the older
    /// is believed. Where that leaves too little, the lease is not sure before its first heartbeat, due at once.
    pub fn take(&mut self, handle: String, asked: Instant, now: Instant) -> Number {
        let number = self.next;
        self.next += 1;
        let is_sure = now.saturating_duration_since(asked) <= self.visibility / 4;
        let lease = Lease {
            handle,
            received: now,
            deadline: (asked + self.visibility).max(now + UNSURE),
            let_go: false,
            is_sure,
        };
        // A beat that is left of leases that are gone would be late for this one, and too early.
        let running = self.beat_at.filter(|_| self.kept().next().is_some());
        self.held.insert(number, lease);
        let period = if is_sure {
            self.period()
        } else {
            Duration::ZERO
        };
        let due = now + period;
        self.beat_at = Some(running.map_or(due, |at| at.min(due)));
        number
    }

    /// Those that are not being given back.
    fn kept(&self) -> impl Iterator<Item = &Lease> {
        self.held.values().filter(|lease| !lease.let_go)
    }

    /// Whether a lease is there and known to be ours.
    pub fn is_sure(&self, number: Number) -> bool {
        self.held.get(&number).is_some_and(|lease| lease.is_sure)
    }

    /// Between 0.4 and 0.5 of the visibility, so that a heartbeat that fails can be tried again in time.
    fn period(&mut self) -> Duration {
        let chance = self.dice.roll();
        jittered(self.visibility.mul_f64(0.45), 0.11, chance).min(self.visibility / 2)
    }

    /// A lease that is still there.
    pub fn get(&self, number: Number) -> Option<&Lease> {
        self.held.get(&number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Since when the oldest is in hand.
    pub fn oldest(&self) -> Option<Instant> {
        self.held.values().map(|lease| lease.received).min()
    }

    /// No more heartbeats for it: it is being given back.
    pub fn let_go(&mut self, number: Number) {
        if let Some(lease) = self.held.get_mut(&number) {
            lease.let_go = true;
        }
    }

    /// It is over.
    pub fn end(&mut self, number: Number) -> Option<Lease> {
        self.held.remove(&number)
    }

    /// When there is something to do: a beat, or an end.
    pub fn wakes_at(&self) -> Option<Instant> {
        let beat = self
            .beat_at
            .filter(|_| self.kept().any(|lease| !is_at_its_end(lease)));
        let end = self.kept().map(|lease| lease.deadline).min();
        [beat, end].into_iter().flatten().min()
    }

    /// By how much a beat is late; none where none is due.
    pub fn lag(&self, now: Instant) -> Option<Duration> {
        self.beat_at.filter(|at| *at <= now).map(|at| now - at)
    }

    /// What to ask for now, and the next beat in half a visibility from here.
    pub fn beat(&mut self, now: Instant) -> Vec<Beat> {
        let period = self.period();
        self.beat_at = Some(now + period);
        let visibility = self.visibility;
        let kept = self
            .held
            .iter()
            .filter(|(_, lease)| !lease.let_go && lease.deadline > now);
        let beats = kept.filter_map(|(number, lease)| {
            let room = (lease.received + LONGEST - MARGIN).saturating_duration_since(now);
            let time = Duration::from_secs(visibility.min(room).as_secs());
            // At its very end it keeps what it has.
            (now + time > lease.deadline).then(|| Beat {
                number: *number,
                handle: lease.handle.clone(),
                time,
            })
        });
        beats.collect()
    }

    /// A beat that was asked for at `asked` is granted.
    pub fn granted(&mut self, beat: &Beat, asked: Instant) {
        if let Some(lease) = self.held.get_mut(&beat.number) {
            lease.deadline = asked + beat.time;
            lease.is_sure = true;
        }
    }

    /// A beat failed for a reason that may pass: the next one comes soon.
    pub fn failed(&mut self, now: Instant) {
        let pause =
            (self.visibility / 10).clamp(Duration::from_millis(200), Duration::from_secs(5));
        let soon = now + pause;
        self.beat_at = Some(self.beat_at.map_or(soon, |at| at.min(soon)));
    }

    /// Leases whose time is up; they are gone from here.
    pub fn expired(&mut self, now: Instant) -> Vec<Number> {
        let over = |lease: &Lease| !lease.let_go && lease.deadline <= now;
        let gone: Vec<Number> = self
            .held
            .iter()
            .filter(|(_, lease)| over(lease))
            .map(|(number, _)| *number)
            .collect();
        for number in &gone {
            self.held.remove(number);
        }
        gone
    }
}

/// Whether a lease cannot be extended any more.
fn is_at_its_end(lease: &Lease) -> bool {
    lease.deadline + Duration::from_secs(1) >= lease.received + LONGEST - MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn leases(visibility: Duration) -> (Leases, Instant) {
        (Leases::new(visibility, 7), Instant::now())
    }

    #[tokio::test]
    async fn one_beat_keeps_all_at_half_their_time() {
        let (mut leases, start) = leases(MINUTE * 2);
        assert_eq!(leases.wakes_at(), None);
        let first = leases.take("a".into(), start, start);
        leases.take("b".into(), start + MINUTE / 2, start + MINUTE / 2);
        let due = leases.wakes_at().unwrap();
        assert!(due > start + Duration::from_secs(40) && due <= start + MINUTE);
        assert_eq!(leases.lag(due - MINUTE / 60), None);
        assert_eq!(leases.lag(due), Some(Duration::ZERO));
        let beats = leases.beat(due);
        let asked: Vec<(&str, Duration)> = beats
            .iter()
            .map(|beat| (&*beat.handle, beat.time))
            .collect();
        assert_eq!(asked, [("a", MINUTE * 2), ("b", MINUTE * 2)]);
        leases.granted(&beats[0], due);
        assert_eq!(leases.get(first).unwrap().deadline, due + MINUTE * 2);
        assert!(leases.wakes_at().unwrap() <= due + MINUTE);
        // The other was not granted, and ends when it would have without.
        assert_eq!(leases.expired(start + MINUTE / 2 + MINUTE * 2), [first + 1]);
        assert_eq!(leases.len(), 1);
    }

    #[tokio::test]
    async fn the_first_message_after_a_while_is_not_late() {
        let (mut leases, start) = leases(MINUTE);
        let first = leases.take("a".into(), start, start);
        let given_back = leases.take("b".into(), start, start);
        leases.end(first);
        leases.let_go(given_back);
        let later = start + MINUTE * 10;
        leases.take("c".into(), later, later);
        assert_eq!(leases.lag(later), None);
        assert!(leases.wakes_at().unwrap() > later + MINUTE / 3);
    }

    #[tokio::test]
    async fn what_is_let_go_gets_no_beat_and_does_not_expire() {
        let (mut leases, start) = leases(MINUTE);
        let number = leases.take("a".into(), start, start);
        leases.let_go(number);
        assert_eq!((leases.wakes_at(), leases.beat(start).len()), (None, 0));
        assert_eq!(leases.expired(start + LONGEST).len(), 0);
        assert!(leases.end(number).is_some());
        assert!(leases.is_empty());
    }

    #[tokio::test]
    async fn a_message_that_may_be_old_already_is_confirmed_at_once() {
        let (mut leases, start) = leases(Duration::from_secs(10));
        let arrived = start + Duration::from_secs(15);
        let number = leases.take("a".into(), start, arrived);
        assert_eq!(leases.wakes_at(), Some(arrived));
        assert!(!leases.is_sure(number));
        let beat = leases.beat(arrived).remove(0);
        leases.granted(&beat, arrived);
        assert!(leases.is_sure(number));
        let sure = leases.take("b".into(), arrived, arrived + MINUTE / 60);
        assert!(leases.is_sure(sure));
        assert_eq!(
            leases.get(sure).unwrap().deadline,
            arrived + Duration::from_secs(10)
        );
    }

    #[tokio::test]
    async fn a_failed_beat_is_tried_again_before_the_lease_ends() {
        let (mut leases, start) = leases(MINUTE);
        leases.take("a".into(), start, start);
        let due = leases.wakes_at().unwrap();
        leases.beat(due);
        leases.failed(due);
        assert_eq!(leases.wakes_at(), Some(due + Duration::from_secs(5)));
    }

    proptest! {
        /// Whatever fails: a lease is never believed longer than it was granted, and never beyond 12 h.
        #[test]
        fn a_lease_is_kept_for_hours_and_never_beyond_its_longest(
            visibility in 2_u64..43_200, fails in prop::collection::vec(any::<bool>(), 40), seed in any::<u64>(),
        ) {
            let visibility = Duration::from_secs(visibility);
            let start = Instant::now();
            let mut leases = Leases::new(visibility, seed);
            let number = leases.take("a".into(), start, start);
            let mut queue_deadline = start + visibility;
            let mut fails = fails.into_iter().cycle();
            for _ in 0..100_000 {
                let Some(now) = leases.wakes_at() else { break };
                for beat in leases.beat(now) {
                    if fails.next() == Some(true) {
                        leases.failed(now);
                        continue;
                    }
                    prop_assert!(now < queue_deadline);
                    prop_assert!(now + beat.time <= start + LONGEST, "beyond 12 h");
                    prop_assert!(beat.time.subsec_nanos() == 0);
                    queue_deadline = now + beat.time;
                    leases.granted(&beat, now);
                }
                if let Some(lease) = leases.get(number) {
                    prop_assert!(lease.deadline <= queue_deadline);
                }
                if leases.expired(now) == [number] {
                    prop_assert!(now >= queue_deadline);
                    break;
                }
            }
            prop_assert!(leases.is_empty());
        }
    }
}
