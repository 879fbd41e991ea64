//! Chance of a simulation: small generators that are split from the seed, one for each actor.

use std::time::Duration;

/// A generator (SplitMix64) of one actor. Not shared, so that what one actor draws moves no other's draws.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

/// Mixes numbers into one, the same on every machine.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x5bf0_3635, |sum, part| scramble(sum ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The dice of the actor that `parts` name.
    pub(crate) fn of(parts: &[u64]) -> Self {
        Self(mix(parts))
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Its logarithm is uniform: small and large are equally likely.
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// Whole milliseconds, log-uniform.
    pub(crate) fn log_millis(&mut self, low: u64, high: u64) -> u64 {
        self.log_uniform(low as f64, high as f64 + 1.0) as u64
    }

    /// The time to the next of events that come at random, `mean` apart.
    pub(crate) fn until_next(&mut self, mean: Duration) -> Duration {
        let factor = -(1.0 - self.unit()).ln();
        Duration::from_millis((mean.as_millis() as f64 * factor.min(20.0)) as u64)
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Draws keys with Zipf's law: a table of as many places as make the rarest key worth one.
#[derive(Debug)]
pub(crate) struct Zipf(Box<[u32]>);

impl Zipf {
    const PLACES: usize = 4_096;

    pub(crate) fn new(keys: u32, skew: f64) -> Self {
        let weights: Vec<f64> = (1..=keys).map(|rank| f64::from(rank).powf(-skew)).collect();
        let sum: f64 = weights.iter().sum();
        let (mut places, mut through) = (Vec::with_capacity(Self::PLACES), 0.0);
        let mut key = 0;
        for place in 0..Self::PLACES {
            let at = (place as f64 + 0.5) / Self::PLACES as f64 * sum;
            while through + weights[key] < at && key + 1 < weights.len() {
                through += weights[key];
                key += 1;
            }
            places.push(key as u32);
        }
        Self(places.into())
    }

    /// A key in `0..keys`; one in sixteen is drawn without skew, so that none is never asked for.
    pub(crate) fn draw(&self, dice: &mut Dice, keys: u32) -> u32 {
        let drawn = dice.draw();
        match drawn & 15 {
            0 => ((drawn >> 4) % u64::from(keys)) as u32,
            _ => self.0[(drawn >> 4) as usize % Self::PLACES],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_draw_prefers_low_keys_and_reaches_all() {
        let (zipf, mut dice) = (Zipf::new(100, 1.0), Dice::of(&[1]));
        let mut counts = [0_u32; 100];
        (0..100_000).for_each(|_| counts[zipf.draw(&mut dice, 100) as usize] += 1);
        assert!(counts[0] > 5 * counts[9] && counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn actors_draw_apart_and_alike_from_one_seed() {
        let draws = |parts: &[u64]| {
            let mut dice = Dice::of(parts);
            [dice.draw(), dice.draw()]
        };
        assert_eq!(draws(&[7, 1]), draws(&[7, 1]));
        assert_ne!(draws(&[7, 1]), draws(&[7, 2]));
        let mut dice = Dice::of(&[3]);
        assert!((0..1_000).all(|_| (5..=50).contains(&dice.log_millis(5, 50))));
    }
}
