//! Slips HTTP/2 frames of our own between those that h2's server writes.
//!
//! h2's server can neither change SETTINGS_MAX_CONCURRENT_STREAMS after the handshake nor put a body
//! into GOAWAY; APNs does both. So this stands between h2 and the socket, counts frames in both
//! directions, adds ours at frame boundaries and swallows the peer's acknowledgement of them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADER: usize = 9;
const PREFACE: usize = 24;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What the server side of one connection may ask of its [`Frames`]. Frames leave with the next
/// write or flush.
#[derive(Clone)]
pub(crate) struct Slip {
    wanted: Arc<Mutex<Vec<Ours>>>,
    any: Arc<AtomicBool>,
    enforced: Arc<AtomicU32>,
}

enum Ours {
    Settings(u32),
    GoAway(Bytes),
}

impl Slip {
    /// A new one; the peer is told the limit before anything else.
    pub(crate) fn new(streams: u32) -> Self {
        Slip {
            wanted: Arc::new(Mutex::new(vec![Ours::Settings(streams)])),
            any: Arc::new(AtomicBool::new(true)),
            enforced: Arc::new(AtomicU32::new(streams)),
        }
    }

    /// How many streams the peer may have open now. A lower limit counts once it is acknowledged.
    pub(crate) fn streams(&self) -> u32 {
        self.enforced.load(Ordering::Relaxed)
    }

    /// Tells the peer another limit.
    pub(crate) fn allow_streams(&self, streams: u32) {
        self.enforced.fetch_max(streams, Ordering::Relaxed);
        self.push(Ours::Settings(streams));
    }

    /// GOAWAY with a body; nothing in the air is given up by it.
    pub(crate) fn go_away(&self, body: Bytes) {
        self.push(Ours::GoAway(body));
    }

    fn push(&self, ours: Ours) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(ours);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Ours> {
        if !self.any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection whose frames are counted.
pub(crate) struct Frames<S> {
    io: S,
    slip: Slip,
    out: Counter,
    /// Our frames on their way out.
    adding: BytesMut,
    /// SETTINGS not yet acknowledged, in the order written: ours with their limit, h2's without.
    unacknowledged: VecDeque<Option<u32>>,
    inward: Inward,
}

impl<S> Frames<S> {
    pub(crate) fn new(io: S, slip: Slip) -> Self {
        Frames {
            io,
            slip,
            out: Counter::default(),
            adding: BytesMut::new(),
            unacknowledged: VecDeque::new(),
            inward: Inward { rest: PREFACE, ..Inward::default() },
        }
    }

    /// Puts what is wanted into `adding`; only called between two frames.
    fn gather(&mut self) {
        for ours in self.slip.take() {
            match ours {
                Ours::Settings(streams) => {
                    put_header(&mut self.adding, 6, SETTINGS);
                    self.adding.put_u16(MAX_CONCURRENT_STREAMS);
                    self.adding.put_u32(streams);
                    self.unacknowledged.push_back(Some(streams));
                }
                Ours::GoAway(body) => {
                    put_header(&mut self.adding, 8 + body.len(), GOAWAY);
                    self.adding.put_u32(i32::MAX as u32);
                    self.adding.put_u32(0);
                    self.adding.put_slice(&body);
                }
            }
        }
    }
}

fn put_header(out: &mut BytesMut, len: usize, kind: u8) {
    out.put_uint(len as u64, 3);
    out.put_u8(kind);
    out.put_u8(0);
    out.put_u32(0);
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Writes our frames, if the last frame of h2's is complete.
    fn add(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.between_frames() {
            self.gather();
        }
        while !self.adding.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.adding))?;
            self.adding.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.add(cx))?;
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        let unacknowledged = &mut this.unacknowledged;
        this.out.count(&buf[..n], |kind, flags| {
            if kind == SETTINGS && flags & ACK == 0 {
                unacknowledged.push_back(None);
            }
        });
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.add(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.inward.clean.is_empty() {
            let mut chunk = [0; 16 * 1024];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.inward.raw.extend_from_slice(chunk.filled());
            this.inward.sift(&mut this.unacknowledged, &this.slip.enforced);
        }
        let n = this.inward.clean.len().min(buf.remaining());
        buf.put_slice(&this.inward.clean[..n]);
        this.inward.clean.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// Where in a frame the outgoing bytes are.
#[derive(Default)]
struct Counter {
    header: [u8; HEADER],
    have: usize,
    rest: usize,
}

impl Counter {
    fn between_frames(&self) -> bool {
        self.have == 0 && self.rest == 0
    }

    fn count(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8, u8)) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let n = self.rest.min(bytes.len());
                self.rest -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == HEADER {
                self.have = 0;
                self.rest = length(&self.header);
                frame(self.header[3], self.header[4]);
            }
        }
    }
}

/// Incoming bytes: as they came, and as h2 may see them.
#[derive(Default)]
struct Inward {
    raw: BytesMut,
    clean: BytesMut,
    rest: usize,
}

impl Inward {
    fn sift(&mut self, unacknowledged: &mut VecDeque<Option<u32>>, enforced: &AtomicU32) {
        loop {
            let n = self.rest.min(self.raw.len());
            self.clean.extend_from_slice(&self.raw[..n]);
            self.raw.advance(n);
            self.rest -= n;
            if self.raw.len() < HEADER {
                return;
            }
            let header = self.raw.split_to(HEADER);
            if header[3] == SETTINGS
                && header[4] & ACK != 0
                && let Some(Some(streams)) = unacknowledged.pop_front()
            {
                // A raise that is still on its way counts already; see `allow_streams`.
                let coming = unacknowledged.iter().flatten().copied().max().unwrap_or(0);
                enforced.store(streams.max(coming), Ordering::Relaxed);
                continue;
            }
            self.rest = length(&header);
            self.clean.extend_from_slice(&header);
        }
    }
}

fn length(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}
