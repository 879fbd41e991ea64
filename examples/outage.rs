//! The origin fails; the last good value is served, marked as stale, until it is well again.
//!
//! `cargo run --package larder-examples --example outage`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, io, time::Duration};

use larder::{Memory, Policy, ReadOptions, Stack, hours, millis};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).build().await?;
    let policy = Policy::ttl(millis(50)).stale_if_error(hours(1));
    let prices = stack.cache::<str, u64>("price").policy(policy).build()?;

    let price = prices.get_or_load("tea", |_| async { Ok::<_, io::Error>(320_u64) }).await?;
    println!("the price is {price:?}");

    // Its time passes, and the origin breaks.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let broken = |_| async { Err::<u64, _>(io::Error::other("no connection to the database")) };
    let lookup = prices.get_or_load_with("tea", &ReadOptions::new(), broken).await?;
    println!("while the origin is down: {:?}, stale because of {:?}", lookup.answer, lookup.stale);
    assert!(lookup.stale.is_some());
    assert_eq!(lookup.answer.value().as_deref(), Some(&320));

    // A key that was never loaded has nothing to fall back to: the origin's error is the answer.
    let error = prices.get_or_load("coffee", broken).await.expect_err("nothing is known of coffee");
    println!("never loaded: {error}: {}", error.source().ok_or("the cause is kept")?);
    Ok(())
}
