//! What hostile bytes cost in memory, measured in a process of its own.

use std::{collections::HashMap, process::Command};

use serde::Deserialize;

use super::{
    compressed::{frame, repeated},
    *,
};
use crate::codec::{Codec, Postcard};

const MIB: u64 = 1 << 20;

/// The most memory that this process ever had, in bytes: used (`VmHWM`), or asked for (`VmPeak`).
fn most_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
    let kib: u64 =
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kib * 1_024
}

#[derive(Deserialize)]
struct Wide {
    #[allow(dead_code)]
    inside: Vec<Wide>,
    #[allow(dead_code)]
    #[serde(skip)]
    room: [u64; 32],
}

#[derive(Deserialize)]
struct Maps(#[allow(dead_code)] HashMap<String, Maps>);

fn claim_lengths_that_are_not_there() {
    // Each level says that it has 2^62 elements; each would be 256 bytes and more.
    let claims = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40].repeat(100);
    assert!(Postcard.decode::<Wide>(&claims).is_err());
    assert!(Postcard.decode::<Vec<Vec<String>>>(&claims).is_err());
    #[cfg(feature = "msgpack")]
    {
        let claims = [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(100);
        assert!(crate::codec::MessagePack.decode::<Vec<Vec<String>>>(&claims).is_err());
        assert!(crate::codec::MessagePack.decode::<Wide>(&claims).is_err());
        // Maps within maps, each of which would set aside more than a mebibyte.
        let claims = [0xdf, 0xff, 0xff, 0xff, 0xff, 0xa0].repeat(120);
        assert!(crate::codec::MessagePack.decode::<Maps>(&claims).is_err());
    }
}

fn unpack_bombs() {
    let limit = Format::default().max_value_bytes;
    let blocks: Vec<u8> = (0..2_500).flat_map(|at| repeated(128 << 10, at == 2_499)).collect();
    for declared in [1_000, limit as u64 / 2, limit as u64, limit as u64 + 1, 10 << 30, u64::MAX - 2] {
        refusal(packed_envelope(&frame(0b1110_0000, &declared.to_le_bytes(), &blocks)));
    }
}

#[test]
fn rows_35_and_38_hostile_bytes_cost_less_memory_than_the_limit_and_eight_mebibytes() {
    const ALONE: &str = "LARDER_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "envelope::tests::memory::rows_35_and_38_hostile_bytes_cost_less_memory_than_the_limit_and_eight_mebibytes";
        let mut alone = Command::new(std::env::current_exe().expect("a test runs from a file"));
        let status = alone.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").status();
        assert!(status.expect("it starts").success());
        return;
    }
    let (used, asked) = (most_bytes("VmHWM"), most_bytes("VmPeak"));
    claim_lengths_that_are_not_there();
    let cost = most_bytes("VmPeak") - asked;
    assert!(cost < 8 * MIB, "claims ask for {cost} bytes");
    unpack_bombs();
    let cost = most_bytes("VmHWM") - used;
    assert!(cost < Format::default().max_value_bytes as u64 + 8 * MIB, "bombs cost {cost} bytes");
}
