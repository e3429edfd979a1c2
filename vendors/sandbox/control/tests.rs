//! Every control call and every fault over real sockets, with the APNs and a small HTTP/1.1 vendor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::phones::Phone;
use crate::sandbox::{
    Exchange, Phones, ReceiptKind, Reply, Sandbox, SandboxConfig, ShownPush, Simulator,
};
use crate::{Spec, kit};

/// A vendor of one call: `POST /push?TOKEN` with the text as body.
static PAGER: Spec = Spec {
    id: "pager",
    name: "Pager",
    build: |_| Err(Vec::new()),
    wire: |_| Err(Vec::new()),
    simulator: || Box::new(Pager),
    impossible: &[],
};

struct Pager;

impl Simulator for Pager {
    fn token(&self, serial: u64) -> String {
        format!("pager{serial}")
    }

    fn lane(&self, base_url: &str) -> toml::Table {
        toml::Table::from_iter([("base_url".to_owned(), base_url.into())])
    }

    fn answer(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        let text = String::from_utf8_lossy(exchange.body).into_owned();
        let push = ShownPush { body: text.clone(), vendor_ref: text, ..ShownPush::default() };
        let token = exchange.uri.query().unwrap_or_default();
        phones.show("pager", token, None, push, exchange.now);
        Reply::json(200, &json!({ "connection": exchange.connection }))
    }

    fn refusal(&self, code: &str, _: &Exchange<'_>) -> Reply {
        Reply::json(400, &json!({ "code": code }))
    }

    fn too_many(&self, quota: bool, _: Option<u64>, _: &Exchange<'_>) -> Reply {
        Reply::json(429, &json!({ "quota": quota }))
    }

    fn expire_credentials(&self) {}

    fn is_credential_request(&self, path: &str) -> bool {
        path == "/token"
    }

    fn receipt(
        &self,
        _: &Phone,
        shown: &ShownPush,
        kind: ReceiptKind,
        _: std::time::SystemTime,
    ) -> Option<(HeaderMap, Bytes)> {
        let mut headers = HeaderMap::new();
        headers.insert("x-kind", HeaderValue::from_static("receipt"));
        Some((headers, format!("{kind:?} {}", shown.vendor_ref).into()))
    }
}

struct Scene {
    sandbox: Sandbox,
    tester: Client,
    caller: Client,
}

async fn scene() -> Scene {
    scene_with(SandboxConfig::default()).await
}

async fn scene_with(config: SandboxConfig) -> Scene {
    let config = SandboxConfig { vendors: vec![&PAGER, &crate::apns::SPEC], ..config };
    let sandbox = Sandbox::start(config).await.expect("a sandbox");
    let client = |ca: &str| {
        let tls = kit::tls::client(Some(ca), None, &["http/1.1"]).expect("a CA");
        let builder = Client::builder().tls_backend_preconfigured((*tls).clone()).no_proxy();
        builder.build().expect("a client")
    };
    let (tester, caller) = (client(sandbox.ca_pem()), client(sandbox.ca_pem()));
    Scene { sandbox, tester, caller }
}

impl Scene {
    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.sandbox.control_url());
        let mut request = self.tester.request(method, url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, Value::Null).await.1
    }

    async fn fault(&self, fault: Value) {
        let (status, answer) = self.call(Method::PUT, "/faults/pager", fault).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn pager(&self) -> Value {
        let wanted = json!({ "vendor": "pager", "name": "bob" });
        self.call(Method::POST, "/phones", wanted).await.1
    }

    async fn page(&self, path: &str) -> Result<reqwest::Response, reqwest::Error> {
        let url = format!("{}{path}", self.sandbox.base_url("pager").expect("simulated"));
        self.caller.post(url).body("hello").send().await
    }

    async fn page_status(&self) -> u16 {
        self.page("/push?pager1").await.expect("an answer").status().as_u16()
    }
}

