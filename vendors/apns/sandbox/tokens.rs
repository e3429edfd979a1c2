//! Provider tokens as APNs looks at them: strict JOSE, young, and not two in a row on a connection.
//!
//! "Establishing a token-based connection to APNs", developer.apple.com, read 2026-11-22. Apple also
//! takes signatures in DER and base64 with padding; RFC 7515 does not, and neither does this.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use serde::Deserialize;

use super::Refused;
use crate::sandbox::Exchange;

pub(super) const TEAM: &str = "TEAM000001";
pub(super) const KEY_ID: &str = "KEY0000001";

const MAX_AGE: Duration = Duration::from_secs(60 * 60);
const BETWEEN_TOKENS: Duration = Duration::from_secs(20 * 60);

/// A clock may be a little ahead of Apple's; how much is not documented.
const SKEW: Duration = Duration::from_secs(60);

/// How many connections and tokens are remembered; far more than are ever open at once.
const REMEMBERED: usize = 4096;

/// The team's key, and what has been seen of it.
pub(super) struct Tokens {
    private_pem: String,
    public: UnparsedPublicKey<Vec<u8>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Tokens whose signature was good.
    good: HashMap<Arc<str>, Good>,
    /// The token each connection uses, and since when.
    connections: BTreeMap<u64, (Arc<str>, SystemTime)>,
}

#[derive(Clone, Copy)]
struct Good {
    issued: SystemTime,
    expired: bool,
}

#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .expect("aws-lc-rs makes P-256 keys");
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_raw().to_vec());
        Tokens { private_pem: key.serialize_pem(), public, seen: Mutex::default() }
    }

    pub(super) fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// Every token seen so far counts as too old.
    pub(super) fn expire_seen(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.good.values_mut().for_each(|good| good.expired = true);
    }

    /// Refuses the request, or says whether this is the first good token on its connection.
    pub(super) fn check(&self, exchange: &Exchange<'_>) -> Result<bool, Refused> {
        let token = presented(exchange.headers)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, good) = match seen.good.get_key_value(token) {
            Some((name, good)) => (name.clone(), *good),
            None => {
                let issued = self.verify(token)?;
                let (name, good) = (Arc::from(token), Good { issued, expired: false });
                if seen.good.len() >= REMEMBERED {
                    seen.good.clear();
                }
                seen.good.insert(Arc::clone(&name), good);
                (name, good)
            }
        };
        seen.change(exchange.connection, &name, exchange.now)?;
        let age = exchange.now.duration_since(good.issued).unwrap_or_default();
        if good.expired || age > MAX_AGE {
            return Err(Refused(403, "ExpiredProviderToken"));
        }
        if good.issued > exchange.now + SKEW {
            return Err(Refused(403, "InvalidProviderToken"));
        }
        Ok(seen.is_first(exchange.connection, name, exchange.now))
    }

    /// When the token was issued, if it is signed by the team's key in the strict form.
    fn verify(&self, token: &str) -> Result<SystemTime, Refused> {
        const INVALID: Refused = Refused(403, "InvalidProviderToken");
        let (signed, signature) = token.rsplit_once('.').ok_or(INVALID)?;
        let (header, claims) = signed.split_once('.').ok_or(INVALID)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| INVALID);
        let header: JoseHeader = serde_json::from_slice(&decode(header)?).map_err(|_| INVALID)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| INVALID)?;
        if header.alg != "ES256" || header.kid != KEY_ID || claims.iss != TEAM {
            return Err(INVALID);
        }
        self.public.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| INVALID)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.iat)).ok_or(INVALID)
    }
}

impl Seen {
    /// A connection that shows another token than before.
    fn change(&mut self, number: u64, token: &Arc<str>, now: SystemTime) -> Result<(), Refused> {
        let Some((used, since)) = self.connections.get_mut(&number) else { return Ok(()) };
        if used == token {
            return Ok(());
        }
        if now.duration_since(*since).unwrap_or_default() < BETWEEN_TOKENS {
            return Err(Refused(429, "TooManyProviderTokenUpdates"));
        }
        (*used, *since) = (token.clone(), now);
        Ok(())
    }

    fn is_first(&mut self, number: u64, token: Arc<str>, now: SystemTime) -> bool {
        if self.connections.contains_key(&number) {
            return false;
        }
        if self.connections.len() >= REMEMBERED {
            self.connections.pop_first();
        }
        self.connections.insert(number, (token, now));
        true
    }
}

fn presented(headers: &HeaderMap) -> Result<&str, Refused> {
    let missing = Refused(403, "MissingProviderToken");
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("bearer ")).ok_or(missing)
}
