//! Real servers as child processes: on free loopback ports, in temporary folders, gone when the test is.

mod cluster;
mod process;
mod redis;
mod sentinel;
mod spawner;

pub use cluster::RedisCluster;
pub(crate) use process::blocking;
pub use process::{Program, Server};
pub use redis::{RedisOptions, RedisServer};
pub use sentinel::WatchedRedis;
