//! Callers on a node that may have missed news, and the flights that are under way when they come.
//!
//! A flight may have begun before what this node did not hear of, and whoever removed it everywhere, who need not wait for
//! a node that does not serve its memory, may have been told that nobody serves what it removed (K13). So such a caller
//! lets the flight end before it joins or begins one; that one began after it.

use larder_core::{Key, Result};
use tokio::sync::watch;

use super::{
    Scope,
    flight::{FlightKey, Landed, Phase},
    read::{Patience, run_out},
    waits::Job,
    walk::Plan,
    wants::Wants,
};

impl Scope {
    /// Lets the flight of a key end. Answers what the caller takes meanwhile, if it will not wait for that.
    pub(super) async fn let_pass(
        &self,
        key: &Key,
        own: Option<&Landed>,
        wants: &Wants,
        loading: bool,
        patience: &mut Patience,
    ) -> Result<Option<Landed>> {
        let Some((job, mut phase)) = self.flight_aloft(key, wants, loading) else { return Ok(None) };
        let mut uncounted = Uncounted { scope: self, keys: std::slice::from_ref(key) };
        let _waiting = self.core.waits.wait_for(job).map_err(|error| error.at_key(key))?;
        loop {
            if let Some(taken) = self.take_at_hand(own, wants.accept, patience.soft_passed) {
                return Ok(Some(taken));
            }
            tokio::select! {
                biased;
                () = ended(&mut phase) => break,
                () = run_out(&mut patience.soft), if !patience.soft_passed => patience.soft_passed = true,
                () = run_out(&mut patience.hard) => {
                    return self.out_of_time(key, own.map(|own| Box::new(own.clone())), wants).map(Some);
                }
            }
        }
        uncounted.keys = &[];
        Ok(None)
    }

    /// The same for many keys. Answers whether they all ended while the caller likes to wait.
    pub(super) async fn let_all_pass(
        &self,
        keys: &[Key],
        wants: &Wants,
        loading: bool,
        patience: &mut Patience,
    ) -> Result<bool> {
        let mut uncounted = Uncounted { scope: self, keys };
        let (mut aloft, mut waiting) = (Vec::new(), Vec::new());
        for key in keys {
            if let Some((job, phase)) = self.flight_aloft(key, wants, loading) {
                waiting.push(self.core.waits.wait_for(job).map_err(|error| error.at_key(key))?);
                aloft.push(phase);
            }
        }
        for mut phase in aloft {
            loop {
                tokio::select! {
                    biased;
                    () = ended(&mut phase) => break,
                    () = run_out(&mut patience.soft), if !patience.soft_passed => patience.soft_passed = true,
                    () = run_out(&mut patience.hard) => return Ok(false),
                }
            }
        }
        uncounted.keys = &[];
        Ok(true)
    }

    fn flight_aloft(&self, key: &Key, wants: &Wants, loading: bool) -> Option<(Job, watch::Receiver<Phase>)> {
        let Plan { purpose, read, .. } = wants.plan(loading, false, wants.cause);
        let flight_key = FlightKey { key: key.clone(), noted: self.note(key), purpose, read };
        self.core.flights.aloft(&flight_key)
    }
}

async fn ended(phase: &mut watch::Receiver<Phase>) {
    while !matches!(*phase.borrow_and_update(), Phase::Ended(_)) && phase.changed().await.is_ok() {}
}

/// Reads that wait before their walk begins. One that is given up until then counts as the coalesced one that it is.
struct Uncounted<'a> {
    scope: &'a Scope,
    keys: &'a [Key],
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        self.keys.iter().for_each(|key| self.scope.note_coalesced(key, false));
    }
}
