//! TLS: a certificate that is trusted, and ones that are not. Needs `openssl` in `PATH` to make them.
#![cfg(feature = "tls")]

mod support;

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use larder_core::{Bus, ErrorKind, Found};
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::{Letterbox, RedisOptions};
use redis::TlsCertificates;
use support::{connect, get, set};

/// Makes a self-signed certificate for 127.0.0.1 in `folder`; answers it in PEM.
fn certificate(folder: &Path) -> Vec<u8> {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
                .split(' '),
        )
        .args("-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt".split(' '))
        .output()
        .expect("`openssl` is in PATH; install it for this test");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(folder.join("tls.crt")).expect("it was just made")
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted_and_no_other() {
    let folder = std::env::temp_dir().join(format!("larder-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let trusted = certificate(&folder);
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").expect("ports are free").local_addr().expect("bound");
    let redis = RedisOptions::default()
        .with_line(format!("tls-port {}", free.port()))
        .with_line(format!("tls-cert-file {}", folder.join("tls.crt").display()))
        .with_line(format!("tls-key-file {}", folder.join("tls.key").display()))
        .with_line("tls-auth-clients no")
        .start()
        .await;
    let settings =
        RedisSettings::new(format!("rediss://{free}")).with_connect_timeout(Duration::from_secs(10));
    let trusting =
        |pem: Vec<u8>| settings.clone().with_tls(TlsCertificates { client_tls: None, root_cert: Some(pem) });

    let store = connect(trusting(trusted.clone())).await;
    set(&store, "u:1").await;
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Hit(_))));

    let bus = RedisBus::connect(trusting(trusted)).await.expect("a server runs");
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("a server runs");
    bus.publish("in secret".into()).await.expect("it answers");
    let heard = letters.until(|signals| (signals.len() > 1).then_some(()));
    tokio::time::timeout(support::PATIENCE, heard).await.expect("it is heard");

    let refused = RedisStore::connect(settings.clone()).await.expect_err("nobody signed it");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    let refused =
        RedisStore::connect(trusting(certificate(&folder))).await.expect_err("another one signed it");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    let refused = RedisStore::connect(trusting(b"no pem".to_vec())).await;
    refused.expect_err("no certificate at all");
    drop(redis);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
