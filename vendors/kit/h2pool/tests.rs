//! The pool against servers that behave badly in one way each, over TLS on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join_all, pending};
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use http::{Request, Response, Version};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Answered, ConnectError, Failure, Options, Origin, Pool};
use crate::kit::tls;
use crate::sandbox::Authority;
use crate::sandbox::frames::{Frames, Slip};

type Served = h2::server::Connection<Frames<TlsStream<TcpStream>>, Bytes>;

/// A server whose connections run a script; ends when dropped.
struct Server {
    origin: Origin,
    ca_pem: String,
    _tasks: JoinSet<()>,
}

impl Server {
    /// `script` is given each connection's number, from 1.
    async fn start<F, S>(streams: u32, script: S) -> Server
    where
        S: Fn(usize, Served, Slip) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = Authority::new(ip).expect("an authority");
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(authority.server(&["h2"]).expect("a server"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let script = Arc::new(script);
            for number in 1.. {
                let (tcp, _) = listener.accept().await.expect("a connection");
                let (acceptor, script) = (acceptor.clone(), script.clone());
                connections.spawn(async move {
                    let slip = Slip::new(streams);
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let io = Frames::new(tls, slip.clone());
                    let served = h2::server::handshake(io).await.expect("HTTP/2");
                    script(number, served, slip).await;
                });
            }
        });
        let origin = Origin { host: "localhost".to_owned(), port };
        Server { origin, ca_pem: authority.ca_pem().to_owned(), _tasks: tasks }
    }

    fn pool(&self, options: Options) -> Pool {
        let tls = tls::client(Some(&self.ca_pem), None, &["h2"]).expect("a CA");
        Pool::new(self.origin.clone(), tls, options)
    }
}

fn options() -> Options {
    Options { stagger: Duration::ZERO, ..Options::default() }
}

async fn send(pool: &Pool, path: &str) -> Result<Answered, Failure> {
    let head = || {
        let request = Request::post(format!("https://localhost{path}")).version(Version::HTTP_2);
        request.body(()).expect("a request")
    };
    pool.send(head, |_| (), Bytes::from_static(b"hello")).await
}

fn answer(mut respond: SendResponse<Bytes>, body: Bytes) {
    let sent = respond.send_response(Response::new(()), body.is_empty());
    if let Ok(mut stream) = sent
        && !body.is_empty()
    {
        stream.send_data(body, true).ok();
    }
}

/// Answers everything at once.
async fn obliging(mut served: Served) {
    while let Some(Ok((_, respond))) = served.accept().await {
        answer(respond, Bytes::new());
    }
}

