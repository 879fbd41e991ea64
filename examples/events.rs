//! Who changes a product says so after the commit; a subscriber takes the product and every list that may hold it out of
//! the cache. The code that writes need not know what is cached.
//!
//! `cargo run --package larder-examples --example events`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    sync::{Arc, Mutex},
};

use larder::{Cache, Loaded, Memory, Policy, Stack, TagMatch, minutes};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

#[derive(Clone, Serialize, Deserialize)]
struct Product {
    name: String,
    category: String,
}

/// What would be your database: products by their ids.
type Database = Arc<Mutex<BTreeMap<u64, Product>>>;

/// A product changed. It names what lists are made by, before and after: a product that moves leaves one and enters another.
struct ProductUpdated {
    id: u64,
    categories: [String; 2],
    /// Answered when the caches have heard of it: who changed it may then read what he wrote.
    handled: oneshot::Sender<larder::Result<()>>,
}

#[derive(Clone)]
struct Caches {
    products: Cache<u64, Product>,
    /// The ids in a category, by page.
    pages: Cache<(String, u32), Vec<u64>>,
    /// The ids that a search found, by what was searched for: `name:tea`.
    searches: Cache<str, Vec<u64>>,
}

impl Caches {
    async fn name(&self, database: &Database, id: u64) -> larder::Result<Option<String>> {
        let database = Arc::clone(database);
        let load = move |_| async move {
            Ok::<_, io::Error>(database.lock().expect("nobody panicked").get(&id).cloned())
        };
        Ok(self.products.get_or_load(&id, load).await?.map(|product| product.name.clone()))
    }

    async fn page(&self, database: &Database, category: &str, page: u32) -> larder::Result<Vec<u64>> {
        let (database, wanted) = (Arc::clone(database), category.to_owned());
        let load = move |_| async move {
            let rows = database.lock().expect("nobody panicked").clone();
            let ids = rows.iter().filter(|(_, row)| row.category == wanted).map(|(id, _)| *id).collect();
            // By this the list is found again, whatever page it is.
            Ok::<_, io::Error>(Loaded::value(ids).tags([format!("category:{wanted}")]))
        };
        let ids = self.pages.get_or_load(&(category.to_owned(), page), load).await?;
        Ok(ids.map(|ids| ids.to_vec()).unwrap_or_default())
    }

    async fn search(&self, database: &Database, word: &'static str) -> larder::Result<Vec<u64>> {
        let database = Arc::clone(database);
        let load = move |_| async move {
            let rows = database.lock().expect("nobody panicked").clone();
            let ids = rows.iter().filter(|(_, row)| row.name.contains(word)).map(|(id, _)| *id);
            Ok::<_, io::Error>(ids.collect::<Vec<u64>>())
        };
        let ids = self.searches.get_or_load(&format!("name:{word}"), load).await?;
        Ok(ids.map(|ids| ids.to_vec()).unwrap_or_default())
    }

    /// The one place that knows what is cached of a product.
    async fn forget(&self, event: &ProductUpdated) -> larder::Result<()> {
        self.products.remove(&event.id).await?;
        let tags = event.categories.each_ref().map(|category| format!("category:{category}"));
        self.pages.invalidate_tags(&tags, TagMatch::Any).await?;
        // Which searches found it nobody knows; their keys have a beginning in common.
        self.searches.remove_prefix("name:").await?;
        Ok(())
    }
}

/// Changes a product in the database, and says so after the commit: a load that began before it may have read the old row,
/// and the removals see to it that its result is kept nowhere.
async fn update(
    database: &Database,
    events: &mpsc::Sender<ProductUpdated>,
    id: u64,
    product: Product,
) -> Result<(), Box<dyn Error>> {
    let after = product.category.clone();
    let before = database.lock().expect("nobody panicked").insert(id, product);
    let categories = [before.map_or_else(String::new, |row| row.category), after];
    let (handled, outcome) = oneshot::channel();
    events.send(ProductUpdated { id, categories, handled }).await?;
    Ok(outcome.await??)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let product = |name: &str, category: &str| Product { name: name.into(), category: category.into() };
    let database: Database =
        Arc::new(Mutex::new([(1, product("green tea", "tea")), (2, product("mate", "tea"))].into()));
    let policy = Policy::ttl(minutes(5));
    let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).policy(policy).build().await?;
    let caches = Caches {
        products: stack.cache("product").build()?,
        pages: stack.cache("product-page").build()?,
        searches: stack.cache("product-search").build()?,
    };

    // With several services this is a queue with redelivery: to forget twice does no harm, to forget never costs a TTL.
    let (events, mut updated) = mpsc::channel::<ProductUpdated>(64);
    let subscriber = tokio::spawn({
        let caches = caches.clone();
        async move {
            while let Some(event) = updated.recv().await {
                let outcome = caches.forget(&event).await;
                // Whoever asked may be gone.
                let _ = event.handled.send(outcome);
            }
        }
    });

    println!(
        "tea before: {:?}, searched: {:?}",
        caches.page(&database, "tea", 0).await?,
        caches.search(&database, "tea").await?
    );
    assert!(caches.page(&database, "herbs", 0).await?.is_empty());
    assert_eq!(caches.name(&database, 2).await?.as_deref(), Some("mate"));

    update(&database, &events, 2, product("mate tea", "herbs")).await?;
    let (tea, herbs) = (caches.page(&database, "tea", 0).await?, caches.page(&database, "herbs", 0).await?);
    let found = caches.search(&database, "tea").await?;
    println!("tea after: {tea:?}, herbs: {herbs:?}, searched: {found:?}");
    assert_eq!((tea, herbs, found), (vec![1], vec![2], vec![1, 2]));

    assert_eq!(caches.name(&database, 2).await?.as_deref(), Some("mate tea"));

    drop(events);
    subscriber.await?;
    Ok(())
}
