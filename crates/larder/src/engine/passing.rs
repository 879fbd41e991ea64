//! Callers on a node that may have missed news, and the flights that are under way when they come.
//!
//! A flight may have begun before what this node did not hear of, and whoever removed it everywhere, who need not wait for
//! a node that does not serve its memory, may have been told that nobody serves what it removed (K13). So such a caller
//! lets the flight end before it joins or begins one; that one began after it.

use larder_core::{Key, Result};
use smallvec::{SmallVec, smallvec};

use super::{
    MEMORY, Scope,
    flight::{FlightKey, Landed, Over},
    read::{Call, Patience, run_out},
    waits::Job,
    walk::Plan,
    wants::Answered,
};
use crate::value::Entry;

impl Scope {
    /// Lets the flight of a key end. Answers what the caller takes meanwhile, if it will not wait for that.
    pub(super) async fn let_pass(
        &self,
        key: &Key,
        own: Option<&Landed>,
        call: Call<'_>,
        patience: &mut Patience,
    ) -> Result<Option<Landed>> {
        let Some((job, mut over)) = self.flight_aloft(key, call) else { return Ok(None) };
        let mut uncounted = Uncounted { scope: self, reads: smallvec![(key, true)] };
        let _waiting = self.core.waits.wait_for(job).map_err(|error| error.at_key(key))?;
        loop {
            if let Some(taken) = self.take_at_hand(own, call.wants.accept, patience.soft_passed) {
                return Ok(Some(taken));
            }
            tokio::select! {
                biased;
                () = over.ended() => break,
                () = run_out(&mut patience.soft), if !patience.soft_passed => patience.soft_passed = true,
                () = run_out(&mut patience.hard) => {
                    return self.out_of_time(key, own.map(|own| Box::new(own.clone())), call.wants).map(Some);
                }
            }
        }
        uncounted.reads.clear();
        Ok(None)
    }

    /// The same for many keys of a call, with what memory had of each by its place. Answers what the caller takes of some
    /// meanwhile, by place, once the flights of the others have ended; nothing if it will not wait for that.
    pub(super) async fn let_all_pass(
        &self,
        keys: &[(usize, Key)],
        owns: &[Option<Entry>],
        call: Call<'_>,
        patience: &mut Patience,
    ) -> Result<Option<Vec<(usize, Landed)>>> {
        let flights: Vec<_> = keys.iter().map(|(_, key)| self.flight_aloft(key, call)).collect();
        let reads = keys.iter().zip(&flights).map(|((_, key), flight)| (key, flight.is_some()));
        let mut uncounted = Uncounted { scope: self, reads: reads.collect() };
        let (mut aloft, mut waiting) = (Vec::new(), Vec::new());
        for ((at, key), flight) in keys.iter().zip(flights) {
            if let Some((job, over)) = flight {
                waiting.push(self.core.waits.wait_for(job).map_err(|error| error.at_key(key))?);
                aloft.push((*at, key, over));
            }
        }
        let (mut taken, mut takers) = (Vec::new(), SmallVec::new());
        for (at, key, mut over) in aloft {
            let own = owns[at].as_ref().map(|entry| Landed::found(MEMORY, entry.clone()));
            while !over.is_ended() {
                if let Some(landed) = self.take_at_hand(own.as_ref(), call.wants.accept, patience.soft_passed)
                {
                    taken.push((at, landed));
                    takers.push((key, true));
                    break;
                }
                tokio::select! {
                    biased;
                    () = over.ended() => {}
                    () = run_out(&mut patience.soft), if !patience.soft_passed => patience.soft_passed = true,
                    () = run_out(&mut patience.hard) => return Ok(None),
                }
            }
        }
        uncounted.reads = takers;
        Ok(Some(taken))
    }

    /// Answers all keys that have no answer yet with what was at hand, or fails.
    pub(super) fn all_out_of_time(
        &self,
        keys: &[Key],
        owns: Vec<Option<Entry>>,
        answers: Vec<Option<Answered>>,
        call: Call<'_>,
    ) -> Result<Vec<Answered>> {
        let found = |entry| Box::new(Landed::found(MEMORY, entry));
        let answered = |((key, own), answer): ((&Key, Option<Entry>), Option<Answered>)| match answer {
            Some(answer) => Ok(answer),
            None => self.answer(key, self.out_of_time(key, own.map(found), call.wants)?, call),
        };
        keys.iter().zip(owns).zip(answers).map(answered).collect()
    }

    fn flight_aloft(&self, key: &Key, call: Call<'_>) -> Option<(Job, Over)> {
        let Plan { purpose, read, .. } = call.wants.plan(call.loading, false, call.wants.cause);
        let flight_key = FlightKey { key: key.clone(), noted: self.note(key), purpose, read };
        self.core.flights.aloft(&flight_key)
    }
}

/// Reads that wait before their walk begins, and whether each waits for a flight. One that is given up until then counts
/// as the coalesced one that it is; if nobody flies, as a miss.
struct Uncounted<'a> {
    scope: &'a Scope,
    reads: SmallVec<[(&'a Key, bool); 1]>,
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        for (key, is_aloft) in &self.reads {
            if *is_aloft {
                self.scope.note_coalesced(key, false);
            } else {
                self.scope.note_miss(key);
            }
        }
    }
}
