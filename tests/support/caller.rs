//! An IM server, an app and an operator, as far as their HTTP calls go.

use std::net::SocketAddr;
use std::sync::Once;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::eventually;

/// Calls one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    pub http: Client,
    pub base: String,
    pub server_key: String,
    pub admin_key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// `Null` when the body is not JSON.
    pub body: Value,
    pub text: String,
}

impl Reply {
    /// The stable code of a problem document.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Caller {
    pub fn new(address: SocketAddr, server_key: &str, admin_key: &str) -> Caller {
        Caller {
            http: http_client(),
            base: format!("http://{address}"),
            server_key: server_key.to_owned(),
            admin_key: admin_key.to_owned(),
        }
    }

    /// One call with the server's key; `Err` when the connection failed before the answer was
    /// whole.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, reqwest::Error> {
        self.call_as(&self.server_key, method, path, body).await
    }

    pub async fn call_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Reply { status, body, text })
    }

    /// One event or an array of them.
    pub async fn post(&self, events: &Value) -> Result<Reply, reqwest::Error> {
        self.call(Method::POST, "/v1/events", Some(events)).await
    }

    /// Posts and insists on a 2xx.
    pub async fn accept(&self, events: &Value) -> Value {
        let reply = self.post(events).await.expect("the gateway answers");
        assert!(reply.status.is_success(), "events refused: {} {}", reply.status, reply.text);
        reply.body
    }

    pub async fn put_device(&self, device: &str, user: &str, lane: &str, token: &str) -> Reply {
        let body = json!({"user_id": user, "lane": lane, "token": token});
        let path = format!("/v1/devices/{device}");
        let reply = self.call(Method::PUT, &path, Some(&body)).await.expect("the gateway answers");
        assert!(reply.status.is_success(), "device refused: {} {}", reply.status, reply.text);
        reply
    }

    /// The event's trace; `Null` when it is not known.
    pub async fn trace(&self, event: &str) -> Value {
        let path = format!("/v1/events/{event}");
        let reply = self.call(Method::GET, &path, None).await.expect("the gateway answers");
        if reply.status == StatusCode::NOT_FOUND {
            return Value::Null;
        }
        assert_eq!(reply.status, StatusCode::OK, "no trace: {}", reply.text);
        reply.body
    }

    /// Waits until the event's status is this word; answers the trace.
    pub async fn trace_becomes(&self, event: &str, status: &str) -> Value {
        eventually(&format!("{event} becomes {status}"), async || {
            let trace = self.trace(event).await;
            (trace["status"] == status).then_some(trace)
        })
        .await
    }

    /// What `/readyz` says; `Err` when nobody listens.
    pub async fn ready(&self) -> Result<Reply, reqwest::Error> {
        self.call(Method::GET, "/readyz", None).await
    }

    /// Waits until `/readyz` answers with this status.
    pub async fn ready_becomes(&self, status: StatusCode) {
        eventually(&format!("/readyz becomes {status}"), async || {
            let reply = self.ready().await.ok()?;
            (reply.status == status).then_some(())
        })
        .await;
    }

    /// The sum of a metric over all its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.call_as(&self.admin_key, Method::GET, "/metrics", None).await;
        let page = page.expect("the gateway answers").text;
        assert!(page.contains(&format!("# HELP {name} ")), "no metric {name} in: {page}");
        let samples = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// Waits until nothing is queued and no lane has anything waiting.
    pub async fn idle(&self) {
        eventually("every event is through", async || {
            let open = self.metric("posthorn_events_backlog").await
                + self.metric("posthorn_lane_waiting").await;
            (open == 0).then_some(())
        })
        .await;
    }
}

/// A message from alice to one user, in a conversation that nothing else is in.
pub fn message(id: &str, to: &str, text: &str) -> Value {
    json!({
        "id": id, "to": [to], "conversation": format!("c-{id}"),
        "from": {"user_id": "alice", "nickname": "Alice"},
        "message": {"type": "text", "text": text},
    })
}

fn http_client() -> Client {
    install_tls();
    Client::builder().build().expect("a plain client can be made")
}

/// rustls wants to know its provider where a library builds a configuration of its own.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.install_default().expect("nobody else installs one in tests");
    });
}
