//! The service: what each question costs without a cache, and what it costs with one.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    caches::Caches,
    model::{Around, Change, Changed, City, Near, Neighbour, Search, Stats},
    origin::{Origin, OriginError},
};
use crate::fault::Fault;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The database failed.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The cache could not answer, or not be told.
    #[error("{}", chain(.0))]
    Cache(#[from] larder::Error),
    /// The task that was to answer is gone.
    #[error("the service is closing")]
    Closing,
}

type Result<T> = std::result::Result<T, ServiceError>;

/// An error with its causes, in one line.
fn chain(error: &larder::Error) -> String {
    Fault::because("no answer", error).to_string()
}

/// How many pending changes are read at once.
const BATCH: u32 = 256;

/// The cities service.
pub(crate) struct Service {
    origin: Origin,
    caches: Option<Arc<Caches>>,
    /// The changes that the caches were told of and the database still keeps as pending. Held from the commit of a
    /// change until the caches know it, so that they learn changes in the order of the database; SQLite has one
    /// writer anyway.
    told: Mutex<Vec<u64>>,
}

impl Service {
    /// The service that asks the database every time.
    pub(crate) fn uncached(origin: Origin) -> Arc<Self> {
        Arc::new(Self { origin, caches: None, told: Mutex::default() })
    }

    /// The service that asks its caches first. Tells them of changes that an earlier run could not tell them.
    ///
    /// # Errors
    /// If the database fails. A tier that cannot be told is told by Larder later, and not read until then.
    pub(crate) async fn cached(origin: Origin, caches: Arc<Caches>) -> Result<Arc<Self>> {
        let mut last = 0;
        loop {
            let pending = origin.pending(last, BATCH).await?;
            let Some((newest, _)) = pending.last() else { break };
            last = *newest;
            let mut told = Vec::new();
            for (change, changed) in &pending {
                if caches.changed(changed).await.is_ok() {
                    told.push(*change);
                }
            }
            origin.forget(told).await?;
        }
        Ok(Arc::new(Self { origin, caches: Some(caches), told: Mutex::default() }))
    }

    /// One city; `None` if there is none with this id.
    pub(crate) async fn city(&self, id: u32) -> Result<Option<Arc<City>>> {
        Ok(match &self.caches {
            Some(caches) => caches.city(&self.origin, id).await?,
            None => self.origin.city(id).await?.map(Arc::new),
        })
    }

    /// The cities around a point, nearest first.
    pub(crate) async fn nearest(&self, around: Around) -> Result<Vec<Near<Arc<City>>>> {
        let Some(caches) = &self.caches else {
            let near = self.origin.nearest_cities(around).await?;
            return Ok(near.into_iter().map(|Near { km, city }| Near { km, city: Arc::new(city) }).collect());
        };
        let near = caches.nearest(&self.origin, around).await?;
        let ids: Vec<u32> = near.iter().map(|Neighbour { id, .. }| *id).collect();
        let cities = caches.cities(&self.origin, &ids).await?;
        let pairs = near.iter().zip(cities);
        Ok(pairs.filter_map(|(near, city)| Some(Near { km: near.km, city: city? })).collect())
    }

    /// The largest cities whose name begins with a folded prefix.
    pub(crate) async fn search(&self, prefix: String) -> Result<Arc<Search>> {
        Ok(match &self.caches {
            Some(caches) => caches.search(&self.origin, prefix).await?.unwrap_or_default(),
            None => Arc::new(self.origin.search(prefix).await?),
        })
    }

    /// A country in numbers; `None` if it has no city.
    pub(crate) async fn stats(&self, country: String) -> Result<Option<Arc<Stats>>> {
        Ok(match &self.caches {
            Some(caches) => caches.stats(&self.origin, country).await?,
            None => self.origin.stats(country).await?.map(Arc::new),
        })
    }

    /// Changes a city; `None` if there is none with this id.
    ///
    /// # Cancellation
    /// The change goes on to its end, caches included: it runs in a task of its own.
    pub(crate) async fn change(self: &Arc<Self>, id: u32, to: Change) -> Result<Option<Changed>> {
        let service = Arc::clone(self);
        let task = tokio::spawn(async move { service.change_to_the_end(id, to).await });
        task.await.map_err(|_| ServiceError::Closing)?
    }

    /// Database first, then the caches. Until they know, the database keeps the change as pending: a process that ends
    /// in between leaves the rest to the next one.
    async fn change_to_the_end(&self, id: u32, to: Change) -> Result<Option<Changed>> {
        let mut told = self.told.lock().await;
        let changed = self.origin.change(id, to, told.clone()).await?;
        told.clear();
        // Without caches the change stays pending: whoever has some is told before using them.
        if let (Some(changed), Some(caches)) = (&changed, &self.caches) {
            // Where a tier could not be told, Larder will tell it, and reads nothing there until then; the database
            // keeps the change as pending, should this process end before that.
            if caches.changed(changed).await.is_ok() {
                told.push(changed.city.version);
            }
        }
        Ok(changed)
    }
}
