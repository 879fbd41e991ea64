//! The stages of the demo, one after another; an interruption leaves out those not begun.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::net::TcpListener;

use super::{
    again::{ask_each, compare, distinct_reads},
    caches::{CacheCount, Caches},
    clock,
    http::{Server, router},
    load::{Load, drive},
    origin::OriginCount,
    progress::Progress,
    report::{Cached, Phase, Restart, Stampede, millis, share},
    run::Demo,
    service::Service,
    stampede::{CALLERS, trample},
    traffic::Ask,
};
use crate::fault::Fault;

/// The key of the stampede: one of the most expensive answers.
const TRAMPLED: &str = "US";

impl Demo {
    /// Each stage, unless somebody interrupts before it.
    ///
    /// # Errors
    /// If a stage cannot begin or go on.
    pub(crate) async fn stages(&mut self) -> Result<(), Fault> {
        self.without().await?;
        if self.interrupted() {
            return Ok(());
        }
        let reads = self.with().await?;
        if self.interrupted() {
            return Ok(());
        }
        self.restart(&reads).await?;
        if self.interrupted() {
            return Ok(());
        }
        self.stampede().await
    }

    fn interrupted(&self) -> bool {
        self.interrupt.code().is_some()
    }

    async fn without(&mut self) -> Result<(), Fault> {
        let (phase, load) = self.load("Without Larder", Service::uncached(self.origin.clone())).await?;
        self.latencies.push(("without Larder", phase.rps, load.latencies));
        self.report.count(load.tally);
        self.report.uncached = Some(phase);
        Ok(())
    }

    async fn with(&mut self) -> Result<Arc<[Ask]>, Fault> {
        let service = self.cached_service().await?;
        let before = self.caches.count();
        let (phase, load) = self.load("With Larder", Arc::clone(&service)).await?;
        let count = self.caches.count().since(before);
        let reads: Arc<[Ask]> = distinct_reads(&self.plan, &load).into();
        self.latencies.push(("with Larder", phase.rps, load.latencies));
        self.report.count(load.tally);
        self.report.cached = Some(cached(phase, self.report.uncached.as_ref(), count));
        self.compare(&reads, service).await;
        Ok(reads)
    }

    /// One load phase against a server of its own.
    async fn load(&self, name: &'static str, service: Arc<Service>) -> Result<(Phase, Load), Fault> {
        let progress = Progress::stage(name);
        let server = start(service).await?;
        let before = self.origin.count();
        let load = drive(&self.plan, server.address(), &progress, &self.interrupt).await;
        let origin = self.origin.count().since(before);
        server.end().await;
        let load = load?;
        Ok((Phase::new(&load, origin), load))
    }

    /// Closes the stack, opens it again, and asks everything once more.
    async fn restart(&mut self, reads: &Arc<[Ask]>) -> Result<(), Fault> {
        let progress = Progress::stage("After a restart");
        let began = clock::now();
        self.caches.close().await?;
        self.caches = Arc::new(Caches::open(&self.tiers, true).await?);
        let service = self.cached_service().await?;
        let reopened = began.elapsed();
        let server = start(Arc::clone(&service)).await?;
        let (calls, before) = (self.origin.count(), self.caches.count());
        let tally = ask_each(&self.plan, reads, server.address(), &progress, &self.interrupt).await;
        let (calls, count) = (self.origin.count().since(calls), self.caches.count().since(before));
        server.end().await;
        let tally = tally?;
        self.report.restart = Some(restarted(reopened, tally.answers(), count, calls));
        self.report.count(tally);
        self.compare(reads, service).await;
        Ok(())
    }

    async fn stampede(&mut self) -> Result<(), Fault> {
        let _progress = Progress::stage("A stampede");
        let service = self.cached_service().await?;
        let ask = Ask::Stats(TRAMPLED.into());
        // A tier that is down cannot remove it, and is not read until it has: the key is cold either way.
        drop(self.caches.forget_country(TRAMPLED).await);
        let (calls, before) = (self.origin.count(), self.caches.count());
        let (tally, took) = trample(&router(service), &self.plan.checker, &ask).await;
        self.report.stampede = Some(Stampede {
            callers: CALLERS as u64,
            answered: tally.answers(),
            origin_calls: self.origin.count().since(calls).calls,
            coalesced: self.caches.count().since(before).coalesced,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        self.report.count(tally);
        Ok(())
    }

    async fn compare(&mut self, reads: &[Ask], service: Arc<Service>) {
        let database = router(Service::uncached(self.origin.clone()));
        let tally = compare(reads, &router(service), &database).await;
        self.report.count(tally);
    }

    /// The service with Larder, told of the changes of earlier stages and runs.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn cached_service(&self) -> Result<Arc<Service>, Fault> {
        Service::cached(self.origin.clone(), Arc::clone(&self.caches))
            .await
            .map_err(|error| Fault::because("cannot read earlier changes", &error))
    }
}

/// A server on a free port of this machine.
async fn start(service: Arc<Service>) -> Result<Server, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|error| Fault::because("cannot listen on this machine", &error))?;
    Server::start(listener, service).map_err(|error| Fault::because("cannot serve on this machine", &error))
}

fn cached(phase: Phase, uncached: Option<&Phase>, count: CacheCount) -> Cached {
    let CacheCount { hits, misses, coalesced } = count;
    let would_be = uncached.map_or(0.0, Phase::busy_each_ms) * phase.requests as f64;
    // A phase that cost more than it saved saved nothing.
    let time_saved_ms = (would_be - phase.origin_busy_ms as f64).max(0.0) as u64;
    Cached { hit_ratio: share(hits.all(), hits.all() + misses), phase, hits, coalesced, time_saved_ms }
}

fn restarted(reopened: Duration, requests: u64, count: CacheCount, origin: OriginCount) -> Restart {
    let hits = count.hits;
    let first_reads = hits.disk + hits.redis + count.misses;
    Restart {
        reopen_ms: millis(reopened),
        requests,
        first_reads,
        hits,
        origin_calls: origin.calls,
        disk_share: share(hits.disk, first_reads),
        warm_share: share(hits.disk + hits.redis, first_reads),
    }
}
