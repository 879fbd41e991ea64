//! Row 22: the name by which processes know their server comes to mean another address.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use larder_promises::fleet::{Fleet, Watch, until};
use larder_testkit::RedisServer;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::NODE;

const KEYS: u64 = 6;

/// An address behind which a server is. Dropping it closes it, with all connections.
struct Door {
    address: SocketAddr,
    _open: JoinSet<()>,
}

impl Door {
    async fn open(at: &str, server: SocketAddr) -> Self {
        let listener =
            TcpListener::bind(at).await.expect("nobody else uses this address of the loopback interface");
        let address = listener.local_addr().expect("it is bound");
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                visits.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Self { address, _open: open }
    }
}

fn name_means(folder: &Path, address: &str) {
    let new = folder.join("new");
    fs::write(&new, address).and_then(|()| fs::rename(&new, folder.join("name"))).expect("it is written");
}

/// A program that is a node for which the name means what the folder says.
fn program(folder: &Path) -> String {
    let (library, program) = (folder.join("names.so"), folder.join("node"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/names.c");
    let mut compile = Command::new("cc");
    let made = compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().expect("cc runs");
    assert!(made.success(), "it compiles");
    let folder = folder.display();
    let script =
        format!("#!/bin/sh\nLARDER_NAME={folder}/name LD_PRELOAD={folder}/names.so exec {NODE} \"$@\"\n");
    fs::write(&program, script).expect("it is written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("it is ours");
    program.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_name_that_comes_to_mean_another_address_is_followed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let door = Door::open("127.0.0.1:0", old.address()).await;
    let port = door.address.port();
    name_means(folder.path(), "127.0.0.1");
    let url = format!("redis://cache.test:{port}");
    let fleet = Fleet::start_direct(&url, &program(folder.path()), 2, &[]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let span = Duration::from_millis(300);
    assert!(fleet.write_for(span, 2, KEYS).await > 0);

    let _door = Door::open(&format!("127.0.0.2:{port}"), new.address()).await;
    name_means(folder.path(), "127.0.0.2");
    drop(door);
    fleet.history.happened("the server is elsewhere");
    fleet.settled(KEYS).await;
    fleet.write_for(span, 2, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    until("rows are at the new address", async || {
        !new.command(&["KEYS", "*v:row:*"]).await.expect("it answers").is_empty()
    })
    .await;
    for node in &fleet.nodes {
        assert!(node.seen("lineage_changed").await > 0, "another server has another history");
    }
}
