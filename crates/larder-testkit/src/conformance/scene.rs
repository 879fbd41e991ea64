//! The stage of one check: a store, a namespace nobody else uses, and short words for the calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Capabilities, Condition, Cursor, Fill, Filled, Found, Grant, Key, KeyPrefix, Lease, LeaseFor,
    LeaseRequest, Namespace, Read, Removed, Result, Rng, Stamp, Store, Stored, Token, Version, Write,
    Written,
};

use super::report::{Verdict, ensure};
use crate::SeededRng;

/// Long enough that nothing ends while a check runs.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// Short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// How many pages a scan may take before it counts as endless.
const PAGES_MAX: usize = 100_000;

/// How time passes for the store under test.
pub(crate) enum Wait {
    /// By itself, or with tokio's paused time.
    Sleep,
    /// By calling this.
    Advance(Box<dyn Fn(Duration)>),
}

/// One store in one namespace, seen through one or two handles.
pub(crate) struct Scene<'a, S> {
    /// The handle under test.
    pub(crate) store: Arc<S>,
    /// Another node's handle, for a shared store.
    other: Option<Arc<S>>,
    /// What the store says it can do.
    pub(crate) capabilities: Capabilities,
    /// A name nobody else uses.
    pub(crate) namespace: Namespace,
    wait: &'a Wait,
    rng: SeededRng,
    versions: AtomicU64,
}

impl<'a, S: Store> Scene<'a, S> {
    pub(crate) fn new(store: S, other: Option<S>, wait: &'a Wait) -> Self {
        let rng = SeededRng::unpredictable();
        let name = format!("conformance-{:016x}", rng.next_u64());
        Self {
            capabilities: store.capabilities(),
            store: Arc::new(store),
            other: other.map(Arc::new),
            namespace: Namespace::new(&name).expect("letters, digits and a dash"),
            wait,
            rng,
            versions: AtomicU64::new(0),
        }
    }

