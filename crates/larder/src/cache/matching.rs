//! Invalidating by how keys read.

use larder_core::{Result, Sequence};

use super::Cache;
use crate::{
    engine::Matched,
    options::WriteMode,
    policy::{barrier::Verb, pattern::KeyPattern},
};

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Removes every key of this namespace and of those nested in it whose text begins so, in every tier and at every
    /// node. What a key's text is, [`KeyPattern`] says: the parts of it joined by `,`, and a nested namespace's name in
    /// front with a `:`. The prefix is literal.
    ///
    /// Loads that began before are given to their callers and kept nowhere, also those of other nodes for keys that no
    /// tier held yet, where a store keeps barriers (those of `larder-redis` and `larder-disk` do). Where none does, this
    /// holds for loads of this node; what another is loading meanwhile it may keep.
    ///
    /// It lists the keys of memory and of the stores, which costs a store a scan. The last 128 different prefixes and
    /// patterns of a namespace are remembered; for each further one, what was loaded before the oldest of them is
    /// gone, whether it matches or not. For what changes often label entries with tags: those cost the same for one
    /// entry as for a million.
    ///
    /// # Errors
    /// `Rejected` when more keys match than [`Settings::invalidation_max_keys`](crate::Settings) allows, and none was
    /// removed; or when the prefix is empty, longer than 1 024 bytes, or has control characters. `Unsupported` when a store
    /// cannot list its keys and none keeps barriers; nothing was begun. `Unavailable` or `Timeout` when the store that keeps
    /// barriers did not: it is owed and repeated, and until then nothing of the namespace that is older is answered;
    /// where none keeps them, when a store did not list or remove. `Closed`.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Memory, Stack};
    ///
    /// # let stack = Stack::builder().memory(Memory::max_entries(10)).build().await?;
    /// let pages: Cache<str, String> = stack.cache("page").build()?;
    /// pages.set("team:7:home", "…".into()).await?;
    /// pages.set("team:70:home", "…".into()).await?;
    /// assert_eq!(pages.remove_prefix("team:7:").await?.keys, 1);
    /// assert!(pages.get("team:70:home").await?.is_hit());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_prefix(&self, prefix: &str) -> Result<Matched> {
        self.matching(KeyPattern::prefix(prefix)?, Verb::Remove).await
    }

    /// Removes every key of this namespace and of those nested in it that matches a pattern, as
    /// [`remove_prefix`](Self::remove_prefix) does. A store is asked for what begins as the pattern does up to its first
    /// `*`, `?`, `:` or `,`; one that begins with a `*` makes it list the whole namespace.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix).
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, KeyPattern, Memory, Stack};
    ///
    /// # let stack = Stack::builder().memory(Memory::max_entries(10)).build().await?;
    /// let lists: Cache<(u64, String), u64> = stack.cache("list").build()?;
    /// lists.set(&(7, "newest".to_owned()), 1).await?;
    /// lists.set(&(8, "newest".to_owned()), 2).await?;
    /// lists.set(&(8, "oldest".to_owned()), 3).await?;
    /// assert_eq!(lists.remove_matching(&KeyPattern::parse("*,newest")?).await?.keys, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_matching(&self, pattern: &KeyPattern) -> Result<Matched> {
        self.matching(pattern.clone(), Verb::Remove).await
    }

    /// Makes every entry stale now whose key begins so, as [`expire`](Self::expire) does with one.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn expire_prefix(&self, prefix: &str) -> Result<Matched> {
        self.matching(KeyPattern::prefix(prefix)?, Verb::Expire).await
    }

    /// Makes every entry stale now whose key matches a pattern, as [`expire`](Self::expire) does with one.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn expire_matching(&self, pattern: &KeyPattern) -> Result<Matched> {
        self.matching(pattern.clone(), Verb::Expire).await
    }

    /// As [`remove_prefix`](Self::remove_prefix), and answers when no node serves what was there before (K13).
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// The removal goes on; nobody waits for the others.
    pub async fn remove_prefix_everywhere(&self, prefix: &str) -> Result<Matched> {
        self.matching_everywhere(KeyPattern::prefix(prefix)?, Verb::Remove).await
    }

    /// As [`remove_matching`](Self::remove_matching), and answers when no node serves what was there before (K13).
    ///
    /// # Errors
    /// As [`remove_matching`](Self::remove_matching) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// The removal goes on; nobody waits for the others.
    pub async fn remove_matching_everywhere(&self, pattern: &KeyPattern) -> Result<Matched> {
        self.matching_everywhere(pattern.clone(), Verb::Remove).await
    }

    /// As [`expire_prefix`](Self::expire_prefix), and answers when no node serves what was there before as fresh.
    ///
    /// # Errors
    /// As [`remove_prefix_everywhere`](Self::remove_prefix_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    pub async fn expire_prefix_everywhere(&self, prefix: &str) -> Result<Matched> {
        self.matching_everywhere(KeyPattern::prefix(prefix)?, Verb::Expire).await
    }

    /// As [`expire_matching`](Self::expire_matching), and answers when no node serves what was there before as fresh.
    ///
    /// # Errors
    /// As [`remove_matching_everywhere`](Self::remove_matching_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    pub async fn expire_matching_everywhere(&self, pattern: &KeyPattern) -> Result<Matched> {
        self.matching_everywhere(pattern.clone(), Verb::Expire).await
    }

    async fn matching(&self, keys: KeyPattern, verb: Verb) -> Result<Matched> {
        let mode = self.scope.core.settings.write_mode;
        let (_, matched) = self.scope.invalidate_matching(keys, verb, mode).await?;
        Ok(matched)
    }

    async fn matching_everywhere(&self, keys: KeyPattern, verb: Verb) -> Result<Matched> {
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        let (at, mut matched) = self.scope.invalidate_matching(keys, verb, WriteMode::Strict).await?;
        let up_to = at.map(|at| (Sequence::Barriers, at.get()));
        self.scope.core.reach_everybody(up_to.into_iter().collect()).await?;
        matched.invalidated.everywhere = true;
        Ok(matched)
    }
}
