//! What the process takes beside what is counted.

use std::{fs, process::Command, sync::Arc};

use larder_core::Moment;

use super::{super::*, support::*};
use crate::policy::freshness::Deadlines;

const BOUND: u64 = 64 << 20;
/// Names a workload in a process of its own.
const WORKLOAD: &str = "LARDER_FOOTPRINT_OF";
/// The name of the test that does the work there.
const TEST: &str = "memory::tests::footprint::a_full_tier_takes_about_as_much_as_it_was_allowed";

/// The bytes of the number's value.
fn value_len(workload: &str, number: u64) -> usize {
    match workload {
        "small" => 100,
        "large" => 1_024,
        _ => [30, 100, 400, 1_024, 4_000][number as usize * 7 % 5],
    }
}

/// What the process holds in memory, in bytes.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says this too");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// All entries have the same windows, as those of a namespace do.
fn deadlines(number: u64) -> Deadlines {
    let at = |seconds: u64| Moment::from_millis(seconds * 1_000 + number);
    Deadlines::new(at(300), at(360), at(3_600))
}

/// Fills a tier until a third of what came had to leave; answers what it took, in hundredths of the bound.
fn taken(workload: &str) -> u64 {
    let tier = tier(Memory::max_bytes(BOUND));
    let before = resident_bytes();
    let mut put = 0;
    for number in 0.. {
        if put > BOUND * 3 / 2 {
            break;
        }
        let value = vec![1_u8; value_len(workload, number)];
        // As the default weigher does.
        let weight = (size_of::<Vec<u8>>() + value.len()) as u64;
        put += weight + Memory::ENTRY_OVERHEAD_BYTES;
        let key = format!("key:{number:08}");
        let entry = Entry { deadlines: deadlines(number), ..entry_of(Arc::new(value)) };
        tier.put_if(&name(&tier, key.as_bytes()), entry, weight, |_| true, |_| ());
    }
    assert!(tier.weight() > BOUND / 100 * 97, "it is full");
    (resident_bytes() - before) * 100 / BOUND
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_tier_takes_about_as_much_as_it_was_allowed() {
    if let Ok(workload) = std::env::var(WORKLOAD) {
        let taken = taken(&workload);
        println!("{workload}: {taken} % of the bound");
        assert!((85..=115).contains(&taken), "{workload}: {taken} % of the bound");
        return;
    }
    // In processes of their own: what other tests hold or give back is not counted.
    for workload in ["small", "large", "mixed"] {
        let this = std::env::current_exe().expect("the tests run");
        let run = Command::new(this).args([TEST, "--exact", "--nocapture"]).env(WORKLOAD, workload).output();
        let run = run.expect("the tests run again");
        assert!(
            run.status.success(),
            "{}{}",
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr)
        );
    }
}
