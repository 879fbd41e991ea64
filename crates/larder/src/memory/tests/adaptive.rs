//! The default policy against plain LRU, workload by workload, and step by step where a step has a name.

use std::collections::{BTreeSet, HashMap};

use super::{super::*, support::*};

const KEYS: u64 = 40_000;
const CAPACITY: u64 = 2_000;
const REQUESTS: u64 = 60_000;

/// Draws ranks, the low ones more often: 0.99 is what caches see. (Zipf.)
struct Zipf {
    cumulated: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let weigh = |rank: u64| {
            sum += (rank as f64).powf(-0.99);
            sum
        };
        Self { cumulated: (1..=KEYS).map(weigh).collect(), state: seed }
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let at = (self.state >> 11) as f64 / (1_u64 << 53) as f64 * self.cumulated[self.cumulated.len() - 1];
        self.cumulated.partition_point(|&sum| sum < at) as u64
    }
}

fn steady(seed: u64) -> Vec<u64> {
    let mut zipf = Zipf::new(seed);
    (0..REQUESTS).map(|_| zipf.draw()).collect()
}

/// Every few thousand requests the favourites are others: the top of the ranks is cut off and put at their end.
fn shifting(seed: u64) -> Vec<u64> {
    let mut zipf = Zipf::new(seed);
    (0..REQUESTS).map(|number| (zipf.draw() + number / 4_000 * 800) % KEYS).collect()
}

/// After every two thousand requests a thousand keys that nobody asks for again.
fn scans(seed: u64) -> Vec<u64> {
    let mut zipf = Zipf::new(seed);
    let key = |number| if number % 3_000 < 2_000 { zipf.draw() } else { KEYS + number };
    (0..REQUESTS).map(key).collect()
}

/// Round and round over half more than there is room for.
fn looping(_seed: u64) -> Vec<u64> {
    (0..REQUESTS).map(|number| number % (CAPACITY * 3 / 2)).collect()
}

/// Hits in a hundred requests, where every miss is put.
fn ratio(settings: Memory, requests: &[u64]) -> f64 {
    let tier = tier(settings);
    let hits = requests.iter().filter(|number| {
        let hit = value(&tier, &number.to_le_bytes()).is_some();
        if !hit {
            put(&tier, &number.to_le_bytes(), **number);
        }
        hit
    });
    hits.count() as f64 * 100.0 / requests.len() as f64
}

fn beside_lru(requests: &[u64]) -> (f64, f64) {
    let ratio = |eviction| ratio(Memory::max_entries(CAPACITY).with_eviction(eviction), requests);
    (ratio(Eviction::Adaptive), ratio(Eviction::Lru))
}

#[test]
fn favourites_that_stay_are_kept_better_than_by_lru() {
    let (ours, lru) = beside_lru(&steady(1));
    assert!(ours > lru + 3.0, "{ours} beside {lru}");
}

#[test]
fn favourites_that_come_and_go_are_kept_about_as_well_as_by_lru() {
    let (ours, lru) = beside_lru(&shifting(1));
    assert!(ours > lru - 0.8, "{ours} beside {lru}");
}

#[test]
fn scans_disturb_less_than_under_lru() {
    let (ours, lru) = beside_lru(&scans(1));
    assert!(ours > lru + 3.0, "{ours} beside {lru}");
}

#[test]
fn a_loop_that_is_too_large_keeps_nearly_all_that_fits() {
    let (ours, lru) = beside_lru(&looping(1));
    assert!(ours > 61.0 && lru == 0.0, "{ours} beside {lru}, where 66.7 fits");
}

