//! The first steps: a stack, a cache, a loader, a removal.
//!
//! `cargo run --package larder-examples --example quickstart`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use larder::{Memory, Policy, Stack, hours, minutes};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct City {
    name: String,
    population: u64,
}

static QUERIES: AtomicU32 = AtomicU32::new(0);

/// What would be your database.
async fn find_city(id: u32) -> io::Result<Option<City>> {
    QUERIES.fetch_add(1, Ordering::Relaxed);
    Ok((id == 2_643_743).then(|| City { name: "London".to_owned(), population: 8_961_989 }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What the caches of a process share. Stores would be added here, fastest first.
    let stack = Stack::builder().memory(Memory::max_bytes(64 << 20)).build().await?;
    let policy = Policy::ttl(minutes(5)).stale_while_revalidate(minutes(1)).stale_if_error(hours(1));
    let cities = stack.cache::<u32, City>("city").policy(policy.negative_ttl(minutes(1))).build()?;

    let london = cities.get_or_load(&2_643_743, |_| find_city(2_643_743)).await?.ok_or("no London")?;
    println!("{} has {} people", london.name, london.population);

    // A hit is the same value again, neither copied nor decoded.
    let again = cities.get_or_load(&2_643_743, |_| find_city(2_643_743)).await?.ok_or("no London")?;
    assert!(std::sync::Arc::ptr_eq(&london, &again));
    assert_eq!(QUERIES.load(Ordering::Relaxed), 1);

    // That there is no such city is remembered too.
    for _ in 0..2 {
        assert!(cities.get_or_load(&1, |_| find_city(1)).await?.is_none());
    }
    assert_eq!(QUERIES.load(Ordering::Relaxed), 2);

    // The database first, then the cache.
    cities.remove(&2_643_743).await?;
    cities.get_or_load(&2_643_743, |_| find_city(2_643_743)).await?;
    println!("{} queries for 5 reads and a removal", QUERIES.load(Ordering::Relaxed));
    assert_eq!(QUERIES.load(Ordering::Relaxed), 3);
    Ok(())
}
