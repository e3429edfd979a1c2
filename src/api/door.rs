//! The door every request comes through: its credential first, then its body, bounded.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};

use super::auth::{Caller, Keys};
use super::error::ApiError;
use crate::model::Clock;
use crate::telemetry::Metrics;

/// How much of a body that is too large is read to its sender's end.
const THROWN_AWAY: usize = 64 << 20;

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
        let body = self.read(body).await?;
        let caller = match known {
            Some(caller) => caller,
            None => caller(&body)?,
        };
        Ok((caller, Entered { headers: parts.headers, body }))
    }

    /// The body, if it is within the limit. What is beyond is read and thrown away for a while, so
    /// that a caller who writes first and reads then still reads why it was refused.
    async fn read(&self, body: Body) -> Result<Bytes, ApiError> {
        let mut frames = body.into_data_stream();
        let mut read = BytesMut::new();
        let mut beyond = 0;
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|_| {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "body_broke_off",
                    "the body ended before it was whole",
                )
            })?;
            if beyond == 0 && read.len() + frame.len() <= self.max_body_bytes {
                read.extend_from_slice(&frame);
                continue;
            }
            read = BytesMut::new();
            beyond += frame.len();
            if beyond > THROWN_AWAY {
                break;
            }
        }
        if beyond > 0 { Err(self.too_large()) } else { Ok(read.freeze()) }
    }

    fn too_large(&self) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body exceeds {} bytes (server.max_body_bytes)", self.max_body_bytes),
        )
    }
}
