//! The provider token: signed rarely, shared by all connections, renewed without ever showing one
//! connection two of them in short order.
//!
//! Apple refuses an `iat` older than 60 minutes (ExpiredProviderToken) and a second new token within
//! 20 minutes on one connection (TooManyProviderTokenUpdates): "Establishing a token-based
//! connection to APNs", developer.apple.com, read 2026-11-22.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::Reason;
use crate::kit::h2pool::Pool;

/// When a token is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(45 * 60);

/// How long one connection must have seen one token before it may see another.
const SETTLED: Duration = Duration::from_secs(20 * 60);

/// How a lane shows who it is.
pub(super) enum Auth {
    /// With a token on every request.
    Token(Box<ProviderTokens>),
    /// With the certificate of the TLS handshake.
    Certificate,
}

impl Auth {
    /// Sees to it that there is a token and that it is young enough.
    pub(super) fn ready(&self, now: SystemTime, pool: &Pool) -> Result<(), Reason> {
        match self {
            Auth::Token(tokens) => tokens.ready(now, pool),
            Auth::Certificate => Ok(()),
        }
    }

    /// When APNs will refuse the token in use, if there is one: an hour after it was signed.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Auth::Token(tokens) => tokens.read(|held| held.map(|held| held.signed_at + LIFETIME)),
            Auth::Certificate => None,
        }
    }

    /// Counts the tokens so far.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Auth::Token(tokens) => tokens.read(|held| held.map_or(0, |held| held.generation)),
            Auth::Certificate => 0,
        }
    }

    /// Writes the current token into a request's head.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        let Auth::Token(tokens) = self else { return };
        if let Some(value) = tokens.read(|held| held.map(|held| held.value.clone())) {
            headers.insert(header::AUTHORIZATION, value);
        }
    }

    /// Replaces a token that APNs called expired. False when that was done a moment ago already:
    /// then this machine's clock is wrong, and more tokens only bring TooManyProviderTokenUpdates.
    pub(super) fn renew(&self, generation: u64, now: SystemTime, pool: &Pool) -> bool {
        match self {
            Auth::Token(tokens) => tokens.renew(generation, now, pool),
            Auth::Certificate => false,
        }
    }
}

/// APNs refuses a token whose `iat` is older.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The lane's tokens, one at a time.
pub(super) struct ProviderTokens {
    signer: Signer,
    held: RwLock<Option<Held>>,
    /// Held by whoever replaces the token, so that only one is signed.
    replacing: Mutex<()>,
}

struct Held {
    value: HeaderValue,
    signed_at: SystemTime,
    generation: u64,
    /// When a token was last replaced because APNs called it expired.
    forced_at: Option<SystemTime>,
}

impl ProviderTokens {
    pub(super) fn new(signer: Signer) -> Self {
        ProviderTokens { signer, held: RwLock::new(None), replacing: Mutex::new(()) }
    }

    fn ready(&self, now: SystemTime, pool: &Pool) -> Result<(), Reason> {
        if self.is_young(now) {
            return Ok(());
        }
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_young(now) {
            return Ok(());
        }
        // Connections that saw the old token only for a moment must not see the new one.
        let forced_at = self.read(|held| held.and_then(|held| held.forced_at));
        self.replace(now, forced_at, SETTLED, pool)
    }

    fn renew(&self, generation: u64, now: SystemTime, pool: &Pool) -> bool {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let held =
            self.read(|held| held.map(|held| (held.generation, held.age(now), held.forced_at)));
        let Some((current, age, forced_at)) = held else { return false };
        if current != generation {
            return true;
        }
        let forced_lately = forced_at.is_some_and(|at| since(at, now) < SETTLED);
        if age < SETTLED && forced_lately {
            return false;
        }
        // A token younger than 20 minutes may have been shown on any connection: none is kept.
        let keep = if age < SETTLED { Duration::MAX } else { SETTLED };
        self.replace(now, Some(now), keep, pool).is_ok()
    }

    fn is_young(&self, now: SystemTime) -> bool {
        self.read(|held| held.is_some_and(|held| held.age(now) < RENEW_AFTER))
    }

    fn replace(
        &self,
        now: SystemTime,
        forced_at: Option<SystemTime>,
        keep_older_than: Duration,
        pool: &Pool,
    ) -> Result<(), Reason> {
        let refused = |problem| Reason::new("InvalidProviderToken", problem);
        let token = self.signer.sign(now).map_err(refused)?;
        let value = bearer(&token).expect("base64url and dots always fit a header");
        let generation = self.read(|held| held.map_or(0, |held| held.generation)) + 1;
        let held = Held { value, signed_at: now, generation, forced_at };
        pool.retire_younger(keep_older_than, || {
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        });
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(Option<&Held>) -> T) -> T {
        look(self.held.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }
}

impl Held {
    fn age(&self, now: SystemTime) -> Duration {
        since(self.signed_at, now)
    }
}

/// Nothing when the clock was turned back.
fn since(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

/// The value of `authorization`, never put into HPACK's table; nothing for an empty credential.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("bearer {token}")).ok()?;
    value.set_sensitive(true);
    (!token.is_empty()).then_some(value)
}

/// Signs provider tokens with the team's key.
pub(super) struct Signer {
    header: Header,
    team_id: String,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
}

impl Signer {
    /// `pem` is the text of Apple's .p8 file. An error says what is wrong with it.
    pub(super) fn new(team_id: String, key_id: String, pem: &str) -> Result<Self, String> {
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| {
            "holds no EC private key in PEM; write file:PATH for Apple's .p8 file".to_owned()
        })?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(key_id);
        let signer = Signer { header, team_id, key };
        // Only a signature shows that the key is on the curve that Apple uses.
        signer.sign(SystemTime::UNIX_EPOCH)?;
        Ok(signer)
    }

    fn sign(&self, now: SystemTime) -> Result<String, String> {
        let iat = since(SystemTime::UNIX_EPOCH, now).as_secs();
        let claims = Claims { iss: &self.team_id, iat };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map_err(|err| format!("cannot sign with this key (P-256 is wanted): {err}"))
    }
}