    /// Drops the handle, which the next opener may need, and keeps the rest.
    pub(crate) fn left(self) -> Left<'a> {
        Left { namespace: self.namespace, wait: self.wait, rng: self.rng, versions: self.versions }
    }

    /// Another handle on the same entries, where there is one.
    pub(crate) fn elsewhere(&self) -> &S {
        self.other.as_ref().unwrap_or(&self.store)
    }

    /// Lets `span` pass, and a little more, so that what was to end within it has ended.
    pub(crate) async fn wait(&self, span: Duration) {
        let span = span + SHORT;
        match self.wait {
            Wait::Sleep => tokio::time::sleep(span).await,
            Wait::Advance(advance) => advance(span),
        }
    }

    pub(crate) fn token(&self) -> Token {
        Token(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()))
    }

    pub(crate) fn rng(&self) -> &SeededRng {
        &self.rng
    }

    pub(crate) fn prefix(&self) -> KeyPrefix {
        KeyPrefix::of(&self.namespace)
    }

    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Key {
        key_in(&self.namespace, name)
    }

    pub(crate) fn keys(&self, count: usize) -> Vec<Key> {
        (0..count).map(|n| self.key(n.to_string())).collect()
    }

    /// A write that this store can do: stamped with its sequence, or with rising numbers where it has none.
    pub(crate) fn writing(&self, key: &Key, bytes: impl Into<Bytes>) -> Write {
        let stamp = if self.capabilities.sequence {
            Stamp::Next
        } else {
            Stamp::Exactly(Version::new(self.versions.fetch_add(1, Ordering::SeqCst) + 1))
        };
        Write {
            key: key.clone(),
            bytes: bytes.into(),
            keep: LONG,
            stamp,
            condition: Condition::Always,
            news: None,
            tags: Vec::new(),
        }
    }

    pub(crate) fn exactly(&self, key: &Key, bytes: &'static str, version: u64) -> Write {
        Write { stamp: Stamp::Exactly(Version::new(version)), ..self.writing(key, bytes) }
    }

    pub(crate) async fn put(&self, key: &Key, bytes: impl Into<Bytes>) -> Verdict<Version> {
        self.store_it(self.writing(key, bytes)).await
    }

    /// Writes, and says it must be stored.
    pub(crate) async fn store_it(&self, write: Write) -> Verdict<Version> {
        let key = write.key.clone();
        match self.write(write).await? {
            Written::Stored(version) => Ok(version),
            other => Err(format!("a plain write of {key} was answered {other:?}")),
        }
    }

    pub(crate) async fn write(&self, write: Write) -> Verdict<Written> {
        only("write", self.store.write(vec![write]).await)
    }

    pub(crate) async fn read(&self, key: &Key) -> Verdict<Found> {
        only("read", self.store.read(vec![plain(key)]).await)
    }

    /// The entry, or nothing; another answer breaks the check.
    pub(crate) async fn get(&self, key: &Key) -> Verdict<Option<Stored>> {
        get(&*self.store, key).await
    }

    /// Says that `key` holds `bytes`, here and elsewhere.
    pub(crate) async fn holds(&self, key: &Key, bytes: &[u8], when: &str) -> Verdict {
        for (handle, place) in [(&*self.store, "this handle"), (self.elsewhere(), "another handle")] {
            match get(handle, key).await? {
                Some(stored) if stored.bytes == bytes => {}
                Some(stored) => return Err(format!("{when}, {place} reads {:?}", brief(&stored.bytes))),
                None => return Err(format!("{when}, {place} finds no entry")),
            }
        }
        Ok(())
    }

    /// Says that `key` holds nothing, here and elsewhere.
    pub(crate) async fn lacks(&self, key: &Key, when: &str) -> Verdict {
        for (handle, place) in [(&*self.store, "this handle"), (self.elsewhere(), "another handle")] {
            if let Some(stored) = get(handle, key).await? {
                return Err(format!("{when}, {place} still reads {:?}", brief(&stored.bytes)));
            }
        }
        Ok(())
    }

    pub(crate) async fn ask(&self, key: &Key, when: LeaseFor, token: Token, ttl: Duration) -> Verdict<Found> {
        only("read with a lease", self.store.read(vec![leasing(key, when, token, ttl)]).await)
    }

    /// Takes a lease that must be free.
    pub(crate) async fn grant(&self, key: &Key, when: LeaseFor, ttl: Duration) -> Verdict<(Token, Grant)> {
        let token = self.token();
        match self.ask(key, when, token, ttl).await? {
            Found::Granted(grant) => Ok((token, grant)),
            other => Err(format!("a free lease on {key} was answered {}", found_name(&other))),
        }
    }

    /// The same, as its holder shows it.
    pub(crate) async fn lease(&self, key: &Key, when: LeaseFor, ttl: Duration) -> Verdict<Lease> {
        self.grant(key, when, ttl).await.map(|(token, grant)| grant.to(token))
    }

    /// Whether somebody holds the lease of a key without an entry.
    pub(crate) async fn is_held(&self, key: &Key) -> Verdict<bool> {
        let token = self.token();
        match self.ask(key, LeaseFor::Miss, token, LONG).await? {
            Found::Held => Ok(true),
            Found::Granted(_) => {
                self.release(key, token).await?;
                Ok(false)
            }
            other => Err(format!("asking for the lease on {key} was answered {}", found_name(&other))),
        }
    }

    /// A fill under the version of its grant.
    pub(crate) fn filling(&self, key: &Key, lease: Lease, bytes: impl Into<Bytes>) -> Fill {
        let (key, version, bytes) = (key.clone(), lease.version, bytes.into());
        Fill { key, lease, version, bytes, keep: LONG, tags: Vec::new() }
    }

    pub(crate) async fn fill(&self, fill: Fill) -> Verdict<Filled> {
        only("fill", self.store.fill(vec![fill]).await)
    }

    /// Says that a fill is refused.
    pub(crate) async fn refuses(&self, fill: Fill, when: &str) -> Verdict {
        match self.fill(fill).await? {
            Filled::Refused => Ok(()),
            other => Err(format!("{when}, a fill was answered {other:?}")),
        }
    }

    pub(crate) async fn remove(&self, key: &Key) -> Verdict<Version> {
        match only("remove", self.store.remove(vec![key.clone().into()]).await)? {
            Removed::Done(version) => Ok(version),
            Removed::Failed(error) => Err(format!("removing {key} failed: {error}")),
        }
    }

    pub(crate) async fn renew(&self, key: &Key, token: Token, ttl: Duration) -> Verdict<bool> {
        named("renew", self.store.renew(key.clone(), token, ttl).await)
    }

    pub(crate) async fn release(&self, key: &Key, token: Token) -> Verdict {
        named("release", self.store.release(key.clone(), token).await).map(drop)
    }

    pub(crate) async fn clear(&self, prefix: KeyPrefix) -> Verdict<u64> {
        named("clear", self.store.clear(prefix).await)
    }

    pub(crate) async fn len(&self, prefix: KeyPrefix) -> Verdict<u64> {
        named("len", self.store.len(prefix).await)
    }

    /// Every key a whole scan lists, twice if it does.
    pub(crate) async fn scan(&self, prefix: &KeyPrefix, limit: usize) -> Verdict<Vec<Bytes>> {
        let (mut keys, mut from) = (Vec::new(), Cursor::START);
        for _ in 0..PAGES_MAX {
            let page = named("scan", self.store.scan(prefix.clone(), from, limit).await)?;
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            match page.next {
                Some(next) => from = next,
                None => return Ok(keys),
            }
        }
        Err(format!("the scan did not end within {PAGES_MAX} pages"))
    }
}

