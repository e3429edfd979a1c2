//! The two senders that the gateway is measured against, each in a process of its own: raw `h2`,
//! and the APNs adapter without a gateway around it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, Version, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use posthorn_vendors::{Batch, Class, Id, Notification, Outcome, Push, Sender, Token, Vendor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::task::JoinSet;

use crate::process::own_cpu;

/// Requests in the air.
const IN_FLIGHT: usize = 1000;

/// What a child tells its parent, in one line.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Told {
    pub(crate) sent: usize,
    pub(crate) cpu_secs: f64,
    pub(crate) secs: f64,
}

impl Told {
    pub(crate) fn per_cpu_sec(&self) -> f64 {
        self.sent as f64 / self.cpu_secs
    }
}

/// Runs as a child: a tenth of `count` to warm up, then `count` measured. The result goes to
/// stdout.
pub(crate) async fn run(kind: &str, dir: &Path, count: usize) -> anyhow::Result<Told> {
    let tokens = std::fs::read_to_string(dir.join("apns-tokens"))?;
    let tokens: Vec<String> = tokens.lines().map(str::to_owned).collect();
    match kind {
        "raw" => {
            let raw = Arc::new(Raw::connect(dir, &tokens).await?);
            measure(count, move |at| raw.clone().send(at)).await
        }
        "adapter" => {
            let adapter = Arc::new(Adapter::build(dir, tokens)?);
            measure(count, move |at| adapter.clone().send(at)).await
        }
        other => anyhow::bail!("there is no sender {other}"),
    }
}

async fn measure<F>(
    count: usize,
    send: impl Fn(usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<Told>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    // The first alone: APNs lets a connection open more streams once it has shown a good token.
    send(0).await?;
    pass((count / 10).max(IN_FLIGHT), send.clone()).await?;
    let (cpu, started) = (own_cpu()?, Instant::now());
    pass(count, send).await?;
    Ok(Told { sent: count, cpu_secs: own_cpu()? - cpu, secs: started.elapsed().as_secs_f64() })
}

async fn pass<F>(
    count: usize,
    send: impl Fn(usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (next, send) = (next.clone(), send.clone());
        workers.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return Ok(());
                }
                send(at).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const ID: HeaderName = HeaderName::from_static("apns-id");

struct Raw {
    requests: h2::client::SendRequest<Bytes>,
    uris: Vec<Uri>,
    authorization: HeaderValue,
    topic: HeaderValue,
    expiration: HeaderValue,
    ids: Vec<HeaderValue>,
    body: Bytes,
}

impl Raw {
    async fn connect(dir: &Path, tokens: &[String]) -> anyhow::Result<Raw> {
        let config: toml::Table = std::fs::read_to_string(dir.join("posthorn.toml"))?.parse()?;
        let lane = &config["apps"]["demo"]["lanes"]["apns"];
        let text = |key: &str| lane[key].as_str().context("a key is missing").map(str::to_owned);
        let base: Uri = text("base_url")?.parse()?;
        let host = base.host().context("no host")?.to_owned();
        let port = base.port_u16().context("no port")?;

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem"))?)?;
        let mut tls =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(tls))
            .connect(ServerName::try_from(host)?, tcp)
            .await?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_max_send_streams(1)
            .initial_connection_window_size(1 << 20)
            .enable_push(false)
            .handshake::<_, Bytes>(tls)
            .await?;
        #[expect(clippy::disallowed_methods, reason = "it ends with this process")]
        tokio::spawn(connection);

        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(text("key_id")?);
        let claims = serde_json::json!({"iss": text("team_id")?, "iat": seconds(now())});
        let key = EncodingKey::from_ec_pem(text("key")?.as_bytes())?;
        let token = jsonwebtoken::encode(&header, &claims, &key)?;
        let mut authorization = HeaderValue::try_from(format!("bearer {token}"))?;
        authorization.set_sensitive(true);

        let base = text("base_url")?;
        let uri = |token: &String| format!("{base}/3/device/{token}").parse();
        let id = |id: u128| -> anyhow::Result<HeaderValue> {
            let mut value = HeaderValue::try_from(Id(id.to_be_bytes()).uuid())?;
            // Kept out of HPACK's table, where it would only push the useful entries out.
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Raw {
            requests,
            uris: tokens.iter().map(uri).collect::<Result<_, _>>()?,
            authorization,
            topic: HeaderValue::try_from(text("topic")?)?,
            expiration: HeaderValue::try_from((seconds(now()) + 86_400).to_string())?,
            ids: (0..4096).map(id).collect::<Result<_, _>>()?,
            body: Bytes::from(payload()),
        })
    }

    async fn send(self: Arc<Self>, at: usize) -> anyhow::Result<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uris[at % self.uris.len()].clone();
        let headers = request.headers_mut();
        *headers = http::HeaderMap::with_capacity(6);
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static("alert"));
        headers.insert(PRIORITY, HeaderValue::from_static("10"));
        headers.insert(EXPIRATION, self.expiration.clone());
        headers.insert(ID, self.ids[at % self.ids.len()].clone());
        let mut requests = self.requests.clone();
        let (response, mut stream) = requests.send_request(request, false)?;
        stream.send_data(self.body.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(chunk) = body.data().await {
            let length = chunk?.len();
            body.flow_control().release_capacity(length)?;
        }
        anyhow::ensure!(head.status == 200, "APNs answered {}", head.status);
        Ok(())
    }
}

