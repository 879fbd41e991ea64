//! The reference store, broken in one way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Barrier, Barriers, Beat, Capabilities, Condition, Cursor, Error, ErrorKind, Fill, Filled, Found, Key,
    KeyPrefix, Lease, LeaseFor, LeaseRequest, Member, NodeId, Page, PageEntry, Pulse, Raise, Raised, Read,
    Removal, Removed, Result, Revision, Stamp, Store, Token, Version, Write, Written,
};
use larder_testkit::MemoryStore;
use tokio::task::yield_now;

use crate::mutations::{Mutation, Mutation::*};

const LONG: Duration = Duration::from_secs(900);

pub(crate) struct Mutant {
    inner: MemoryStore,
    mutation: Option<Mutation>,
    calls: AtomicU64,
    /// The last grant of each key's lease.
    leases: Mutex<HashMap<Key, Lease>>,
    cached: Mutex<HashMap<Key, Found>>,
    /// The highest revision that this mutant let pass.
    revisions: Mutex<HashMap<Key, u64>>,
    answers: Mutex<VecDeque<Vec<Found>>>,
    busy: Arc<AtomicBool>,
    wandering: Arc<AtomicU64>,
}

impl Mutant {
    pub(crate) fn new(inner: MemoryStore, mutation: Option<Mutation>, wandering: Arc<AtomicU64>) -> Self {
        Self {
            inner,
            mutation,
            calls: AtomicU64::new(0),
            leases: Mutex::default(),
            cached: Mutex::default(),
            revisions: Mutex::default(),
            answers: Mutex::default(),
            busy: Arc::default(),
            wandering,
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn leases(&self) -> Vec<(Key, Token)> {
        self.leases.lock().unwrap().iter().map(|(key, lease)| (key.clone(), lease.token)).collect()
    }

    fn held(&self, key: &Key) -> Option<Lease> {
        self.leases.lock().unwrap().get(key).copied()
    }

    /// Gives a voided lease back to whom it belonged.
    async fn restore_lease(&self, key: &Key) -> Result<()> {
        let Some(Lease { token, .. }) = self.held(key) else { return Ok(()) };
        let lease = Some(LeaseRequest { when: LeaseFor::Refresh, token, ttl: LONG });
        self.read_as_mutated(vec![Read { key: key.clone(), lease }]).await.map(drop)
    }

    async fn entry(&self, key: &Key) -> Result<Option<Version>> {
        let found = self.inner.read(vec![Read { key: key.clone(), lease: None }]).await?.remove(0);
        Ok(if let Found::Hit(stored) = found { Some(stored.version) } else { None })
    }

    fn twist_key(&self, key: &Key) -> Key {
        let mut text = key.as_bytes().to_vec();
        if self.is(KeysAreCut) {
            text.truncate(900);
        }
        if self.is(KeysFoldCase) {
            text.make_ascii_lowercase();
        }
        Key::from_escaped(text).unwrap()
    }

    fn twist_token(&self, token: Token) -> Token {
        if self.is(TokensAreCut) { Token(token.0 & u128::from(u64::MAX)) } else { token }
    }

    fn twist_lease(&self, key: &Key, lease: Lease) -> Lease {
        let shown = Lease { token: self.twist_token(lease.token), ..lease };
        let held = self.held(key).filter(|held| self.is(GrantsAreAlike) && held.token == shown.token);
        held.unwrap_or(shown)
    }

    /// Keys under the prefix, as this mutant understands it.
    async fn listed(&self, prefix: &KeyPrefix) -> Result<Vec<PageEntry>> {
        let loose = prefix.as_bytes().strip_suffix(b":").unwrap_or_default();
        let page = self.inner.scan(KeyPrefix::all(), Cursor::START, usize::MAX).await?;
        Ok(page.entries.into_iter().filter(|entry| entry.key.starts_with(loose)).collect())
    }

    /// Keeps the entries of removals whose revision is below the last that was written.
    async fn remove_unless_older(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        for removal in removals {
            let older = removal.revision.is_some_and(|revision| revision.number < 5);
            removed.extend(match older {
                true => vec![Removed::Done(Version::new(1))],
                false => self.inner.remove(vec![removal]).await?,
            });
        }
        Ok(removed)
    }

    async fn read_as_mutated(&self, mut reads: Vec<Read>) -> Result<Vec<Found>> {
        for read in &mut reads {
            read.key = self.twist_key(&read.key);
            let Some(lease) = &mut read.lease else { continue };
            lease.token = self.twist_token(lease.token);
            if self.is(LeasesNeverEnd) {
                lease.ttl = LONG;
            }
            if self.is(LeaseDespiteHit) {
                lease.when = LeaseFor::Refresh;
            }
        }
        let found = self.inner.read(reads.clone()).await?;
        for (read, found) in reads.iter().zip(&found) {
            if let (Some(lease), Found::Granted(grant)) = (read.lease, found) {
                self.leases.lock().unwrap().insert(read.key.clone(), grant.to(lease.token));
            }
        }
        Ok(found)
    }

    /// What a condition on a revision becomes.
    async fn newer_as_mutated(&self, key: &Key, mut revision: Revision) -> Result<Condition> {
        match self.mutation {
            Some(RevisionsAreIgnored) => return Ok(Condition::Always),
            Some(EqualRevisionsAreNewer) => {
                let mut known = self.revisions.lock().unwrap();
                let last = known.entry(key.clone()).or_default();
                if *last == revision.number {
                    return Ok(Condition::Always);
                }
                *last = revision.number;
            }
            Some(RevisionsAreFloats) => revision.number = revision.number as f64 as u64,
            Some(RevisionsGoWithTheEntry) if self.entry(key).await?.is_none() => {
                return Ok(Condition::Always);
            }
            Some(RevisionsEndEarly) => revision.keep = Duration::from_millis(50),
            Some(RevisionsNeverEnd) => revision.keep = LONG,
            Some(IfNewerIsNotAtomic) => {
                let known = self.revisions.lock().unwrap().get(key).copied();
                yield_now().await;
                if known.is_none_or(|known| known < revision.number) {
                    self.revisions.lock().unwrap().insert(key.clone(), revision.number);
                    return Ok(Condition::Always);
                }
            }
            _ => {}
        }
        Ok(Condition::IfNewer(revision))
    }

    async fn write_as_mutated(&self, mut write: Write) -> Result<Written> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        write.key = self.twist_key(&write.key);
        let at_hand = self.entry(&write.key).await?;
        if self.is(VersionsGoBack) && write.stamp == Stamp::Next {
            self.inner.remove(vec![write.key.clone().into()]).await?;
            write.stamp = Stamp::Exactly(Version::new(1_000_000 - number));
        }
        if self.is(VersionsPerKey) && write.stamp == Stamp::Next {
            let next = at_hand.map_or(1, |version| version.get() + 1);
            write.stamp = Stamp::Exactly(Version::new(next));
        }
        if self.is(ExactlyReplacesNewer) && at_hand.is_some() && write.condition == Condition::Always {
            self.inner.remove(vec![write.key.clone().into()]).await?;
        }
        if self.is(EntriesNeverEnd) {
            write.keep = LONG;
        }
        if self.is(ConditionIgnored) {
            write.condition = Condition::Always;
        }
        if let Condition::IfUnchanged(read) = &mut write.condition
            && self.is(SwapComparesBytes)
        {
            read.version = at_hand.unwrap_or(read.version);
        }
        if let Condition::IfUnchanged(read) = &write.condition
            && (self.is(SwapIsNotAtomic) || self.is(SwapComparesVersions))
        {
            if at_hand != Some(read.version) {
                return Ok(Written::Unchanged);
            }
            if self.is(SwapIsNotAtomic) {
                yield_now().await;
            }
            write.condition = Condition::Always;
        }
        if let Condition::IfLeased(lease) = &mut write.condition {
            *lease = self.twist_lease(&write.key, *lease);
            if self.is(LeasedByAnyone) {
                *lease = self.held(&write.key).unwrap_or(*lease);
            }
            if self.is(LeasedIsNotAtomic) {
                if !self.inner.renew(write.key.clone(), lease.token, LONG).await? {
                    return Ok(Written::Unchanged);
                }
                yield_now().await;
                write.condition = Condition::Always;
            } else if self.is(LeasedIsAlways) {
                write.condition = Condition::Always;
            }
            if self.is(LeasedDrawsNothing) && write.stamp == Stamp::Next {
                write.stamp = Stamp::Exactly(at_hand.unwrap_or(Version::new(1)));
            }
        }
        if let Condition::IfNewer(revision) = write.condition {
            let key = write.key.clone();
            write.condition = self.newer_as_mutated(&key, revision).await?;
        }
        let key = write.key.clone();
        let revised = matches!(write.condition, Condition::IfNewer(_));
        let written = self.inner.write(vec![write]).await?.remove(0);
        if self.is(SupersededVoidsTheLease) && revised && matches!(written, Written::Unchanged) {
            let held = self.leases.lock().unwrap().get(&key).copied();
            self.inner.release(key.clone(), held.map_or(Token(0), |held| held.token)).await?;
        }
        if self.is(WriteKeepsLease) {
            self.restore_lease(&key).await?;
        }
        Ok(written)
    }
}

impl Store for Mutant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.scan &= !self.is(ListsWhatItSaysItCannot);
        capabilities.tag_index &= !self.is(ListsTagsItSaysItCannot);
        capabilities
    }

    fn lineage(&self) -> u64 {
        if self.is(LineageWanders) { self.calls.load(Ordering::SeqCst) } else { self.inner.lineage() }
    }

    fn channel(&self) -> Option<Arc<str>> {
        self.inner.channel()
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        if reads.is_empty() {
            if self.is(EmptyBatchHangs) {
                std::future::pending::<()>().await;
            }
            assert!(!self.is(EmptyBatchPanics), "nothing to read");
        }
        if self.is(DroppedCallBlocksTheStore) {
            if self.busy.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "another call is under way"));
            }
            self.busy.store(true, Ordering::SeqCst);
            yield_now().await;
            self.busy.store(false, Ordering::SeqCst);
        }
        let plain_of_one = reads.len() == 1 && reads[0].lease.is_none();
        if self.is(HandlesHaveCachesOfTheirOwn)
            && plain_of_one
            && let Some(found) = self.cached.lock().unwrap().get(&reads[0].key)
        {
            return Ok(vec![found.clone()]);
        }
        let mut found = self.read_as_mutated(reads.clone()).await?;
        if self.is(HandlesHaveCachesOfTheirOwn) && plain_of_one {
            self.cached.lock().unwrap().insert(reads[0].key.clone(), found[0].clone());
        }
        if self.is(AnswersOutOfOrder) {
            found.reverse();
        }
        if self.is(LargeBatchesAreCut) {
            found.truncate(512);
        }
        if self.is(EmptyValueIsNothing) {
            let empty = |found: &Found| matches!(found, Found::Hit(stored) if stored.bytes.is_empty());
            found.iter_mut().filter(|found| empty(found)).for_each(|found| *found = Found::Miss);
        }
        if self.is(DroppedAnswerGoesToTheNext) {
            self.answers.lock().unwrap().push_back(found);
            yield_now().await;
            found = self.answers.lock().unwrap().pop_front().unwrap();
        }
        Ok(found)
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let mut filled = Vec::new();
        for mut fill in fills {
            fill.key = self.twist_key(&fill.key);
            fill.lease = self.twist_lease(&fill.key, fill.lease);
            if self.is(FillDropsItsVersion) {
                fill.version = Version::ZERO;
            }
            if self.is(EntriesNeverEnd) || self.is(NoTimeIsForever) && fill.keep.is_zero() {
                fill.keep = LONG;
            }
            if self.is(TagsOfFillsAreLost) {
                fill.tags.clear();
            }
            let key = fill.key.clone();
            if self.is(FillIgnoresToken) {
                let Fill { key, bytes, keep, version, tags, .. } = fill;
                let (stamp, condition) = (Stamp::Exactly(version), Condition::Always);
                self.inner
                    .write(vec![Write { key, bytes, keep, stamp, condition, news: None, tags }])
                    .await?;
                filled.push(Filled::Stored { awaited: false });
                continue;
            }
            filled.extend(self.inner.fill(vec![fill]).await?);
            if self.is(FillKeepsLease) {
                self.restore_lease(&key).await?;
            }
        }
        for filled in &mut filled {
            if let Filled::Stored { awaited } = filled {
                *awaited |= self.is(EverybodyIsAwaited);
                *awaited &= !self.is(NobodyIsAwaited);
            }
        }
        Ok(filled)
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let mut written = Vec::new();
        for write in writes {
            self.cached.lock().unwrap().remove(&write.key);
            written.push(self.write_as_mutated(write).await?);
        }
        Ok(written)
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let keys: Vec<Key> = removals.iter().map(|removal| self.twist_key(&removal.key)).collect();
        if let Some(star) = keys.iter().find(|key| self.is(StarRemovesAll) && key.as_bytes().ends_with(b":*"))
        {
            let beginning = &star.as_bytes()[..star.as_bytes().len() - 1];
            let all = self.inner.scan(KeyPrefix::all(), Cursor::START, usize::MAX).await?.entries;
            let doomed = all.into_iter().filter(|entry| entry.key.starts_with(beginning));
            self.inner
                .remove(doomed.map(|entry| Key::from_escaped(entry.key).unwrap().into()).collect())
                .await?;
        }
        let revised = removals.iter().zip(&keys).map(|(removal, key)| {
            let revision = removal.revision.filter(|_| !self.is(RemovalsForgetTheirRevision));
            Removal { revision, ..key.clone().into() }
        });
        let mut removed = match self.is(OlderRemovalsAreSkipped) {
            true => self.remove_unless_older(revised.collect()).await?,
            false => self.inner.remove(revised.collect()).await?,
        };
        for key in &keys {
            self.cached.lock().unwrap().remove(key);
            if self.is(RemoveKeepsLease) {
                self.restore_lease(key).await?;
            }
        }
        if let (true, Some(last)) = (self.is(RemovalsShareAVersion), removed.last().cloned()) {
            removed.fill(last);
        }
        if self.is(RemovalWithoutVersion) {
            removed.iter_mut().for_each(|answer| *answer = Removed::Done(Version::ZERO));
        }
        Ok(removed)
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        let mut token = self.twist_token(token);
        if self.is(RenewalDoesNothing) {
            return self.inner.renew(key, token, Duration::from_secs(1)).await;
        }
        if self.is(RenewalNeedsNoToken) {
            token = self.held(&key).map_or(token, |held| held.token);
        }
        self.inner.renew(self.twist_key(&key), token, ttl).await
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        let mut token = self.twist_token(token);
        if self.is(NobodyIsAwaited) || self.is(EverybodyIsAwaited) {
            self.inner.release(key, token).await?;
            return Ok(self.is(EverybodyIsAwaited));
        }
        if self.is(ReleaseDoesNothing) {
            return Ok(false);
        }
        if self.is(ReleaseNeedsNoToken) {
            token = self.held(&key).map_or(token, |held| held.token);
        }
        self.inner.release(self.twist_key(&key), token).await
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        if self.is(PrefixWithoutSeparator) {
            let doomed = self.listed(&prefix).await?;
            let keys = doomed.into_iter().map(|entry| Key::from_escaped(entry.key).unwrap().into()).collect();
            return Ok(self.inner.remove(keys).await?.len() as u64);
        }
        let cleared = self.inner.clear(prefix.clone()).await?;
        if self.is(ClearKeepsLeases) {
            for (key, _) in self.leases().iter().filter(|(key, _)| prefix.covers(key.as_bytes())) {
                self.restore_lease(key).await?;
            }
        }
        Ok(cleared)
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        if self.is(PrefixWithoutSeparator) {
            return Ok(Page { entries: self.listed(&prefix).await?, next: None });
        }
        if self.is(ScanCountsItsWay) {
            let all = self.inner.scan(prefix, Cursor::START, usize::MAX).await?.entries;
            let skip: usize = String::from_utf8_lossy(&from.0).parse().unwrap_or(0);
            let next = (skip + limit < all.len()).then(|| Cursor(Bytes::from((skip + limit).to_string())));
            return Ok(Page { entries: all.into_iter().skip(skip).take(limit).collect(), next });
        }
        let mut page = self.inner.scan(prefix, from, limit).await?;
        if self.is(ScanStopsAfterAPage) {
            page.next = None;
        }
        Ok(page)
    }

    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        if self.is(TagsAreIgnored) {
            return self.inner.scan(KeyPrefix::all(), from, limit).await;
        }
        let mut page = self.inner.tagged(tag, from, limit).await?;
        if self.is(TagStopsAfterAPage) {
            page.next = None;
        }
        Ok(page)
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        if self.is(PrefixWithoutSeparator) {
            return Ok(self.listed(&prefix).await?.len() as u64);
        }
        self.inner.len(prefix).await
    }

    async fn beat(&self, mut beat: Beat) -> Result<Pulse> {
        if self.is(BeatsAreForgotten) && beat.number > 1 {
            beat.number = 1;
        }
        if self.is(BeatsAreCut) {
            beat.number = beat.number as f64 as u64;
            beat.proven = beat.proven as f64 as u64;
        }
        if self.is(SilenceIsForever) {
            beat.ttl = LONG;
        }
        if self.is(TtlIsIgnored) {
            beat.ttl = Duration::from_millis(500);
        }
        let mut pulse = self.inner.beat(beat).await?;
        if self.is(TipsStandStill) {
            pulse.sequences[0].number = 0;
        }
        if self.is(TipsAreMissing) {
            pulse.sequences.clear();
        }
        if self.is(BarrierTipStandsStill) {
            pulse.barriers.number = 0;
        }
        if self.is(HistoryWanders) {
            pulse.sequences[0].history = self.wandering.fetch_add(1, Ordering::SeqCst);
        }
        Ok(pulse)
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        if self.is(LeavingTakesAllAlong) {
            for member in self.inner.members().await? {
                self.inner.leave(member.node).await?;
            }
        }
        if self.is(LeavingDoesNothing) { Ok(()) } else { self.inner.leave(node).await }
    }

    async fn members(&self) -> Result<Vec<Member>> {
        self.inner.members().await
    }

    async fn raise(&self, mut raise: Raise) -> Result<Raised> {
        if self.is(RaiseDropsItsNote) {
            raise.barriers.iter_mut().for_each(|(_, note)| note.clear());
        }
        if self.is(RaiseForgetsAllButTheFirst) {
            raise.barriers.truncate(1);
        }
        if self.is(RaiseExpectsNothing) {
            raise.expected = None;
        }
        if self.is(BarrierNamesFoldCase) {
            raise.barriers.iter_mut().for_each(|(name, _)| *name = name.to_ascii_lowercase().into());
        }
        if self.is(BarriersEndEarly) {
            raise.keep = Duration::from_millis(50);
        }
        if let (true, Some(expected)) = (self.is(RaiseExpectsTheLast), raise.expected)
            && let Some((last, _)) = raise.barriers.last()
        {
            let stands = self.inner.barriers(vec![last.clone()]).await?.found.remove(0);
            if stands.map_or(Barrier::ZERO, |standing| standing.at) != expected {
                return Ok(Raised::Unchanged);
            }
        }
        if let (true, Some(expected)) = (self.is(RaiseIsNotAtomic), raise.expected) {
            let names = vec![raise.barriers[0].0.clone()];
            let stands = self.inner.barriers(names).await?.found.remove(0);
            if stands.map_or(Barrier::ZERO, |standing| standing.at) != expected {
                return Ok(Raised::Unchanged);
            }
            yield_now().await;
            raise.expected = None;
        }
        if self.is(RaiseOneByOne) && raise.expected.is_none() {
            let mut raised = Raised::Unchanged;
            for barrier in raise.barriers {
                let (barriers, keep) = (vec![barrier], raise.keep);
                raised = self.inner.raise(Raise { barriers, expected: None, keep, news: None }).await?;
            }
            return Ok(raised);
        }
        self.inner.raise(raise).await
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        let names = match self.mutation {
            Some(BarrierNamesFoldCase) => names.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
            _ => names,
        };
        let mut known = self.inner.barriers(names).await?;
        if self.is(BarriersOutOfOrder) {
            known.found.reverse();
        }
        if self.is(HistoryWanders) {
            known.tip.history = self.wandering.fetch_add(1, Ordering::SeqCst);
        }
        Ok(known)
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<()> {
        if self.is(CloseDoesNothing) { Ok(()) } else { self.inner.close().await }
    }
}
