//! Whether it lives, whether it takes events, and its numbers.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, json};
use crate::store::Health;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn alive() -> Response {
    json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

/// Speaks of the store only: a vendor that is down is no reason to take the gateway out.
async fn ready(State(api): State<Api>) -> Response {
    let (status, word) = match api.store.health() {
        Health::Ready => (StatusCode::OK, "ok"),
        Health::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
        Health::Stalled => (StatusCode::SERVICE_UNAVAILABLE, "store_stalled"),
    };
    json(status, &serde_json::json!({"status": word}))
}

/// The admin key opens it: app and lane names are nobody else's business.
async fn metrics(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    match caller {
        Caller::Admin => {}
        Caller::Server { .. } | Caller::User { .. } => {
            return Err(ApiError::forbidden("metrics need the admin key"));
        }
    }
    let backlog: Vec<(String, u64)> =
        api.apps.iter().map(|app| (app.to_string(), api.store.backlog(app))).collect();
    let lanes = api.pipeline.lane_states().await;
    let page = api.door.metrics.page(&lanes, &backlog, api.store.device_count());
    let mut response = Response::new(Body::from(page));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
