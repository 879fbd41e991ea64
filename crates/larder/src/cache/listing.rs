//! Going through what stores list.

use larder_core::{Cursor, Result};

use super::{Cache, tagged};
use crate::{cache::TagMatch, engine::TagPage};

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// The keys of this namespace whose entries bear a tag and stand, about `limit` a page: for people, not for requests.
    ///
    /// It needs a store with an index of tags, which is off unless it is turned on there
    /// (`RedisSettings::with_tag_index`), and lists what was written since, by nodes that had it on. Nothing else depends
    /// on it: invalidating a tag does not look for its entries. Those of a small set come together, so a page may hold
    /// some hundred keys more than `limit`; one whose entry stands throughout is listed at least once, possibly twice, unless
    /// the store lacked memory for the index or lost it. The entries of a page are read from the store. What cannot be judged
    /// now is left out, and some of what an invalidation made dead is removed.
    ///
    /// # Errors
    /// `Unsupported` when no store lists the keys of a tag; `Invalid` when `limit` is not from 1 to 1 000, or the cursor is
    /// none of the store's; `Rejected` when the tag is empty, longer than 256 bytes, or has control characters; the
    /// store's own, when it did not answer; `Closed`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Cursor, Stack, WriteOptions};
    /// use larder_testkit::{MemoryStore, PausedClock};
    ///
    /// let stack = Stack::builder().store(MemoryStore::new(PausedClock::new())).build().await?;
    /// let users: Cache<u64, String> = stack.cache("user").build()?;
    /// users.set_with(&42, "Ada".into(), &WriteOptions::new().tags(["team:7"])).await?;
    /// let page = users.keys_of_tag("team:7", Cursor::START, 100).await?;
    /// assert_eq!(page.keys[0].to_string(), "user:42");
    /// assert_eq!(page.next, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keys_of_tag(&self, tag: &str, from: Cursor, limit: usize) -> Result<TagPage> {
        self.scope.core.check_open()?;
        tagged(&self.covered(), &[tag], TagMatch::Any)?;
        self.scope.keys_of_tag(tag, from, limit).await
    }
}
