//! The index of tags: for each tag and partition a sorted set of keys, by when their time is over.
//!
//! It lies in the slot of the values it lists and is written in the same step. Members whose time is over go whenever the
//! set is touched, and the set as a whole with the last of them, so nothing is left of what expired.

use bytes::Bytes;
use larder_core::{Cursor, Error, ErrorKind, Key, Page, PageEntry, Result};
use redis::Value;

use crate::{batch::Routed, fault::unexpected_reply, reply::Reply, store::Inner};

/// How many steps a page may take: in a large cluster many partitions may hold nothing of a tag.
const STEPS_A_PAGE: usize = 64;
/// How many members the server looks at in one step.
const LIMIT_MAX: usize = 1_000;

impl Inner {
    /// The indexes that a key is to be listed in.
    pub(crate) fn tag_indexes(&self, key: &Key, tags: &[Bytes]) -> impl Iterator<Item = Vec<u8>> {
        let partition = self.layout.partition(key);
        let tags = if self.settings.tag_index { tags } else { &[] };
        tags.iter().map(move |tag| self.layout.tag_index(partition, tag))
    }

    /// Goes through the partitions one after the other until the page is full.
    pub(crate) async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        if !self.settings.tag_index {
            let what = "the keys of a tag are not listed; turn `tag_index` on, at every node";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let limit = limit.clamp(1, LIMIT_MAX);
        let mut place = Place::of(&from)?;
        let mut page = Page::default();
        for _ in 0..STEPS_A_PAGE {
            if place.partition >= self.settings.partitions || page.entries.len() >= limit {
                break;
            }
            let next = self.step_through_tag(&tag, place, limit - page.entries.len(), &mut page).await?;
            place = match next {
                0 => Place { partition: place.partition + 1, at: 0 },
                at => Place { at, ..place },
            };
        }
        page.next = (place.partition < self.settings.partitions).then(|| place.cursor());
        Ok(page)
    }

    /// One step in one partition. Answers where it goes on there; 0 at its end.
    async fn step_through_tag(
        &self,
        tag: &Bytes,
        place: Place,
        count: usize,
        page: &mut Page,
    ) -> Result<u64> {
        let partition = place.partition;
        let mut command = self.scripts.tagged.call(&[self.layout.tag_index(partition, tag)]);
        command.arg(place.at).arg(count);
        let answers =
            self.batches.run(vec![Routed { partition, command }], Some(&self.scripts.tagged)).await?;
        let answer = answers.into_iter().next().ok_or_else(unexpected_reply)?;
        let mut reply = Reply::of(&self.connection, answer)?;
        let next = reply.bytes()?;
        for key in reply.list()? {
            let Value::BulkString(key) = key else { return Err(unexpected_reply()) };
            page.entries.push(PageEntry { key: key.into(), stored_bytes: None });
        }
        std::str::from_utf8(&next).ok().and_then(|next| next.parse().ok()).ok_or_else(unexpected_reply)
    }
}

/// Where a listing stands: in which partition, where in its set.
#[derive(Clone, Copy, Default)]
struct Place {
    partition: u16,
    at: u64,
}

impl Place {
    fn of(cursor: &Cursor) -> Result<Self> {
        if *cursor == Cursor::START {
            return Ok(Self::default());
        }
        let parse = || {
            let (partition, at) = std::str::from_utf8(&cursor.0).ok()?.split_once('.')?;
            Some(Self { partition: partition.parse().ok()?, at: at.parse().ok()? })
        };
        parse().ok_or_else(|| Error::new(ErrorKind::Invalid, "the cursor is none of this store's"))
    }

    fn cursor(self) -> Cursor {
        Cursor(format!("{}.{}", self.partition, self.at).into())
    }
}
