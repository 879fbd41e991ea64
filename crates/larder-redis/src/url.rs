//! Redis URLs: strict, and with faults that name the part and never the password.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

const URL_BYTES_MAX: usize = 4_096;
const DEFAULT_PORT: u16 = 6_379;

/// Reads a URL. The error says which part is wrong and shows the URL with its password replaced.
pub(crate) fn parse(url: &str) -> Result<ConnectionInfo, String> {
    parse_parts(url).map_err(|fault| format!("the redis url `{}` {fault}", redacted(url)))
}

fn parse_parts(url: &str) -> Result<ConnectionInfo, String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("has {} bytes, {URL_BYTES_MAX} are allowed", url.len()));
    }
    if url.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("holds a space or a control character; write it as %XX".into());
    }
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme; begin it with redis://")?;
    if rest.contains('#') {
        return Err("holds a `#`, which has no meaning here; in a password write it as %23".into());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let options = Options::parse(query)?;
    let (addr, login) = match scheme {
        "redis" | "valkey" => tcp(rest, false)?,
        "rediss" | "valkeys" => tcp(rest, true)?,
        "redis+unix" | "valkey+unix" | "unix" => (socket(rest)?, RedisConnectionInfo::default()),
        _ => {
            return Err(
                "has an unknown scheme; use redis, rediss (TLS), valkey, valkeys or redis+unix".into()
            );
        }
    };
    let login = login.set_protocol(options.protocol);
    let login = if let Some(database) = options.database { login.set_db(database) } else { login };
    let info = addr.into_connection_info().map_err(|_| "cannot be used".to_owned())?;
    Ok(info.set_redis_settings(login))
}

struct Options {
    protocol: ProtocolVersion,
    database: Option<i64>,
}

impl Options {
    fn parse(query: &str) -> Result<Self, String> {
        let mut options = Self { protocol: ProtocolVersion::RESP3, database: None };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("protocol", "resp3" | "3") => options.protocol = ProtocolVersion::RESP3,
                ("protocol", "resp2" | "2") => options.protocol = ProtocolVersion::RESP2,
                ("protocol", _) => return Err("has an unknown protocol; use resp2 or resp3".into()),
                ("db", number) => options.database = Some(database(number)?),
                _ => return Err("has an unknown option; `protocol` and `db` are known".into()),
            }
        }
        Ok(options)
    }
}

fn socket(rest: &str) -> Result<ConnectionAddr, String> {
    if !rest.starts_with('/') {
        return Err("needs an absolute path to the socket, as in redis+unix:///run/redis.sock".into());
    }
    Ok(ConnectionAddr::Unix(decoded(rest, "path")?.into()))
}

fn tcp(rest: &str, tls: bool) -> Result<(ConnectionAddr, RedisConnectionInfo), String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = match authority.rsplit_once('@') {
        Some((userinfo, place)) => (login(userinfo)?, place),
        None if rest.contains('@') => {
            return Err("holds a `/` before the `@`; in a password write it as %2F".into());
        }
        None => (RedisConnectionInfo::default(), authority),
    };
    let (host, port) = host_and_port(place)?;
    let login = if path.is_empty() { login } else { login.set_db(database(path)?) };
    let addr = if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Ok((addr, login))
}

fn login(userinfo: &str) -> Result<RedisConnectionInfo, String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    if userinfo.contains('@') {
        return Err("holds an `@` in user name or password; write it as %40".into());
    }
    let mut login = RedisConnectionInfo::default();
    if !user.is_empty() {
        login = login.set_username(decoded(user, "user name")?);
    }
    if !password.is_empty() {
        login = login.set_password(decoded(password, "password")?);
    }
    Ok(login)
}

fn host_and_port(place: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("has an IPv6 address without its closing bracket")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "has no IPv6 address between the brackets")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("has something behind the host that is no port".into()),
        }
    } else if place.matches(':').count() > 1 {
        return Err("has an IPv6 address without brackets, or several ports; write [::1]:6379".into());
    } else {
        place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() {
        return Err("has no host".into());
    }
    if !host.contains(':')
        && host.contains(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'))
    {
        return Err("has a host with characters that no host name holds".into());
    }
    if matches!(host, "0.0.0.0" | "::") {
        return Err("names every address instead of one host".into());
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return Err("has a port that is no number from 1 to 65535".into()),
        },
    };
    Ok((host.to_owned(), port))
}

fn database(text: &str) -> Result<i64, String> {
    match text.parse::<u16>() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(i64::from(number)),
        _ => Err("has a database that is no number from 0 to 65535".into()),
    }
}

/// Undoes percent escapes.
fn decoded(text: &str, part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|hex| !hex.contains('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(
            byte.ok_or_else(|| format!("has a `%` in its {part} without two hex digits; write it as %25"))?,
        );
        rest = &tail[2..];
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(text),
        _ => Err(format!("has a {part} with control characters or bytes that are not UTF-8")),
    }
}

/// The URL for printing: password and options replaced, shortened, escaped.
pub(crate) fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let bare = rest.split(['?', '#']).next().unwrap_or_default();
    // Where the password may end is in doubt in a malformed URL, so everything up to the last `@` counts.
    let shown = match rest.rsplit_once('@') {
        Some((userinfo, place)) => {
            let user = userinfo.split([':', '/', '?', '#', '@']).next().unwrap_or_default();
            let place = place.split(['?', '#']).next().unwrap_or_default();
            if userinfo.contains(':') { format!("{user}:***@{place}") } else { format!("{user}@{place}") }
        }
        None if looks_like_a_password(bare) => {
            format!("{}:***", bare.split(':').next().unwrap_or_default())
        }
        None => bare.to_owned(),
    };
    let whole = if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") };
    let escaped: String = whole.escape_debug().collect();
    match escaped.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

/// `:word`, `name:word`: behind the colon stands neither a port nor an IPv6 address.
fn looks_like_a_password(bare: &str) -> bool {
    let place = bare.split('/').next().unwrap_or_default();
    let Some((_, behind)) = place.split_once(':') else { return false };
    let port = behind.len() <= 5 && behind.bytes().all(|byte| byte.is_ascii_digit());
    !port && !place.starts_with('[') && place.parse::<std::net::Ipv6Addr>().is_err()
}

#[cfg(test)]
mod tests;
