//! One connection: opening it, driving it, and one request on it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{HeaderMap, Request, response};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ConnectError, Failure, Options, Origin, Shared};

type Wire = h2::client::Connection<TlsStream<TcpStream>, Bytes>;

/// One connection of a pool.
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) opened: Instant,
    /// Leases given.
    busy: AtomicUsize,
    /// Leases there may be: what the peer's SETTINGS allow now, less a margin.
    room: AtomicUsize,
    /// `None` once the connection left rotation; h2 closes it when its last stream ends.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    driver: OnceLock<AbortHandle>,
}

/// Why a request ended without an answer.
pub(super) enum Lost {
    /// The peer certainly did not process it.
    Unprocessed(Option<h2::Error>),
    Failed(Failure),
}

impl Connection {
    /// Opens a connection and starts driving it.
    pub(super) async fn open(
        number: u64,
        shared: &Arc<Shared>,
    ) -> Result<Arc<Connection>, ConnectError> {
        let limit = shared.options.connect_timeout;
        let opening = handshake(number, &shared.origin, shared);
        let Ok(opened) = tokio::time::timeout(limit, opening).await else {
            let host = shared.origin.host.clone();
            return Err(ConnectError::Timeout { host, secs: limit.as_secs_f32() });
        };
        let (sender, wire) = opened?;
        let room = allowed(&sender, shared.options.max_streams);
        let connection = Arc::new(Connection {
            number,
            opened: Instant::now(),
            busy: AtomicUsize::new(0),
            room: AtomicUsize::new(room),
            sender: Mutex::new(Some(sender)),
            driver: OnceLock::new(),
        });
        let driver = Driver::new(connection.clone(), wire, shared);
        let driver = tokio::spawn(driver.run()).abort_handle();
        connection.driver.get_or_init(|| driver);
        Ok(connection)
    }

    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.busy() < self.room.load(Ordering::Relaxed)
    }

    /// Called under the pool's lock only, so that two cannot take the last place.
    pub(super) fn take(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Leaves rotation for good. Streams in the air are finished.
    pub(super) fn retire(&self) {
        self.sender().take();
        self.room.store(0, Ordering::Relaxed);
    }

    /// Ends at once, with everything in the air on it.
    pub(super) fn close(&self) {
        self.retire();
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }

    /// Writes a request. An error means that nothing of it was written.
    pub(super) fn start(
        &self,
        mut request: Request<()>,
        stamp: &impl Fn(&mut HeaderMap),
        body: Bytes,
    ) -> Result<ResponseFuture, Option<h2::Error>> {
        let mut sender = self.sender();
        let live = sender.as_mut().ok_or(None)?;
        stamp(request.headers_mut());
        let (response, mut stream) = live.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            // Fails only when the stream is already gone; the response then says why.
            stream.send_data(body, true).ok();
        }
        Ok(response)
    }

    fn sender(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handshake(
    number: u64,
    origin: &Origin,
    shared: &Shared,
) -> Result<(SendRequest<Bytes>, Wire), ConnectError> {
    let host = || origin.host.clone();
    let tcp = connect(number, origin).await?;
    let name = ServerName::try_from(host()).map_err(|_| ConnectError::Name { host: host() })?;
    let tls = TlsConnector::from(shared.tls.clone())
        .connect(name, tcp)
        .await
        .map_err(|source| ConnectError::Tls { host: host(), source })?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ConnectError::NoHttp2 { host: host() });
    }
    h2::client::Builder::new()
        // APNs allows a cold connection one stream and refuses the rest; the peer's SETTINGS, which
        // arrive a moment later, raise this.
        .initial_max_send_streams(1)
        .initial_connection_window_size(1 << 20)
        .enable_push(false)
        .handshake(tls)
        .await
        .map_err(|source| ConnectError::Http2 { host: host(), source })
}

/// A fresh look-up for every connection, each beginning with another of the addresses, as Apple
/// asks (developer.apple.com/forums/thread/778909, read 2026-11-22).
async fn connect(number: u64, origin: &Origin) -> Result<TcpStream, ConnectError> {
    let Origin { host, port } = origin;
    let resolved = tokio::net::lookup_host((host.as_str(), *port)).await;
    let mut addresses: Vec<_> =
        resolved.map_err(|source| ConnectError::Resolve { host: host.clone(), source })?.collect();
    let first = number as usize % addresses.len().max(1);
    addresses.rotate_left(first);
    let failed = |source| ConnectError::Tcp { host: host.clone(), port: *port, source };
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    Ok(tcp)
}

