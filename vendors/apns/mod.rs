//! Apple Push Notification service over HTTP/2: one push a call, a provider token or a certificate.
//!
//! `request.rs` and `outcome.rs` are pure, `auth.rs` signs, this file makes the exchange on a pool
//! of connections (`kit::h2pool`). Sources and choices are in README.md beside this file.

mod auth;
mod config;
mod outcome;
mod payload;
mod request;
mod sandbox;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::kit::h2pool::{Answered, Failure, Pool};
use crate::kit::settings::Fault;
use crate::{
    Answer, Batch, Batching, Cost, Limits, Outcome, Probe, Push, Reason, Spec, TextLimit, TextUnit,
    Vendor, Wire,
};
use auth::Auth;
use config::Lane;
use outcome::Remedy;
use request::Requests;

/// Apple Push Notification service.
pub const SPEC: Spec = Spec {
    id: "apns",
    name: "Apple APNs",
    build,
    wire,
    simulator: || Box::new(sandbox::ApnsSimulator::new()),
    impossible: &[],
};

fn build(table: toml::Table) -> Result<Arc<dyn Vendor>, Vec<Fault>> {
    let Lane { requests, auth, origin, tls, options, advice } = config::read(table)?;
    let host = origin.host.clone();
    Ok(Arc::new(Apns { requests, auth, pool: Pool::new(origin, tls, options), host, advice }))
}

fn wire(table: toml::Table) -> Result<Box<dyn Wire>, Vec<Fault>> {
    Ok(Box::new(ApnsWire(config::read(table)?.requests)))
}

/// Texts that leave room for a picture's URL and the caller's own pairs in 4096 bytes; a payload
/// that is longer all the same loses the end of its body (`payload.rs`).
const LIMITS: Limits = Limits {
    batching: Batching::Single,
    cost: Cost::PerCall,
    title: TextLimit { max: 240, unit: TextUnit::Bytes },
    body: TextLimit { max: 2400, unit: TextUnit::Bytes },
    // "APNs stores the notification for up to 30 days" (Sending notification requests to APNs,
    // developer.apple.com/documentation/usernotifications, read 2026-11-22).
    ttl_max: Duration::from_secs(30 * 24 * 60 * 60),
    concurrency: 1000,
};

struct Apns {
    requests: Requests,
    auth: Auth,
    pool: Pool,
    host: String,
    advice: Vec<Cow<'static, str>>,
}

impl Vendor for Apns {
    fn limits(&self) -> &Limits {
        &LIMITS
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> Answer<'a> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.pushes.len());
            for push in &batch.pushes {
                outcomes.push(self.push(push, batch.now).await);
            }
            outcomes
        })
    }

    fn probe<'a>(&'a self, now: SystemTime) -> Probe<'a> {
        Box::pin(async move {
            self.auth.ready(now, &self.pool)?;
            self.pool.warm().await.map_err(|err| connection_reason(&err))?;
            let signed = match self.auth {
                Auth::Token(_) => "a provider token was signed and ",
                Auth::Certificate => "",
            };
            Ok(format!(
                "{signed}an HTTP/2 connection over TLS to {} stands; APNs looks at the credential \
                 and the topic only with a push, so those were not checked",
                self.host
            ))
        })
    }

    fn credential_expires(&self) -> Option<SystemTime> {
        self.auth.expires_at()
    }

    fn advice(&self) -> Vec<Cow<'static, str>> {
        self.advice.clone()
    }
}

impl Apns {
    async fn push(&self, push: &Push, now: SystemTime) -> Outcome {
        if let Err(outcome) = request::check(push) {
            return outcome;
        }
        let body = Bytes::from(payload::bytes(push));
        if body.len() > payload::MAX {
            return Outcome::rejected(
                "PayloadTooLarge",
                "more than 4096 bytes even with an empty body; the caller's data is too long",
            );
        }
        if let Err(reason) = self.auth.ready(now, &self.pool) {
            return Outcome::Unauthorized { reason };
        }
        let generation = self.auth.generation();
        let answered = match self.exchange(push, body.clone()).await {
            Ok(answered) => answered,
            Err(failed) => return failed,
        };
        if !self.mend(&answered, generation, now) {
            return outcome::read(answered.status, &answered.headers, &answered.body);
        }
        match self.exchange(push, body).await {
            Ok(again) => outcome::read(again.status, &again.headers, &again.body),
            Err(failed) => failed,
        }
    }

    async fn exchange(&self, push: &Push, body: Bytes) -> Result<Answered, Outcome> {
        let head = || self.requests.head(push);
        let sent = self.pool.send(head, |headers| self.auth.stamp(headers), body);
        sent.await.map_err(|err| Outcome::Retry { after: None, reason: connection_reason(&err) })
    }

    /// Does what an answer asks for; true when the same push should then be sent once more at once.
    fn mend(&self, answered: &Answered, generation: u64, now: SystemTime) -> bool {
        match outcome::remedy(answered.status, &answered.body) {
            Remedy::None => false,
            Remedy::OtherConnection => {
                self.pool.retire(answered.connection);
                true
            }
            Remedy::LeaveConnection => {
                self.pool.retire(answered.connection);
                false
            }
            Remedy::NewToken => self.auth.renew(generation, now, &self.pool),
            Remedy::IfTokenChanged => self.auth.generation() != generation,
        }
    }
}

fn connection_reason(failure: &Failure) -> Reason {
    match failure {
        Failure::Oversized { .. } => Reason::new("malformed_answer", failure.to_string()),
        Failure::Connect(_) | Failure::Refused { .. } | Failure::Lost(_) => {
            Reason::new("connection", failure.to_string())
        }
    }
}

struct ApnsWire(Requests);

impl Wire for ApnsWire {
    fn request(&self, batch: &Batch, credential: &str) -> http::Request<Bytes> {
        let push = batch.pushes.first().expect("a batch is never empty");
        let mut request = self.0.head(push);
        if let Some(value) = auth::bearer(credential) {
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        request.map(|()| Bytes::from(payload::bytes(push)))
    }

    fn outcomes(
        &self,
        batch: &Batch,
        status: http::StatusCode,
        headers: &http::HeaderMap,
        body: &[u8],
    ) -> Vec<Outcome> {
        batch.pushes.iter().map(|_| outcome::read(status, headers, body)).collect()
    }
}
