//! `POST /v1/events`: the door of IM servers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use posthorn_wire as wire;

use super::parse::{Entry, parse};
use crate::api::door::Door;
use crate::api::error::{ApiError, json};
use crate::model::{AppId, Event};
use crate::push::Accept;
use crate::store::Appended;

/// What this door needs.
#[derive(Clone)]
pub struct Ingest {
    pub door: Arc<Door>,
    pub accept: Arc<Accept>,
}

/// The door's route.
pub fn routes(ingest: Ingest) -> Router {
    Router::new().route("/v1/events", post(take)).with_state(ingest)
}

async fn take(State(ingest): State<Ingest>, request: Request) -> Result<Response, ApiError> {
    let started = std::time::Instant::now();
    let (caller, request) = ingest.door.enter(request).await?;
    let app = caller.server()?;
    let now = ingest.door.clock.now();
    let (is_batch, entries) = parse(&app, &request.body, is_ndjson(&request.headers), now)?;
    let answer = if is_batch {
        json(StatusCode::OK, &take_batch(&ingest, &app, entries).await?)
    } else {
        take_one(&ingest, &app, entries).await?
    };
    ingest.door.metrics.accept_took(started.elapsed());
    Ok(answer)
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        matches!(kind, "application/x-ndjson" | "application/ndjson" | "application/jsonl")
    })
}

async fn take_one(ingest: &Ingest, app: &AppId, entries: Vec<Entry>) -> Result<Response, ApiError> {
    let mut events = Vec::with_capacity(1);
    for entry in entries {
        events.push(entry.map_err(|(_, fault)| fault)?);
    }
    let id = events.first().map(|event: &Event| event.id.to_string());
    let appended = ingest.accept.accept(app, events).await?;
    let status = match appended.first() {
        Some(Appended::Duplicate) => StatusCode::OK,
        Some(Appended::New) | None => StatusCode::ACCEPTED,
    };
    let known = appended.first().copied().unwrap_or(Appended::New);
    Ok(json(status, &wire::Receipt { id, status: word(known).to_owned(), error: None }))
}

async fn take_batch(
    ingest: &Ingest,
    app: &AppId,
    entries: Vec<Entry>,
) -> Result<Vec<wire::Receipt>, ApiError> {
    let mut receipts = Vec::with_capacity(entries.len());
    let mut events = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Ok(event) => {
                let id = Some(event.id.to_string());
                receipts.push(wire::Receipt { id, status: String::new(), error: None });
                events.push(event);
            }
            Err((id, fault)) => receipts.push(wire::Receipt {
                id: Some(id).filter(|id| !id.is_empty()),
                status: "rejected".to_owned(),
                error: Some(wire::EntryError {
                    code: fault.code.to_owned(),
                    path: fault.path.unwrap_or_default(),
                    detail: fault.detail.into_owned(),
                }),
            }),
        }
    }
    if events.is_empty() {
        return Ok(receipts);
    }
    let appended = ingest.accept.accept(app, events).await?;
    let taken = receipts.iter_mut().filter(|receipt| receipt.error.is_none());
    for (receipt, known) in taken.zip(appended) {
        receipt.status = word(known).to_owned();
    }
    Ok(receipts)
}

fn word(known: Appended) -> &'static str {
    match known {
        Appended::New => "accepted",
        Appended::Duplicate => "duplicate",
    }
}
