//! Leases: the right to fill a store, kept alive while a loader runs, and the wait while another process holds it.

use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use larder_core::{Event, Found, LeaseFor, LeaseRequest, Life, Read, Store, Token, Version};

use super::{
    Scope,
    flight::{Landed, Purpose},
    item::{Access, Item},
    walk::Plan,
};

/// The first pause before a held lease is asked for again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The same where a bus tells when a lease ends.
const LONGEST_PAUSE_WITH_BUS: Duration = Duration::from_millis(500);
/// How many leases are renewed or released at once.
const AT_ONCE: usize = 64;

/// A lease that was granted to a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) place: usize,
    pub(crate) token: Token,
    pub(crate) version: Version,
}

impl Lease {
    /// What the store is shown.
    pub(crate) fn shown(self) -> larder_core::Lease {
        larder_core::Lease { token: self.token, version: self.version }
    }
}

impl Scope {
    /// What to ask of the store in `place` besides the value.
    pub(crate) fn lease_request(&self, place: usize, plan: &Plan, when: LeaseFor) -> Option<LeaseRequest> {
        let wanted = plan.write.has(place) && self.core.store(place).capabilities.leases;
        wanted.then(|| LeaseRequest { when, token: self.core.token(), ttl: self.core.settings.lease })
    }

    /// The store whose lease decides who loads: the authority, else the first that grants leases.
    pub(crate) fn leasing_place(&self) -> Option<usize> {
        let grants = |place: &usize| self.core.store(*place).capabilities.leases;
        self.authority_place().filter(grants).or_else(|| self.store_places().find(grants))
    }

