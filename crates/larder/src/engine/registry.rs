//! The namespaces of a stack, by number and by name. They are never forgotten.

use std::{collections::HashMap, sync::Arc};

use larder_core::Key;

use super::Space;
use crate::policy::epoch;

#[derive(Default)]
pub(crate) struct Registry {
    /// In the order of their numbers.
    spaces: Vec<Arc<Space>>,
    by_prefix: HashMap<Box<[u8]>, usize>,
}

impl Registry {
    pub(crate) fn all(&self) -> &[Arc<Space>] {
        &self.spaces
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Arc<Space>> {
        self.spaces.get(id as usize)
    }

    /// The namespace with this prefix, if there is one.
    pub(crate) fn at(&self, prefix: &[u8]) -> Option<&Arc<Space>> {
        self.by_prefix.get(prefix).map(|&at| &self.spaces[at])
    }

    /// The namespace that a key belongs to, if this process has it.
    pub(crate) fn of(&self, key: &Key) -> Option<&Arc<Space>> {
        let parted = epoch::parted(key.as_bytes())?;
        self.at(parted.prefix)
    }

    /// Adds a namespace whose number is the count of those there are.
    pub(crate) fn add(&mut self, space: Arc<Space>) {
        self.by_prefix.insert(space.prefix.as_bytes().into(), self.spaces.len());
        self.spaces.push(space);
    }
}
