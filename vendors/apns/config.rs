//! One APNs lane's configuration, checked as far as that is possible without a connection.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use super::auth::{Auth, ProviderTokens, Signer};
use super::request::Requests;
use crate::kit::h2pool::{Options, Origin};
use crate::kit::secret::Secret;
use crate::kit::settings::{self, Fault};
use crate::kit::tls;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    team_id: Option<String>,
    key_id: Option<String>,
    key: Option<Secret>,
    certificate: Option<String>,
    certificate_key: Option<Secret>,
    topic: String,
    #[serde(default)]
    environment: Environment,
    base_url: Option<String>,
    ca: Option<String>,
    #[serde(default = "sixteen")]
    connections: usize,
}

/// Which of Apple's two worlds a lane's tokens belong to.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Environment {
    #[default]
    Production,
    Sandbox,
}

impl Environment {
    /// "Sending notification requests to APNs", developer.apple.com, read 2026-11-22.
    fn host(self) -> &'static str {
        match self {
            Environment::Production => "https://api.push.apple.com",
            Environment::Sandbox => "https://api.sandbox.push.apple.com",
        }
    }
}

/// pushy's author expects little from more (github.com/jchambers/pushy/discussions/1052).
fn sixteen() -> usize {
    16
}

/// What an adapter is made of.
pub(super) struct Lane {
    pub(super) requests: Requests,
    pub(super) auth: Auth,
    pub(super) origin: Origin,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) options: Options,
    pub(super) advice: Vec<Cow<'static, str>>,
}

/// Checks a lane's table, telling every fault.
pub(super) fn read(table: toml::Table) -> Result<Lane, Vec<Fault>> {
    let config: Config = settings::read(table)?;
    let mut faults = Vec::new();
    let mut note = |fault| faults.push(fault);

    let base_url = config.base_url.as_deref().unwrap_or(config.environment.host());
    let origin = origin(base_url).map_err(&mut note);
    let topic = topic(&config.topic).map_err(&mut note);
    let connections = connections(config.connections).map_err(&mut note);
    let credentials = credentials(&config).map_err(|found| found.into_iter().for_each(&mut note));
    // A CA is only looked at with a good certificate beside it, or none.
    let (auth, identity) = match credentials {
        Ok((auth, identity)) => (Ok(auth), identity),
        Err(()) => (Err(()), None),
    };
    let tls = tls::client(config.ca.as_deref(), identity, &["h2"]).map_err(&mut note);

    match (origin, topic, connections, auth, tls) {
        (Ok((origin, authority)), Ok(topic), Ok(max_connections), Ok(auth), Ok(tls)) => {
            let options = Options { max_connections, ..Options::default() };
            let advice = advice(&config);
            Ok(Lane {
                requests: Requests::new(authority, topic),
                auth,
                origin,
                tls,
                options,
                advice,
            })
        }
        _ => Err(faults),
    }
}

fn origin(base_url: &str) -> Result<(Origin, http::uri::Authority), Fault> {
    let wrong = || Fault::new("base_url", "must be https://HOST or https://HOST:PORT, no path");
    let uri: Uri = base_url.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
    let authority = uri.authority().filter(|_| plain && uri.query().is_none()).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((Origin { host, port: authority.port_u16().unwrap_or(443) }, authority.clone()))
}

fn topic(topic: &str) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::from_str(topic).ok().filter(|_| !topic.is_empty());
    value.ok_or_else(|| Fault::new("topic", "must be the app's bundle id"))
}

fn connections(wanted: usize) -> Result<usize, Fault> {
    match wanted {
        1..=256 => Ok(wanted),
        _ => Err(Fault::new("connections", "must be 1 to 256")),
    }
}

fn credentials(config: &Config) -> Result<(Auth, Option<tls::Identity>), Vec<Fault>> {
    let token = [
        ("team_id", config.team_id.is_some()),
        ("key_id", config.key_id.is_some()),
        ("key", config.key.is_some()),
    ];
    let certificate = [
        ("certificate", config.certificate.is_some()),
        ("certificate_key", config.certificate_key.is_some()),
    ];
    let any = |keys: &[(&str, bool)]| keys.iter().any(|(_, there)| *there);
    match (any(&token), any(&certificate)) {
        (false, false) => Err(vec![Fault::new(
            "key",
            "missing; give team_id, key_id and key, or certificate and certificate_key",
        )]),
        (true, true) => Err(vec![Fault::new(
            "certificate",
            "there is a key already; give either a key or a certificate",
        )]),
        (true, false) => {
            complete(&token)?;
            provider_token(config).map(|auth| (auth, None))
        }
        (false, true) => {
            complete(&certificate)?;
            identity(config)
                .map(|identity| (Auth::Certificate, Some(identity)))
                .map_err(|f| vec![f])
        }
    }
}

fn complete(keys: &[(&'static str, bool)]) -> Result<(), Vec<Fault>> {
    let missing: Vec<Fault> = keys
        .iter()
        .filter(|(_, there)| !there)
        .map(|(key, _)| Fault::new(*key, "missing"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

fn provider_token(config: &Config) -> Result<Auth, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut id = |key: &str, value: &Option<String>| {
        let value = value.clone().unwrap_or_default();
        if value.len() != 10 || !value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            faults.push(Fault::new(key, "must be the 10 letters and digits that Apple gave"));
        }
        value
    };
    let team_id = id("team_id", &config.team_id);
    let key_id = id("key_id", &config.key_id);
    let pem = config.key.as_ref().map_or("", Secret::expose);
    let signer = Signer::new(team_id, key_id, pem)
        .map_err(|problem| faults.push(Fault::new("key", problem)));
    match signer {
        Ok(signer) if faults.is_empty() => Ok(Auth::Token(Box::new(ProviderTokens::new(signer)))),
        Ok(_) | Err(()) => Err(faults),
    }
}

fn identity(config: &Config) -> Result<tls::Identity, Fault> {
    let pem = config.certificate.as_deref().unwrap_or_default();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        Fault::new("certificate", "holds no PEM certificate; write file:PATH for a file")
    })?;
    let key = config.certificate_key.as_ref().map_or("", Secret::expose);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        Fault::new("certificate_key", "holds no PEM private key; write file:PATH for a file")
    })?;
    Ok(tls::Identity { chain, key })
}

fn advice(config: &Config) -> Vec<Cow<'static, str>> {
    let mut advice = vec![
        Cow::Borrowed(
            "the sender's picture appears only if the app has the Communication Notifications \
             capability and a Notification Service Extension",
        ),
        Cow::Borrowed("calls break through Focus only with the Time Sensitive capability"),
    ];
    if config.certificate.is_some() {
        advice.push(Cow::Borrowed(
            "the certificate ends a year after it was made; a key (.p8) does not end",
        ));
    }
    if let Environment::Sandbox = config.environment {
        advice.push(Cow::Borrowed(
            "environment is sandbox: only tokens of builds signed for development are known there",
        ));
    }
    advice
}