/// How many streams may be open: a tenth below what the peer allows, so that a lowered limit that
/// is still on its way does not turn into refusals.
fn allowed(sender: &SendRequest<Bytes>, own: usize) -> usize {
    let peer = sender.current_max_send_streams();
    (peer - peer / 10).min(own)
}

/// Waits for the whole answer.
pub(super) async fn answer(
    response: ResponseFuture,
    limit: usize,
) -> Result<(response::Parts, Bytes), Lost> {
    let (head, body) = response.await.map_err(lost)?.into_parts();
    let body = collect(body, limit).await.map_err(Lost::Failed)?;
    Ok((head, body))
}

async fn collect(mut body: RecvStream, limit: usize) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let Some(chunk) = body.data().await else { break };
        let chunk = chunk.map_err(Failure::Lost)?;
        if whole.len() + chunk.len() > limit {
            return Err(Failure::Oversized { limit });
        }
        // Cannot fail: exactly what was just received is released.
        body.flow_control().release_capacity(chunk.len()).ok();
        if whole.is_empty() && body.is_end_stream() {
            return Ok(chunk);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// RFC 9113 §8.7: REFUSED_STREAM, and streams above a GOAWAY's last id, were not processed.
fn lost(err: h2::Error) -> Lost {
    let refused = err.is_reset() && err.reason() == Some(h2::Reason::REFUSED_STREAM);
    let above_goaway = err.is_go_away() && err.is_remote();
    if refused || above_goaway {
        Lost::Unprocessed(Some(err))
    } else {
        Lost::Failed(Failure::Lost(err))
    }
}

/// Moves a connection's bytes, keeps its room in step with the peer's SETTINGS, and asks now and
/// then whether the peer still lives.
struct Driver {
    connection: Arc<Connection>,
    shared: Weak<Shared>,
    options: Options,
    wire: Wire,
    ping: Option<PingPong>,
    ping_at: std::pin::Pin<Box<Sleep>>,
    awaiting_pong: bool,
}

impl Driver {
    fn new(connection: Arc<Connection>, mut wire: Wire, shared: &Arc<Shared>) -> Self {
        let options = shared.options.clone();
        Driver {
            connection,
            shared: Arc::downgrade(shared),
            ping: wire.ping_pong(),
            wire,
            ping_at: Box::pin(tokio::time::sleep(options.ping_every)),
            awaiting_pong: false,
            options,
        }
    }

    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        if let Some(shared) = self.shared.upgrade() {
            shared.retire(&self.connection);
        }
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(ended) = std::pin::Pin::new(&mut self.wire).poll(cx) {
            if let Err(err) = ended {
                tracing::debug!(connection = self.connection.number, "connection ended: {err}");
            }
            return Poll::Ready(());
        }
        self.follow_settings(cx);
        self.keep_alive(cx)
    }

    fn follow_settings(&self, cx: &mut Context<'_>) {
        let mut sender = self.connection.sender();
        let Some(live) = sender.as_mut() else { return };
        // After GOAWAY h2 says so here, long before the last stream ends.
        if let Poll::Ready(Err(_)) = live.poll_ready(cx) {
            drop(sender);
            if let Some(shared) = self.shared.upgrade() {
                shared.retire(&self.connection);
            }
            return;
        }
        let room = allowed(live, self.options.max_streams);
        let before = self.connection.room.swap(room, Ordering::Relaxed);
        drop(sender);
        if room > before
            && let Some(shared) = self.shared.upgrade()
        {
            shared.freed.notify_one();
        }
    }

    /// Ready when the peer did not answer a PING in time.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        loop {
            if self.awaiting_pong && ping.poll_pong(cx).is_ready() {
                self.awaiting_pong = false;
                let next = tokio::time::Instant::now() + self.options.ping_every;
                self.ping_at.as_mut().reset(next);
            }
            ready!(self.ping_at.as_mut().poll(cx));
            if self.awaiting_pong || ping.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.awaiting_pong = true;
            let deadline = tokio::time::Instant::now() + self.options.ping_timeout;
            self.ping_at.as_mut().reset(deadline);
        }
    }
}
