//! What apps, IM servers and operators ask over HTTP: devices, users, traces, health. Floor 3.
//!
//! `door.rs` and `auth.rs` settle who calls before anything is parsed; `error.rs` says what went
//! wrong in one form. Deliberately absent: decisions about pushes.

pub mod auth;
pub(crate) mod check;
pub mod dead;
pub mod devices;
pub mod door;
pub mod error;
pub mod health;
pub mod traces;
pub mod user_sig;
pub mod users;

use std::sync::Arc;

use axum::Router;

use self::door::Door;
use crate::push::{Accept, Pipeline};
use crate::store::Store;

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    pub door: Arc<Door>,
    pub store: Arc<dyn Store>,
    pub accept: Arc<Accept>,
    pub pipeline: Arc<Pipeline>,
    /// Every configured app's name.
    pub apps: Arc<[crate::model::AppId]>,
}

/// Every route of this room.
pub fn routes(api: Api) -> Router {
    Router::new()
        .merge(devices::routes())
        .merge(users::routes())
        .merge(traces::routes())
        .merge(dead::routes())
        .merge(health::routes())
        .fallback(no_such_place)
        .method_not_allowed_fallback(no_such_method)
        .with_state(api)
}

async fn no_such_method() -> error::ApiError {
    let detail = "this path takes another method; config/OPERATIONS.md lists them";
    error::ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

async fn no_such_place() -> error::ApiError {
    error::ApiError::not_found("no such path; config/OPERATIONS.md lists them")
}
