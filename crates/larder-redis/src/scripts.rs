//! The Lua scripts: what must happen in one step at the server.

use redis::Cmd;

use crate::settings::DeleteStrategy;

/// All scripts. Each declares every key it touches, and all keys of one call share one hash tag.
pub(crate) struct Scripts {
    pub(crate) lease: Script,
    pub(crate) fill: Script,
    pub(crate) write: Script,
    pub(crate) remove: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
}

impl Scripts {
    pub(crate) fn new(delete: DeleteStrategy) -> Self {
        Self {
            lease: Script::new(include_str!("scripts/lease.lua"), delete),
            fill: Script::new(include_str!("scripts/fill.lua"), delete),
            write: Script::new(include_str!("scripts/write.lua"), delete),
            remove: Script::new(include_str!("scripts/remove.lua"), delete),
            renew: Script::new(include_str!("scripts/renew.lua"), delete),
            release: Script::new(include_str!("scripts/release.lua"), delete),
        }
    }
}

/// One script and the hash the server knows it by.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    fn new(body: &str, delete: DeleteStrategy) -> Self {
        let source = [include_str!("scripts/shared.lua"), body].join("\n");
        let source = source.replace("'UNLINK'", &format!("'{}'", delete.command()));
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// A call by hash, to which the arguments are still to be added. A server that does not know the script (any
    /// more) answers `NOSCRIPT`; then it is sent [`with_source`](Self::with_source).
    pub(crate) fn call(&self, keys: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len()).arg(keys);
        command
    }

    /// The same call with the source instead of the hash, which makes the server remember the script.
    pub(crate) fn with_source(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.source);
        for arg in call.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = arg {
                command.arg(bytes);
            }
        }
        command
    }
}
