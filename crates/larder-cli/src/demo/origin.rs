//! The origin: a SQLite file behind a small pool of connections, each used on a blocking thread.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::{sync::Semaphore, task};

use super::{
    clock, data,
    model::{Around, Change, Changed, City, Near, Neighbour, Search, Stats},
    sql,
};

/// What goes wrong at the origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    /// SQLite says no.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The blocking thread is gone: the process is ending.
    #[error("the database is closing")]
    Closing,
}

type Result<T> = std::result::Result<T, OriginError>;

/// The database of the demo. Cheap to clone; counts every call.
#[derive(Clone)]
pub(crate) struct Origin(Arc<Inner>);

struct Inner {
    /// Idle connections. A caller holds a permit while it has one out, so this is never empty for a holder.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    calls: AtomicU64,
    busy_ns: AtomicU64,
    instance: String,
}

/// What the origin has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OriginCount {
    /// Reads, each of one or more statements. Writes go to the origin with or without a cache and are not counted.
    pub(crate) calls: u64,
    /// Time that connections were busy with them.
    pub(crate) busy: Duration,
}

impl OriginCount {
    /// What was done since an earlier count.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { calls: self.calls - before.calls, busy: self.busy.saturating_sub(before.busy) }
    }
}

impl Origin {
    /// Connections: two for each of the usual two to four cores of a small service.
    const CONNECTIONS: usize = 4;

    /// Opens the database, and makes it first if it is not there or holds another table of cities.
    ///
    /// # Errors
    /// If the file cannot be made, read or locked. Blocks for about a second when the database is made.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut first = connect(path)?;
        let instance = ensure_filled(&mut first)?;
        let mut idle = vec![first];
        for _ in 1..Self::CONNECTIONS {
            idle.push(connect(path)?);
        }
        Ok(Self(Arc::new(Inner {
            idle: Mutex::new(idle),
            permits: Semaphore::new(Self::CONNECTIONS),
            calls: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            instance,
        })))
    }

    /// This database's own name: what was cached of another database is not about this one.
    pub(crate) fn instance(&self) -> &str {
        &self.0.instance
    }

    /// What was done so far.
    pub(crate) fn count(&self) -> OriginCount {
        OriginCount {
            calls: self.0.calls.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.0.busy_ns.load(Ordering::Relaxed)),
        }
    }

    /// One city.
    pub(crate) async fn city(&self, id: u32) -> Result<Option<City>> {
        self.read(move |connection| sql::city(connection, id)).await
    }

    /// Several cities in one call.
    pub(crate) async fn cities(&self, ids: Vec<u32>) -> Result<Vec<City>> {
        self.read(move |connection| sql::cities(connection, &ids)).await
    }

    /// The nearest cities: which, and how far.
    pub(crate) async fn nearest(&self, around: Around) -> Result<Vec<Neighbour>> {
        self.read(move |connection| sql::nearest(connection, around)).await
    }

    /// The nearest cities with their rows, in one call.
    pub(crate) async fn nearest_cities(&self, around: Around) -> Result<Vec<Near<City>>> {
        self.read(move |connection| {
            let mut near = Vec::new();
            for Neighbour { id, km } in sql::nearest(connection, around)? {
                near.extend(sql::city(connection, id)?.map(|city| Near { km, city }));
            }
            Ok(near)
        })
        .await
    }

    /// The largest cities by a prefix of their folded name.
    pub(crate) async fn search(&self, prefix: String) -> Result<Search> {
        self.read(move |connection| sql::search(connection, &prefix)).await
    }

    /// A country in numbers.
    pub(crate) async fn stats(&self, country: String) -> Result<Option<Stats>> {
        self.read(move |connection| sql::stats(connection, &country)).await
    }

    /// Changes a city, commits, and remembers that the caches are to be told; forgets that for changes of which they
    /// have been `told`.
    pub(crate) async fn change(&self, id: u32, to: Change, told: Vec<u64>) -> Result<Option<Changed>> {
        self.with_connection(move |connection| sql::change(connection, id, &to, &told)).await
    }

    /// Changes after number `last` that the caches may not know, by number, oldest first: at most `limit`.
    pub(crate) async fn pending(&self, last: u64, limit: u32) -> Result<Vec<(u64, Changed)>> {
        self.with_connection(move |connection| sql::pending(connection, last, limit)).await
    }

    /// Forgets pending changes: the caches have been told.
    pub(crate) async fn forget(&self, told: Vec<u64>) -> Result<()> {
        self.with_connection(move |connection| sql::forget(connection, &told)).await
    }

    /// The number of the era in which the caches include this shared server (or "none"): a new one begins when the last
    /// run had another.
    pub(crate) async fn era(&self, shared: String) -> Result<u64> {
        self.with_connection(move |connection| sql::era(connection, &shared)).await
    }

    /// Every city as it is now: what a client that knows the service well starts from.
    pub(crate) async fn everything(&self) -> Result<Vec<City>> {
        self.with_connection(|connection| sql::everything(connection)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        self.with_connection(move |connection| {
            let began = clock::now();
            let answer = query(connection);
            let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            inner.calls.fetch_add(1, Ordering::Relaxed);
            inner.busy_ns.fetch_add(ns, Ordering::Relaxed);
            answer
        })
        .await
    }

    /// Runs `work` on a blocking thread. A caller that goes away leaves it running to its end.
    async fn with_connection<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let permit = self.0.permits.acquire().await.map_err(|_| OriginError::Closing)?;
        // The blocking thread gives the permit back, since it outlives a caller that goes away.
        permit.forget();
        let done = task::spawn_blocking(move || {
            let mut held = Held::take(inner);
            held.connection.as_mut().map(work)
        })
        .await;
        done.ok().flatten().ok_or(OriginError::Closing)?.map_err(OriginError::from)
    }
}

/// A connection out of the pool; goes back, with its permit, even if the query panics.
struct Held {
    inner: Arc<Inner>,
    connection: Option<Connection>,
}

impl Held {
    fn take(inner: Arc<Inner>) -> Self {
        let connection = inner.idle.lock().pop();
        Self { inner, connection }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.idle.lock().extend(self.connection.take());
        self.inner.permits.add_permits(1);
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    sql::prepare(&connection)?;
    Ok(connection)
}

/// Makes the tables unless they are there and hold the table of cities that this program ships.
fn ensure_filled(connection: &mut Connection) -> Result<String> {
    let shipped = data::fingerprint();
    let found: rusqlite::Result<(String, String)> =
        connection
            .query_row("SELECT table_read, instance FROM state", [], |row| Ok((row.get(0)?, row.get(1)?)));
    if let Ok((table_read, instance)) = found
        && table_read == shipped
    {
        return Ok(instance);
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(sql::SCHEMA)?;
    sql::fill(&transaction, &data::cities(), &shipped)?;
    let instance = transaction.query_row("SELECT instance FROM state", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(instance)
}

#[cfg(test)]
mod tests;
