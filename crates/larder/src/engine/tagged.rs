//! The optional index of tags: what is listed there, and going through a tag's keys page by page.
//!
//! The index is advice. A store lists what was written with a tag, for as long as that is kept; whether the entry still
//! is there, bears the tag and stands before the barriers is seen when it is read, a few at a time.

use std::time::Duration;

use bytes::Bytes;
use larder_core::{Cursor, Error, ErrorKind, Found, Key, Life, Read, Result, Store, Stored};

use super::{Scope, seal::Making, sweep::Dead};
use crate::{policy::barrier::tag_text, value::Extra};

/// How many keys a page may be asked for.
const PAGE_MAX: usize = 1_000;
/// How many entries are read at once.
const READ_AT_ONCE: usize = 32;
/// How long a store may take to list a page: in a cluster it asks many servers, one after the other.
const LIST_LIMIT: Duration = Duration::from_secs(5);

/// Keys of a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagPage {
    /// Those whose entries bear the tag and stand, in no order.
    pub keys: Vec<Key>,
    /// Where to go on; `None` at the end. A page may be empty and still not be the last.
    pub next: Option<Cursor>,
}

impl Scope {
    /// What a store is to list a new entry under.
    pub(super) fn tags_of(&self, place: usize, making: &Making) -> Vec<Bytes> {
        self.listed_tags(place, making.extra.as_deref())
    }

    /// The same for an entry that is there.
    pub(super) fn listed_tags(&self, place: usize, extra: Option<&Extra>) -> Vec<Bytes> {
        match extra {
            Some(extra) if self.core.store(place).capabilities.tag_index => {
                extra.tags.iter().map(|tag| self.index_name(tag)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn index_name(&self, tag: &str) -> Bytes {
        let [_, own] = self.space.names.scopes();
        tag_text(own, tag)
    }

    /// A page of the keys of a tag, as the store lists them that other nodes share, or else the first that does.
    pub(crate) async fn keys_of_tag(&self, tag: &str, from: Cursor, limit: usize) -> Result<TagPage> {
        if !(1..=PAGE_MAX).contains(&limit) {
            let text = format!("a page of {limit} keys was asked for; ask for 1 to {PAGE_MAX}");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let place = self.indexing_place()?;
        let tier = self.core.store(place);
        let listing = tier.store.tagged(self.index_name(tag), from, limit);
        let page = tier.call_within(LIST_LIMIT, &self.core, "tagged", listing).await?;
        let mut keys = Vec::new();
        for entries in page.entries.chunks(READ_AT_ONCE) {
            let listed = entries.iter().filter_map(|entry| Key::from_escaped(entry.key.clone()).ok());
            let listed: Vec<Key> = listed.filter(|key| self.is_own(key) && !tier.owes(key)).collect();
            let reads = listed.iter().map(|key| Read { key: key.clone(), lease: None }).collect();
            let found = tier.read(&self.core, "tagged", reads).await?;
            for (key, found) in listed.into_iter().zip(found) {
                if let Found::Hit(stored) = found
                    && self.bears(place, &key, stored, tag).await
                {
                    keys.push(key);
                }
            }
        }
        Ok(TagPage { keys, next: page.next })
    }

    /// Whether a key is one of this namespace: whoever else writes to the store may have listed anything there.
    fn is_own(&self, key: &Key) -> bool {
        let own = self.core.scope_of(key).is_some_and(|scope| scope.space.id == self.space.id);
        own && !self.space.is_over(key)
    }

    fn indexing_place(&self) -> Result<usize> {
        let lists = |place: &usize| self.core.store(*place).capabilities.tag_index;
        let place = self.authority_place().filter(lists).or_else(|| self.store_places().find(lists));
        let text = "no store lists the keys of a tag; turn the index of one on, say by RedisSettings::with_tag_index";
        place.ok_or_else(|| Error::new(ErrorKind::Unsupported, text))
    }

    /// Whether a stored entry bears a tag and stands. What a barrier made dead is removed. Floors are not asked: a key's
    /// neighbours raise them too, and a reader who is told to doubt an entry for a while does not make it go.
    async fn bears(&self, place: usize, key: &Key, stored: Stored, tag: &str) -> bool {
        let Ok(mut held) = self.open(key, &stored, self.note(key)) else { return false };
        let extra = held.entry.extra.as_deref();
        if held.life == Life::Dead || !extra.is_some_and(|extra| extra.tags.iter().any(|own| **own == *tag)) {
            return false;
        }
        let stands = self.stands(place, key, &mut held.entry).await;
        if !stands {
            self.sweep(place, key, Dead::of(&stored, &held.entry));
        }
        stands
    }
}
