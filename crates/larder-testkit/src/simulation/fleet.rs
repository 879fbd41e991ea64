//! What holds a plan's nodes together: who tells of what happened, what the store keeps for them, and what a node serves
//! that is cut off.

use std::time::Duration;

use bytes::Bytes;
use larder::Partition;

use super::{
    dice::Dice,
    extremes::{Extremes, Ways},
    newer::said_anew,
};

/// Who tells nodes of what others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Nobody: there is no bus.
    Nothing,
    /// The nodes themselves, on a bus.
    Published,
    /// The shared store, on a bus.
    Announced,
}

/// What holds a plan's nodes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) telling: Telling,
    /// The store keeps the fleet's books.
    pub(crate) books: bool,
    /// It keeps barriers.
    pub(crate) barriers: bool,
    pub(crate) partition: Partition,
    /// The node that is of the next release.
    pub(crate) newer: Option<usize>,
    /// How long everything takes.
    pub(crate) ways: Ways,
}

impl Fleet {
    /// The fleet of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::of(&[seed, 0xf1ee7]);
        let telling = *dice.pick(&[
            Telling::Nothing,
            Telling::Published,
            Telling::Published,
            Telling::Announced,
            Telling::Announced,
        ]);
        let announced = telling == Telling::Announced;
        let bounded = Duration::from_millis(dice.log_millis(200, 20_000));
        let partition = match dice.below(8) {
            0..4 => Partition::Coherent,
            4..7 => Partition::Bounded(bounded),
            _ => Partition::Available,
        };
        let (books, barriers) = (dice.chance(0.7), dice.chance(0.6));
        // An eighth of the fleets is being rolled over to the next release, one node of it is there.
        let newer = Dice::of(&[seed, 0x2e1e]).chance(0.125).then_some(0);
        let fleet = Self {
            telling,
            books: books || announced,
            barriers: barriers || announced,
            partition,
            newer,
            ways: Ways::default(),
        };
        Extremes::of(seed).map_or(fleet, |extremes| extremes.fleet(fleet))
    }

    /// A message as this node says it.
    pub(crate) fn said_by(self, node: usize, message: Bytes, dice: &mut Dice) -> Bytes {
        if self.newer == Some(node) { said_anew(&message, dice) } else { message }
    }

    pub(crate) fn has_bus(self) -> bool {
        self.telling != Telling::Nothing
    }

    pub(crate) fn summary(self) -> String {
        let with = |has: bool, what: &'static str| if has { what } else { "" };
        let Self { telling, books, barriers, partition, newer, ways } = self;
        let (books, barriers) = (with(books, ", books"), with(barriers, ", barriers"));
        let newer = with(newer.is_some(), ", n0 of the next release");
        let Ways { store_ms, bus_ms } = ways;
        format!("news {telling:?}{books}{barriers}, {partition:?}{newer}, {store_ms}/{bus_ms} ms on the way")
    }
}

#[cfg(test)]
impl Fleet {
    pub(crate) fn announced() -> Self {
        Self {
            telling: Telling::Announced,
            books: true,
            barriers: true,
            partition: Partition::Coherent,
            newer: None,
            ways: Ways::default(),
        }
    }

    pub(crate) fn published() -> Self {
        Self { telling: Telling::Published, ..Self::announced() }
    }
}
