//! Hit ratios: how many questions a cache can answer when it cannot hold everything.

mod models;
mod players;
mod workloads;

use std::thread;

use self::{
    players::{ALL, Kind, LARDER, LRU},
    workloads::Workload,
};
use crate::{
    measure::{Cost, Who},
    report::{Held, Row},
    scenarios::{Effort, Findings},
    show,
};

/// Seven times round everything that comes round, cold start included.
const REQUESTS: usize = 1_050_000;
const REQUESTS_QUICK: usize = 150_000;
const ROOMS: [u64; 4] = [10_000, 50_000, 100_000, 200_000];
/// Points that Larder may be behind the best peer, and behind LRU.
const BEHIND_MAX: f64 = 0.5;
const BEHIND_LRU_MAX: f64 = 0.0;

/// All workloads at all capacities.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let requests = if effort == Effort::Full { REQUESTS } else { REQUESTS_QUICK };
    let rooms = effort.sizes(&ROOMS);
    for workload in workloads::all(requests) {
        let asked = &workload;
        let columns: Vec<Vec<f64>> = thread::scope(|scope| {
            let plays: Vec<_> = rooms.iter().map(|&room| scope.spawn(move || play(asked, room))).collect();
            plays.into_iter().map(|play| play.join().expect("players do not panic")).collect()
        });
        println!("{}", grid(&workload, rooms, &columns));
        for (&room, column) in rooms.iter().zip(&columns) {
            findings.rows.extend(rows(&workload, room, column));
        }
    }
}

/// The hit ratio of each player, in percent.
fn play(workload: &Workload, room: u64) -> Vec<f64> {
    let room = usize::try_from(room).expect("a number of entries is a size");
    let percent = |hits: usize| hits as f64 * 100.0 / workload.requests.len() as f64;
    ALL.iter().map(|player| percent((player.play)(&workload.requests, room))).collect()
}

fn grid(workload: &Workload, rooms: &[u64], columns: &[Vec<f64>]) -> String {
    let header: Vec<String> = rooms.iter().map(|room| format!("room for {room}")).collect();
    let row = |(at, Who { name, how }): (usize, Who)| {
        (format!("{name}: {how}"), columns.iter().map(|column| column[at]).collect())
    };
    let rows: Vec<_> = ALL.iter().map(|player| player.who).enumerate().map(row).collect();
    show::grid(&format!("hit ratio in %, {}", workload.name), &header, &rows)
}

/// Larder beside the best peer, and beside LRU.
fn rows(workload: &Workload, room: u64, column: &[f64]) -> [Row; 2] {
    let players = || ALL.iter().zip(column.iter().copied());
    let of = |who: Who| players().find(|(player, _)| player.who == who).map_or(0.0, |(_, ratio)| ratio);
    let peers = players().filter(|(player, _)| player.kind == Kind::Peer);
    let best = peers.max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (best, best_ratio) = best.map_or((LRU, 0.0), |(player, ratio)| (player.who, ratio));
    let row = |peer, beside, goal| Row {
        target: Some("P7"),
        scenario: format!("hit ratio, {}, room for {room}", workload.name),
        unit: "%",
        larder_how: LARDER.how,
        larder: Cost { median: of(LARDER), min: of(LARDER) },
        peer: Some(peer),
        beside: Cost { median: beside, min: beside },
        held: Held::Behind,
        goal: Some(goal),
    };
    [row(best, best_ratio, BEHIND_MAX), row(LRU, of(LRU), BEHIND_LRU_MAX)]
}
