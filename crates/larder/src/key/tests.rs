use super::*;

fn written<K: CacheKey + ?Sized>(key: &K) -> Result<String, Error> {
    let mut out = KeyBuffer::new();
    write_key(b"n:", key, &mut out)?;
    Ok(String::from_utf8(out[2..].to_vec()).expect("escaped keys are text"))
}

fn text<K: CacheKey + ?Sized>(key: &K) -> String {
    written(key).expect("a good key")
}

#[test]
fn numbers_read_as_they_print() {
    assert_eq!(text(&0_u8), "0");
    assert_eq!(text(&i64::MIN), i64::MIN.to_string());
    assert_eq!(text(&i128::MIN), i128::MIN.to_string());
    assert_eq!(text(&u128::MAX), u128::MAX.to_string());
    assert_eq!(text(&(1_u8, -1_i32, 'x', true)), "1,-1,x,true");
}

#[test]
fn arguments_read_as_documented() {
    assert_eq!(text(&Args(123)), "123");
    assert_eq!(text(&Args((1, "1", 1.0, Some(1), None::<u8>, ()))), "1,'1',1.0,!1,~,_");
    assert_eq!(text(&Args("it's")), "'it''s'");
    assert_eq!(text(&Args(-0.0)), "0.0");
    assert_eq!(text(&Args(vec![(1, 2)])), "((1;2))");
    let map = std::collections::HashMap::from([("b", 1), ("a", 2)]);
    assert_eq!(text(&Args(map)), "<'a'=2;'b'=1>");
}
