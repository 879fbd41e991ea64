//! What the service keeps in Larder, and what a change does to it.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use larder::{Cache, Error, ErrorKind, Memory, Policy, Stack, hours, secs};
use larder_disk::{DiskSettings, DiskStore};
use larder_redis::{RedisSettings, RedisStore};

use super::{
    model::{Around, Changed, City, Neighbour, Search, Stats, prefixes},
    origin::{Origin, OriginError},
    report::Hits,
};
use crate::fault::Fault;

/// Enough for everything that is asked for in a run of a minute.
const MEMORY_BYTES: u64 = 256 << 20;
/// Four times what every possible answer takes.
const DISK_BYTES: u64 = 512 << 20;
/// How long work under way may take to end when the stack is closed.
const DRAIN: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Error>;

/// Where the tiers of the demo lie.
pub(crate) struct Tiers {
    /// The folder of the disk tier.
    pub(crate) folder: PathBuf,
    /// The server of the Redis tier, if there is to be one.
    pub(crate) redis: Option<Redis>,
}

/// The Redis tier. No `Debug`: the URL may hold a password.
pub(crate) struct Redis {
    /// Where the server is.
    pub(crate) url: String,
    /// What its keys begin with.
    pub(crate) prefix: String,
}

/// The caches of the service. Three of them hold whole answers or rows; `nearest` holds ids and distances, which no
/// change touches, and its cities come from `cities`.
pub(crate) struct Caches {
    stack: Stack,
    cities: Cache<u32, City>,
    nearest: Cache<(i32, i32, u32), Vec<Neighbour>>,
    searches: Cache<String, Search>,
    countries: Cache<String, Stats>,
}

/// What the caches did since they were opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheCount {
    pub(crate) hits: Hits,
    pub(crate) misses: u64,
    pub(crate) coalesced: u64,
}

impl CacheCount {
    /// What was done since an earlier count.
    pub(crate) fn since(self, before: Self) -> Self {
        let hits = Hits {
            memory: self.hits.memory - before.hits.memory,
            disk: self.hits.disk - before.hits.disk,
            redis: self.hits.redis - before.hits.redis,
        };
        Self { hits, misses: self.misses - before.misses, coalesced: self.coalesced - before.coalesced }
    }
}

impl Caches {
    /// Opens the tiers and the caches over them. A Redis that does not answer is an error, so that a wrong URL is known
    /// at once, or, when the tiers are opened `again`, a tier that is down for now.
    ///
    /// # Errors
    /// If the disk tier cannot be opened, or Redis cannot be reached or is wrongly named.
    pub(crate) async fn open(tiers: &Tiers, again: bool) -> std::result::Result<Self, Fault> {
        let folder = DiskSettings::new(&tiers.folder).with_max_bytes(DISK_BYTES);
        let shown = tiers.folder.display();
        let disk = DiskStore::open(folder).await;
        let disk =
            disk.map_err(|error| Fault::because(format!("cannot open the disk tier `{shown}`"), &error))?;
        let mut stack = Stack::builder().memory(Memory::max_bytes(MEMORY_BYTES)).store(disk);
        if let Some(Redis { url, prefix }) = &tiers.redis {
            let settings = RedisSettings::new(url).with_prefix(prefix).with_lazy(again);
            stack = stack.store(RedisStore::connect(settings).await.map_err(|error| refused(&error))?);
        }
        let stack = stack.build().await.map_err(|error| Fault::because("cannot build the stack", &error))?;
        Self::over(stack).map_err(|error| Fault::because("cannot build the caches", &error))
    }

    fn over(stack: Stack) -> Result<Self> {
        // A day: changes are told, so that time need not find them out. Jitter keeps what was loaded together from
        // ageing together; a database that fails for an hour is not noticed by those who read.
        let policy = Policy::ttl(hours(24)).jitter(0.1).stale_if_error(hours(1)).negative_ttl(secs(30));
        Ok(Self {
            cities: stack.cache("city").policy(policy.clone()).build()?,
            nearest: stack.cache("nearest").policy(policy.clone()).build()?,
            searches: stack.cache("search").policy(policy.clone()).build()?,
            countries: stack.cache("country").policy(policy).build()?,
            stack,
        })
    }

