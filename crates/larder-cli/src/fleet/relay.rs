//! What stands between the nodes and the bus, so that it can be cut without anybody being told.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::fault::Fault;

/// Passes bytes on, or swallows them: a connection that went dead and says nothing.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    passing: Arc<watch::Sender<bool>>,
}

impl Relay {
    pub(super) async fn before(server: String) -> Result<Self, Fault> {
        let failed = |error| Fault::because("cannot stand before the bus", &error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let passing = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&passing);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, passing) = (server.clone(), state.subscribe());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        carry(client, server, passing).await;
                    }
                });
            }
        });
        Ok(Self { address, passing })
    }

    pub(super) fn set_passing(&self, passing: bool) {
        self.passing.send_replace(passing);
    }
}

async fn carry(client: TcpStream, server: TcpStream, passing: watch::Receiver<bool>) {
    // A relay that waits to fill its packets would add what a peer waits before it acknowledges: 40 ms. Where it cannot
    // be asked not to, it is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = pass(&mut from_client, &mut to_server, passing.clone()) => {}
        () = pass(&mut from_server, &mut to_client, passing) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    passing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if *passing.borrow() && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
