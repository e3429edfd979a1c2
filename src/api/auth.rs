//! Who calls: an app's server by bearer key or HMAC, a user by UserSig, the operator by the admin
//! key. Settled before a body is parsed.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use http::{HeaderMap, Method, StatusCode, header};
use posthorn_vendors::Secret;

use super::error::ApiError;
use super::user_sig::{self, SigError};
use crate::model::{AppId, Millis};

/// How far an HMAC timestamp may be from now, either way.
const WINDOW: Duration = Duration::from_secs(300);

/// What one app's callers show.
pub struct AppKeys {
    pub app: AppId,
    /// The number that UserSigs carry.
    pub sdk_app_id: Option<u64>,
    pub user_sig_key: Option<Secret>,
    pub server_keys: Vec<Secret>,
    /// Users who may do what the server may.
    pub admins: Vec<String>,
    /// Requests a second for each server key.
    pub rate_per_sec: Option<u32>,
}

/// Somebody whom the gateway knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The app's own server: anything of its app.
    Server { app: AppId },
    /// One user of the app: what is its own.
    User { app: AppId, user: Box<str> },
    /// The operator: traces, metrics and dead letters of every app.
    Admin,
}

/// Every key the gateway knows.
pub struct Keys {
    /// By SHA-256 of the key, so that looking one up leaks nothing about it.
    bearers: HashMap<[u8; 32], Bearer>,
    apps: Vec<AppKeys>,
}

struct Bearer {
    holder: Caller,
    limit: Option<DefaultDirectRateLimiter>,
}

fn hash(key: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Keys {
    pub fn new(admin: Option<&Secret>, apps: Vec<AppKeys>) -> Self {
        let mut bearers = HashMap::new();
        if let Some(admin) = admin {
            let bearer = Bearer { holder: Caller::Admin, limit: None };
            bearers.insert(hash(admin.expose()), bearer);
        }
        for app in &apps {
            for key in &app.server_keys {
                let rate = app.rate_per_sec.and_then(std::num::NonZeroU32::new);
                let limit = rate.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
                let holder = Caller::Server { app: app.app.clone() };
                bearers.insert(hash(key.expose()), Bearer { holder, limit });
            }
        }
        Keys { bearers, apps }
    }

    /// Who sent a request with these headers; `body` is read only by the HMAC.
    pub fn caller(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<Caller, ApiError> {
        if headers.contains_key("x-posthorn-signature") {
            return self.signed(method, path_and_query, headers, body, now);
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, credential)) = shown.and_then(|shown| shown.split_once(' ')) else {
            return Err(ApiError::unauthorized(
                "no credential: send Authorization: Bearer with a server key",
            ));
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            let known = self.bearers.get(&hash(credential.trim()));
            let known = known.ok_or(ApiError::unauthorized("this key is not known here"))?;
            known.within_limit()?;
            Ok(known.holder.clone())
        } else if scheme.eq_ignore_ascii_case("usersig") {
            self.user(credential.trim(), now)
        } else {
            Err(ApiError::unauthorized("unknown scheme: send Bearer or UserSig"))
        }
    }

    /// `X-Posthorn-Signature`: base64 of HMAC-SHA256, keyed by a server key of the app, over
    /// timestamp, method, path with query and body, each but the last followed by a line feed.
    fn signed(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<Caller, ApiError> {
        let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(app), Some(timestamp), Some(signature)) =
            (field("x-posthorn-app"), field("x-posthorn-timestamp"), field("x-posthorn-signature"))
        else {
            return Err(ApiError::unauthorized(
                "a signed request carries X-Posthorn-App, -Timestamp and -Signature",
            ));
        };
        let sent: u64 = timestamp.parse().map_err(|_| {
            ApiError::unauthorized("X-Posthorn-Timestamp is not a number of seconds since 1970")
        })?;
        if (now.0 / 1000).abs_diff(sent) > WINDOW.as_secs() {
            return Err(ApiError::unauthorized(
                "X-Posthorn-Timestamp is more than 5 minutes from the gateway's clock",
            ));
        }
        let wrong = ApiError::unauthorized("the signature does not match");
        let Ok(signature) = STANDARD.decode(signature) else { return Err(wrong) };
        let Some(keys) = self.apps.iter().find(|keys| *keys.app == *app) else { return Err(wrong) };
        let mut message = format!("{timestamp}\n{method}\n{path_and_query}\n").into_bytes();
        message.extend_from_slice(body);
        for key in &keys.server_keys {
            let hmac = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
            // Compares in constant time.
            if hmac::verify(&hmac, &message, &signature).is_ok() {
                if let Some(bearer) = self.bearers.get(&hash(key.expose())) {
                    bearer.within_limit()?;
                }
                return Ok(Caller::Server { app: keys.app.clone() });
            }
        }
        Err(wrong)
    }

    fn user(&self, sig: &str, now: Millis) -> Result<Caller, ApiError> {
        let refused =
            |err: SigError| ApiError::new(StatusCode::UNAUTHORIZED, err.code(), err.to_string());
        let claims = user_sig::read(sig).map_err(refused)?;
        let keys = self.apps.iter().find(|keys| keys.sdk_app_id == Some(claims.sdk_app_id));
        let Some((keys, secret)) = keys.and_then(|keys| Some((keys, keys.user_sig_key.as_ref()?)))
        else {
            return Err(refused(SigError::OtherApp));
        };
        claims.verify(secret, now).map_err(refused)?;
        let app = keys.app.clone();
        if keys.admins.contains(&claims.identifier) {
            return Ok(Caller::Server { app });
        }
        Ok(Caller::User { app, user: claims.identifier.into() })
    }
}

impl Bearer {
    fn within_limit(&self) -> Result<(), ApiError> {
        let Some(limit) = &self.limit else { return Ok(()) };
        limit.check().map_err(|until| {
            let after = until.wait_time_from(governor::clock::DefaultClock::default().now());
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "this key sends faster than its rate_per_sec; send it again later",
            )
            .retry_after(after)
        })
    }
}

impl Caller {
    /// The app whose server calls.
    pub fn server(self) -> Result<AppId, ApiError> {
        match self {
            Caller::Server { app } => Ok(app),
            Caller::User { .. } | Caller::Admin => {
                Err(ApiError::forbidden("this needs a server key of the app"))
            }
        }
    }

    /// The app, for the server or for this user about itself.
    pub fn on_behalf_of(self, user: &str) -> Result<AppId, ApiError> {
        match self {
            Caller::Server { app } => Ok(app),
            Caller::User { app, user: own } if *own == *user => Ok(app),
            Caller::User { .. } => {
                Err(ApiError::forbidden("a UserSig speaks for its own user only"))
            }
            Caller::Admin => Err(ApiError::forbidden("this needs a server key of the app")),
        }
    }

    /// Nothing, for the operator.
    pub fn admin(self) -> Result<(), ApiError> {
        match self {
            Caller::Admin => Ok(()),
            Caller::Server { .. } | Caller::User { .. } => {
                Err(ApiError::forbidden("this needs the admin key"))
            }
        }
    }
}
