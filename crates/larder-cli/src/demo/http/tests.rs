use axum::{body::Body, http::Request};
use tower::ServiceExt;

use super::*;
use crate::demo::origin::Origin;

async fn ask(router: &Router, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn every_path_answers_and_says_what_is_wrong_with_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::open(&folder.path().join("origin.db")).unwrap();
    let router = router(Service::uncached(origin));

    let (status, berlin) = ask(&router, "GET", "/cities/2950159", "").await;
    assert_eq!((status, &berlin["name"], &berlin["version"]), (200, &"Berlin".into(), &1.into()));
    let (_, near) = ask(&router, "GET", "/nearest?lat=52.52&lon=13.4&k=3", "").await;
    assert_eq!((near.as_array().unwrap().len(), near[0]["city"]["country"].as_str()), (3, Some("DE")));
    let (_, found) = ask(&router, "GET", "/search?prefix=BERL", "").await;
    assert_eq!((&found["cities"][0]["id"], &found["as_of"]), (&2_950_159.into(), &1.into()));
    let (_, stats) = ask(&router, "GET", "/countries/de/stats", "").await;
    assert_eq!(stats["largest"][0]["name"], "Berlin");
    let (_, changed) = ask(&router, "PUT", "/cities/2950159", r#"{"name":"Bärlin","population":5}"#).await;
    assert_eq!((&changed["previous_name"], &changed["city"]["version"]), (&"Berlin".into(), &2.into()));
    let (_, about) = ask(&router, "GET", "/", "").await;
    assert!(about["attribution"].as_str().unwrap().contains("GeoNames"));

    for (method, path, body, expected) in [
        ("GET", "/cities/1", "", 404),
        ("GET", "/cities/x", "", 400),
        ("GET", "/cities/-1", "", 400),
        ("GET", "/nearest?lat=91&lon=0&k=1", "", 400),
        ("GET", "/nearest?lat=NaN&lon=0", "", 400),
        ("GET", "/nearest?lat=1", "", 400),
        ("GET", "/nearest?lat=1&lon=1&k=21", "", 400),
        ("GET", "/search?prefix=", "", 400),
        ("GET", "/search?prefix=123456789012345678901234567890123", "", 400),
        ("GET", "/countries/DEU/stats", "", 400),
        ("GET", "/countries/XX/stats", "", 404),
        ("GET", "/nothing", "", 404),
        ("PUT", "/cities/1", r#"{"name":"A","population":5}"#, 404),
        ("PUT", "/cities/2950159", r#"{"name":" ","population":5}"#, 400),
        ("PUT", "/cities/2950159", r#"{"name":"A\n","population":5}"#, 400),
        ("PUT", "/cities/2950159", r#"{"name":"A","population":-5}"#, 422),
        ("PUT", "/cities/2950159", "{", 400),
        ("PUT", "/cities/2950159", &format!(r#"{{"name":"{}","population":5}}"#, "x".repeat(5_000)), 413),
    ] {
        let (status, answer) = ask(&router, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(answer["error"].is_string());
    }
}
