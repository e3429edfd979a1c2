//! Devices: an app registers its token, moves it, takes it back.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use http::StatusCode;
use posthorn_vendors::Token;
use posthorn_wire as wire;

use super::Api;
use super::auth::Caller;
use super::check::{self, name};
use super::error::{ApiError, json};
use crate::model::Device;
use crate::store::{Changes, Registered, Registration};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/devices/{device_id}", put(register).delete(unregister))
        .route("/v1/users/{user_id}/devices", get(list))
}

async fn register(
    State(api): State<Api>,
    Path(device_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, request) = api.door.enter(request).await?;
    // A server may hand a device to whom it will; a user has to prove that it holds the phone.
    let must_prove = matches!(caller, Caller::User { .. });
    let own = match &caller {
        Caller::User { user, .. } => Some(user.to_string()),
        Caller::Server { .. } | Caller::Admin => None,
    };
    let given: wire::Device = check::json(&request.body, "$")?;
    name("device_id", &device_id, 128)?;
    let Some(user) = given.user_id.or(own) else {
        return Err(ApiError::invalid("$.user_id", "missing: whose device it is"));
    };
    name("$.user_id", &user, 128)?;
    let app = caller.on_behalf_of(&user)?;
    name("$.lane", &given.lane, 64)?;
    name("$.token", &given.token, 4096)?;
    for (path, value) in [
        ("$.locale", &given.locale),
        ("$.time_zone", &given.time_zone),
        ("$.app_version", &given.app_version),
        ("$.model", &given.model),
    ] {
        if let Some(value) = value {
            name(path, value, 128)?;
        }
    }
    if !api.pipeline.has_lane(&app, &given.lane) {
        return Err(ApiError::invalid(
            "$.lane",
            format!("app {app} has no lane of this name; it must be configured first"),
        ));
    }
    let device = Device {
        id: device_id.as_str().into(),
        lane: given.lane.into(),
        token: Token::new(given.token),
        locale: given.locale.map(Box::from),
        time_zone: given.time_zone.map(Box::from),
        app_version: given.app_version.map(Box::from),
        model: given.model.map(Box::from),
        generation: 0,
        registered_at: api.door.clock.now(),
    };
    let registration = Registration { app, user: user.into(), device, must_prove };
    let register = vec![registration];
    let changes = Changes { register, durable: true, ..Changes::default() };
    let committed = api.store.commit(changes.into()).await?;
    let answer = |status, generation: u64| {
        let body = serde_json::json!({"device_id": device_id, "generation": generation});
        Ok(json(status, &body))
    };
    match committed.registered.first() {
        Some(Registered::Created { generation }) => answer(StatusCode::CREATED, *generation),
        Some(Registered::Refreshed { generation }) => answer(StatusCode::OK, *generation),
        Some(Registered::Foreign) | None => Err(ApiError::new(
            StatusCode::CONFLICT,
            "device_taken",
            "this device id belongs to another user: register it with its current token",
        )),
    }
}

async fn unregister(
    State(api): State<Api>,
    Path(device_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    let (app, only) = match caller {
        Caller::Server { app } => (app, None),
        Caller::User { app, user } => (app, Some(user)),
        Caller::Admin => return Err(ApiError::forbidden("this needs a server key of the app")),
    };
    let unregister = vec![(app, device_id.into(), only)];
    let changes = Changes { unregister, durable: true, ..Changes::default() };
    match api.store.commit(changes.into()).await?.unregistered.first() {
        Some(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(false) | None => Err(ApiError::not_found("no such device")),
    }
}

async fn list(
    State(api): State<Api>,
    Path(user_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, _) = api.door.enter(request).await?;
    let app = caller.on_behalf_of(&user_id)?;
    let mut users = api.store.users(&app, &[&user_id]).await?;
    let devices = users.pop().unwrap_or_default().devices;
    let views: Vec<wire::DeviceView> =
        devices.into_iter().map(|device| view(device, &user_id)).collect();
    Ok(json(StatusCode::OK, &serde_json::json!({"user_id": user_id, "devices": views})))
}

/// A device as it is told: without its token.
fn view(device: Device, user: &str) -> wire::DeviceView {
    wire::DeviceView {
        device_id: device.id.into(),
        user_id: user.to_owned(),
        lane: device.lane.to_string(),
        locale: device.locale.map(String::from),
        time_zone: device.time_zone.map(String::from),
        app_version: device.app_version.map(String::from),
        model: device.model.map(String::from),
        generation: device.generation,
        registered_at: device.registered_at.0,
    }
}
