//! The vendors' sockets: TLS, then HTTP/1.1 by hyper or HTTP/2 by h2, then the vendor's booth.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::booth::{Booth, Treatment};
use super::frames::{Frames, Slip};
use super::simulator::{After, Reply};

/// The longest request taken; far above every vendor's limit, which the simulators keep.
const MAX_BODY: usize = 4 << 20;

/// Takes connections until dropped.
pub(super) async fn listen(listener: TcpListener, tls: Arc<ServerConfig>, booth: Arc<Booth>) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                connections.spawn(connect(tcp, acceptor.clone(), booth.clone()));
            }
            // Out of descriptors, or the peer is gone already: the next one may do.
            Err(err) => {
                tracing::warn!("{}: could not accept: {err}", booth.spec.id);
                tokio::task::yield_now().await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(tcp: TcpStream, acceptor: TlsAcceptor, booth: Arc<Booth>) {
    let number = booth.next_connection();
    let served = async {
        tcp.set_nodelay(true)?;
        let (tcp, cutter) = Cutter::of(tcp)?;
        let tls = acceptor.accept(tcp).await?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            http2(tls, &booth, number, cutter).await.map_err(io::Error::other)
        } else {
            http1(tls, &booth, number, cutter).await.map_err(io::Error::other)
        }
    };
    if let Err(err) = served.await {
        tracing::debug!("{}: connection {number} ended: {err}", booth.spec.id);
    }
}

/// A second handle on a socket, to close it with RST instead of FIN.
struct Cutter(std::net::TcpStream);

impl Cutter {
    fn of(tcp: TcpStream) -> io::Result<(TcpStream, Cutter)> {
        let tcp = tcp.into_std()?;
        let second = tcp.try_clone()?;
        Ok((TcpStream::from_std(tcp)?, Cutter(second)))
    }

    /// From now on closing means RST.
    fn cut(self) {
        let cut = TcpStream::from_std(self.0).and_then(|tcp| tcp.set_zero_linger());
        if let Err(err) = cut {
            tracing::debug!("closing with FIN, not RST: {err}");
        }
    }
}

async fn http1(
    tls: TlsStream<TcpStream>,
    booth: &Booth,
    number: u64,
    cutter: Cutter,
) -> Result<(), hyper::Error> {
    let cutter = std::sync::Mutex::new(Some(cutter));
    let cutter = &cutter;
    let service = service_fn(move |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(too_long()),
        };
        match booth.attend(number, head, body).await {
            Treatment::Answer(reply) => Ok(response1(reply)),
            Treatment::Reset | Treatment::ResetConnection => {
                let cutter = cutter.lock().ok().and_then(|mut cutter| cutter.take());
                if let Some(cutter) = cutter {
                    cutter.cut();
                }
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(tls), service)
        .await
}

fn response1(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    if reply.after == After::GoAway {
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert(http::header::CONNECTION, close);
    }
    response
}

fn too_long() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

/// What one finished stream means for its connection.
enum Then {
    After(After),
    Cut,
}

async fn http2(
    tls: TlsStream<TcpStream>,
    booth: &Booth,
    number: u64,
    cutter: Cutter,
) -> Result<(), h2::Error> {
    let slip = Slip::new(booth.simulator.first_streams());
    let mut connection = h2::server::Builder::new()
        .initial_connection_window_size(4 << 20)
        .handshake::<_, Bytes>(Frames::new(tls, slip.clone()))
        .await?;
    // Polled in this task: a task a request would cost more than most answers.
    let mut streams = FuturesUnordered::new();
    let mut leaving = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => return Ok(()),
                Some(accepted) => {
                    let (request, mut respond) = accepted?;
                    if streams.len() >= slip.streams() as usize {
                        respond.send_reset(Reason::REFUSED_STREAM);
                    } else {
                        streams.push(stream(request, respond, booth, number));
                    }
                }
            },
            Some(then) = streams.next() => match then {
                Then::After(After::Keep) => {}
                Then::After(After::AllowStreams(limit)) => slip.allow_streams(limit),
                Then::After(After::GoAway) if leaving => {}
                Then::After(After::GoAway) => {
                    leaving = true;
                    // The form APNs documents for a closing connection.
                    slip.go_away(Bytes::from_static(br#"{"reason":"Shutdown"}"#));
                    connection.graceful_shutdown();
                }
                Then::Cut => {
                    cutter.cut();
                    return Ok(());
                }
            },
        }
    }
}

async fn stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    booth: &Booth,
    number: u64,
) -> Then {
    let (head, body) = request.into_parts();
    // The peer took its stream back; nothing came of it.
    let Ok(body) = collect(body).await else { return Then::After(After::Keep) };
    let reply = match body {
        None => Reply::empty(413),
        Some(body) => match booth.attend(number, head, body).await {
            Treatment::Answer(reply) => reply,
            Treatment::ResetConnection => return Then::Cut,
            Treatment::Reset => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return Then::After(After::Keep);
            }
        },
    };
    let after = reply.after;
    let mut response = Response::new(());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    // Both fail only when the peer is gone, and then nobody reads the answer.
    if let Ok(mut send) = respond.send_response(response, reply.body.is_empty())
        && !reply.body.is_empty()
    {
        send.send_data(reply.body, true).ok();
    }
    Then::After(after)
}

/// The whole body, or `None` when it is longer than is taken.
async fn collect(mut body: RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        if whole.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        body.flow_control().release_capacity(chunk.len())?;
        if whole.is_empty() && body.is_end_stream() {
            return Ok(Some(chunk));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole.freeze()))
}
