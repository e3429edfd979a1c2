//! What a caller is told when it does not work: RFC 9457 problem documents with a stable code.

#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use posthorn_wire as wire;

use crate::push::AcceptError;
use crate::store::{StoreError, StoreErrorKind};

/// An answer that says what is wrong and what to do.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: Cow<'static, str>,
    /// The JSON path at fault.
    pub path: Option<String>,
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        ApiError { status, code, detail: detail.into(), path: None, retry_after: None }
    }

    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn not_found(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// A field that reads well but cannot be.
    pub fn invalid(path: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).at(path)
    }
}

impl From<StoreError> for ApiError {
    fn from(err: StoreError) -> Self {
        let unavailable = |detail: &'static str| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
                .retry_after(Duration::from_secs(1))
        };
        match err.kind {
            StoreErrorKind::Unavailable => {
                unavailable("the store cannot be written now; nothing was kept, send it again")
            }
            StoreErrorKind::Full => {
                unavailable("the store's disk is full; nothing was kept, send it again")
            }
            StoreErrorKind::Conflict => {
                Self::new(StatusCode::CONFLICT, "conflict", "somebody else changed it meanwhile")
            }
            StoreErrorKind::Corrupt => {
                tracing::error!(error = %err, "stored data cannot be read");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store_corrupt",
                    "stored data cannot be read; the gateway's log says more",
                )
            }
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(err: AcceptError) -> Self {
        match err {
            AcceptError::Backlog { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "backlog", err.to_string())
                    .retry_after(Duration::from_secs(5))
            }
            AcceptError::Store(err) => err.into(),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejected: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_query", rejected.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = wire::Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.into_owned(),
            path: self.path,
        };
        let mut response = json(self.status, &problem);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("answers hold only what JSON can write");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
