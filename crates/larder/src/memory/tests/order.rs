//! The tier against the plain model, step by step: who leaves, what is found, what it weighs.

use proptest::{collection::vec, prelude::*};

use super::{super::*, model::Model, support::*};

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, weight: u64 },
    Refuse { key: u8 },
    Get { key: u8 },
    Pin { key: u8, pinned: bool },
    Peek { key: u8 },
    Update { key: u8 },
    Remove { key: u8 },
    Sweep { budget: usize, key: u8 },
    Page { limit: usize },
    Clear,
}

fn step(keys: u8) -> impl Strategy<Value = Step> {
    let key = 0..keys;
    prop_oneof![
        12 => (key.clone(), 0_u64..400).prop_map(|(key, weight)| Step::Put { key, weight }),
        1 => (key.clone(), any::<u64>()).prop_map(|(key, weight)| Step::Put { key, weight }),
        1 => key.clone().prop_map(|key| Step::Refuse { key }),
        6 => key.clone().prop_map(|key| Step::Get { key }),
        1 => (key.clone(), any::<bool>()).prop_map(|(key, pinned)| Step::Pin { key, pinned }),
        3 => key.clone().prop_map(|key| Step::Peek { key }),
        1 => key.clone().prop_map(|key| Step::Update { key }),
        2 => key.clone().prop_map(|key| Step::Remove { key }),
        1 => (1_usize..400, key).prop_map(|(budget, key)| Step::Sweep { budget, key }),
        1 => (1_usize..9).prop_map(|limit| Step::Page { limit }),
        1 => (0_u8..20).prop_map(|one| if one == 0 { Step::Clear } else { Step::Page { limit: 3 } }),
    ]
}

fn settings() -> impl Strategy<Value = Memory> {
    let eviction =
        prop_oneof![Just(Eviction::Adaptive), Just(Eviction::Lru), Just(Eviction::Lfu), Just(Eviction::Fifo)];
    let bytes = proptest::option::of(0_u64..6_000);
    let entries = proptest::option::of(0_u64..14);
    (eviction, bytes, entries).prop_map(|(eviction, bytes, entries)| {
        let mut memory = Memory::default().with_eviction(eviction).with_shards(1);
        (memory.max_bytes, memory.max_entries) = (bytes, entries);
        memory
    })
}

/// Takes one step in both and compares all that can be seen.
fn take(step: &Step, number: u64, tier: &MemoryTier, model: &mut Model) {
    let text = |key: u8| vec![key; usize::from(key % 3) * 20 + 1];
    match *step {
        Step::Put { key, weight } => {
            let mut evicted = Vec::new();
            let admit = |there: Option<Resident<'_>>| {
                assert_eq!(there.map(|there| is_whole(&there)), model.peek(key));
                true
            };
            let put = tier.put_if(&name(tier, &text(key)), varied(number), weight, admit, |gone| {
                evicted.push(gone.key.bytes().0[0])
            });
            let beside = varied(number).extra_bytes();
            let overhead = text(key).len() as u64 + beside + Memory::ENTRY_OVERHEAD_BYTES;
            let whole = weight.saturating_add(overhead);
            // Whom the default policy chooses is its own affair; that they are there, no more and no fewer than room is
            // needed for, is not.
            model.told = evicted.iter().copied().collect();
            assert_eq!((put, evicted), model.put(key, number, whole));
        }
        Step::Refuse { key } => {
            let put = tier.put_if(&name(tier, &text(key)), entry(number), 0, |_| false, |_| ());
            assert_eq!(put, Put::Refused);
        }
        Step::Get { key } => assert_eq!(value(tier, &text(key)), model.get(key)),
        Step::Pin { key, pinned } => {
            assert_eq!(tier.pin(&name(tier, &text(key)), pinned), model.pin(key, pinned));
        }
        Step::Peek { key } => {
            let found = tier.peek(&name(tier, &text(key)), |there| is_whole(&there));
            assert_eq!(found, model.peek(key));
        }
        Step::Update { key } => {
            let there = tier.update(&name(tier, &text(key)), |entry| {
                entry.epoch += 1;
                true
            });
            assert_eq!(there, model.peek(key).is_some());
        }
        Step::Remove { key } => {
            let removed = tier.remove(&name(tier, &text(key)));
            assert_eq!(removed.map(|gone| self::number(&gone.value)), model.remove(key));
        }
        Step::Sweep { budget, key } => {
            let dead = model.peek(key);
            let swept = tier.sweep(budget, |there| Some(self::number(there.slot())) == dead, |_| {});
            assert!(swept.examined <= budget);
            if swept.removed == 1 {
                model.remove(key);
            }
        }
        Step::Page { limit } => assert_eq!(pages(tier, limit), contents(model)),
        Step::Clear => {
            tier.clear();
            *model = model.empty();
        }
    }
}

/// All that is there, page by page, in the order of the numbers.
fn pages(tier: &MemoryTier, limit: usize) -> Vec<(u8, u64)> {
    let mut seen = Vec::new();
    let mut cursor = Some(MemoryCursor::default());
    while let Some(from) = cursor {
        let before = seen.len();
        cursor = tier.page(from, limit, |there| seen.push((given(&there)[0], number(there.slot()))));
        assert!(seen.len() - before <= limit);
    }
    seen.sort_unstable();
    seen
}

fn contents(model: &Model) -> Vec<(u8, u64)> {
    let mut all: Vec<_> = model.kept.iter().map(|kept| (kept.key, kept.number)).collect();
    all.sort_unstable();
    all
}

fn run(settings: &Memory, steps: &[Step]) {
    let tier = MemoryTier::new(settings, 5);
    let [bounds] = shares(settings)[..] else { panic!("small tiers have one shard") };
    let mut model = Model::new(settings.eviction, bounds);
    for (number, step) in steps.iter().enumerate() {
        take(step, number as u64, &tier, &mut model);
        if number % 16 == 0 || model.kept.len() < 20 {
            tier.audit();
        }
        assert_eq!(tier.len(), model.kept.len() as u64);
        assert_eq!(tier.weight(), model.weight());
        assert!(tier.weight() <= settings.max_bytes.unwrap_or(u64::MAX));
        assert!(tier.len() <= settings.max_entries.unwrap_or(u64::MAX));
    }
    assert_eq!(pages(&tier, 2), contents(&model));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_evicts_finds_and_weighs_as_the_plain_model_does(
        settings in settings(),
        steps in vec(step(24), 1..200),
    ) {
        run(&settings, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_that_move_to_give_room_back_lose_nothing(
        settings in settings(),
        steps in vec(step(250), 600..1_000),
    ) {
        let roomy = Memory { max_bytes: None, max_entries: Some(200), ..settings };
        let mut steps = steps;
        let keys = (0..250).map(|key| Step::Put { key, weight: 1 });
        steps.splice(0..0, keys);
        // Enough removals that most slots become free.
        steps.extend((0..250).filter(|key| key % 9 != 0).map(|key| Step::Remove { key }));
        steps.extend((0..250).step_by(3).map(|key| Step::Put { key, weight: 2 }));
        run(&roomy, &steps);
    }
}
