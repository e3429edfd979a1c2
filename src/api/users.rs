//! A user's wishes and looks.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use http::StatusCode;
use jiff::tz::TimeZone;
use posthorn_wire as wire;

use super::Api;
use super::check::{self, https_url, name};
use super::error::ApiError;
use crate::model::{Preferences, Profile, QuietHours};
use crate::push::Language;
use crate::store::Changes;

/// Muted conversations of one user.
const MOST_MUTED: usize = 1000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users/{user_id}/preferences", put(set_preferences))
        .route("/v1/users/{user_id}/profile", put(set_profile))
}

async fn set_preferences(
    State(api): State<Api>,
    Path(user_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, request) = api.door.enter(request).await?;
    let app = caller.on_behalf_of(&user_id)?;
    name("user_id", &user_id, 128)?;
    let given: wire::Preferences = check::json(&request.body, "$")?;
    if given.muted_conversations.len() > MOST_MUTED {
        return Err(ApiError::invalid("$.muted_conversations", "more than 1000"));
    }
    for (at, conversation) in given.muted_conversations.iter().enumerate() {
        name(&format!("$.muted_conversations[{at}]"), conversation, 256)?;
    }
    if given.language.as_deref().is_some_and(|tag| Language::of(tag).is_none()) {
        return Err(ApiError::invalid("$.language", "not one of en, zh-Hans, zh-Hant, ja, ko"));
    }
    let preferences = Preferences {
        muted: given.muted_conversations.into_iter().map(Box::from).collect(),
        quiet_hours: given.quiet_hours.map(quiet_hours).transpose()?,
        preview: given.preview.map(check::preview),
        language: given.language.map(Box::from),
    };
    let preferences = vec![(app, user_id.into(), preferences)];
    let changes = Changes { preferences, durable: true, ..Changes::default() };
    api.store.commit(changes.into()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn set_profile(
    State(api): State<Api>,
    Path(user_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (caller, request) = api.door.enter(request).await?;
    let app = caller.on_behalf_of(&user_id)?;
    name("user_id", &user_id, 128)?;
    let given: wire::Profile = check::json(&request.body, "$")?;
    if given.nickname.as_ref().is_some_and(|nickname| nickname.len() > 256) {
        return Err(ApiError::invalid("$.nickname", "longer than 256 bytes"));
    }
    if let Some(url) = &given.avatar {
        https_url("$.avatar", url)?;
    }
    let profile =
        Profile { nickname: given.nickname.map(Box::from), avatar: given.avatar.map(Box::from) };
    let profiles = vec![(app, user_id.into(), profile)];
    let changes = Changes { profiles, durable: true, ..Changes::default() };
    api.store.commit(changes.into()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn quiet_hours(given: wire::QuietHours) -> Result<QuietHours, ApiError> {
    if TimeZone::get(&given.time_zone).is_err() {
        let detail = "not a time zone; write a name like Asia/Shanghai";
        return Err(ApiError::invalid("$.quiet_hours.time_zone", detail));
    }
    Ok(QuietHours {
        from_minute: minute("$.quiet_hours.from", &given.from)?,
        to_minute: minute("$.quiet_hours.to", &given.to)?,
        time_zone: given.time_zone.into(),
    })
}

fn minute(path: &str, time: &str) -> Result<u16, ApiError> {
    let parse = || {
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    parse().ok_or_else(|| ApiError::invalid(path, "not a time of day; write 22:30"))
}
