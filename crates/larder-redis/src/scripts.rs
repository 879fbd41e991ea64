//! The Lua scripts: what must happen in one step at the server.

use redis::Cmd;

use crate::{news::Channels, settings::DeleteStrategy};

/// All scripts. Each declares every key it touches, and all keys of one call share one hash tag.
pub(crate) struct Scripts {
    pub(crate) lease: Script,
    pub(crate) fill: Script,
    pub(crate) write: Script,
    pub(crate) remove: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
    pub(crate) beat: Script,
    pub(crate) tips: Script,
    pub(crate) leave: Script,
    pub(crate) members: Script,
    pub(crate) raise: Script,
    pub(crate) barriers: Script,
    pub(crate) tagged: Script,
}

impl Scripts {
    pub(crate) fn new(delete: DeleteStrategy, channels: &Channels) -> Self {
        let script = |body: &str| {
            let source = [include_str!("scripts/shared.lua"), body].join("\n");
            let source = source.replace("'UNLINK'", &format!("'{}'", delete.command()));
            Script::new(source.replace("'PUBLISH'", &format!("'{}'", channels.command())))
        };
        Self {
            lease: script(include_str!("scripts/lease.lua")),
            fill: script(include_str!("scripts/fill.lua")),
            write: script(include_str!("scripts/write.lua")),
            remove: script(include_str!("scripts/remove.lua")),
            renew: script(include_str!("scripts/renew.lua")),
            release: script(include_str!("scripts/release.lua")),
            beat: script(include_str!("scripts/beat.lua")),
            tips: script(include_str!("scripts/tips.lua")),
            leave: script(include_str!("scripts/leave.lua")),
            members: script(include_str!("scripts/members.lua")),
            raise: script(include_str!("scripts/raise.lua")),
            barriers: script(include_str!("scripts/barriers.lua")),
            tagged: script(include_str!("scripts/tagged.lua")),
        }
    }
}

/// One script and the hash the server knows it by.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    fn new(source: String) -> Self {
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
