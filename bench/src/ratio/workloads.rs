//! What is asked for: six workloads, each hard for some way of evicting.

use crate::workload::Zipf;

/// Keys that are asked for by chance; scans and loops have others.
const KEYS: u64 = 1_000_000;
/// What caches see most often.
const SKEW: f64 = 0.99;
/// A scan asks for so many keys that nobody asks for again, after twice as many other requests.
const SCAN: usize = 50_000;
/// So many keys are asked for in turn.
const LOOP: u64 = 150_000;
/// After so many requests so many of the likeliest keys become the least likely, and the next likely move up.
const SHIFT_AFTER: usize = 100_000;
const SHIFT_BY: u64 = 20_000;

/// Requests in the order they are made.
pub(super) struct Workload {
    /// In the report.
    pub(super) name: &'static str,
    pub(super) requests: Vec<u64>,
}

/// All six, so many requests each.
pub(super) fn all(len: usize) -> Vec<Workload> {
    vec![
        workload("Zipf 0.8", zipf(0.8, len)),
        workload("Zipf 0.99", zipf(0.99, len)),
        workload("Zipf 1.1", zipf(1.1, len)),
        workload("Zipf 0.99 and scans", scans(len)),
        workload("loop over 150000", (0..len as u64).map(|number| number % LOOP).collect()),
        workload("Zipf 0.99, favourites shifting", shifting(len)),
    ]
}

fn workload(name: &'static str, requests: Vec<u64>) -> Workload {
    Workload { name, requests }
}

fn zipf(skew: f64, len: usize) -> Vec<u64> {
    let mut zipf = Zipf::new(KEYS, skew);
    (0..len).map(|_| zipf.draw()).collect()
}

fn scans(len: usize) -> Vec<u64> {
    let mut zipf = Zipf::new(KEYS, SKEW);
    let key = |number| if number % (3 * SCAN) < 2 * SCAN { zipf.draw() } else { KEYS + number as u64 };
    (0..len).map(key).collect()
}

fn shifting(len: usize) -> Vec<u64> {
    let mut zipf = Zipf::new(KEYS, SKEW);
    (0..len).map(|number| (zipf.draw() + (number / SHIFT_AFTER) as u64 * SHIFT_BY) % KEYS).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_third_of_the_requests_beside_scans_are_scans_and_no_scanned_key_comes_twice() {
        let requests = scans(7 * 3 * SCAN);
        let scanned: Vec<_> = requests.iter().filter(|&&key| key >= KEYS).collect();
        assert_eq!(scanned.len() * 3, requests.len());
        assert_eq!(scanned.iter().collect::<HashSet<_>>().len(), scanned.len());
    }

    #[test]
    fn a_shift_takes_the_likeliest_keys_to_the_end() {
        let requests = shifting(2 * SHIFT_AFTER);
        let share =
            |part: &[u64]| part.iter().filter(|&&key| key < SHIFT_BY).count() as f64 / part.len() as f64;
        let (before, after) = requests.split_at(SHIFT_AFTER);
        assert!(share(before) > 0.6 && share(after) < 0.01, "{} {}", share(before), share(after));
    }
}
