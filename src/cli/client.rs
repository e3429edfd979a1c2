//! Asks the running gateway, with the keys of its own configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use posthorn_vendors::Secret;
use posthorn_wire as wire;
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::config::Config;

pub(super) struct Gateway {
    http: Client,
    base: String,
    key: Option<Secret>,
}

impl Gateway {
    /// The gateway that this configuration starts, called with `key`.
    pub(super) fn of(config: &Config, key: Option<Secret>) -> Result<Self, Failure> {
        Self::at(config.listen, key)
    }

    pub(super) fn at(listen: SocketAddr, key: Option<Secret>) -> Result<Self, Failure> {
        let ip = match listen.ip() {
            // What listens everywhere is reached at home.
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let base = format!("http://{}", SocketAddr::new(ip, listen.port()));
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|err| Failure::Failed(format!("could not start an HTTP client: {err}")))?;
        Ok(Gateway { http, base, key })
    }

    /// Asks; `None` when the gateway answers 404.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Option<T>, Failure> {
        let Some(response) = self.exchange(method, path, body).await? else { return Ok(None) };
        let answer = response.json().await;
        answer.map(Some).map_err(|err| Failure::Failed(format!("unreadable answer: {err}")))
    }

    /// Tells the gateway something whose answer does not matter beyond its success.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), Failure> {
        match self.exchange(method, path, Some(body)).await? {
            Some(_) => Ok(()),
            None => Err(Failure::Failed(format!("the gateway knows no {path}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Option<Response>, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|err| {
            let hint = if err.is_connect() { "; is it running?" } else { "" };
            Failure::Failed(format!("no answer from the gateway at {}{hint}", self.base))
        })?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let problem = response.json::<wire::Problem>().await;
            let detail = problem.map_or(String::new(), |problem| format!(": {}", problem.detail));
            return Err(Failure::Failed(format!("the gateway answered {status}{detail}")));
        }
        Ok(Some(response))
    }
}
