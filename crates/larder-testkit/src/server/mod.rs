//! Real servers as child processes: on free loopback ports, in temporary folders, gone when the test is.

mod process;
mod redis;
mod spawner;

pub(crate) use process::blocking;
pub use process::{Program, Server};
pub use redis::{RedisOptions, RedisServer};