#[tokio::test]
async fn a_phone_is_added_shows_a_push_and_is_uninstalled() {
    let scene = scene().await;
    let phone = scene.pager().await;
    let wanted = json!({"id": "phone-1", "vendor": "pager", "lane": "pager", "token": "pager1"});
    assert_eq!(phone, wanted);
    assert_eq!(scene.page_status().await, 200);
    let seen = scene.get("/phones/phone-1").await;
    assert_eq!(seen["shown"][0]["body"], "hello");
    assert_eq!((&seen["state"], &seen["name"]), (&json!("installed"), &json!("bob")));
    assert_eq!(scene.get("/phones").await[0], seen);
    let (status, _) = scene.call(Method::DELETE, "/phones/phone-1", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(scene.get("/phones/phone-1").await["state"], "uninstalled");
}

#[tokio::test]
async fn what_the_tester_gets_wrong_is_told_in_json() {
    let scene = scene().await;
    for (method, path, body, status, word) in [
        (Method::GET, "/phones/phone-9", Value::Null, 404, "phone-9"),
        (Method::POST, "/phones", json!({"vendor": "fax"}), 404, "fax"),
        (Method::POST, "/phones", json!({"vendr": "fax"}), 400, "vendr"),
        (Method::PUT, "/faults/fax", json!({"mode": "hang"}), 404, "fax"),
        (Method::PUT, "/faults/pager", json!({"mode": "melt"}), 400, "melt"),
        (Method::PUT, "/faults/pager", json!({"mode": "status"}), 400, "status"),
        (Method::PUT, "/faults/pager", json!({"mode": "hang", "share": 2}), 400, "share"),
        (Method::GET, "/requests", Value::Null, 400, "vendor"),
        (Method::GET, "/requests?vendor=fax", Value::Null, 404, "fax"),
        (Method::GET, "/nowhere", Value::Null, 404, "/nowhere"),
        (Method::POST, "/console/write", json!({"text": "x"}), 404, "without a gateway"),
    ] {
        let (got, answer) = scene.call(method, path, body).await;
        let problem = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && problem.contains(word), "{path}: {got} {answer}");
    }
}

#[tokio::test]
async fn status_code_rate_limit_and_quota_answer_in_place_of_the_vendor() {
    let scene = scene().await;
    scene.pager().await;
    scene.fault(json!({"mode": "status", "status": 503, "retry_after_secs": 7})).await;
    let answer = scene.page("/push?pager1").await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"7".parse().expect("a header"))
    );
    for (fault, body) in [
        (json!({"mode": "code", "code": 20301}), json!({"code": "20301"})),
        (json!({"mode": "rate_limit"}), json!({"quota": false})),
        (json!({"mode": "quota"}), json!({"quota": true})),
    ] {
        scene.fault(fault).await;
        let answer = scene.page("/push?pager1").await.expect("an answer");
        assert_eq!(answer.json::<Value>().await.expect("JSON"), body);
    }
    scene.call(Method::DELETE, "/faults", Value::Null).await;
    assert_eq!(scene.page_status().await, 200);
    let shown = scene.get("/phones/phone-1").await["shown"].as_array().expect("a list").len();
    assert_eq!(shown, 1, "faults show nothing");
}

