//! Whether a value that a peer sends may be older than something this node missed.
//!
//! A value says which version it bears: the store had drawn that many when its load began. A beat says how many the
//! store had drawn when it was asked, and whatever this node missed before was drawn by then. So what bears at least as
//! much is no older than anything missed; and from the next loss on, it takes another beat to say so.

use larder_core::Version;

/// Beyond it a number is made up: more than a store draws between two beats.
const FAR: u64 = 1 << 32;

/// How far the store was when this node had missed nothing that was not made up for.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// How often memory had been cleared then.
    clears: u64,
    /// For each of the store's sequences.
    tips: Vec<Version>,
}

impl Line {
    /// A beat, sent when memory had been cleared that many times, was told these numbers.
    pub(crate) fn draw(&mut self, clears: u64, tips: impl IntoIterator<Item = Version>) {
        self.clears = clears;
        self.tips.clear();
        self.tips.extend(tips);
    }

    /// Whether a value of this version, from the nth sequence, is no older than anything that was missed.
    pub(crate) fn admits(&self, clears: u64, nth: u16, version: Version) -> bool {
        let tip = self.tips.get(usize::from(nth)).map(|tip| tip.get());
        self.clears == clears && tip.is_some_and(|tip| (tip..tip + FAR).contains(&version.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_judged_by_the_last_beat_since_memory_was_cleared() {
        let version = Version::new;
        let mut line = Line::default();
        assert!(!line.admits(0, 0, version(5)), "no beat yet");
        line.draw(3, [version(7), version(1)]);
        assert!(line.admits(3, 0, version(7)) && line.admits(3, 0, version(8)));
        assert!(!line.admits(3, 0, version(6)), "it may be older than what was missed");
        assert!(line.admits(3, 1, version(1)) && !line.admits(3, 2, version(7)), "each sequence for itself");
        assert!(!line.admits(4, 0, version(8)), "something was missed since");
        assert!(!line.admits(3, 0, Version::MAX), "nobody drew that");
    }
}
