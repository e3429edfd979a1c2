//! The vendor contract and the one list of vendors.
//!
//! A vendor is an adapter: it turns a [`Batch`] of pushes into requests, makes the exchange, and
//! reads every answer into one [`Outcome`] a push. Deliberately absent: retries, sleeps, queues,
//! metrics, environment variables and any knowledge of the gateway. Who calls decides what follows
//! from an outcome (`push/settle.rs` in the gateway); the adapter only says what happened.

#![warn(missing_docs)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod conformance;

pub mod apns;
pub mod huawei;
pub mod kit;
pub mod sandbox;
pub mod xiaomi;

pub use kit::secret::{Secret, Token};

/// Every vendor that Posthorn speaks. Adding one is a folder, its `mod` line above and its line here.
pub const VENDORS: &[&Spec] = &[&apns::SPEC, &huawei::SPEC, &xiaomi::SPEC];

/// The vendor whose id is `id`, the word used in configuration, metrics and logs.
pub fn vendor(id: &str) -> Option<&'static Spec> {
    VENDORS.iter().copied().find(|spec| spec.id == id)
}

/// What the gateway knows of a vendor before a lane of it is built.
pub struct Spec {
    /// One lower-case word, used unchanged as folder name, metric label and stored value.
    pub id: &'static str,
    /// The name a person reads.
    pub name: &'static str,
    /// Checks one lane's configuration and builds its adapter. Opens no connection.
    pub build: Build,
    /// The pure half of the adapter alone, for the conformance test.
    pub wire: BuildWire,
    /// The vendor's simulator, for the sandbox.
    pub simulator: fn() -> Box<dyn sandbox::Simulator>,
    /// Outcomes this vendor can never give, each with the reason; the conformance test wants a
    /// fixture for every other one. Names as in [`Outcome::name`].
    pub impossible: &'static [(&'static str, &'static str)],
}

/// Makes an adapter of one lane's configuration, or tells every fault of it.
pub type Build = fn(toml::Table) -> Result<Arc<dyn Vendor>, Vec<kit::settings::Fault>>;

/// The same for the pure half.
pub type BuildWire = fn(toml::Table) -> Result<Box<dyn Wire>, Vec<kit::settings::Fault>>;

/// One vendor with one set of credentials.
pub trait Vendor: Send + Sync {
    /// What this vendor takes in one call, how it counts, and how long texts may be.
    fn limits(&self) -> &Limits;

    /// Sends the batch: one outcome a push, in the order of the batch. Never an error.
    /// Dispatch bounds it in time and may drop it at any await.
    fn send<'a>(&'a self, batch: &'a Batch) -> Answer<'a>;

    /// Withdraws notifications from the screens they are shown on: one outcome each, in order.
    fn revoke<'a>(&'a self, shown: &'a [Shown], _now: SystemTime) -> Answer<'a> {
        let refused = shown.iter().map(|_| {
            Outcome::rejected("unsupported", "this vendor cannot withdraw a shown notification")
        });
        let refused = refused.collect();
        Box::pin(async move { refused })
    }

    /// When the credential in use ends, where it has an end that somebody must know of.
    fn credential_expires(&self) -> Option<SystemTime> {
        None
    }

    /// Asks the vendor's authentication endpoint whether the credential is good, without sending
    /// anything to a phone. `Ok` says what was checked in one phrase; `Err` why it failed.
    fn probe<'a>(&'a self, now: SystemTime) -> Probe<'a>;

    /// What the operator still has to apply for or fill in at the vendor, a sentence each.
    fn advice(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }
}

/// The pure half of an adapter: what goes out, and what the answer means. No sockets here, so every
/// documented code is tested from a table (`fixtures/*.toml`).
pub trait Wire: Send + Sync {
    /// The one request that sends this batch, with `credential` where the vendor wants one.
    fn request(&self, batch: &Batch, credential: &str) -> http::Request<bytes::Bytes>;

