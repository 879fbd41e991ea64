//! A thousand callers miss one key at once; the origin is asked once.
//!
//! `cargo run --package larder-examples --example stampede`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use larder::{Memory, Policy, Stack, minutes};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).build().await?;
    let reports = stack.cache::<str, String>("report").policy(Policy::ttl(minutes(1))).build()?;
    let origin_calls = Arc::new(AtomicU32::new(0));

    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let (reports, origin_calls) = (reports.clone(), origin_calls.clone());
        callers.spawn(async move {
            let slow_query = |_| async move {
                origin_calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok::<_, Infallible>("a year in numbers".to_owned())
            };
            reports.get_or_load("2026", slow_query).await
        });
    }
    let mut answers = 0;
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer??.as_deref().map(String::as_str), Some("a year in numbers"));
        answers += 1;
    }
    println!("{answers} answers, {} origin call", origin_calls.load(Ordering::Relaxed));
    assert_eq!((answers, origin_calls.load(Ordering::Relaxed)), (1_000, 1));
    Ok(())
}
