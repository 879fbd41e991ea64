//! Hit ratios: how many questions a cache can answer when it cannot hold everything.

use crate::scenarios::{Effort, Findings};

/// All workloads at all capacities.
pub(crate) fn run(_: Effort, _: &mut Findings) {}
