//! The HTTP face of the service, and the server behind it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{
    data,
    model::{Around, Change, City, MAX_PREFIX_CHARS, Near, folded},
    service::{Service, ServiceError},
};

/// The largest body that a change may have.
const MAX_BODY_BYTES: usize = 4 << 10;
/// The longest name that a city may get, in bytes.
const MAX_NAME_BYTES: usize = 200;
/// How long a server waits for the requests under way when it ends.
const DRAIN: Duration = Duration::from_secs(2);

/// The routes of the service.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", get(about))
        .route("/cities/{id}", get(city).put(change))
        .route("/nearest", get(nearest))
        .route("/search", get(search))
        .route("/countries/{code}/stats", get(stats))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "no such path; `GET /` lists them"))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
}

/// A running server; ends when told so or dropped.
pub(crate) struct Server {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Serves on a listener until [`end`](Self::end).
    ///
    /// # Errors
    /// If the listener has no address.
    pub(crate) fn start(listener: TcpListener, service: Arc<Service>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // Small answers must not wait for each other. Where the socket refuses, answers are slower, not wrong.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let (end, ended) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router(service)).with_graceful_shutdown(async move {
            // A sender that was dropped says "end" as well.
            drop(ended.await);
        });
        let task = tokio::spawn(async move { serving.await });
        Ok(Self { address, end: Some(end), task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and waits up to two seconds for the requests under way.
    pub(crate) async fn end(mut self) {
        self.end.take();
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Deserialize)]
struct Point {
    lat: f64,
    lon: f64,
    #[serde(default = "Point::default_count")]
    k: u32,
}

impl Point {
    fn default_count() -> u32 {
        5
    }
}

#[derive(Deserialize)]
struct Prefix {
    prefix: String,
}

/// What is said when there is no answer: a status and one line.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn missing(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.text }).to_string();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

type Answer = Result<Response, Refusal>;

async fn about() -> Response {
    json(&serde_json::json!({
        "paths": [
            "GET /cities/{id}", "PUT /cities/{id} {\"name\", \"population\"}", "GET /nearest?lat=&lon=&k=",
            "GET /search?prefix=", "GET /countries/{code}/stats",
        ],
        "attribution": data::ATTRIBUTION,
    }))
}

async fn city(State(service): State<Arc<Service>>, id: Result<Path<u32>, PathRejection>) -> Answer {
    let Path(id) = id?;
    let city = service.city(id).await?.ok_or_else(|| no_city(id))?;
    Ok(json(&*city))
}

async fn nearest(State(service): State<Arc<Service>>, at: Result<Query<Point>, QueryRejection>) -> Answer {
    let Query(Point { lat, lon, k }) = at?;
    let around =
        Around::new(lat, lon, k).ok_or_else(|| Refusal::bad("lat is -90..90, lon -180..180, k 1..20"))?;
    let near = service.nearest(around).await?;
    let lines: Vec<Near<&City>> = near.iter().map(|near| Near { km: near.km, city: &*near.city }).collect();
    Ok(json(&lines))
}

async fn search(State(service): State<Arc<Service>>, by: Result<Query<Prefix>, QueryRejection>) -> Answer {
    let Query(Prefix { prefix }) = by?;
    let prefix = folded(&prefix);
    if prefix.is_empty() || prefix.chars().count() > MAX_PREFIX_CHARS {
        return Err(Refusal::bad(format!("a prefix has 1 to {MAX_PREFIX_CHARS} characters")));
    }
    Ok(json(&*service.search(prefix).await?))
}

async fn stats(State(service): State<Arc<Service>>, code: Result<Path<String>, PathRejection>) -> Answer {
    let Path(code) = code?;
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(Refusal::bad("a country code has two letters"));
    }
    let stats = service.stats(code.to_ascii_uppercase()).await?;
    Ok(json(&*stats.ok_or_else(|| Refusal::missing("no city of this country is known"))?))
}

async fn change(
    State(service): State<Arc<Service>>,
    id: Result<Path<u32>, PathRejection>,
    to: Result<Json<Change>, JsonRejection>,
) -> Answer {
    let (Path(id), Json(to)) = (id?, to?);
    if to.name.trim().is_empty() || to.name.len() > MAX_NAME_BYTES || to.name.contains(char::is_control) {
        return Err(Refusal::bad(format!(
            "a name has 1 to {MAX_NAME_BYTES} bytes and no control characters"
        )));
    }
    let changed = service.change(id, to).await?.ok_or_else(|| no_city(id))?;
    Ok(json(&changed))
}

fn no_city(id: u32) -> Refusal {
    Refusal::missing(format!("no city has the id {id}"))
}

/// Answers are cached as typed values and written as JSON for each response: what a service does that sometimes
/// answers in another form, and a cost that both phases bear.
fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
