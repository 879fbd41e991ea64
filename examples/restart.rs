//! A process ends; the next one finds on disk what it had loaded.
//!
//! `cargo run --package larder-examples --example restart`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{convert::Infallible, error::Error, path::Path, time::Duration};

use larder::{Cache, Memory, Policy, ReadOptions, Stack, hours};
use larder_disk::{DiskSettings, DiskStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;

    let (stack, squares) = open(folder.path()).await?;
    for number in 0..100_u64 {
        squares.get_or_load(&number, move |_| async move { Ok::<_, Infallible>(number * number) }).await?;
    }
    stack.shutdown(Duration::from_secs(5)).await?;
    drop((stack, squares));

    let (stack, squares) = open(folder.path()).await?;
    let mut from_disk = 0;
    for number in 0..100_u64 {
        let loader = move |_| async move { Ok::<_, Infallible>(number * number) };
        let lookup = squares.get_or_load_with(&number, &ReadOptions::new(), loader).await?;
        assert_eq!(lookup.answer.value().as_deref(), Some(&(number * number)));
        from_disk += u32::from(!lookup.loaded);
    }
    println!("{from_disk} of 100 first reads after the restart came from disk");
    assert_eq!(from_disk, 100);
    stack.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

async fn open(folder: &Path) -> Result<(Stack, Cache<u64, u64>), Box<dyn Error>> {
    let disk = DiskStore::open(DiskSettings::new(folder)).await?;
    let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).store(disk).build().await?;
    let squares = stack.cache("square").policy(Policy::ttl(hours(1))).build()?;
    Ok((stack, squares))
}