#[test]
fn favourites_that_begin_to_move_are_followed_and_those_that_stop_are_kept_again() {
    let requests = [steady(1), shifting(2), steady(3)];
    let both = |eviction| {
        let tier = tier(Memory::max_entries(CAPACITY).with_eviction(eviction));
        requests.each_ref().map(|requests| {
            // Only the latter half of each phase, where the change is over.
            let hit = |number: &&u64| {
                let there = value(&tier, &number.to_le_bytes()).is_some();
                if !there {
                    put(&tier, &number.to_le_bytes(), **number);
                }
                there
            };
            let (_, latter) = requests.split_at(requests.len() / 2);
            requests.iter().take(requests.len() / 2).filter(hit).count();
            latter.iter().filter(hit).count() as f64 * 100.0 / latter.len() as f64
        })
    };
    let ([steady, shifting, again], [lru_steady, lru_shifting, lru_again]) =
        (both(Eviction::Adaptive), both(Eviction::Lru));
    assert!(steady > lru_steady + 3.0, "{steady} beside {lru_steady}");
    assert!(shifting > lru_shifting - 0.8, "{shifting} beside {lru_shifting}");
    assert!(again > lru_again + 3.0, "{again} beside {lru_again}");
}

#[test]
fn chance_changes_little() {
    for workload in [steady, shifting, scans] {
        let ratios = [1, 2, 3, 4].map(|seed| ratio(Memory::max_entries(CAPACITY), &workload(seed)));
        let (least, most) =
            (ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max));
        assert!(most - least < 0.8, "{ratios:?}");
    }
}

#[test]
fn weighed_entries_are_kept_as_counted_ones_are() {
    let weight = Memory::ENTRY_OVERHEAD_BYTES + 8 + 8;
    for workload in [steady, shifting, scans, looping] {
        let requests = workload(5);
        let counted = ratio(Memory::max_entries(CAPACITY), &requests);
        let weighed = ratio(Memory::max_bytes(CAPACITY * weight), &requests);
        assert!((counted - weighed).abs() < 0.1, "{counted} and {weighed}");
    }
}

#[test]
fn one_search_gives_a_bounded_number_of_second_chances() {
    let tier = tier(Memory::max_entries(1_000));
    let key = |number: u64| number.to_le_bytes();
    (0..1_000).for_each(|number| _ = put(&tier, &key(number), number));
    (0..1_000).for_each(|number| assert_eq!(value(&tier, &key(number)), Some(number)));
    put(&tier, &key(1_000), 1_000);
    let gone: Vec<_> = (0..=1_000).filter(|&number| value(&tier, &key(number)).is_none()).collect();
    assert_eq!(gone, [256]);
}

#[test]
fn who_returns_soon_enters_the_queue_that_scans_do_not_reach() {
    let tier = tier(Memory::max_entries(100));
    let key = |number: u64| number.to_le_bytes();
    let ask = |number: u64| {
        let there = value(&tier, &key(number)).is_some();
        if !there {
            put(&tier, &key(number), number);
        }
        there
    };
    (0..100).for_each(|number| _ = ask(number));
    // 1000 leaves at once, to one side of nobody who was hit, and returns.
    assert_eq!([1_000, 1_001, 1_002, 1_000].map(ask), [false; 4]);
    (2_000..2_050).for_each(|once| assert!(!ask(once)));
    assert!(ask(1_000));
}

#[test]
fn a_tier_that_was_emptied_fills_again_as_a_new_one_does() {
    let requests = looping(1);
    let tier = tier(Memory::max_entries(CAPACITY));
    let pass = |from: u64| {
        (from..from + CAPACITY).for_each(|number| _ = put(&tier, &number.to_le_bytes(), number));
    };
    pass(1 << 40);
    pass(1 << 41);
    let gone = tier.sweep(usize::MAX, |_| true, |_| {}).removed;
    assert_eq!(gone as u64, CAPACITY);
    let mut kept = HashMap::new();
    for number in &requests {
        if value(&tier, &number.to_le_bytes()).is_none() {
            put(&tier, &number.to_le_bytes(), *number);
        } else {
            *kept.entry(*number).or_insert(0) += 1;
        }
    }
    let often: BTreeSet<_> = kept.iter().filter(|(_, hits)| **hits > 12).map(|(number, _)| *number).collect();
    assert!(often.len() as u64 > CAPACITY * 9 / 10, "{}", often.len());
}
