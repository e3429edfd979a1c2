//! Dead letters: pushes that nobody took in time, for the operator to look at and send again.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;

use super::Api;
use super::error::{ApiError, json};
use crate::model::AppId;
use crate::store::{Changes, DeadLetter, Item};

/// Letters told at once.
const MOST: usize = 500;
/// How long a letter sent again may take.
const SECOND_LIFE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/apps/{app}/dead", get(list))
        .route("/v1/apps/{app}/dead/{sequence}/replay", post(replay))
        .route("/v1/apps/{app}/dead/{sequence}", axum::routing::delete(discard))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
}

async fn list(
    State(api): State<Api>,
    Path(app): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    caller.admin()?;
    if !api.apps.iter().any(|known| **known == *app) {
        return Err(ApiError::not_found(format!("no app `{app}` is configured")));
    }
    let Query(page) = page?;
    let letters = api.store.dead(&app, page.limit.unwrap_or(100).min(MOST)).await?;
    let told: Vec<_> = letters.iter().map(view).collect();
    Ok(json(StatusCode::OK, &serde_json::json!({"app": app, "dead": told})))
}

fn view(letter: &DeadLetter) -> serde_json::Value {
    let owner = letter.item.targets.first().and_then(|target| target.owner.as_ref());
    serde_json::json!({
        "sequence": letter.sequence,
        "event_id": letter.event,
        "lane": &*letter.item.lane,
        "user_id": owner.map(|owner| &owner.user),
        "device_id": owner.map(|owner| &owner.device),
        "attempts": letter.item.attempts,
        "why": letter.why,
        "at": letter.at.0,
    })
}

async fn replay(
    State(api): State<Api>,
    Path((app, sequence)): Path<(String, u64)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    caller.admin()?;
    let letter = find(&api, &app, sequence).await?;
    let now = api.door.clock.now();
    let item = Item { due: now, deadline: now + SECOND_LIFE, attempts: 0, ..letter.item };
    let lane = item.lane.clone();
    let app = AppId::from(app);
    let changes = Changes {
        park: vec![item],
        exhume: vec![(app.clone(), sequence)],
        durable: true,
        ..Changes::default()
    };
    api.store.commit(changes.into()).await?;
    api.pipeline.wake_lane(&app, &lane);
    let body = serde_json::json!({"event_id": letter.event, "status": "accepted"});
    Ok(json(StatusCode::ACCEPTED, &body))
}

async fn discard(
    State(api): State<Api>,
    Path((app, sequence)): Path<(String, u64)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    caller.admin()?;
    find(&api, &app, sequence).await?;
    let exhume = vec![(AppId::from(app), sequence)];
    let changes = Changes { exhume, durable: true, ..Changes::default() };
    api.store.commit(changes.into()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn find(api: &Api, app: &str, sequence: u64) -> Result<DeadLetter, ApiError> {
    let letters = api.store.dead(app, usize::MAX).await?;
    let found = letters.into_iter().find(|letter| letter.sequence == sequence);
    found.ok_or_else(|| ApiError::not_found("no dead letter of this number"))
}
