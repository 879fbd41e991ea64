//! How caches become contenders: the loops that ask and write, each compiled for its cache.

use std::{ops::Range, sync::Arc};

use super::{Asks, Gets, Puts, Writes, elsewhere, here};
use crate::{
    measure::{Contender, Who, lap, lap_async},
    workload::{Key, Sequence},
};

/// Of so many questions of a mixed load one is a write.
pub(crate) const WRITE_EVERY: usize = 10;

/// Answers at once.
pub(crate) fn getting<K: Key>(who: Who, cache: &Arc<impl Gets<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| lap(|| questions.filter(|&at| cache.get(sequence.at(at))).count()))
}

/// Is awaited in one task, on a runtime of the thread that asks.
pub(crate) fn asking<K: Key>(who: Who, cache: &Arc<impl Asks<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| here(lap_async(ask_all(&*cache, &*sequence, questions))))
}

/// Is awaited in one task, on a runtime of many threads.
pub(crate) fn spawned<K: Key>(who: Who, cache: &Arc<impl Asks<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let (cache, sequence) = (Arc::clone(&cache), Arc::clone(&sequence));
        elsewhere(async move { lap_async(ask_all(&*cache, &*sequence, questions)).await })
    })
}

/// Writes each key of the sequence.
pub(crate) fn putting<K: Key>(who: Who, cache: &Arc<impl Puts<K>>, sequence: &Arc<Sequence<K>>) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let put = |at: usize| cache.put(sequence.at(at), at as u64);
        lap(|| questions.map(put).count())
    })
}

/// Writes each key of the sequence, in one task of a runtime that has threads for what a write leaves to others.
pub(crate) fn writing<K: Key>(
    who: Who,
    cache: &Arc<impl Writes<K>>,
    sequence: &Arc<Sequence<K>>,
) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let (cache, sequence) = (Arc::clone(&cache), Arc::clone(&sequence));
        let write_all = async move {
            let written = questions.len();
            for at in questions {
                cache.write(sequence.at(at), at as u64).await;
            }
            written
        };
        elsewhere(lap_async(write_all))
    })
}

/// Asks, and now and then writes.
pub(crate) fn mixing<K: Key>(
    who: Who,
    cache: &Arc<impl Gets<K> + Puts<K>>,
    sequence: &Arc<Sequence<K>>,
) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let answer = |at: &usize| {
            if at.is_multiple_of(WRITE_EVERY) {
                cache.put(sequence.at(*at), *at as u64);
                return true;
            }
            cache.get(sequence.at(*at))
        };
        lap(|| questions.filter(answer).count())
    })
}

/// Asks, and now and then writes, in one task as [`writing`].
pub(crate) fn mixing_async<K: Key>(
    who: Who,
    cache: &Arc<impl Asks<K> + Writes<K>>,
    sequence: &Arc<Sequence<K>>,
) -> Contender {
    let (cache, sequence) = (Arc::clone(cache), Arc::clone(sequence));
    Contender::new(who, move |questions| {
        let (cache, sequence) = (Arc::clone(&cache), Arc::clone(&sequence));
        elsewhere(lap_async(async move { mix_all(&*cache, &*sequence, questions).await }))
    })
}

async fn mix_all<K: Key>(
    cache: &(impl Asks<K> + Writes<K>),
    sequence: &Sequence<K>,
    questions: Range<usize>,
) -> usize {
    let mut hits = 0;
    for at in questions {
        let key = sequence.at(at);
        if at.is_multiple_of(WRITE_EVERY) {
            cache.write(key, at as u64).await;
            hits += 1;
        } else {
            hits += usize::from(cache.ask(key).await);
        }
    }
    hits
}

async fn ask_all<K: Key>(cache: &impl Asks<K>, sequence: &Sequence<K>, questions: Range<usize>) -> usize {
    let mut hits = 0;
    for at in questions {
        hits += usize::from(cache.ask(sequence.at(at)).await);
    }
    hits
}