    /// Gets the leases that reading did not bring: for entries that are there but to be replaced. Then waits for
    /// those that another process holds, until its result is there or its lease is free.
    ///
    /// Returns the items that are still to be loaded.
    pub(crate) async fn secure_leases(&self, plan: &Plan, mut items: Vec<Item>) -> Vec<Item> {
        for place in self.store_places().filter(|place| plan.write.has(*place)) {
            self.ask_for_refresh(place, plan, &mut items).await;
        }
        let Some(place) = self.leasing_place() else { return items };
        let is_held =
            |item: &Item| item.access[place] == Access::Held && !ablated!(NoSingleFlight, LeasesIgnored);
        let (held, mut free): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_held);
        if held.is_empty() {
            return free;
        }
        if plan.purpose == Purpose::Refresh {
            self.leave_to_others(held).await;
            return free;
        }
        let leases = granted(free.iter().chain(&held));
        tokio::select! {
            biased;
            waited = self.wait_for_lease(place, plan, held) => free.extend(waited),
            () = self.renew_leases(&leases) => unreachable!("renewing never ends by itself"),
        }
        free
    }

    /// Somebody loads these already: lands them with nothing.
    async fn leave_to_others(&self, held: Vec<Item>) {
        let leases = granted(&held);
        held.into_iter().for_each(|item| item.land(Landed::miss()));
        self.release_all(leases).await;
    }

    /// Asks for leases although there are entries.
    async fn ask_for_refresh(&self, place: usize, plan: &Plan, items: &mut [Item]) {
        let wanting =
            |item: &Item| item.access[place] == Access::Unasked || item.access[place] == Access::Read;
        let mut asking: Vec<&mut Item> = items.iter_mut().filter(|item| wanting(item)).collect();
        let request = |item: &&mut Item| {
            let lease = self.lease_request(place, plan, LeaseFor::Refresh)?;
            Some(Read { key: item.spot.key.clone(), lease: Some(lease) })
        };
        let Some(reads) = asking.iter().map(request).collect::<Option<Vec<Read>>>() else { return };
        if reads.is_empty() {
            return;
        }
        let tokens: Vec<Token> =
            reads.iter().filter_map(|read| read.lease).map(|lease| lease.token).collect();
        let tier = self.core.store(place);
        match tier.read(&self.core, "lease", reads).await {
            Ok(found) => {
                for ((item, token), found) in asking.iter_mut().zip(tokens).zip(found) {
                    item.note_access(place, token, &found);
                }
            }
            Err(_) => asking.iter_mut().for_each(|item| item.access[place] = Access::Down),
        }
    }

    /// Another process loads: waits for its entry, or for its lease to end.
    async fn wait_for_lease(&self, place: usize, plan: &Plan, mut waiting: Vec<Item>) -> Vec<Item> {
        let mut ours = Vec::new();
        if plan.background {
            // Nobody waits for these, and somebody refreshes them already. What left memory meanwhile is not among
            // them: a caller may have joined who has nothing else.
            let (refreshed, wanted): (Vec<Item>, Vec<Item>) =
                waiting.into_iter().partition(|item| item.candidate.is_some());
            for item in refreshed {
                let (key, leases) = (item.spot.key.clone(), item.leases.clone());
                item.land_candidate(None);
                self.release(&key, &leases).await;
            }
            waiting = wanted;
        }
        let give_up = self.core.now().after(self.space.policy.load_limit);
        let mut pause = FIRST_PAUSE;
        while !waiting.is_empty() && self.core.now() < give_up {
            self.pause_or_woken(pause, &waiting).await;
            pause = (pause * 2).min(self.longest_pause());
            let (fenced, standing): (Vec<Item>, Vec<Item>) =
                waiting.into_iter().partition(|item| self.note(&item.spot.key) != item.noted);
            // Invalidated since they set out: no tier will keep what they load, so they need no lease for it. Were
            // they to wait, flights from after the invalidation would go before them again and again.
            ours.extend(fenced.into_iter().map(|item| item.with_access(place, Access::GivenUp)));
            waiting = match standing.is_empty() {
                true => standing,
                false => self.look_again(place, plan, standing, &mut ours).await,
            };
        }
        for mut item in waiting {
            // Held beyond every patience: load, but leave the store to its holder.
            item.access[place] = Access::GivenUp;
            self.core.tell(|| Event::LeaseLost { namespace: self.name(), key: item.spot.key.clone() });
            ours.push(item);
        }
        ours
    }

    /// Polling is only for what no news tell.
    fn longest_pause(&self) -> Duration {
        if self.core.sync.is_some() { LONGEST_PAUSE_WITH_BUS } else { LONGEST_PAUSE }
    }

    /// Waits until it is time to look again, or news say that one of these leases ended.
    async fn pause_or_woken(&self, pause: Duration, waiting: &[Item]) {
        let bells = waiting.iter().map(|item| self.core.wakes.bell(&item.spot.key).notified());
        let mut bells: FuturesUnordered<_> = bells.collect();
        tokio::select! {
            biased;
            Some(()) = bells.next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    async fn look_again(
        &self,
        place: usize,
        plan: &Plan,
        waiting: Vec<Item>,
        ours: &mut Vec<Item>,
    ) -> Vec<Item> {
        let tier = self.core.store(place);
        let when = if plan.purpose.is_forced() { LeaseFor::Refresh } else { LeaseFor::Miss };
        let leases: Vec<_> = waiting.iter().map(|_| self.lease_request(place, plan, when)).collect();
        let reads = waiting
            .iter()
            .zip(&leases)
            .map(|(item, lease)| Read { key: item.spot.key.clone(), lease: *lease });
        let Ok(found) = tier.read(&self.core, "lease", reads.collect()).await else {
            ours.extend(waiting.into_iter().map(|item| item.with_access(place, Access::Down)));
            return Vec::new();
        };
        let mut still = Vec::new();
        for ((mut item, lease), found) in waiting.into_iter().zip(leases).zip(found) {
            let token = lease.map_or(Token(0), |lease| lease.token);
            if let Found::Hit(stored) = &found {
                match self.usable(place, &mut item, stored).await {
                    Some(held) if held.life == Life::Fresh => {
                        self.land_and_promote(place, plan, item, held, stored).await;
                    }
                    // Its load ended without an entry: ask for the lease although the old one is still there.
                    _ if self.take_refresh_lease(place, plan, &mut item).await => ours.push(item),
                    _ => still.push(item),
                }
            } else {
                item.note_access(place, token, &found);
                match item.access[place] {
                    Access::Held => still.push(item),
                    _ => ours.push(item),
                }
            }
        }
        still
    }

    /// Whether the item may go on: it has the lease now, or the store is down.
    async fn take_refresh_lease(&self, place: usize, plan: &Plan, item: &mut Item) -> bool {
        item.access[place] = Access::Read;
        self.ask_for_refresh(place, plan, std::slice::from_mut(item)).await;
        item.access[place] != Access::Held
    }

    /// Keeps the leases of a running load alive; never ends by itself.
    pub(crate) async fn renew_leases(&self, leases: &[(larder_core::Key, Lease)]) {
        if leases.is_empty() {
            return std::future::pending().await;
        }
        let ttl = self.core.settings.lease;
        loop {
            tokio::time::sleep(ttl / 3).await;
            let renew = |(key, lease): &(larder_core::Key, Lease)| {
                let (tier, key, token) = (self.core.store(lease.place), key.clone(), lease.token);
                // A lease that was lost is found out by its fill; a tier that fails has told so.
                async move { drop(tier.call(&self.core, "renew", tier.store.renew(key, token, ttl)).await) }
            };
            // As many at once as a connection takes well; one after the other, large batches would run out.
            stream::iter(leases.iter().map(renew)).for_each_concurrent(AT_ONCE, |renewed| renewed).await;
        }
    }

    /// Gives leases back unused, so that others need not wait for them to run out.
    pub(crate) async fn release(&self, key: &larder_core::Key, leases: &[Lease]) {
        self.release_all(leases.iter().map(|lease| (key.clone(), *lease)).collect()).await;
    }

    /// The same for many keys, as many at once as a connection takes well.
    pub(crate) async fn release_all(&self, leases: Vec<(larder_core::Key, Lease)>) {
        let release = |(key, lease): (larder_core::Key, Lease)| async move {
            let tier = self.core.store(lease.place);
            // If it cannot be given back, it runs out.
            let released = tier.store.release(key.clone(), lease.token);
            if let Ok(true) = tier.call(&self.core, "release", released).await {
                self.core.mention_freed(&key);
            }
        };
        stream::iter(leases.into_iter().map(release)).for_each_concurrent(AT_ONCE, |released| released).await;
    }
}

/// The leases that these items hold, with their keys.
pub(crate) fn granted<'i>(items: impl IntoIterator<Item = &'i Item>) -> Vec<(larder_core::Key, Lease)> {
    let of_item = |item: &'i Item| item.leases.iter().map(|lease| (item.spot.key.clone(), *lease));
    items.into_iter().flat_map(of_item).collect()
}