    /// What a complete answer says of each push of the batch, in order. The body may be anything.
    fn outcomes(
        &self,
        batch: &Batch,
        status: http::StatusCode,
        headers: &http::HeaderMap,
        body: &[u8],
    ) -> Vec<Outcome>;
}

/// The outcomes of one call, one a push, in order.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + 'a>>;

/// The answer of [`Vendor::probe`].
pub type Probe<'a> = Pin<Box<dyn Future<Output = Result<String, Reason>> + Send + 'a>>;

/// Pushes that go to the vendor in one call. Never empty; never more than `Limits::batching` says;
/// for `Batching::SameContent` all share one notification and expiry.
#[derive(Debug)]
pub struct Batch {
    /// The pushes, one a device.
    pub pushes: Vec<Push>,
    /// The time of the call; the only clock an adapter has.
    pub now: SystemTime,
}

/// One notification for one device.
#[derive(Debug, Clone)]
pub struct Push {
    /// Does not change when the push is sent again: fills the vendor's de-duplication field.
    pub push_id: Id,
    /// Shared by all that should stand in one place on the screen: fills the replacement field.
    pub slot_id: Id,
    /// The device's address at the vendor.
    pub token: Token,
    /// What to show. Shared by the pushes of one event.
    pub notification: Arc<Notification>,
    /// After this moment nobody wants it any more.
    pub expires_at: SystemTime,
}

/// A notification that is, or was, on a screen.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The slot it was sent to.
    pub slot_id: Id,
    /// The device's address.
    pub token: Token,
    /// What the vendor called it when it accepted it.
    pub vendor_ref: Option<String>,
}

/// Vendor-neutral content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notification {
    /// First line; the sender's nickname for a chat message. Already cut to the vendor's limit.
    pub title: String,
    /// Second line. Already cut to the vendor's limit.
    pub body: String,
    /// Who wrote, unless the recipient's privacy level hides it.
    pub sender: Option<Sender>,
    /// What kind of message it is, from which the vendor's channel, category and urgency follow.
    pub class: Class,
    /// The conversation, for grouping on the screen.
    pub conversation: Option<String>,
    /// The event this came from, for the app to find the message by.
    pub event_id: String,
    /// The number on the app's icon; `Some(0)` clears it.
    pub badge: Option<u32>,
    /// A sound file of the app, `"default"`, or none for silence.
    pub sound: Option<String>,
    /// The caller's own pairs, handed to the app on tap.
    pub data: BTreeMap<String, String>,
    /// The caller's fields for this vendor alone (`push.vendor.<id>`), names as in its README.
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

/// Who wrote the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The user id at the IM server.
    pub id: String,
    /// The name shown.
    pub nickname: String,
    /// An https URL of a picture.
    pub avatar: Option<String>,
}

/// What kind of message a notification speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// A chat message.
    #[default]
    Im,
    /// A ringing call.
    Call,
    /// Somebody wants to be a friend.
    FriendRequest,
    /// From the app itself.
    System,
    /// Advertising; quota-limited by every vendor.
    Marketing,
}

/// Sixteen bytes that name a push or a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// 32 lower-case hex digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// The canonical lower-case form 8-4-4-4-12 that APNs wants.
    pub fn uuid(&self) -> String {
        let h = self.hex();
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    /// A number of 1 to 2^31-1, for vendors whose replacement field is a signed 32-bit one.
    pub fn notify_id(&self) -> u32 {
        let n = u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]) & 0x7fff_ffff;
        n.max(1)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a vendor takes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many pushes one call may carry, and whether they must be alike.
    pub batching: Batching,
    /// What the vendor counts when it limits the rate.
    pub cost: Cost,
    /// The longest title.
    pub title: TextLimit,
    /// The longest body.
    pub body: TextLimit,
    /// How long the vendor keeps a message for a device that is away; longer is cut to this.
    pub ttl_max: Duration,
    /// Calls in the air at once unless the lane says otherwise.
    pub concurrency: usize,
}

