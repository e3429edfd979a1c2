//! Why a request brought no answer, and whether the peer may have acted on it.

use std::io;
use std::sync::Arc;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be opened; nothing was sent.
    #[error("{0}")]
    Connect(Arc<ConnectError>),
    /// Every connection tried said that it did not process the request.
    #[error("refused by {handovers} connections in a row")]
    Refused {
        /// How many were tried.
        handovers: usize,
    },
    /// The request was written and the connection or stream ended without a whole answer.
    #[error("connection lost before the answer was complete: {0}")]
    Lost(h2::Error),
    /// The answer's body is longer than the pool reads.
    #[error("the answer is longer than {limit} bytes")]
    Oversized {
        /// The pool's limit.
        limit: usize,
    },
}

impl Failure {
    /// Whether the peer may have acted on the request.
    pub fn sent(&self) -> bool {
        match self {
            Failure::Connect(_) | Failure::Refused { .. } => false,
            Failure::Lost(_) | Failure::Oversized { .. } => true,
        }
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("could not resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address took the connection.
    #[error("could not connect to {host}:{port}: {source}")]
    Tcp {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What the last address tried said.
        source: io::Error,
    },
    /// The certificate is not trusted, is for another name, or TLS failed otherwise.
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// The name.
        host: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The host is no name that a certificate can be checked against.
    #[error("{host} is not a host name")]
    Name {
        /// The name.
        host: String,
    },
    /// The peer did not choose `h2`.
    #[error("{host} does not speak HTTP/2")]
    NoHttp2 {
        /// The name.
        host: String,
    },
    /// The HTTP/2 preface failed.
    #[error("HTTP/2 with {host} failed: {source}")]
    Http2 {
        /// The name.
        host: String,
        /// What h2 said.
        source: h2::Error,
    },
    /// It took too long.
    #[error("connecting to {host} took longer than {secs} s")]
    Timeout {
        /// The name.
        host: String,
        /// The limit.
        secs: f32,
    },
}