/// What stays of a scene whose store was let go.
pub(crate) struct Left<'a> {
    namespace: Namespace,
    wait: &'a Wait,
    rng: SeededRng,
    versions: AtomicU64,
}

impl<'a> Left<'a> {
    /// The same namespace behind another handle.
    pub(crate) fn reopened<S: Store>(self, store: S) -> Scene<'a, S> {
        let Self { namespace, wait, rng, versions } = self;
        Scene {
            capabilities: store.capabilities(),
            store: Arc::new(store),
            other: None,
            namespace,
            wait,
            rng,
            versions,
        }
    }
}

pub(crate) fn key_in(namespace: &Namespace, name: impl AsRef<[u8]>) -> Key {
    let mut text = format!("{namespace}:").into_bytes();
    text.extend_from_slice(name.as_ref());
    Key::from_escaped(text).expect("checks use keys of acceptable length")
}

pub(crate) fn plain(key: &Key) -> Read {
    Read { key: key.clone(), lease: None }
}

pub(crate) fn leasing(key: &Key, when: LeaseFor, token: Token, ttl: Duration) -> Read {
    Read { key: key.clone(), lease: Some(LeaseRequest { when, token, ttl }) }
}

pub(crate) async fn get<S: Store>(store: &S, key: &Key) -> Verdict<Option<Stored>> {
    match only("read", store.read(vec![plain(key)]).await)? {
        Found::Hit(stored) => Ok(Some(stored)),
        Found::Miss => Ok(None),
        other => Err(format!("a plain read of {key} was answered {}", found_name(&other))),
    }
}

/// Adds the call's name to its error.
pub(crate) fn named<T>(call: &str, answer: Result<T>) -> Verdict<T> {
    answer.map_err(|error| format!("{call} failed: {:?}, {error}", error.kind()))
}

/// The answer to a batch of one.
pub(crate) fn only<T>(call: &str, answers: Result<Vec<T>>) -> Verdict<T> {
    let mut answers = named(call, answers)?;
    ensure!(answers.len() == 1, "{call} gave {} answers to one question", answers.len());
    answers.pop().ok_or_else(|| format!("{call} gave no answer"))
}

/// The answers to a batch of `asked`.
pub(crate) fn all<T>(call: &str, answers: Result<Vec<T>>, asked: usize) -> Verdict<Vec<T>> {
    let answers = named(call, answers)?;
    ensure!(answers.len() == asked, "{call} gave {} answers to {asked} questions", answers.len());
    Ok(answers)
}

/// What kind of answer this is, without its bytes.
pub(crate) fn found_name(found: &Found) -> &'static str {
    match found {
        Found::Hit(_) => "Hit",
        Found::Miss => "Miss",
        Found::Granted(_) => "Granted",
        Found::Held => "Held",
        Found::Foreign(_) => "Foreign",
    }
}

fn brief(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(40)];
    format!("{} ({} bytes)", shown.escape_ascii(), bytes.len())
}
