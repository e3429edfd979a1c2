//! The adapter over real sockets against its simulator: what happens around the credential.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::sandbox::HuaweiHost;
use super::*;
use crate::conformance::{ask, pushes};
use crate::kit::http1::tests::acceptor;
use crate::sandbox::{Phones, Simulator};
use crate::{Notification, Vendor};

#[derive(Default)]
struct Host {
    simulator: HuaweiHost,
    phones: Phones,
    /// How often each endpoint was asked.
    fetches: AtomicUsize,
    sends: AtomicUsize,
}

impl Host {
    async fn answer(&self, request: Request<Incoming>) -> http::Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a whole request").to_bytes();
        let request = Request::from_parts(head, body);
        let is_fetch = self.simulator.is_credential_request(request.uri().path());
        let count = if is_fetch { &self.fetches } else { &self.sends };
        count.fetch_add(1, Ordering::SeqCst);
        let reply = ask(&self.simulator, &self.phones, &request, SystemTime::UNIX_EPOCH);
        let mut response = http::Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }

    fn asked(&self) -> (usize, usize) {
        (self.fetches.load(Ordering::SeqCst), self.sends.load(Ordering::SeqCst))
    }
}

/// The simulator on a port of loopback, and a lane that reaches it.
async fn lane() -> (Arc<Host>, Arc<dyn Vendor>, Batch) {
    let host = Arc::new(Host::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (acceptor, ca) = acceptor();
    let served = Arc::clone(&host);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let stream = acceptor.accept(socket).await.expect("TLS");
            let host = Arc::clone(&served);
            let service = service_fn(move |request| {
                let host = Arc::clone(&host);
                async move { Ok::<_, Infallible>(host.answer(request).await) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let mut table = host.simulator.lane(&format!("https://localhost:{port}"));
    table.insert("ca".to_owned(), ca.into());
    let vendor = (SPEC.build)(table).expect("the sandbox's lane");
    let phone = host.phones.add(SPEC.id, "bob", |serial| host.simulator.token(serial));
    let now = SystemTime::UNIX_EPOCH;
    let notification = Notification { title: "a".into(), body: "b".into(), ..Default::default() };
    let pushes = pushes([phone.token], Arc::new(notification), now);
    (host, vendor, Batch { pushes, now })
}

fn name(outcomes: &[Outcome]) -> &'static str {
    outcomes[0].name()
}

#[tokio::test]
async fn one_credential_serves_many_sends() {
    let (host, vendor, batch) = lane().await;
    for _ in 0..3 {
        assert_eq!(name(&vendor.send(&batch).await), "accepted");
    }
    assert_eq!(host.asked(), (1, 3));
}

#[tokio::test]
async fn an_ended_credential_is_fetched_anew_once_and_the_batch_sent_again() {
    let (host, vendor, batch) = lane().await;
    vendor.send(&batch).await;
    host.simulator.expire_credentials();
    assert_eq!(name(&vendor.send(&batch).await), "accepted");
    assert_eq!(host.asked(), (2, 3));
}

#[tokio::test]
async fn a_probe_says_whether_the_secret_is_good_and_sends_nothing() {
    let (host, vendor, _) = lane().await;
    assert!(vendor.probe(SystemTime::UNIX_EPOCH).await.is_ok());
    assert_eq!(host.asked(), (1, 0));
}
