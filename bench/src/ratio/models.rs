//! What peers are held against: the best that anybody could do who knew the future, and two plain orders.

use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Stands for "never again", and for "nobody".
const NONE: u32 = u32::MAX;

/// Hits of the offline optimum: whoever is asked for last of all, or never again, makes room. (Belady: "A study of
/// replacement algorithms for a virtual-storage computer", 1966.)
pub(super) fn optimum(requests: &[u64], room: usize) -> usize {
    let again = next_uses(requests);
    // When each entry that is there is asked for again, and the same by that; entries that were asked for since are
    // still in the latter under their old time, which is past.
    let mut there: HashMap<u64, u32> = HashMap::new();
    let mut latest: BinaryHeap<(u32, u64)> = BinaryHeap::new();
    let mut hits = 0;
    for (&key, &again) in requests.iter().zip(&again) {
        hits += usize::from(there.remove(&key).is_some());
        if again == NONE {
            continue;
        }
        there.insert(key, again);
        latest.push((again, key));
        while there.len() > room {
            let (when, who) = latest.pop().expect("all that are there are listed");
            if there.get(&who) == Some(&when) {
                there.remove(&who);
            }
        }
    }
    hits
}

/// For each request, which one asks for the same key next.
fn next_uses(requests: &[u64]) -> Vec<u32> {
    let mut coming = HashMap::new();
    let mut again = vec![NONE; requests.len()];
    for (number, &key) in requests.iter().enumerate().rev() {
        let number = u32::try_from(number).expect("fewer requests than that");
        again[number as usize] = coming.insert(key, number).unwrap_or(NONE);
    }
    again
}

/// Hits where the one asked for longest ago makes room.
pub(super) fn lru(requests: &[u64], room: usize) -> usize {
    // Each key's latest turn, and the turns in their order; turns that were followed by another one count for nothing.
    let mut latest: HashMap<u64, usize> = HashMap::new();
    let mut turns: VecDeque<(u64, usize)> = VecDeque::new();
    let mut hits = 0;
    for (turn, &key) in requests.iter().enumerate() {
        hits += usize::from(latest.insert(key, turn).is_some());
        turns.push_back((key, turn));
        while latest.len() > room {
            let (oldest, turn) = turns.pop_front().expect("all that are there had a turn");
            if latest.get(&oldest) == Some(&turn) {
                latest.remove(&oldest);
            }
        }
    }
    hits
}

/// Hits where the one put longest ago makes room.
pub(super) fn fifo(requests: &[u64], room: usize) -> usize {
    let mut there: HashMap<u64, ()> = HashMap::new();
    let mut order = VecDeque::new();
    let mut hits = 0;
    for &key in requests {
        if there.insert(key, ()).is_some() {
            hits += 1;
            continue;
        }
        order.push_back(key);
        if order.len() > room {
            let oldest = order.pop_front().expect("it holds more than there is room for");
            there.remove(&oldest);
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_find_what_one_finds_by_hand() {
        let requests = [1, 2, 3, 1, 2, 4, 1, 3, 2];
        // With room for two: 3 and 4 are let pass, or 2 gives way once.
        assert_eq!(optimum(&requests, 2), 4);
        assert_eq!(lru(&requests, 2), 0);
        assert_eq!(fifo(&requests, 2), 0);
        let recent = [1, 2, 1, 3, 1, 4, 1];
        assert_eq!((optimum(&recent, 2), lru(&recent, 2), fifo(&recent, 2)), (3, 3, 2));
    }

    #[test]
    fn nobody_beats_the_optimum_and_a_loop_leaves_lru_nothing() {
        let looping: Vec<u64> = (0..10_000).map(|number| number % 100).collect();
        assert_eq!((lru(&looping, 99), fifo(&looping, 99)), (0, 0));
        assert!(optimum(&looping, 99) > 9_700);
        assert_eq!(lru(&looping, 100), 9_900);
    }
}
