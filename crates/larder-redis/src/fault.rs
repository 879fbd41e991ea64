//! From what redis-rs and the server say to Larder's error, without repeating anything secret.

use larder_core::{Error, ErrorKind};
use redis::{RedisError, ServerError, ServerErrorKind};

/// What a failed call says about the connection it was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection is fine.
    Keep,
    /// It cannot be used any more; a new one may be had at once.
    Replace,
    /// A new one would fare no better for now: a replica, a refused login.
    Rest,
}

/// Whether the server does not know the greeting by which RESP3 is agreed upon: it came with Redis 6, and some who offer
/// servers take it away. How servers quote its name changed between releases.
pub(crate) fn lacks_resp3(fault: &RedisError) -> bool {
    let is_unknown = |said: &str| {
        said.get(..23).is_some_and(|head| head.starts_with("unknown command") && head.contains("HELLO"))
    };
    fault.kind() == redis::ErrorKind::RESP3NotSupported || fault.detail().is_some_and(is_unknown)
}

/// The error of a call that could not be carried out.
pub(crate) fn error_of(fault: &RedisError, server: &str) -> (Error, Verdict) {
    if lacks_resp3(fault) {
        return (Error::new(ErrorKind::Unavailable, no_resp3(server)), Verdict::Rest);
    }
    if let Some(answered) = fault.clone().into_server_errors().and_then(|all| all.first().cloned()) {
        return server_error(&answered.1);
    }
    let unavailable = |what: String| Error::new(ErrorKind::Unavailable, what);
    match fault.kind() {
        redis::ErrorKind::AuthenticationFailed => (unavailable(refused_login(server)), Verdict::Rest),
        _ if fault.is_timeout() => {
            let what = format!("redis at {server} did not answer in time");
            (Error::new(ErrorKind::Timeout, what), Verdict::Replace)
        }
        redis::ErrorKind::Io => {
            let what = format!("the connection to redis at {server} failed: {}", io_cause(fault));
            (unavailable(what), Verdict::Replace)
        }
        redis::ErrorKind::Parse => {
            let what = format!("{server} does not speak the redis protocol; check host and port");
            (unavailable(what), Verdict::Replace)
        }
        _ => {
            let verdict = if fault.is_unrecoverable_error() { Verdict::Replace } else { Verdict::Keep };
            (unavailable(format!("redis at {server} cannot be used: {}", fault.category())), verdict)
        }
    }
}

pub(crate) fn no_resp3(server: &str) -> String {
    format!(
        "redis at {server} does not speak RESP3, which a bus needs; use Redis 6 or later, with its command HELLO"
    )
}

pub(crate) fn refused_login(server: &str) -> String {
    format!("redis at {server} refused the login; check user name and password")
}

/// The error of a command that the server answered with one.
pub(crate) fn server_error(answered: &ServerError) -> (Error, Verdict) {
    let (advice, verdict) = match (answered.kind(), answered.code()) {
        (Some(ServerErrorKind::ReadOnly), _) => {
            ("it is a replica; point the url at the primary", Verdict::Rest)
        }
        (Some(ServerErrorKind::NoPerm), _) => {
            ("grant the user this command and the keys of the prefix", Verdict::Keep)
        }
        (Some(ServerErrorKind::BusyLoading), _) => ("it is still loading its data", Verdict::Keep),
        (_, "OOM") => ("its memory is full; raise maxmemory or choose an eviction policy", Verdict::Keep),
        (_, "MISCONF") => ("it cannot save to disk and refuses writes; see its log", Verdict::Keep),
        (_, "NOAUTH" | "WRONGPASS") => ("it refuses the login; check user name and password", Verdict::Rest),
        (_, "LARDERFULL") => ("the sequence is used up; clear the prefix in redis", Verdict::Keep),
        (_, "LARDERNEWS") => (
            "it did what was asked but told nobody; grant the user PUBLISH (SPUBLISH in a cluster) and the channel of \
             the prefix, or turn `announce` off",
            Verdict::Keep,
        ),
        (_, "WRONGTYPE") => ("a key of larder's own holds another type; remove it", Verdict::Keep),
        (_, "BUSY") => ("a script of somebody runs too long", Verdict::Keep),
        (Some(ServerErrorKind::ClusterDown), _) => {
            ("the cluster has no majority or uncovered slots", Verdict::Keep)
        }
        (Some(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => {
            ("it is part of a cluster; choose the cluster topology", Verdict::Keep)
        }
        _ => ("see the server's documentation for this code", Verdict::Keep),
    };
    let what = format!("redis answered {}: {advice}{}", answered.code(), detail_of(answered));
    (Error::new(ErrorKind::Unavailable, what), verdict)
}

/// The server's own words, only where they name commands and never arguments, which may be values or passwords.
fn detail_of(answered: &ServerError) -> String {
    let detail = answered.details().unwrap_or_default();
    match answered.kind() {
        Some(ServerErrorKind::NoPerm) => {
            format!(" ({})", detail.chars().take(120).collect::<String>().escape_debug())
        }
        _ => String::new(),
    }
}

/// What the operating system or TLS said: never more than about addresses and certificates.
fn io_cause(fault: &RedisError) -> String {
    fault.to_string().chars().take(200).collect::<String>().to_lowercase()
}

/// An answer of a shape that the server never gives.
pub(crate) fn unexpected_reply() -> Error {
    Error::new(ErrorKind::Unavailable, "redis gave an answer of an unexpected shape; is it redis?")
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection to redis was closed; connect anew")
}

pub(crate) fn runtime_ended() -> Error {
    Error::new(ErrorKind::Closed, "the runtime that redis was connected on has ended; connect anew")
}
