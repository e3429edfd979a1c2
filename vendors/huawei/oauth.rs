//! Huawei's token endpoint: client credentials in, a bearer token for an hour out.
//!
//! <https://developer.huawei.com/consumer/cn/doc/HMSCore-Guides/oauth2-0000001212610981>; at most
//! 1,000 tokens in five minutes an app. Codes: …/HMSCore-References/server-error-codes-0000001062371380.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Deserialize;

use super::Config;
use crate::kit::codes::Class;
use crate::kit::credential::{Credential, Source};
use crate::kit::http1::Client;
use crate::{Outcome, Secret};

/// An hour is documented; a year is nonsense, and more would overflow a time.
const LONGEST_LIFETIME_SECS: u64 = 365 * 24 * 3600;

/// One app at the token endpoint.
pub(super) struct Endpoint {
    client: Arc<Client>,
    url: String,
    /// The form, with the secret in it.
    form: Secret,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    #[serde(default = "an_hour")]
    expires_in: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Denied {
    sub_error: serde_json::Value,
}

fn an_hour() -> u64 {
    3600
}

impl Endpoint {
    pub(super) fn new(client: Arc<Client>, config: &Config) -> Self {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &config.app_id)
            .append_pair("client_secret", config.app_secret.expose())
            .finish();
        Endpoint { client, url: config.token_url.clone(), form: Secret::new(form) }
    }

    pub(super) fn request(&self) -> Request<Bytes> {
        Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::copy_from_slice(self.form.expose().as_bytes()))
            .expect("the address was checked when the lane was built")
    }
}

impl Source for Endpoint {
    async fn fetch(&self, now: SystemTime) -> Result<Credential, Outcome> {
        match self.client.exchange(self.request()).await {
            Ok((status, _, body)) => read(status, &body, now),
            Err(failure) => Err(failure.outcome()),
        }
    }
}

/// Decides on the status and on whether there is a token: only the codes are documented, the names
/// of the fields around them are not.
pub(super) fn read(
    status: StatusCode,
    body: &[u8],
    now: SystemTime,
) -> Result<Credential, Outcome> {
    if let (true, Ok(granted)) = (status.is_success(), serde_json::from_slice::<Granted>(body)) {
        let lifetime = Duration::from_secs(granted.expires_in);
        // It travels in a header, which takes visible ASCII only.
        let is_usable = granted.access_token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !is_usable || granted.expires_in > LONGEST_LIFETIME_SECS {
            let hint = "the token endpoint gave a token that cannot be used";
            return Err(Class::Retry.outcome("malformed_answer", hint, now));
        }
        return Ok(Credential::new(granted.access_token, now, lifetime));
    }
    let denied: Denied = serde_json::from_slice(body).unwrap_or_default();
    let (class, hint) = match status.as_u16() {
        400 | 401 | 403 => (Class::SetUp, "the token endpoint refuses app_id or app_secret"),
        404 => (Class::SetUp, "there is no token endpoint at token_url"),
        503 => (Class::Wait(Duration::from_secs(60)), "the token endpoint limits the app's rate"),
        _ => (Class::Retry, "the token endpoint gave no token"),
    };
    let code = match denied.sub_error {
        serde_json::Value::Null => format!("oauth_http_{}", status.as_u16()),
        sub_error => format!("oauth_{}", sub_error.to_string().trim_matches('"')),
    };
    Err(class.outcome(code, hint, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Credential, Outcome> {
        let status = StatusCode::from_u16(status).expect("a status");
        read(status, body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_token_is_unescaped_and_lives_as_long_as_it_says() {
        let body = r#"{"access_token":"a\/b+c==","expires_in":1200,"token_type":"Bearer"}"#;
        let credential = answer(200, body).expect("a token");
        assert_eq!(credential.value.expose(), "a/b+c==");
        assert_eq!(credential.expires_at, SystemTime::UNIX_EPOCH + Duration::from_secs(1200));
    }

    #[test]
    fn every_other_answer_says_what_follows() {
        let wrong_secret = r#"{"error":1101,"sub_error":12304,"error_description":"x"}"#;
        let table = [
            (400, wrong_secret, "unauthorized", "oauth_12304"),
            (404, "", "unauthorized", "oauth_http_404"),
            (503, "", "throttled", "oauth_http_503"),
            (502, "<html>", "retry", "oauth_http_502"),
            (590, "", "retry", "oauth_http_590"),
            (200, "", "retry", "oauth_http_200"),
            (200, r#"{"access_tok"#, "retry", "oauth_http_200"),
            (200, r#"{"access_token":"a\nb"}"#, "retry", "malformed_answer"),
            (
                200,
                r#"{"access_token":"a","expires_in":18446744073709551615}"#,
                "retry",
                "malformed_answer",
            ),
        ];
        for (status, body, name, code) in table {
            let outcome = answer(status, body).expect_err("no token");
            let got = outcome.reason().map(|reason| reason.code.as_ref());
            assert_eq!((outcome.name(), got), (name, Some(code)), "{status} {body}");
        }
    }
}
