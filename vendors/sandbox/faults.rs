//! Faults on demand: which requests of a vendor go wrong, and how.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;

/// A fault as the tester sets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The part of the requests that it strikes, 0 to 1.
    #[serde(default = "all")]
    pub share: f64,
    /// What goes wrong.
    pub mode: Mode,
    /// How much later the answer comes (`latency`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The bare HTTP status answered (`status`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's code answered in the vendor's own form (`code`).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "word")]
    pub code: Option<String>,
    /// What the answer says of when to come again (`status`, `rate_limit`, `quota`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_secs: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The answer is right and late.
    Latency,
    /// The request is taken and never answered; clearing the fault resets the connection.
    Hang,
    /// The connection is reset. On HTTP/2 a share below 1 resets only the stream, because a
    /// connection carries hundreds of requests and a reset of it would strike them all.
    Reset,
    /// A bare HTTP status.
    Status,
    /// One of the vendor's codes.
    Code,
    /// The right answer, and then the connection takes nothing new (HTTP/1.1: it is closed).
    Goaway,
    /// The vendor's "too many requests".
    RateLimit,
    /// The vendor's "the quota is used up".
    Quota,
    /// Every credential used so far counts as expired. Strikes once, when it is set.
    ExpireCredentials,
}

impl Fault {
    /// A fault that strikes every request.
    pub fn always(mode: Mode) -> Self {
        Fault { share: 1.0, mode, delay_ms: None, status: None, code: None, retry_after_secs: None }
    }

    /// What is missing or impossible, in words for the tester.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err("share must be between 0 and 1".to_owned());
        }
        let lacks = |key: &str| Err(format!("this mode needs `{key}`"));
        match self.mode {
            Mode::Latency if self.delay_ms.is_none() => lacks("delay_ms"),
            Mode::Code if self.code.is_none() => lacks("code"),
            Mode::Status => match self.status {
                None => lacks("status"),
                Some(200..=599) => Ok(()),
                Some(_) => Err("status must be between 200 and 599".to_owned()),
            },
            _ => Ok(()),
        }
    }

    /// How much later a `latency` answers.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.unwrap_or(0))
    }

    /// Requests for a credential are only struck by what strikes a whole machine.
    fn strikes_credentials(&self) -> bool {
        matches!(self.mode, Mode::Latency | Mode::Reset | Mode::Status)
    }
}

fn all() -> f64 {
    1.0
}

/// Testers write vendor codes as words or as numbers.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Number(i64),
    }
    Ok(Option::<Word>::deserialize(from)?.map(|word| match word {
        Word::Text(text) => text,
        Word::Number(number) => number.to_string(),
    }))
}

/// The fault set for one vendor, if any.
pub(super) struct Faults {
    current: RwLock<Option<Arc<Fault>>>,
    /// Changes whenever a fault is set or cleared, which ends every hang.
    changed: watch::Sender<()>,
    asked: AtomicU64,
}

impl Faults {
    pub(super) fn none() -> Self {
        Faults {
            current: RwLock::new(None),
            changed: watch::Sender::new(()),
            asked: AtomicU64::new(0),
        }
    }

    pub(super) fn set(&self, fault: Option<Fault>) {
        let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = fault.map(Arc::new);
        self.changed.send_replace(());
    }

    /// The fault that strikes this request, and what ends it if it is a hang.
    pub(super) fn strike(&self, credential: bool) -> Option<(Arc<Fault>, watch::Receiver<()>)> {
        let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fault = current.as_ref()?;
        if credential && !fault.strikes_credentials() || self.dice() >= fault.share {
            return None;
        }
        Some((fault.clone(), self.changed.subscribe()))
    }

    /// 0 to 1, evenly spread, the same run for every sandbox (SplitMix64 of a counter).
    fn dice(&self) -> f64 {
        let n = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_strikes_about_that_part_of_the_requests() {
        let faults = Faults::none();
        faults.set(Some(Fault { share: 0.3, ..Fault::always(Mode::Reset) }));
        let struck = (0..10_000).filter(|_| faults.strike(false).is_some()).count();
        assert!((2_800..3_200).contains(&struck), "{struck}");
    }

    #[test]
    fn a_hang_leaves_credential_requests_alone() {
        let faults = Faults::none();
        faults.set(Some(Fault::always(Mode::Hang)));
        assert!(faults.strike(true).is_none());
        assert!(faults.strike(false).is_some());
    }

    #[test]
    fn a_fault_without_what_its_mode_needs_is_refused_in_words() {
        let fault: Fault = serde_json::from_str(r#"{"mode":"status"}"#).expect("a fault");
        assert_eq!(fault.check(), Err("this mode needs `status`".to_owned()));
        let fault: Fault =
            serde_json::from_str(r#"{"mode":"code","code":20301}"#).expect("a fault");
        assert_eq!(fault.code.as_deref(), Some("20301"));
    }
}
