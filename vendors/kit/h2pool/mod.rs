//! An explicit pool of HTTP/2 connections to one origin, for the vendors that speak nothing else.
//!
//! It knows what a general HTTP client does not: a permit is only given for a stream the peer allows
//! now, a burst grows the pool, and a request that was certainly not processed (GOAWAY, refused
//! stream, connection gone before it was written) goes out again at once on another connection.
//! Deliberately absent: retries of anything that may have been processed, and time limits for the
//! whole call: who calls decides both.

mod connection;
mod failure;
mod lease;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use connection::{Connection, Lost};
pub use failure::{ConnectError, Failure};
use lease::{Grant, Lease};

/// How often one request may be handed on because it was certainly not processed.
const MAX_HANDOVERS: usize = 8;

/// Where a pool connects to.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name, resolved anew for every connection and checked against the certificate.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What bounds a pool.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections at once.
    pub max_connections: usize,
    /// Most streams on one connection, however many more the peer allows.
    pub max_streams: usize,
    /// Name look-up, TCP, TLS and HTTP/2 preface together.
    pub connect_timeout: Duration,
    /// Between two openings, so that growth does not look like an attack.
    pub stagger: Duration,
    /// How often a connection is asked whether it still lives.
    pub ping_every: Duration,
    /// How long it may take to say so.
    pub ping_timeout: Duration,
    /// The longest body of an answer.
    pub max_answer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_connections: 16,
            max_streams: 1000,
            connect_timeout: Duration::from_secs(5),
            stagger: Duration::from_millis(500),
            ping_every: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
            max_answer: 64 * 1024,
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The connection it came on, for [`Pool::retire`].
    pub connection: u64,
}

/// Connections to one origin. Dropping it closes them.
pub struct Pool {
    shared: Arc<Shared>,
}

/// What the pool, its opener and its connections' drivers hold together.
struct Shared {
    origin: Origin,
    tls: Arc<ClientConfig>,
    options: Options,
    state: std::sync::Mutex<State>,
    /// Rung once for every permit that may be free; whoever takes one rings again for the next.
    freed: Notify,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Those in rotation.
    connections: Vec<Arc<Connection>>,
    opener: Option<AbortHandle>,
    last_opening: Option<Instant>,
    opened: u64,
    failures: u64,
    last_failure: Option<Arc<ConnectError>>,
    closed: bool,
}

impl Pool {
    /// A pool without connections; the first request opens one.
    pub fn new(origin: Origin, tls: Arc<ClientConfig>, options: Options) -> Self {
        let shared = Shared {
            origin,
            tls,
            options,
            state: std::sync::Mutex::default(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
        };
        Pool { shared: Arc::new(shared) }
    }

    /// Sends one request and reads the whole answer. `head` makes the request's head (version
    /// HTTP/2, full URI), once for every connection it has to be tried on. `stamp` sets what may
    /// change over time and must never run backwards on one connection: it is called in the order
    /// in which the connection's requests are written.
    pub async fn send(
        &self,
        head: impl Fn() -> Request<()>,
        stamp: impl Fn(&mut HeaderMap),
        body: Bytes,
    ) -> Result<Answered, Failure> {
        let mut handovers = 0;
        loop {
            let lease = self.lease().await?;
            let sent = match lease.connection.start(head(), &stamp, body.clone()) {
                Ok(response) => connection::answer(response, self.shared.options.max_answer).await,
                Err(err) => Err(Lost::Unprocessed(err)),
            };
            let lost = match sent {
                Ok((head, body)) => {
                    let connection = lease.connection.number;
                    let http::response::Parts { status, headers, .. } = head;
                    return Ok(Answered { status, headers, body, connection });
                }
                Err(Lost::Unprocessed(lost)) => lost,
                Err(Lost::Failed(failure)) => return Err(failure),
            };
            // A refused stream says nothing against its connection; everything else does.
            if !lost.as_ref().is_some_and(h2::Error::is_reset) {
                self.shared.retire(&lease.connection);
            }
            handovers += 1;
            if handovers > MAX_HANDOVERS {
                return Err(Failure::Refused { handovers });
            }
        }
    }

    /// Sees to it that a connection stands, without sending a request.
    pub async fn warm(&self) -> Result<(), Failure> {
        self.lease().await.map(drop)
    }

    /// Takes one connection out of rotation; what is in the air on it is finished.
    pub fn retire(&self, number: u64) {
        let found = {
            let state = self.shared.lock();
            state.connections.iter().find(|connection| connection.number == number).cloned()
        };
        if let Some(connection) = found {
            self.shared.retire(&connection);
        }
    }

    /// Takes every connection younger than `age` out of rotation (what is in the air is finished)
    /// and runs `then` before any other connection can be opened or chosen.
    pub fn retire_younger(&self, age: Duration, then: impl FnOnce()) {
        let mut state = self.shared.lock();
        state.connections.retain(|connection| {
            let keep = connection.opened.elapsed() >= age;
            if !keep {
                connection.retire();
            }
            keep
        });
        then();
        drop(state);
        self.shared.freed.notify_one();
    }

    /// How many connections are in rotation.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    async fn lease(&self) -> Result<Lease, Failure> {
        let since = match self.shared.grant(None) {
            Grant::Given(lease) => return Ok(lease),
            Grant::Failed(failure) => return Err(Failure::Connect(failure)),
            Grant::Wait(since) => since,
        };
        let _waiting = lease::Waiting::among(&self.shared.waiting);
        loop {
            let freed = self.shared.freed.notified();
            match self.shared.grant(Some(since)) {
                Grant::Given(lease) => return Ok(lease),
                Grant::Failed(failure) => return Err(Failure::Connect(failure)),
                Grant::Wait(_) => freed.await,
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        if let Some(opener) = state.opener.take() {
            opener.abort();
        }
        for connection in state.connections.drain(..) {
            connection.close();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the connection out of rotation; what is in the air on it is finished.
    fn retire(&self, connection: &Connection) {
        connection.retire();
        self.lock().connections.retain(|other| other.number != connection.number);
        self.freed.notify_one();
    }

    fn starving(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}
