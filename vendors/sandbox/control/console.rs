//! The console: a page that shows the phones, and the wish to write as somebody.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::super::host::World;
use super::{Answer, Refusal, read, told, typed};

/// What the console's visitor wants to write.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteAs {
    /// The text of the message.
    pub text: String,
    /// What kind of message, in the words of whoever set the hook; a text when absent.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// Writes as somebody (`posthorn demo`: alice to bob). Answers the event's id, or why not.
pub type WriteHook =
    Arc<dyn Fn(WriteAs) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

const NOBODY: &str =
    "nobody can write here: this sandbox runs without a gateway; try posthorn demo";

pub(super) fn page(world: &World, name: &str) -> Answer {
    let (kind, text) = match name {
        "phones" => ("text/html; charset=utf-8", include_str!("../console/phones.html")),
        "phones.css" => ("text/css; charset=utf-8", include_str!("../console/phones.css")),
        "phones.js" => ("text/javascript; charset=utf-8", include_str!("../console/phones.js")),
        "state" => return Ok(state(world)),
        other => return Err(Refusal::missing(format!("the console has no {other}"))),
    };
    let mut response = typed(kind, Bytes::from_static(text.as_bytes()));
    let policy = HeaderValue::from_static("default-src 'self'; img-src 'self' https: data:");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

fn state(world: &World) -> http::Response<super::Body> {
    let vendors: Vec<_> = world
        .booths
        .iter()
        .map(|booth| json!({ "id": booth.spec.id, "name": booth.spec.name }))
        .collect();
    told(&json!({ "can_write": world.write.is_some(), "vendors": vendors }))
}

pub(super) async fn write(world: &World, body: Incoming) -> Answer {
    let hook = world.write.as_ref().ok_or_else(|| Refusal::missing(NOBODY))?;
    match hook(read(body).await?).await {
        Ok(id) => Ok(told(&json!({ "id": id }))),
        Err(why) => Err(Refusal::bad(why)),
    }
}
