//! Listing and clearing: `SCAN` with literal patterns, never `KEYS` or `FLUSHDB`.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_core::{Cursor, Error, ErrorKind, KeyPrefix, Page, PageEntry, Result};
use redis::Value;

use crate::{
    batch::Routed,
    fault::unexpected_reply,
    layout::Kind,
    link::{Link, Node},
    store::Inner,
};

/// How many steps a page may take that find nothing, among the keys of others.
const EMPTY_STEPS_A_PAGE: usize = 32;

/// One step of a scan: where to go on (0: the end) and the names found.
struct Step {
    next: u64,
    names: Vec<Vec<u8>>,
}

impl Inner {
    pub(crate) fn may_list(&self) -> bool {
        !self.settings.prefix.is_empty() || self.settings.allow_unprefixed_clear
    }

    /// Two scans: once all leases that stood are void, no load from before can fill what the second one has passed.
    pub(crate) async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        self.demand_prefix("clear")?;
        self.unlink_all(&prefix, Kind::Lease).await?;
        self.unlink_all(&prefix, Kind::Value).await
    }

    /// Removes everything of a kind under a prefix and answers how many that were.
    async fn unlink_all(&self, prefix: &KeyPrefix, kind: Kind) -> Result<u64> {
        let pattern = self.layout.pattern(prefix, kind == Kind::Lease);
        let mut removed = 0;
        for node in self.nodes().await? {
            let mut at = 0;
            loop {
                let step = self.step(&node, at, &pattern, self.settings.scan_count).await?;
                for names in step.names.chunks(self.settings.delete_batch) {
                    removed += self.unlink(prefix, kind, names).await?;
                }
                at = step.next;
                if at == 0 {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Removes what is ours and of this kind among `names` and answers how many that were.
    async fn unlink(&self, prefix: &KeyPrefix, kind: Kind, names: &[Vec<u8>]) -> Result<u64> {
        let mut ours: BTreeMap<u16, Vec<&[u8]>> = BTreeMap::new();
        for name in names {
            match self.layout.parse(name) {
                Some((partition, of_kind, key)) if of_kind == kind && prefix.covers(key) => {
                    ours.entry(partition).or_default().push(name);
                }
                _ => {}
            }
        }
        let commands = ours.into_iter().map(|(partition, names)| {
            let mut command = redis::cmd(self.settings.delete_strategy.command());
            command.arg(names);
            Routed { partition, command }
        });
        let mut removed = 0;
        for answer in self.batches.run(commands.collect(), None).await? {
            match self.connection.answer(answer)? {
                Value::Int(count) => removed += u64::try_from(count).unwrap_or(0),
                _ => return Err(unexpected_reply()),
            }
        }
        Ok(removed)
    }

    pub(crate) async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.demand_prefix("len")?;
        let pattern = self.layout.pattern(&prefix, false);
        let mut count = 0;
        for node in self.nodes().await? {
            let mut at = 0;
            loop {
                let step = self.step(&node, at, &pattern, self.settings.scan_count).await?;
                count += step.names.iter().filter(|name| self.listed(&prefix, name).is_some()).count() as u64;
                at = step.next;
                if at == 0 {
                    break;
                }
            }
        }
        Ok(count)
    }

    pub(crate) async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        self.demand_prefix("scan")?;
        let pattern = self.layout.pattern(&prefix, false);
        let count = limit.clamp(1, self.settings.scan_count);
        let nodes = self.nodes().await?;
        let mut place = Place::of(&from, &nodes)?;
        let mut page = Page::default();
        for _ in 0..EMPTY_STEPS_A_PAGE {
            let Some(node) = nodes.get(place.node) else { return Ok(page) };
            let step = self.step(node, place.at, &pattern, count).await?;
            page.entries.extend(step.names.iter().filter_map(|name| self.listed(&prefix, name)));
            place = match step.next {
                0 => Place { node: place.node + 1, at: 0 },
                at => Place { at, ..place },
            };
            if !page.entries.is_empty() {
                break;
            }
        }
        page.next = nodes.get(place.node).map(|node| place.cursor(node));
        Ok(page)
    }

    fn listed(&self, prefix: &KeyPrefix, name: &[u8]) -> Option<PageEntry> {
        match self.layout.parse(name) {
            Some((_, Kind::Value, key)) if prefix.covers(key) => {
                Some(PageEntry { key: Bytes::copy_from_slice(key), stored_bytes: None })
            }
            _ => None,
        }
    }

    /// In the order of their names, which cursors rely on.
    async fn nodes(&self) -> Result<Vec<Node>> {
        let mut nodes = self.connection.call(async |mut link: Link| link.nodes().await).await?;
        nodes.sort_by_cached_key(name_of);
        nodes.dedup();
        Ok(nodes)
    }

    async fn step(&self, node: &Node, at: u64, pattern: &[u8], count: usize) -> Result<Step> {
        let mut command = redis::cmd("SCAN");
        command.arg(at).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        let answer = self.connection.call(async |mut link: Link| link.at(node, &command).await).await?;
        let Value::Array(parts) = self.connection.answer(answer)? else { return Err(unexpected_reply()) };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(next)), Some(Value::Array(names))) = (parts.next(), parts.next()) else {
            return Err(unexpected_reply());
        };
        let next = number(&next).ok_or_else(unexpected_reply)?;
        let name =
            |value| if let Value::BulkString(name) = value { Ok(name) } else { Err(unexpected_reply()) };
        Ok(Step { next, names: names.into_iter().map(name).collect::<Result<_>>()? })
    }

    fn demand_prefix(&self, operation: &str) -> Result<()> {
        if self.may_list() {
            return Ok(());
        }
        let what =
            format!("`{operation}` needs a prefix, or `allow_unprefixed_clear`: others may keep keys here");
        Err(Error::new(ErrorKind::Invalid, what))
    }
}

/// Where a scan stands: at which node, where in it.
#[derive(Clone, Copy)]
struct Place {
    node: usize,
    at: u64,
}

impl Place {
    /// A cursor names its node, so that it still holds when nodes come and go: a node that left is skipped.
    fn of(cursor: &Cursor, nodes: &[Node]) -> Result<Self> {
        if *cursor == Cursor::START {
            return Ok(Self { node: 0, at: 0 });
        }
        let parse = || {
            let (at, node) = std::str::from_utf8(&cursor.0).ok()?.split_once('@')?;
            Some((at.parse().ok()?, node.to_owned()))
        };
        let (at, wanted): (u64, String) =
            parse().ok_or_else(|| Error::new(ErrorKind::Invalid, "the cursor is none of this store's"))?;
        let node = nodes.iter().position(|node| name_of(node) >= wanted).unwrap_or(nodes.len());
        let still_there = nodes.get(node).is_some_and(|node| name_of(node) == wanted);
        Ok(Self { node, at: if still_there { at } else { 0 } })
    }

    fn cursor(self, node: &Node) -> Cursor {
        Cursor(Bytes::from(format!("{}@{}", self.at, name_of(node))))
    }
}

fn name_of(node: &Node) -> String {
    node.as_ref().map(|(host, port)| format!("{host}:{port:05}")).unwrap_or_default()
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
