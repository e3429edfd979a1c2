//! What any field must keep, at every door: names, URLs, and JSON whose faults are placed.

use posthorn_wire as wire;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::model::Preview;

/// The longest URL, in bytes.
const URL: usize = 2048;

/// Reads `T`; a fault names its path under `root`. The path costs time, so it is looked for only
/// when there is a fault to place.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8], root: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|plain| place::<T>(body, root, &plain))
}

fn place<T: DeserializeOwned>(body: &[u8], root: &str, plain: &serde_json::Error) -> ApiError {
    // serde_json calls some wrong types (a number for an enum) a syntax error: only JSON that
    // nothing could read is malformed.
    let is_json = std::str::from_utf8(body)
        .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    if !is_json {
        return unreadable(format!("not JSON: {plain}"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => unreadable(plain.to_string()),
        Err(fault) => {
            let path = match fault.path().to_string() {
                path if path == "." => root.to_owned(),
                path if path.starts_with('[') => format!("{root}{path}"),
                path => format!("{root}.{path}"),
            };
            ApiError::invalid(path, fault.inner().to_string())
        }
    }
}

fn unreadable(detail: String) -> ApiError {
    ApiError::new(http::StatusCode::BAD_REQUEST, "malformed_json", detail).at("$")
}

/// A fault at this path.
pub(crate) fn fault<T>(
    path: &str,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Result<T, ApiError> {
    Err(ApiError::invalid(path, detail))
}

/// A name: not empty, not too long, without control characters (the store separates by one).
pub(crate) fn name(path: &str, value: &str, longest: usize) -> Result<(), ApiError> {
    if value.is_empty() {
        return fault(path, "empty");
    }
    if value.len() > longest {
        return fault(path, format!("longer than {longest} bytes"));
    }
    if value.contains(char::is_control) {
        return fault(path, "holds a control character");
    }
    Ok(())
}

/// An https URL that a phone may load.
pub(crate) fn https_url(path: &str, url: &str) -> Result<(), ApiError> {
    name(path, url, URL)?;
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(()),
        Ok(_) | Err(_) => fault(path, "not an https URL"),
    }
}

/// The wire's preview in the model's words.
pub(crate) fn preview(given: wire::Preview) -> Preview {
    match given {
        wire::Preview::Full => Preview::Full,
        wire::Preview::Name => Preview::Name,
        wire::Preview::Hidden => Preview::Hidden,
    }
}
