//! Checking settings before anything is dialed: all faults at once.

use larder_core::{Error, ErrorKind, Result};

use super::{RedisSettings, Server, Topology};
use crate::url;

/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 256;
/// What Redis itself takes: 512 MiB.
const VALUE_BYTES_LIMIT: u64 = 512 << 20;
/// One sequence for each slot of a cluster; more would share slots anyway.
const PARTITIONS_LIMIT: u16 = 16_384;

impl RedisSettings {
    /// Checks everything and answers how to reach each node; the first is the one the URL names.
    pub(crate) fn check(&self) -> Result<Vec<redis::ConnectionInfo>> {
        let mut faults = self.faults();
        let mut nodes = Vec::new();
        let first = match &self.server {
            Server::Url(text) => url::parse(text),
            Server::Ready(info) => Ok((**info).clone()),
        };
        for node in std::iter::once(first).chain(self.more_nodes.iter().map(|text| url::parse(text))) {
            match node.and_then(|info| self.log_in(info)) {
                Ok(info) => nodes.push(info),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Ok(nodes);
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!("the redis store cannot be set up: {}", faults.join("; ")),
        ))
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut demand = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        demand(self.prefix.len() <= PREFIX_BYTES_MAX, "the prefix is longer than 256 bytes");
        demand(
            !self.prefix.contains(|c: char| c.is_control() || matches!(c, '{' | '}')),
            "the prefix holds a brace or a control character; braces mark the hash tag",
        );
        demand(!self.connect_timeout.is_zero(), "connect_timeout is zero");
        demand(!self.command_timeout.is_zero(), "command_timeout is zero");
        demand((1..=100_000).contains(&self.scan_count), "scan_count is not from 1 to 100000");
        demand((1..=5_000).contains(&self.delete_batch), "delete_batch is not from 1 to 5000");
        demand(
            (1..=VALUE_BYTES_LIMIT).contains(&self.max_value_bytes),
            "max_value_bytes is not from 1 to 512 MiB",
        );
        demand(
            self.partitions.is_power_of_two() && self.partitions <= PARTITIONS_LIMIT,
            "partitions is not a power of two from 1 to 16384",
        );
        demand((1..=1_000_000).contains(&self.barriers_max), "barriers_max is not from 1 to 1000000");
        let named = self.sentinel.as_deref();
        demand(
            self.more_nodes.is_empty() || self.topology != Topology::Single || named.is_some(),
            "more_nodes are given, but the topology is not a cluster, and no sentinel is named",
        );
        demand(
            named.is_none() || self.topology == Topology::Single,
            "a primary that sentinels watch is named, but the topology is a cluster",
        );
        demand(
            named.is_none_or(|name| !name.is_empty() && !name.contains(|c: char| c.is_control() || c == ' ')),
            "the name that sentinels know the primary by is empty or holds a space or a control character",
        );
        faults
    }

    fn log_in(&self, info: redis::ConnectionInfo) -> Result<redis::ConnectionInfo, String> {
        let login = info.redis_settings().clone();
        // Sentinels have logins of their own.
        let login = if self.sentinel.is_none() { self.with_login(login) } else { login };
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(login).set_tcp_settings(tcp);
        if !info.addr().is_supported() {
            return Err(
                "the url asks for TLS or a socket, which this build cannot; enable the cargo feature `tls`"
                    .into(),
            );
        }
        self.secured(info)
    }

    fn with_login(&self, mut login: redis::RedisConnectionInfo) -> redis::RedisConnectionInfo {
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        login
    }

    /// How to log in to the primary that the first sentinel's URL leads to.
    pub(crate) fn primary_login(&self, sentinel: &redis::ConnectionInfo) -> redis::RedisConnectionInfo {
        let theirs = sentinel.redis_settings();
        let login = redis::RedisConnectionInfo::default().set_db(theirs.db()).set_protocol(theirs.protocol());
        self.with_login(login)
    }

    #[cfg(feature = "tls")]
    fn secured(&self, info: redis::ConnectionInfo) -> Result<redis::ConnectionInfo, String> {
        if matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            // Without one rustls would panic. It is refused if the program has chosen a provider: just as well.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let Some(certificates) = &self.tls else { return Ok(info) };
        let client = redis::Client::build_with_tls(info, certificates.clone()).map_err(|_| {
            "the certificates cannot be read, or the url does not ask for TLS (`rediss`)".to_owned()
        })?;
        Ok(client.get_connection_info().clone())
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, info: redis::ConnectionInfo) -> Result<redis::ConnectionInfo, String> {
        Ok(info)
    }
}