    /// One city.
    pub(crate) async fn city(&self, origin: &Origin, id: u32) -> Result<Option<Arc<City>>> {
        let origin = origin.clone();
        self.cities.get_or_load(&id, move |_| async move { origin.city(id).await }).await
    }

    /// Several cities in the order of their ids; what no tier has is loaded in one call.
    pub(crate) async fn cities(&self, origin: &Origin, ids: &[u32]) -> Result<Vec<Option<Arc<City>>>> {
        let origin = origin.clone();
        let load = move |missing: Vec<u32>| async move {
            let found = origin.cities(missing).await?;
            Ok::<_, OriginError>(found.into_iter().map(|city| (city.id, city)).collect::<HashMap<_, _>>())
        };
        self.cities.get_many_or_load(ids, load).await
    }

    /// Which cities are nearest, and how far they are.
    pub(crate) async fn nearest(&self, origin: &Origin, around: Around) -> Result<Arc<Vec<Neighbour>>> {
        let origin = origin.clone();
        let key = (around.latitude, around.longitude, around.count);
        let found =
            self.nearest.get_or_load(&key, move |_| async move { origin.nearest(around).await }).await?;
        Ok(found.unwrap_or_default())
    }

    /// What a folded prefix finds.
    pub(crate) async fn search(&self, origin: &Origin, prefix: String) -> Result<Option<Arc<Search>>> {
        let (origin, asked) = (origin.clone(), prefix.clone());
        self.searches.get_or_load(&prefix, move |_| async move { origin.search(asked).await }).await
    }

    /// A country in numbers.
    pub(crate) async fn stats(&self, origin: &Origin, country: String) -> Result<Option<Arc<Stats>>> {
        let (origin, asked) = (origin.clone(), country.clone());
        self.countries.get_or_load(&country, move |_| async move { origin.stats(asked).await }).await
    }

    /// Tells the caches of a committed change: sets the city, removes the searches that found it or find it now, and
    /// the statistics of its country.
    ///
    /// # Errors
    /// If a tier could not be told. It will be: Larder remembers, and does not read there until then.
    pub(crate) async fn changed(&self, changed: &Changed) -> Result<()> {
        let Changed { city, previous_name } = changed;
        let touched: BTreeSet<String> =
            prefixes(previous_name).into_iter().chain(prefixes(&city.name)).collect();
        let touched: Vec<String> = touched.into_iter().collect();
        let (city, searches, country) = tokio::join!(
            self.cities.set(&city.id, city.clone()),
            self.searches.remove_many(&touched),
            self.countries.remove(&city.country),
        );
        city.and(searches.map(drop)).and(country.map(drop))
    }

    /// Removes a country from all tiers.
    ///
    /// # Errors
    /// If a tier fails.
    pub(crate) async fn forget_country(&self, country: &str) -> Result<()> {
        self.countries.remove(&country.to_owned()).await.map(drop)
    }

    /// What was done so far.
    pub(crate) fn count(&self) -> CacheCount {
        let spaces = self.stack.stats().namespaces;
        let hits = |tier| spaces.iter().map(|space| space.tier_hits(tier)).sum();
        CacheCount {
            hits: Hits { memory: hits("memory"), disk: hits("disk"), redis: hits("redis") },
            misses: spaces.iter().map(|space| space.misses).sum(),
            coalesced: spaces.iter().map(|space| space.coalesced).sum(),
        }
    }

    /// Waits for what is under way and closes the tiers. A second call does nothing.
    ///
    /// # Errors
    /// If that takes more than ten seconds or a tier fails.
    pub(crate) async fn close(&self) -> std::result::Result<(), Fault> {
        self.stack.shutdown(DRAIN).await.map_err(|error| Fault::because("cannot close the stack", &error))
    }
}

/// A URL that is none is the user's to correct; a server that does not answer is not.
fn refused(error: &Error) -> Fault {
    let fault = Fault::because("cannot use --redis", error);
    if error.kind() == ErrorKind::Invalid { Fault::usage(fault) } else { fault }
}
