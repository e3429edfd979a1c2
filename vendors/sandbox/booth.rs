//! One vendor's booth in the sandbox: its simulator, its faults, and the last requests it saw.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, request};
use serde::Serialize;

use super::faults::{Fault, Faults, Mode};
use super::phones::{Phones, millis};
use super::simulator::{After, Exchange, Reply, Simulator};
use crate::Spec;

/// How many requests are remembered.
const REMEMBERED: usize = 1000;

/// Everything of one vendor.
pub(super) struct Booth {
    pub(super) spec: &'static Spec,
    pub(super) simulator: Box<dyn Simulator>,
    pub(super) base_url: String,
    pub(super) faults: Faults,
    phones: Phones,
    last: Mutex<VecDeque<Seen>>,
    connections: AtomicU64,
}

/// What comes of a request.
pub(super) enum Treatment {
    Answer(Reply),
    /// This exchange ends without an answer.
    Reset,
    /// The whole connection ends.
    ResetConnection,
}

/// One request as it came and as it was answered. Kept raw; made readable only when asked for.
struct Seen {
    at: SystemTime,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    reply: Option<(StatusCode, HeaderMap, Bytes)>,
}

/// A remembered request, for the tester.
#[derive(Debug, Serialize)]
pub struct SeenRequest {
    /// Milliseconds since 1970.
    pub at: u64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
    /// What was answered; nothing for a hang or a reset.
    pub reply: Option<SeenReply>,
}

/// What a remembered request was answered.
#[derive(Debug, Serialize)]
pub struct SeenReply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl Booth {
    pub(super) fn new(spec: &'static Spec, base_url: String, phones: Phones) -> Self {
        Booth {
            spec,
            simulator: (spec.simulator)(),
            base_url,
            faults: Faults::none(),
            phones,
            last: Mutex::default(),
            connections: AtomicU64::new(0),
        }
    }

    /// The number of a connection that was just taken.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets or clears the fault.
    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        if fault.as_ref().is_some_and(|fault| fault.mode == Mode::ExpireCredentials) {
            self.simulator.expire_credentials();
            return;
        }
        self.faults.set(fault);
    }

    /// One request from arrival to reply, faults included.
    pub(super) async fn attend(
        &self,
        connection: u64,
        request: request::Parts,
        body: Bytes,
    ) -> Treatment {
        let credential = self.simulator.is_credential_request(request.uri.path());
        let Some((fault, mut cleared)) = self.faults.strike(credential) else {
            return self.answer(connection, request, body, None);
        };
        match fault.mode {
            Mode::Latency => {
                tokio::time::sleep(fault.delay()).await;
                self.answer(connection, request, body, None)
            }
            Mode::Hang => {
                self.remember(request, body, None, SystemTime::now());
                // Only an end of the sandbox closes the channel; then there is nobody to answer to.
                cleared.changed().await.ok();
                Treatment::ResetConnection
            }
            Mode::Reset => {
                self.remember(request, body, None, SystemTime::now());
                let whole = fault.share >= 1.0;
                if whole { Treatment::ResetConnection } else { Treatment::Reset }
            }
            Mode::Goaway
            | Mode::Status
            | Mode::Code
            | Mode::RateLimit
            | Mode::Quota
            | Mode::ExpireCredentials => self.answer(connection, request, body, Some(&fault)),
        }
    }

    fn answer(
        &self,
        connection: u64,
        request: request::Parts,
        body: Bytes,
        fault: Option<&Fault>,
    ) -> Treatment {
        let now = SystemTime::now();
        let exchange = Exchange {
            connection,
            method: &request.method,
            uri: &request.uri,
            headers: &request.headers,
            body: &body,
            now,
        };
        let reply = match fault {
            None => self.simulator.answer(&exchange, &self.phones),
            Some(fault) => self.faulty(fault, &exchange),
        };
        let seen = (reply.status, reply.headers.clone(), reply.body.clone());
        self.remember(request, body, Some(seen), now);
        Treatment::Answer(reply)
    }

    fn faulty(&self, fault: &Fault, exchange: &Exchange<'_>) -> Reply {
        let after = fault.retry_after_secs;
        match fault.mode {
            Mode::Goaway => {
                Reply { after: After::GoAway, ..self.simulator.answer(exchange, &self.phones) }
            }
            Mode::Code => {
                self.simulator.refusal(fault.code.as_deref().unwrap_or_default(), exchange)
            }
            Mode::RateLimit => self.simulator.too_many(false, after, exchange),
            Mode::Quota => self.simulator.too_many(true, after, exchange),
            Mode::Status | Mode::Latency | Mode::Hang | Mode::Reset | Mode::ExpireCredentials => {
                bare(fault.status.unwrap_or(500), after)
            }
        }
    }

    fn remember(
        &self,
        request: request::Parts,
        body: Bytes,
        reply: Option<(StatusCode, HeaderMap, Bytes)>,
        at: SystemTime,
    ) {
        let request::Parts { method, uri, headers, .. } = request;
        let seen = Seen { at, method, uri, headers, body, reply };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = if last.len() >= REMEMBERED { last.pop_front() } else { None };
        last.push_back(seen);
        drop(last);
        drop(forgotten);
    }

    /// The last `limit` requests, oldest first.
    pub(super) fn last(&self, limit: usize) -> Vec<SeenRequest> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().skip(last.len().saturating_sub(limit)).map(Seen::readable).collect()
    }
}

impl Seen {
    fn readable(&self) -> SeenRequest {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let reply = self.reply.as_ref().map(|(status, headers, body)| SeenReply {
            status: status.as_u16(),
            headers: pairs(headers),
            body: text(body),
        });
        SeenRequest {
            at: millis(self.at),
            method: self.method.to_string(),
            path: path.to_owned(),
            headers: pairs(&self.headers),
            body: text(&self.body),
            reply,
        }
    }
}

fn bare(status: u16, retry_after_secs: Option<u64>) -> Reply {
    let mut reply = Reply::empty(status);
    if let Some(secs) = retry_after_secs {
        reply.headers.insert(http::header::RETRY_AFTER, secs.into());
    }
    reply
}

fn pairs(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
