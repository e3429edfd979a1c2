//! Posting a vendor's receipts to the gateway, as the vendor's own servers would.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::booth::Booth;
use super::configuration::APP;
use super::host::World;
use super::phones::Phone;
use super::simulator::ReceiptKind;
use crate::kit::tls;

/// What became of the receipts of one phone.
#[derive(Debug, Serialize)]
pub(super) struct Posted {
    url: String,
    sent: usize,
    statuses: Vec<u16>,
}

/// Why none was posted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiptError {
    #[error("{0} has no receipts")]
    None(&'static str),
    #[error("the phone shows nothing")]
    NothingShown,
    #[error("there is no receipt URL for this lane; give `url`")]
    NoUrl,
    #[error("could not post to the receipt URL: {0}")]
    Post(#[from] reqwest::Error),
}

/// The client that posts.
pub(super) fn client() -> Result<reqwest::Client, String> {
    let tls = tls::client(None, None, &["http/1.1"]).map_err(|fault| fault.problem)?;
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(|err| err.to_string())
}

/// Posts one receipt for everything the phone shows; only one, for the latest, when the app is gone.
pub(super) async fn post(
    world: &World,
    booth: &Booth,
    phone: &Phone,
    kind: ReceiptKind,
    url: Option<String>,
) -> Result<Posted, ReceiptError> {
    let shown = &phone.screen.shown;
    let from = match kind {
        ReceiptKind::Uninstalled => shown.len().saturating_sub(1),
        ReceiptKind::Delivered | ReceiptKind::Clicked => 0,
    };
    if shown.is_empty() {
        return Err(ReceiptError::NothingShown);
    }
    let url = url.or_else(|| lane_url(world, booth.spec.id)).ok_or(ReceiptError::NoUrl)?;
    let mut statuses = Vec::new();
    for push in &shown[from..] {
        let receipt = booth.simulator.receipt(phone, push, kind, SystemTime::now());
        let (headers, body) = receipt.ok_or(ReceiptError::None(booth.spec.id))?;
        let answer = world.receipts.post(&url).headers(headers).body(body).send().await?;
        statuses.push(answer.status().as_u16());
    }
    Ok(Posted { url, sent: statuses.len(), statuses })
}

/// `{public_url}/v1/receipts/demo/{lane}/{key}`, from the configuration this sandbox wrote.
fn lane_url(world: &World, vendor: &str) -> Option<String> {
    let config = &world.config;
    let public_url = config.get("server")?.get("public_url")?.as_str()?;
    let lane = config.get("apps")?.get(APP)?.get("lanes")?.get(vendor)?;
    let key = lane.get("receipt_key")?.as_str()?;
    Some(format!("{public_url}/v1/receipts/{APP}/{vendor}/{key}"))
}
