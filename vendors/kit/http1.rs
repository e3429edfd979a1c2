//! HTTP/1.1 to one vendor: one reqwest client a lane, one exchange a call.
//!
//! Deliberately absent: retries, redirects and proxies. Dispatch bounds a call in time; the limits
//! here only keep a forgotten connection from living for ever.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use thiserror::Error;

use super::settings::Fault;
use super::tls;
use crate::{Outcome, Reason};

/// The longest answer that is read; the longest documented one is a list of 1,000 tokens.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A lane's connections to its vendor.
pub struct Client {
    inner: reqwest::Client,
}

/// An exchange without a complete answer.
#[derive(Debug, Error)]
#[error("{problem}")]
pub struct Failure {
    /// Whether the vendor can have read the request and acted on it.
    pub may_have_arrived: bool,
    /// What happened, without the address (it may hold an id).
    pub problem: String,
}

impl Failure {
    /// What it means for every push of the call.
    pub fn outcome(&self) -> Outcome {
        let arrived = if self.may_have_arrived { "may have arrived" } else { "did not arrive" };
        let hint = format!("the request {arrived}: {}", self.problem);
        Outcome::Retry { after: None, reason: Reason::new("connection", hint) }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(err: reqwest::Error) -> Self {
        let may_have_arrived = !(err.is_connect() || err.is_builder());
        Failure { may_have_arrived, problem: told_whole(&err.without_url()) }
    }
}

impl Client {
    /// Builds the client; opens no connection. `ca` as in [`tls::client`].
    pub fn new(ca: Option<&str>) -> Result<Self, Fault> {
        let tls = tls::client(ca, None, &["http/1.1"])?;
        let inner = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.as_ref().clone())
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            // Below the 60 s after which common load balancers cut an idle connection.
            .pool_idle_timeout(Duration::from_secs(50))
            .build()
            .map_err(|err| Fault::new("", format!("no HTTP client: {}", told_whole(&err))))?;
        Ok(Client { inner })
    }

    /// Sends one request and reads its whole answer, whatever the status.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let request = reqwest::Request::try_from(request)?;
        let mut response = self.inner.execute(request).await?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(while_reading)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let problem = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(Failure { may_have_arrived: true, problem });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), std::mem::take(response.headers_mut()), body.freeze()))
    }
}

fn while_reading(err: reqwest::Error) -> Failure {
    Failure { may_have_arrived: true, ..Failure::from(err) }
}

/// reqwest's own words say only "error sending request"; the reason stands in its sources.
fn told_whole(err: &reqwest::Error) -> String {
    let mut told = err.to_string();
    let mut source = std::error::Error::source(err);
    while let Some(err) = source {
        told = format!("{told}: {err}");
        source = err.source();
    }
    told
}

/// Checks an address given in configuration under `key`: https, and no slash at the end.
pub fn address(key: &str, text: &str) -> Result<(), Fault> {
    let fault = |problem| Err(Fault::new(key, problem));
    match reqwest::Url::parse(text) {
        Err(_) => fault("not an address; write https://HOST"),
        Ok(url) if url.scheme() != "https" => fault("must begin with https://"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            fault("must have no query and no fragment")
        }
        // Requests are built from `http::Uri`, which takes no other alphabet.
        Ok(_) if text.parse::<http::Uri>().is_err() => fault("must be plain ASCII"),
        Ok(_) if text.ends_with('/') => fault("must not end with a slash"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// The server side of TLS for `localhost`, and the certificate to trust.
    pub(crate) fn acceptor() -> (TlsAcceptor, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
    }

    /// A TLS server on loopback that answers every connection once with `answer` and hangs up;
    /// its address and the certificate to trust.
    async fn server(answer: Vec<u8>) -> (String, String) {
        let (acceptor, ca) = acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    stream.write_all(&answer).await.ok();
                    stream.shutdown().await.ok();
                }
            }
        });
        (format!("https://localhost:{port}"), ca)
    }

    async fn ask(answer: &[u8]) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let (url, ca) = server(answer.to_vec()).await;
        let request = Request::post(url).body(Bytes::from_static(b"x")).expect("a request");
        Client::new(Some(&ca)).expect("a client").exchange(request).await
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let answer = ask(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy").await;
        let (status, headers, body) = answer.expect("an answer");
        assert_eq!((status.as_u16(), body.as_ref()), (503, b"busy".as_slice()));
        assert_eq!(headers["content-length"], "4");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let answer = ask(b"HTTP/1.1 302 F\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(answer.expect("an answer").0, 302);
    }

    #[tokio::test]
    async fn a_cut_answer_may_have_arrived() {
        let failure = ask(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let failure = failure.expect_err("cut");
        assert!(failure.may_have_arrived);
        assert_eq!(failure.outcome().reason().expect("why").code, "connection");
    }

    #[tokio::test]
    async fn an_endless_answer_is_given_up() {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".to_vec();
        answer.resize(2 << 20, b'x');
        let failure = ask(&answer).await.expect_err("too long");
        assert!(failure.problem.contains("longer than"), "{failure}");
    }

    #[tokio::test]
    async fn a_refused_connection_and_a_foreign_certificate_never_arrived() {
        let (url, _) = server(Vec::new()).await;
        let (_, other_ca) = server(Vec::new()).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = closed.local_addr().expect("an address").port();
        drop(closed);
        for url in [url, format!("https://localhost:{port}")] {
            let request = Request::post(url).body(Bytes::new()).expect("a request");
            let client = Client::new(Some(&other_ca)).expect("a client");
            let failure = client.exchange(request).await.expect_err("no connection");
            assert!(!failure.may_have_arrived, "{failure}");
        }
    }

    #[test]
    fn an_address_is_https_and_whole() {
        assert!(address("base_url", "https://push-api.cloud.huawei.com").is_ok());
        for bad in
            ["a.b", "http://a.b", "https://a.b/", "https://a.b?x=1", "https://bücher.b", "https://"]
        {
            assert!(address("base_url", bad).is_err(), "{bad}");
        }
    }
}