#[tokio::test]
async fn latency_answers_right_and_late() {
    let scene = scene().await;
    scene.pager().await;
    scene.fault(json!({"mode": "latency", "delay_ms": 80})).await;
    let start = std::time::Instant::now();
    assert_eq!(scene.page_status().await, 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_hang_spares_credentials_shows_nothing_and_resets_when_cleared() {
    let scene = scene().await;
    scene.pager().await;
    scene.fault(json!({"mode": "hang"})).await;
    assert_eq!(scene.page("/token").await.expect("an answer").status(), 200);
    let cleared = async {
        while scene.get("/requests?vendor=pager&limit=1").await[0]["path"] != "/push?pager1" {}
        scene.call(Method::DELETE, "/faults", Value::Null).await;
    };
    let (hung, ()) = tokio::join!(scene.page("/push?pager1"), cleared);
    assert!(hung.is_err());
    assert_eq!(scene.get("/phones/phone-1").await["shown"], json!([]));
    assert_eq!(scene.page_status().await, 200);
}

#[tokio::test]
async fn a_reset_ends_the_connection_and_a_goaway_only_after_the_answer() {
    let scene = scene().await;
    scene.pager().await;
    scene.fault(json!({"mode": "reset"})).await;
    assert!(scene.page("/push?pager1").await.is_err());
    scene.fault(json!({"mode": "goaway"})).await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let answer = scene.page("/push?pager1").await.expect("an answer");
        assert_eq!(answer.headers()["connection"], "close");
        connections.push(answer.json::<Value>().await.expect("JSON")["connection"].clone());
    }
    assert_ne!(connections[0], connections[1]);
}

#[tokio::test]
async fn the_last_requests_are_shown_raw_with_their_replies() {
    let scene = scene().await;
    for _ in 0..3 {
        scene.page_status().await;
    }
    let seen = scene.get("/requests?vendor=pager&limit=2").await;
    assert_eq!(seen.as_array().expect("a list").len(), 2);
    assert_eq!((&seen[0]["method"], &seen[0]["path"]), (&json!("POST"), &json!("/push?pager1")));
    assert_eq!((&seen[0]["body"], &seen[0]["reply"]["status"]), (&json!("hello"), &json!(200)));
    assert!(seen[0]["headers"]["host"].is_string());
}

#[tokio::test]
async fn a_receipt_is_posted_for_everything_shown() {
    let scene = scene().await;
    let gateway = self::scene().await;
    gateway.pager().await;
    scene.pager().await;
    scene.page_status().await;
    let url = format!("{}/push?pager1", gateway.sandbox.base_url("pager").expect("simulated"));
    let wanted = json!({"phone": "phone-1", "kind": "delivered", "url": url});
    let (status, answer) = scene.call(Method::POST, "/receipts/pager", wanted).await;
    // The other sandbox has another CA, and the poster of receipts trusts neither.
    assert_eq!(status, 502, "{answer}");

    let (url, received) = one_request().await;
    let wanted = json!({"phone": "phone-1", "kind": "clicked", "url": url});
    let posted = scene.call(Method::POST, "/receipts/pager", wanted);
    let ((status, answer), received) = tokio::join!(posted, received);
    assert_eq!((status.as_u16(), &answer["statuses"]), (200, &json!([204])));
    assert!(received.contains("x-kind: receipt"), "{received}");
    assert!(received.ends_with("Clicked hello"), "{received}");
}

/// A server that takes one request and answers 204.
async fn one_request() -> (String, impl Future<Output = String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/r", listener.local_addr().expect("an address"));
    let received = async move {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let mut all = Vec::new();
        while !all.ends_with(b"hello") {
            tcp.read_buf(&mut all).await.expect("bytes");
        }
        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
        String::from_utf8(all).expect("text")
    };
    (url, received)
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let scene = scene().await;
    let url = format!("{}/phones", scene.sandbox.control_url());
    let status = |name: &'static str, value: &'static str| {
        let request = scene.tester.get(&url).header(name, value);
        async { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(status("host", "evil.example").await, 403);
    assert_eq!(status("origin", "https://evil.example").await, 403);
    assert_eq!(status("host", "localhost").await, 200);
}

#[tokio::test]
async fn the_console_is_served_under_a_strict_policy_and_writes_through_its_hook() {
    let write: super::WriteHook =
        Arc::new(|wanted| Box::pin(async move { Ok(format!("wrote {}", wanted.text)) }));
    let scene = scene_with(SandboxConfig { write: Some(write), ..Default::default() }).await;
    for page in ["phones", "phones.css", "phones.js"] {
        let url = format!("{}/console/{page}", scene.sandbox.control_url());
        let answer = scene.tester.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let policy = "default-src 'self'; img-src 'self' https: data:";
        assert_eq!(answer.headers()["content-security-policy"], policy);
    }
    assert_eq!(scene.get("/console/state").await["can_write"], true);
    let (status, answer) = scene.call(Method::POST, "/console/write", json!({"text": "hi"})).await;
    assert_eq!((status.as_u16(), &answer["id"]), (200, &json!("wrote hi")));
}

#[tokio::test]
async fn listeners_are_told_of_every_change() {
    let scene = scene().await;
    let url = format!("{}/phones/events", scene.sandbox.control_url());
    let mut events = scene.tester.get(url).send().await.expect("an answer");
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = events.chunk().await.expect("a chunk").expect("an event");
    assert_eq!(&first[..], b"event: phones\ndata: []\n\n");
    scene.pager().await;
    let second = events.chunk().await.expect("a chunk").expect("an event");
    assert!(String::from_utf8_lossy(&second).contains("phone-1"));
}

#[tokio::test]
async fn the_written_configuration_is_complete() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("new");
    let scene = scene_with(SandboxConfig { dir: Some(dir.clone()), ..Default::default() }).await;
    let text = std::fs::read_to_string(dir.join("posthorn.toml")).expect("the file");
    let config: toml::Table = text.parse().expect("toml");
    assert_eq!(&config, scene.sandbox.config());
    let lane = &config["apps"]["demo"]["lanes"]["apns"];
    assert_eq!(lane["vendor"].as_str(), Some("apns"));
    assert_eq!(lane["ca"].as_str(), Some("file:ca.pem"));
    assert_eq!(lane["base_url"].as_str(), scene.sandbox.base_url("apns"));
    assert!(config["admin"]["key"].is_str() && lane["receipt_key"].is_str());
    let ca = std::fs::read_to_string(dir.join("ca.pem")).expect("the CA");
    assert_eq!(ca, scene.sandbox.ca_pem());
    scene.sandbox.shutdown().await;
}

#[tokio::test]
async fn other_machines_are_not_let_in_unless_told() {
    let listen = "0.0.0.0:0".parse().expect("an address");
    let config = SandboxConfig { listen, vendors: Vec::new(), ..Default::default() };
    assert!(Sandbox::start(config).await.is_err());
}
