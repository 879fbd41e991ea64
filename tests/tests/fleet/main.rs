//! Several nodes as processes of their own over real Redis, while the network, the server and the nodes fail.

mod bus;
mod clock;
mod cluster;
mod epochs;
mod failover;
mod loads;
mod names;
mod outage;
mod partition;
mod priming;
mod sentinel;
mod slots;
mod tags;

use larder_promises::fleet::Fleet;
use larder_testkit::RedisServer;

/// The program that a node is.
const NODE: &str = env!("CARGO_BIN_EXE_fleet-node");

/// Three nodes over a server of their own.
async fn three(settings: &[&str]) -> (RedisServer, Fleet) {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(&redis, NODE, 3, settings).await;
    (redis, fleet)
}
