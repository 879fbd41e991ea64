//! The origin: a database that counts the versions of its rows, read by loaders that are slow, fail, hang or panic.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use larder::{BoxError, LoadContext, Loaded, Validator};

use super::{
    check::{Called, Purpose},
    dice::Dice,
    faults::{Fault, FaultClass},
    tally::{Counted, Tally},
    value::SimValue,
    world::World,
};

/// How loaders fare.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    slow: f64,
    fail: f64,
    hang: f64,
    panic: f64,
}

/// What ails the origin.
#[derive(Debug, Default)]
pub(crate) struct Origin(Mutex<Vec<Fault>>);

impl Origin {
    pub(crate) fn worsen(&self, fault: Fault) {
        self.0.lock().expect("no panics under this lock").push(fault);
    }

    pub(crate) fn mend(&self, fault: &Fault) {
        let mut faults = self.0.lock().expect("no panics under this lock");
        faults.retain(|other| other.number != fault.number);
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        for fault in self.0.lock().expect("no panics under this lock").iter() {
            match fault.class {
                FaultClass::OriginSlow => health.slow = fault.strength,
                FaultClass::OriginFail => health.fail = fault.strength,
                FaultClass::OriginHang => health.hang = fault.strength * 0.3,
                FaultClass::OriginPanic => health.panic = fault.strength * 0.5,
                _ => {}
            }
        }
        health
    }
}

/// A panic that a simulation means. It does not pass the panic hook, so nothing is printed.
struct MeantPanic;

/// Who loads.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    pub(crate) node: usize,
    pub(crate) tally: Arc<Tally>,
    pub(crate) purpose: Purpose,
    pub(crate) called: Called,
    pub(crate) dice: u64,
}

/// Loads one key.
pub(crate) async fn load(
    world: Arc<World>,
    loader: Loader,
    key: u32,
    context: LoadContext<SimValue>,
) -> Result<Loaded<SimValue>, BoxError> {
    loader.tally.add(Counted::Load, 1);
    let mut dice = Dice::of(&[loader.dice]);
    let _loading = world.loading(&loader, key);
    let began = world.network.ordinal();
    suffer(&world, &mut dice).await?;
    let row = world.loaded_row(key);
    world.note(Some(key), || format!("n{} loads v{}{}", loader.node, row.version, row.mark()));
    linger(&world, &mut dice).await;
    let tags = world.plan.tags_at(key, row.version);
    if row.absent {
        return Ok(Loaded::absent().tags(tags));
    }
    let tag = row.version.to_string();
    let same = context.validator().and_then(|validator| validator.etag.as_deref()) == Some(&*tag);
    if let Some(previous) = context.previous().filter(|_| same) {
        world.checker().renewed(key, previous, began);
        return Ok(Loaded::not_modified());
    }
    let loaded = Loaded::value(SimValue::loaded(world.plan.seed, key, row.version, began)).tags(tags);
    Ok(if dice.chance(world.plan.not_modified) { loaded.validator(Validator::etag(tag)) } else { loaded })
}

/// Loads many keys at once, one read after the other.
pub(crate) async fn load_many(
    world: Arc<World>,
    loader: Loader,
    keys: Vec<u64>,
    namespace: u32,
) -> Result<HashMap<u64, Loaded<SimValue>>, BoxError> {
    loader.tally.add(Counted::Load, 1);
    let mut dice = Dice::of(&[loader.dice]);
    let whole = |key: &u64| world.plan.key_of(namespace, *key);
    let _loading: Vec<_> = keys.iter().map(|key| world.loading(&loader, whole(key))).collect();
    let began = world.network.ordinal();
    suffer(&world, &mut dice).await?;
    let mut loaded = HashMap::new();
    for key in &keys {
        let row = world.loaded_row(whole(key));
        world.note(Some(whole(key)), || format!("n{} loads v{}{}", loader.node, row.version, row.mark()));
        let value = || Loaded::value(SimValue::loaded(world.plan.seed, whole(key), row.version, began));
        let made = if row.absent { Loaded::absent() } else { value() };
        loaded.insert(*key, made.tags(world.plan.tags_at(whole(key), row.version)));
    }
    linger(&world, &mut dice).await;
    Ok(loaded)
}

/// The way to the database.
async fn suffer(world: &Arc<World>, dice: &mut Dice) -> Result<(), BoxError> {
    let health = world.origin.health();
    let hits = |class| world.network.struck.add(class);
    if dice.chance(health.hang) {
        hits(FaultClass::OriginHang);
        return pending().await;
    }
    if dice.chance(health.slow) {
        hits(FaultClass::OriginSlow);
        sleep(dice.log_millis(100, 5_000)).await;
    }
    sleep(dice.between(0, world.plan.load_ms)).await;
    if dice.chance(health.fail) {
        hits(FaultClass::OriginFail);
        return Err("the origin failed".into());
    }
    if dice.chance(health.panic) {
        hits(FaultClass::OriginPanic);
        std::panic::resume_unwind(Box::new(MeantPanic));
    }
    Ok(())
}

/// The way back: one load in a hundred takes its time after it read.
async fn linger(world: &World, dice: &mut Dice) {
    let long = dice.chance(0.01);
    sleep(if long { dice.between(100, 900) } else { dice.between(0, world.plan.load_ms) }).await;
}

async fn sleep(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