struct Adapter {
    vendor: Arc<dyn Vendor>,
    tokens: Vec<Token>,
    notification: Arc<Notification>,
}

impl Adapter {
    fn build(dir: &Path, tokens: Vec<String>) -> anyhow::Result<Adapter> {
        let config = posthorn::config::load(&dir.join("posthorn.toml"))?;
        let mut lanes = config.apps.into_iter().flat_map(|app| app.lanes);
        let lane = lanes.find(|lane| lane.vendor_id == "apns").context("no APNs lane")?;
        let notification = Notification {
            title: "Alice 王".into(),
            body: TEXT.into(),
            sender: Some(Sender {
                id: "alice".into(),
                nickname: "Alice 王".into(),
                avatar: Some(AVATAR.into()),
            }),
            class: Class::Im,
            conversation: Some("c-123456".into()),
            event_id: "e-123456".into(),
            badge: Some(3),
            sound: Some("default".into()),
            ..Notification::default()
        };
        Ok(Adapter {
            vendor: lane.vendor,
            tokens: tokens.into_iter().map(Token::new).collect(),
            notification: Arc::new(notification),
        })
    }

    async fn send(self: Arc<Self>, at: usize) -> anyhow::Result<()> {
        let id = Id((at as u128).to_be_bytes());
        let push = Push {
            push_id: id,
            slot_id: id,
            token: self.tokens[at % self.tokens.len()].clone(),
            notification: self.notification.clone(),
            expires_at: now() + Duration::from_secs(86_400),
        };
        let batch = Batch { pushes: vec![push], now: now() };
        let outcomes = self.vendor.send(&batch).await;
        let accepted = matches!(outcomes.first(), Some(Outcome::Accepted { .. }));
        anyhow::ensure!(accepted, "APNs answered {outcomes:?}");
        Ok(())
    }
}

/// What a message says, in every row.
pub(crate) const TEXT: &str = "晚上八点老地方见，see you at eight — bring the papers 📄";
pub(crate) const AVATAR: &str = "https://cdn.example.com/avatars/alice-0123456789abcdef.png";

/// What the gateway makes of one of the bench's events, ready made.
fn payload() -> Vec<u8> {
    let payload = serde_json::json!({
        "aps": {
            "alert": {"title": "Alice 王", "body": TEXT},
            "badge": 3,
            "sound": "default",
            "thread-id": "c-123456",
            "mutable-content": 1,
            "interruption-level": "active",
            "target-content-id": "c-123456",
        },
        "posthorn": {
            "v": 1, "event": "e-123456", "conversation": "c-123456",
            "from": {"id": "alice", "name": "Alice 王", "avatar": AVATAR},
        },
    });
    payload.to_string().into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "latencies are measured across processes")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
