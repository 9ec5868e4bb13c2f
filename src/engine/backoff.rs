//! How long to wait before the next try: a growing pause with a cap and a little chance in it.
//!
//! Pure arithmetic: the chance is a number passed in, drawn from [`Dice`] where nothing better is at hand, so the
//! same seed always gives the same pauses. A pause is never longer than `max`.

use std::time::Duration;

/// The shape of the growing pause: `initial`, `initial × factor`, `initial × factor²`, … up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// What each pause is multiplied by to get the next one. Below 1 (which `validate` refuses) it counts as 1.
    pub factor: f64,
    /// No pause is longer, jitter included.
    pub max: Duration,
    /// The fraction by which a pause may be longer or shorter, 0 to 1, so that replicas do not march in step.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.1,
        }
    }
}

impl Backoff {
    /// The pause before try `step`, counted from 0; `chance` is between 0 (the shortest) and 1 (the longest).
    pub fn pause(&self, step: u32, chance: f64) -> Duration {
        let growth = self.factor.max(1.0).powf(f64::from(step)).min(f64::MAX);
        let plain = scaled(self.initial, growth).min(self.max);
        scaled(plain, around_one(self.jitter, chance)).min(self.max)
    }
}

/// `pause` made longer or shorter by at most the fraction `jitter`, as `chance` (0 to 1) has it.
///
/// This is the jitter of a loop's `interval`, which has no cap.
pub fn jittered(pause: Duration, jitter: f64, chance: f64) -> Duration {
    scaled(pause, around_one(jitter, chance))
}

/// A number between `1 - jitter` and `1 + jitter`.
fn around_one(jitter: f64, chance: f64) -> f64 {
    1.0 + jitter.clamp(0.0, 1.0) * (2.0 * chance.clamp(0.0, 1.0) - 1.0)
}

/// `pause × by`; what does not fit is the longest duration there is.
fn scaled(pause: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * by).unwrap_or(Duration::MAX)
}

/// A source of chance that can be repeated: the same seed, the same numbers. Not for secrets.
///
/// The mixing is Steele, Lea and Flood's SplitMix64 (2014), good from any seed, zero included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    /// Dice that will always fall in the same order for the same `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, 0 ≤ x < 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits fill the mantissa of an f64 exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_JITTER: Backoff = Backoff {
        initial: Duration::from_millis(100),
        factor: 2.0,
        max: Duration::from_secs(1),
        jitter: 0.0,
    };

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let pauses: Vec<u128> = (0..6)
            .map(|step| NO_JITTER.pause(step, 0.5).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(NO_JITTER.pause(u32::MAX, 0.5), NO_JITTER.max);
    }

    #[test]
    fn jitter_goes_both_ways_but_never_over_the_maximum() {
        let backoff = Backoff {
            jitter: 0.25,
            ..NO_JITTER
        };
        assert_eq!(backoff.pause(0, 0.0), Duration::from_millis(75));
        assert_eq!(backoff.pause(0, 0.5), Duration::from_millis(100));
        assert_eq!(backoff.pause(0, 1.0), Duration::from_millis(125));
        assert_eq!(backoff.pause(9, 0.0), Duration::from_millis(750));
        assert_eq!(backoff.pause(9, 1.0), backoff.max);
        assert_eq!(
            jittered(Duration::from_secs(4), 0.25, 1.0),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn the_dice_repeat_and_spread() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..1000).map(|_| dice.roll()).collect::<Vec<f64>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        let sum: f64 = rolls(0).iter().sum();
        assert!((450.0..550.0).contains(&sum), "sum of 1000 rolls: {sum}");
    }

    proptest! {
        #[test]
        fn a_pause_lies_between_its_bounds(
            initial in 0_u64..100_000, factor in -1.0..1e6_f64, max in 0_u64..1_000_000,
            jitter in 0.0..=1.0_f64, step in any::<u32>(), seed in any::<u64>(),
        ) {
            let backoff = Backoff {
                initial: Duration::from_millis(initial),
                factor,
                max: Duration::from_millis(max),
                jitter,
            };
            let pause = backoff.pause(step, Dice::new(seed).roll());
            let least = backoff.initial.min(backoff.max).as_secs_f64() * (1.0 - jitter);
            prop_assert!(pause <= backoff.max, "{pause:?}");
            prop_assert!(pause.as_secs_f64() >= least - 1e-6, "{pause:?} < {least}");
        }

        #[test]
        fn no_number_is_too_odd(initial in any::<u64>(), factor in any::<f64>(), jitter in any::<f64>(), chance in any::<f64>()) {
            let backoff = Backoff { initial: Duration::from_secs(initial), factor, max: Duration::from_secs(9), jitter };
            prop_assert!(backoff.pause(3, chance) <= backoff.max);
        }
    }
}
