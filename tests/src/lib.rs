//! What the tests of the promises share: a versioned origin, stacks of every shape over real parts, and a bench that
//! holds both.

mod bench;
mod origin;

pub use bench::{Bench, Shape, plain};
pub use origin::{Origin, Row};