#[tokio::test]
async fn a_lowered_stream_limit_is_obeyed_and_loses_nothing() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let server = Server::start(100, move |_, mut served, slip| {
        let refused = counted.clone();
        async move {
            let (mut open, mut seen) = (FuturesUnordered::new(), 0);
            loop {
                tokio::select! {
                    accepted = served.accept() => {
                        let Some(Ok((_, mut respond))) = accepted else { return };
                        seen += 1;
                        if open.len() >= slip.streams() as usize {
                            refused.fetch_add(1, Ordering::Relaxed);
                            respond.send_reset(h2::Reason::REFUSED_STREAM);
                            continue;
                        }
                        if seen == 50 {
                            slip.allow_streams(2);
                        }
                        open.push(async move {
                            for _ in 0..3 {
                                tokio::task::yield_now().await;
                            }
                            respond
                        });
                    }
                    Some(respond) = open.next() => answer(respond, Bytes::new()),
                }
            }
        }
    })
    .await;
    let pool = server.pool(Options { max_connections: 1, ..options() });
    let answers = join_all((0..300).map(|_| send(&pool, "/"))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(refused.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn refused_streams_go_out_again() {
    let server = Server::start(100, |_, mut served, _| async move {
        let mut refusals = 0;
        while let Some(Ok((_, mut respond))) = served.accept().await {
            refusals += 1;
            match refusals {
                1..=5 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                _ => answer(respond, Bytes::new()),
            }
        }
    })
    .await;
    let pool = server.pool(options());
    let answers = join_all((0..20).map(|_| send(&pool, "/"))).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_connection_that_goes_away_leaves_rotation_and_its_last_answer_still_comes() {
    let server = Server::start(100, |number, mut served, _| async move {
        while let Some(Ok((_, respond))) = served.accept().await {
            answer(respond, Bytes::from(number.to_string()));
            if number == 1 {
                served.graceful_shutdown();
            }
        }
    })
    .await;
    let pool = server.pool(options());
    let first = send(&pool, "/").await.expect("an answer");
    let second = send(&pool, "/").await.expect("an answer");
    assert_eq!((&first.body[..], &second.body[..]), (&b"1"[..], &b"2"[..]));
    assert_ne!(first.connection, second.connection);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_told_as_sent() {
    let server = Server::start(100, |_, mut served, _| async move {
        served.accept().await;
    })
    .await;
    let failure = send(&server.pool(options()), "/").await.expect_err("no answer");
    assert!(failure.sent(), "{failure}");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let server = Server::start(100, |_, mut served, _| async move {
        while let Some(Ok((_, respond))) = served.accept().await {
            answer(respond, Bytes::from(vec![b'x'; 65 * 1024]));
        }
    })
    .await;
    let pool = server.pool(options());
    let failure = send(&pool, "/").await.expect_err("too long");
    assert!(matches!(failure, Failure::Oversized { limit: 65536 }), "{failure}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_a_clear_failure() {
    let server = Server::start(100, |_, served, _| obliging(served)).await;
    let other = Authority::new(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("an authority");
    let tls = tls::client(Some(other.ca_pem()), None, &["h2"]).expect("a CA");
    let pool = Pool::new(server.origin.clone(), tls, options());
    let failure = send(&pool, "/").await.expect_err("not trusted");
    let Failure::Connect(why) = &failure else { panic!("{failure}") };
    assert!(matches!(**why, ConnectError::Tls { .. }), "{why}");
    assert!(!failure.sent());
}

#[tokio::test]
async fn a_server_that_never_finishes_the_handshake_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = tls::client(None, None, &["h2"]).expect("platform roots");
    let origin = Origin { host: "127.0.0.1".to_owned(), port };
    let connect_timeout = Duration::from_millis(50);
    let pool = Pool::new(origin, tls, Options { connect_timeout, ..options() });
    let failure = send(&pool, "/").await.expect_err("no handshake");
    let Failure::Connect(why) = &failure else { panic!("{failure}") };
    assert!(matches!(**why, ConnectError::Timeout { .. }), "{why}");
}

#[tokio::test]
async fn a_dropped_send_gives_its_permit_back() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let server = Server::start(100, move |_, mut served, _| {
        let seen = counted.clone();
        async move {
            let mut held = Vec::new();
            while let Some(Ok((request, respond))) = served.accept().await {
                seen.fetch_add(1, Ordering::Relaxed);
                match request.uri().path() {
                    "/hang" => held.push(respond),
                    _ => answer(respond, Bytes::new()),
                }
            }
        }
    })
    .await;
    let pool = server.pool(Options { max_connections: 1, max_streams: 1, ..options() });
    tokio::select! {
        _ = send(&pool, "/hang") => panic!("nobody answers"),
        () = async {
            while seen.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert!(send(&pool, "/").await.is_ok());
}

#[tokio::test]
async fn the_pool_grows_only_as_far_as_it_may_while_requests_wait() {
    let server = Server::start(1, |_, mut served, _| async move {
        let mut held = Vec::new();
        while let Some(Ok((_, respond))) = served.accept().await {
            held.push(respond);
        }
    })
    .await;
    let pool = server.pool(Options { max_connections: 3, ..options() });
    tokio::select! {
        _ = join_all((0..10).map(|_| send(&pool, "/"))) => panic!("nobody answers"),
        () = async {
            while pool.connections() < 3 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(pool.connections(), 3);
}

#[tokio::test]
async fn a_peer_that_no_longer_answers_pings_is_left() {
    // The script keeps the connection without ever reading from it again.
    let server = Server::start(100, |_, served, _| async move {
        let _served = served;
        pending().await
    })
    .await;
    let every = Duration::from_millis(20);
    let pool = server.pool(Options { ping_every: every, ping_timeout: every, ..options() });
    let failure = send(&pool, "/").await.expect_err("no answer");
    assert!(failure.sent(), "{failure}");
}

#[tokio::test]
async fn retiring_young_connections_comes_before_what_follows_it() {
    let server = Server::start(100, |_, served, _| obliging(served)).await;
    let pool = server.pool(options());
    let before = send(&pool, "/").await.expect("an answer");
    pool.retire_younger(Duration::ZERO, || ());
    assert_eq!(send(&pool, "/").await.expect("an answer").connection, before.connection);
    pool.retire_younger(Duration::MAX, || ());
    assert_ne!(send(&pool, "/").await.expect("an answer").connection, before.connection);
}