/// How pushes may share a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// One push a call.
    Single,
    /// Up to `max` devices, all with the same text.
    SameContent {
        /// Most devices in one call.
        max: usize,
    },
    /// Up to `max` devices, each with a text of its own.
    Distinct {
        /// Most devices in one call.
        max: usize,
    },
}

impl Batching {
    /// Most pushes in one call.
    pub fn max(self) -> usize {
        match self {
            Batching::Single => 1,
            Batching::SameContent { max } | Batching::Distinct { max } => max,
        }
    }
}

/// What a vendor's rate limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Requests.
    PerCall,
    /// Devices.
    PerTarget,
}

/// The longest text a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    /// How many units.
    pub max: usize,
    /// What is counted.
    pub unit: TextUnit,
}

/// What a text limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUnit {
    /// Bytes of UTF-8.
    Bytes,
    /// Unicode scalar values.
    Chars,
    /// UTF-16 code units, as Java and JavaScript count.
    Utf16,
}

/// What the vendor said of one push. Closed on purpose: `push/settle.rs` matches it exhaustively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The vendor took it. Not yet proof of display.
    Accepted {
        /// The vendor's name for it.
        vendor_ref: Option<String>,
    },
    /// The token is dead.
    Unregistered {
        /// When the vendor knew it to be dead, where it says so. A later registration stays.
        since: Option<SystemTime>,
        /// False where the same code can also mean a wrong project or environment: then the token
        /// is dropped only while the same lane has recent successes.
        certain: bool,
        /// The vendor's words.
        reason: Reason,
    },
    /// Nobody's fault; try again.
    Retry {
        /// The vendor's own delay, if it named one.
        after: Option<Duration>,
        /// The vendor's words, or ours for a failed connection.
        reason: Reason,
    },
    /// Too much; wait.
    Throttled {
        /// How long.
        after: Duration,
        /// Who has to wait.
        scope: Scope,
        /// The vendor's words.
        reason: Reason,
    },
    /// This push will never be taken; the token is fine.
    Rejected {
        /// The vendor's words.
        reason: Reason,
    },
    /// The lane's credential or set-up is wrong: no push of this lane can succeed until somebody
    /// mends it. The adapter has already refreshed a refreshable credential once.
    Unauthorized {
        /// The vendor's words.
        reason: Reason,
    },
}

impl Outcome {
    /// The names of all variants, as fixtures and metrics spell them.
    pub const NAMES: [&'static str; 6] =
        ["accepted", "unregistered", "retry", "throttled", "rejected", "unauthorized"];

    /// This variant's name.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Unregistered { .. } => "unregistered",
            Outcome::Retry { .. } => "retry",
            Outcome::Throttled { .. } => "throttled",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unauthorized { .. } => "unauthorized",
        }
    }

    /// Why, unless it was accepted.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Outcome::Accepted { .. } => None,
            Outcome::Unregistered { reason, .. }
            | Outcome::Retry { reason, .. }
            | Outcome::Throttled { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::Unauthorized { reason } => Some(reason),
        }
    }

    /// Shorthand for [`Outcome::Rejected`].
    pub fn rejected(
        code: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Outcome::Rejected { reason: Reason::new(code, hint) }
    }
}

/// Who has to wait when the vendor says "too much".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything of this lane.
    Lane,
    /// Only this device.
    Device,
}

/// Why a push was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The vendor's own code, or one of ours in words (`timeout`, `connection`, `malformed_answer`).
    pub code: Cow<'static, str>,
    /// What it means and what to do, in a plain sentence without tokens, texts or secrets.
    pub hint: Cow<'static, str>,
}

impl Reason {
    /// A reason from its two parts.
    pub fn new(code: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Reason { code: code.into(), hint: hint.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.hint)
    }
}
