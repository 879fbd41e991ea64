use super::*;

#[test]
fn every_part_of_a_url_arrives() {
    let info = parse("redis://user:p%40s%3As@cache.internal:7000/3?protocol=resp2").expect("valid");
    assert_eq!(*info.addr(), ConnectionAddr::Tcp("cache.internal".into(), 7_000));
    let login = info.redis_settings();
    assert_eq!((login.username(), login.password(), login.db()), (Some("user"), Some("p@s:s"), 3));
    assert_eq!(login.protocol(), ProtocolVersion::RESP2);
}

#[test]
fn what_is_left_out_has_a_default() {
    for url in ["redis://h", "valkey://h/", "redis://h:6379", "redis://@h", "redis://:@h"] {
        let info = parse(url).expect(url);
        assert_eq!(*info.addr(), ConnectionAddr::Tcp("h".into(), 6_379), "{url}");
        let login = info.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (None, None, 0), "{url}");
        assert_eq!(login.protocol(), ProtocolVersion::RESP3);
    }
    let six = parse("redis://[::1]:7000").expect("valid");
    assert_eq!(*six.addr(), ConnectionAddr::Tcp("::1".into(), 7_000));
    let unix = parse("redis+unix:///run/redis%20a.sock?db=2").expect("valid");
    assert_eq!(*unix.addr(), ConnectionAddr::Unix("/run/redis a.sock".into()));
    assert_eq!(unix.redis_settings().db(), 2);
}

#[test]
fn a_fault_names_the_part_and_hides_the_password() {
    let long = format!("redis://:s3cret@{}", "h".repeat(1 << 20));
    let cases = [
        ("", "no scheme"),
        ("h:6379", "no scheme"),
        ("http://:s3cret@h", "unknown scheme"),
        ("redis://", "no host"),
        ("redis://:s3cret@", "no host"),
        ("redis://:s3cret@:6379", "no host"),
        ("redis://:s3cret@h:0", "port"),
        ("redis://:s3cret@h:65536", "port"),
        ("redis://:s3cret@h:abc", "port"),
        ("redis://:s3cret@h:+1", "port"),
        ("redis://:s3cret@h:", "port"),
        ("redis://:s3cret", "no host"),
        ("redis://name:s3cret", "port"),
        ("redis://:p@s3cret@h", "`@`"),
        ("redis://:s3cret/x@h", "`/`"),
        ("redis://:s3cret#x@h", "`#`"),
        ("redis://:s3cret%00@h", "password"),
        ("redis://us%00er:s3cret@h", "user name"),
        ("redis://:s3cret%ff@h", "password"),
        ("redis://:s3cret%@h", "`%`"),
        ("redis://:s3cret%+1@h", "`%`"),
        ("redis://:s3cret@::1", "brackets"),
        ("redis://:s3cret@[::1", "bracket"),
        ("redis://:s3cret@[h]", "IPv6"),
        ("redis://:s3cret@[::1]x", "behind the host"),
        ("redis://:s3cret@0.0.0.0", "every address"),
        ("redis://:s3cret@h/-1", "database"),
        ("redis://:s3cret@h/one", "database"),
        ("redis://:s3cret@h?pass=s3cret", "option"),
        ("redis://:s3cret@h?protocol=4", "protocol"),
        ("redis://:s3cret@h h", "space"),
        ("redis://:s3cret@h\n", "control"),
        ("redis://:s3cret@h*", "host name"),
        ("redis+unix://run", "absolute path"),
        (long.as_str(), "bytes"),
    ];
    for (url, part) in cases {
        let fault = parse(url).expect_err(url);
        assert!(fault.contains(part), "{url:.60} → {fault}");
        assert!(!fault.contains("s3cret"), "{fault}");
        assert!(fault.len() < 400 && !fault.contains(char::is_control), "{fault}");
    }
}
