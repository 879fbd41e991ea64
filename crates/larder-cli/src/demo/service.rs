//! The service: what each question costs without a cache, and what it costs with one.

use std::sync::Arc;

use super::{
    model::{Around, Change, Changed, City, Near, Search, Stats},
    origin::{Origin, OriginError},
};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The database failed.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The task that was to answer is gone.
    #[error("the service is closing")]
    Closing,
}

type Result<T> = std::result::Result<T, ServiceError>;

/// The cities service.
pub(crate) struct Service {
    origin: Origin,
}

impl Service {
    /// The service that asks the database every time.
    pub(crate) fn uncached(origin: Origin) -> Arc<Self> {
        Arc::new(Self { origin })
    }

    /// One city; `None` if there is none with this id.
    pub(crate) async fn city(&self, id: u32) -> Result<Option<Arc<City>>> {
        Ok(self.origin.city(id).await?.map(Arc::new))
    }

    /// The cities around a point, nearest first.
    pub(crate) async fn nearest(&self, around: Around) -> Result<Vec<Near<Arc<City>>>> {
        let near = self.origin.nearest_cities(around).await?;
        Ok(near.into_iter().map(|Near { km, city }| Near { km, city: Arc::new(city) }).collect())
    }

    /// The largest cities whose name begins with a folded prefix.
    pub(crate) async fn search(&self, prefix: String) -> Result<Arc<Search>> {
        Ok(Arc::new(self.origin.search(prefix).await?))
    }

    /// A country in numbers; `None` if it has no city.
    pub(crate) async fn stats(&self, country: String) -> Result<Option<Arc<Stats>>> {
        Ok(self.origin.stats(country).await?.map(Arc::new))
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

    async fn change_to_the_end(&self, id: u32, to: Change) -> Result<Option<Changed>> {
        Ok(self.origin.change(id, to).await?)
    }
}
