//! The door every request comes through: its credential first, then its body, bounded.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::auth::{Caller, Keys};
use super::error::ApiError;
use crate::model::Clock;
use crate::telemetry::Metrics;

/// What is needed to let somebody in.
pub struct Door {
    pub keys: Keys,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub max_body_bytes: usize,
}

/// A request whose caller is known.
pub struct Entered {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Door {
    /// Lets the caller in with its body, or says why not. A bearer is checked before a byte of the
    /// body is read; a signature needs the body, so that is read, bounded, but not parsed.
    pub async fn enter(&self, request: Request) -> Result<(Caller, Entered), ApiError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let now = self.clock.now();
        let is_signed = parts.headers.contains_key("x-posthorn-signature");
        let caller = |body: &[u8]| self.keys.caller(&parts.method, path, &parts.headers, body, now);
        let known = if is_signed { None } else { Some(caller(&[])?) };
        let announced = parts.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.max_body_bytes) {
            return Err(self.too_large());
        }
        let body = to_bytes(body, self.max_body_bytes).await.map_err(|_| self.too_large())?;
        let caller = match known {
            Some(caller) => caller,
            None => caller(&body)?,
        };
        Ok((caller, Entered { headers: parts.headers, body }))
    }

    fn too_large(&self) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body exceeds {} bytes (server.max_body_bytes)", self.max_body_bytes),
        )
    }
}
