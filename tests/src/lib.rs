//! What the tests of the promises share: a versioned origin, stacks of every shape over real parts, a bench that holds
//! both, and fleets of processes.

mod bench;
pub mod fleet;
mod origin;

pub use bench::{Bench, Shape, plain};
pub use origin::{Origin, Row};
