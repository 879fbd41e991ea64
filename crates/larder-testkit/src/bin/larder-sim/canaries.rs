//! Known faults in the engine, each of which the simulation has to find.

use std::time::Instant;

use larder::canary::Canary;
use larder_testkit::simulation::Simulation;

/// The name of all.
pub(crate) const ALL: &str = "all";
/// The name of those that are found within seconds.
const QUICK: &str = "quick";

/// Those that are found within seconds.
const QUICKLY_FOUND: &[Canary] = &[
    Canary::PostBump,
    Canary::BothBumps,
    Canary::FlightEpoch,
    Canary::MemoryEpoch,
    Canary::FailOpenRemove,
    Canary::BreakerSkipsRemove,
    Canary::NoJournal,
    Canary::NeverPays,
    Canary::NotedAfterLoad,
    Canary::RemoveExpires,
    Canary::AbsenceOutlivesSet,
    Canary::RefusedFill,
    Canary::BreakerStuck,
    Canary::LeakedFlight,
    Canary::FailClosedRead,
];

/// Those that this names: one, several with commas between, `quick` or `all`.
///
/// # Errors
/// There is none of this name.
pub(crate) fn named(names: &str) -> Result<Vec<Canary>, String> {
    match names {
        ALL => return Ok(Canary::ALL.to_vec()),
        QUICK => return Ok(QUICKLY_FOUND.to_vec()),
        _ => {}
    }
    let named = |name: &str| {
        let found = Canary::ALL.iter().find(|canary| canary.name() == name).copied();
        found.ok_or_else(|| {
            let names: Vec<&str> = Canary::ALL.iter().map(|canary| canary.name()).collect();
            format!("there is no canary `{name}`; there are: {}", names.join(", "))
        })
    };
    names.split(',').map(named).collect()
}

/// Runs the seeds without any, to see that what is found later is what was put in. False if something was found.
pub(crate) fn nothing_is_found(simulation: &Simulation) -> bool {
    let report = simulation.run();
    let found = report.failures.first();
    match found {
        None => println!("without a canary nothing is found in {} seeds", report.seeds),
        Some(failure) => println!("without a canary seed {} fails: {}", failure.seed, failure.violation),
    }
    found.is_none()
}

/// Looks for each of them in its seeds, and says where it was found. False if one was not.
pub(crate) fn hunt(canaries: &[Canary], seeds: u64, simulation: impl Fn() -> Simulation) -> bool {
    println!("{:<22} {:>6} {:>8}  {:<22} what is wrong", "canary", "seeds", "seconds", "found by");
    let mut found_all = true;
    for canary in canaries {
        let began = now();
        let report = simulation().with_canary(Some(*canary)).until_found().run();
        let seconds = began.elapsed().as_secs();
        let (name, what) = (canary.name(), canary.what());
        match report.failures.first() {
            Some(failure) => {
                let (needed, by) = (failure.nth, failure.violation.invariant.name());
                println!("{name:<22} {needed:>6} {seconds:>8}  {by:<22} {what}");
            }
            None => {
                found_all = false;
                println!("{name:<22} {:>6} {seconds:>8}  {:<22} {what}", format!(">{seeds}"), "NOT FOUND");
            }
        }
    }
    found_all
}

#[expect(clippy::disallowed_methods, reason = "a tool that times its steps is no part of the cache")]
fn now() -> Instant {
    Instant::now()
}
