//! Where the partitions are in a cluster.

use std::collections::BTreeMap;

use redis::{RedisResult, Value, aio::MultiplexedConnection};

/// Each primary of a cluster, with its partitions.
pub(super) type Map = BTreeMap<(String, u16), Vec<u16>>;

/// Which primary has which partitions; a server that does not know its own host is where it was reached.
pub(super) async fn map_of(
    link: &mut MultiplexedConnection,
    reached_at: &str,
    partitions: u16,
) -> RedisResult<Map> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let mut ranges = Vec::new();
    if let Value::Array(listed) = link.send_packed_command(&command).await? {
        ranges.extend(listed.into_iter().filter_map(range_of));
    }
    let mut map = Map::new();
    for partition in 0..partitions {
        let slot = slot_of(partition);
        let range = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        let Some((_, _, (host, port))) = range else {
            return Err((redis::ErrorKind::Client, "the cluster has uncovered slots").into());
        };
        let host = if host.is_empty() { reached_at } else { host };
        map.entry((host.to_owned(), *port)).or_default().push(partition);
    }
    Ok(map)
}

/// The first and the last slot of a range, and its primary.
fn range_of(range: Value) -> Option<(u16, u16, (String, u16))> {
    let Value::Array(parts) = range else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let [first, last, Value::Array(primary), ..] = &parts[..] else { return None };
    let [host, port, ..] = &primary[..] else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => String::new(),
        _ => return None,
    };
    Some((number(first)?, number(last)?, (host, number(port)?)))
}

/// The slot of a partition: that of its number in decimal, which stands between the braces.
fn slot_of(partition: u16) -> u16 {
    let crc =
        partition.to_string().bytes().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            })
        });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_servers_compute() {
        // As `CLUSTER KEYSLOT larder:{n}s` answers.
        assert_eq!([0, 1, 63, 255, 16_383].map(slot_of), [13907, 9842, 10499, 14163, 15158]);
    }
}
