//! What concerns every node of a fleet at once.

use larder_core::Result;

use super::Cache;
use crate::{engine::Invalidated, key::CacheKey, options::WriteMode};

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Removes a key, and answers when no node of the fleet serves what was there before, from any memory (K13).
    ///
    /// A healthy fleet answers within milliseconds. A node that died or is cut off delays the answer until it is certain
    /// that it serves its memory no more: [`BusSettings::sound`](crate::BusSettings::sound) and a tenth of a second.
    /// What no answer says: that a node which is cut off will not serve the value *marked*, if its
    /// [`Partition`](crate::Partition) policy allows that.
    ///
    /// # Errors
    /// `Unsupported` without a bus that this node publishes and listens on, and nothing is begun. As
    /// [`remove`](Self::remove). `Unavailable` when it was removed, but the store that knows the fleet does not answer;
    /// `Timeout` when it was removed, but a node goes on beating without having heard of it.
    ///
    /// # Cancellation
    /// The removal goes on; nobody waits for the others.
    pub async fn remove_everywhere(&self, key: &K) -> Result<Invalidated> {
        let spot = self.spot(key)?;
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        let mut invalidated = self.scope.remove(vec![spot.clone()], WriteMode::Strict).await?;
        let up_to = self.scope.place_of(&spot.key).into_iter().collect();
        self.scope.core.reach_everybody(up_to).await?;
        invalidated.everywhere = true;
        Ok(invalidated)
    }
}
