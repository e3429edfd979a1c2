//! What became of it: traces by event and by user, and taking an event back.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use posthorn_vendors::Class;
use posthorn_wire as wire;
use serde::Deserialize;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, json};
use crate::model::{AppId, Event, EventTrace, Kind, PushOptions, PushTrace, event::RETENTION};

/// Events told of one user.
const MOST_EVENTS: usize = 50;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/events/{event_id}", get(trace).delete(take_back))
        .route("/v1/users/{user_id}/trace", get(trace_user))
}

/// The admin key speaks for every app; `?app=` names one.
#[derive(Deserialize)]
struct Which {
    app: Option<String>,
}

/// The apps that this caller may ask about.
fn apps(api: &Api, caller: Caller, which: Which) -> Result<Vec<AppId>, ApiError> {
    match caller {
        Caller::Server { app } => Ok(vec![app]),
        Caller::User { .. } => Err(ApiError::forbidden("this needs a server key or the admin key")),
        Caller::Admin => match which.app {
            None => Ok(api.apps.to_vec()),
            Some(name) => match api.apps.iter().find(|app| ***app == *name) {
                Some(app) => Ok(vec![app.clone()]),
                None => Err(ApiError::not_found(format!("no app `{name}` is configured"))),
            },
        },
    }
}

async fn trace(
    State(api): State<Api>,
    Path(event_id): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    let Query(which) = which?;
    for app in apps(&api, caller, which)? {
        if let Some(trace) = api.store.trace(&app, &event_id).await? {
            return Ok(json(StatusCode::OK, &view(&app, trace)));
        }
    }
    Err(unknown())
}

fn unknown() -> ApiError {
    ApiError::not_found("no event of this id was accepted within the last seven days")
}

async fn trace_user(
    State(api): State<Api>,
    Path(user_id): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    let mut events = Vec::new();
    let Query(which) = which?;
    for app in apps(&api, caller, which)? {
        for id in api.store.events_of(&app, &user_id, MOST_EVENTS).await? {
            if let Some(mut trace) = api.store.trace(&app, &id).await? {
                trace.pushes.retain(|push| push.user_id.as_deref() == Some(&*user_id));
                events.push(view(&app, trace));
            }
        }
    }
    Ok(json(StatusCode::OK, &serde_json::json!({"user_id": user_id, "events": events})))
}

/// Cancels what is not sent yet, and takes the place of what is shown where the vendor can.
async fn take_back(
    State(api): State<Api>,
    Path(event_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    let app = caller.server()?;
    if !api.store.is_known(&app, &event_id).await? {
        return Err(unknown());
    }
    let now = api.door.clock.now();
    let recall = Event {
        app: app.clone(),
        id: format!("recall:{event_id}").into(),
        kind: Kind::Recall { of: event_id.as_str().into() },
        class: Class::Im,
        to: Vec::new(),
        targets: Vec::new(),
        from: None,
        conversation: None,
        sent_at: now,
        received_at: now,
        deadline: now + RETENTION,
        badge: None,
        push: PushOptions::default(),
        bursts: Vec::new(),
    };
    let id = Some(recall.id.to_string());
    api.accept.accept(&app, vec![recall]).await?;
    let receipt = wire::Receipt { id, status: "accepted".to_owned(), error: None };
    Ok(json(StatusCode::ACCEPTED, &receipt))
}

fn view(app: &str, trace: EventTrace) -> wire::Trace {
    wire::Trace {
        app: app.to_owned(),
        status: trace.verdict().word().to_owned(),
        id: trace.id.into(),
        received_at: trace.received_at.0,
        pushes: trace.pushes.into_iter().map(view_push).collect(),
    }
}

fn view_push(push: PushTrace) -> wire::PushTrace {
    wire::PushTrace {
        user_id: push.user_id.map(String::from),
        device_id: push.device_id.map(String::from),
        lane: Some(push.lane.to_string()).filter(|lane| !lane.is_empty()),
        status: push.verdict.word().to_owned(),
        reason: push.reason.map(String::from),
        code: push.code.map(String::from),
        hint: push.hint.map(String::from),
        vendor_ref: push.vendor_ref.map(String::from),
        attempts: push.attempts,
        at: push.at.0,
    }
}
