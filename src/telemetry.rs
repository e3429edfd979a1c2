//! Metrics, as values: names in one enum, handles for the hot path, one page for Prometheus.
//!
//! Deliberately absent: user ids, event ids, tokens and texts. Labels are app, lane, vendor and
//! closed sets of words.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use posthorn_vendors::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Every metric Posthorn has.
#[derive(Debug, Clone, Copy)]
enum Name {
    Accepted,
    Duplicates,
    AcceptSeconds,
    Outcomes,
    Verdicts,
    CallSeconds,
    AcceptToVendorSeconds,
    QueueDepth,
    OldestUnsentSeconds,
    BreakerOpen,
    CredentialExpiry,
    Backlog,
    Devices,
}

impl Name {
    /// The name after `posthorn_`, and what it counts.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Name::Accepted => ("events_accepted", "Events taken and durable"),
            Name::Duplicates => ("events_duplicate", "Events whose id was known"),
            Name::AcceptSeconds => ("accept_seconds", "From a request's arrival to its answer"),
            Name::Outcomes => ("outcomes", "Vendor answers, one a push, by class"),
            Name::Verdicts => ("verdicts", "Final verdicts, one a push"),
            Name::CallSeconds => ("vendor_call_seconds", "Duration of vendor calls"),
            Name::AcceptToVendorSeconds => {
                ("accept_to_vendor_seconds", "From accepting an event to the vendor's answer")
            }
            Name::QueueDepth => (
                "lane_waiting",
                "Pushes waiting in memory, and groups of pushes parked in the store",
            ),
            Name::OldestUnsentSeconds => (
                "lane_oldest_unsent_seconds",
                "Age of the oldest push that waits for its lane, parked or in memory",
            ),
            Name::BreakerOpen => ("lane_breaker_open", "1 while the lane's breaker is open"),
            Name::CredentialExpiry => (
                "lane_credential_expiry_timestamp_seconds",
                "When the lane's credential ends; absent where it does not",
            ),
            Name::Backlog => ("events_backlog", "Events accepted and not yet through"),
            Name::Devices => ("devices", "Registered devices"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppLabel {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    app: String,
    lane: String,
    vendor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneClassLabels {
    app: String,
    lane: String,
    vendor: String,
    class: String,
}

/// All metrics of one gateway.
pub struct Metrics {
    registry: Mutex<Registry>,
    accepted: Family<AppLabel, Counter>,
    duplicates: Family<AppLabel, Counter>,
    accept_seconds: Histogram,
    outcomes: Family<LaneClassLabels, Counter>,
    verdicts: Family<LaneClassLabels, Counter>,
    call_seconds: Family<LaneLabels, Histogram, fn() -> Histogram>,
    accept_to_vendor: Family<LaneLabels, Histogram, fn() -> Histogram>,
    depth: Family<LaneLabels, Gauge>,
    oldest: Family<LaneLabels, Gauge<f64, AtomicU64>>,
    breaker: Family<LaneLabels, Gauge>,
    credential: Family<LaneLabels, Gauge<i64, AtomicI64>>,
    backlog: Family<AppLabel, Gauge>,
    devices: Gauge,
}

/// One lane's handles, looked up once.
pub struct LaneMetrics {
    /// In the order of `Outcome::NAMES`.
    outcomes: [Counter; 6],
    call_seconds: Histogram,
    accept_to_vendor: Histogram,
}

/// How a lane stands at the moment of a scrape.
pub struct LaneState {
    pub app: String,
    pub lane: String,
    pub vendor: String,
    pub waiting: u64,
    pub oldest: Option<Duration>,
    pub breaker_open: bool,
    /// Seconds since 1970.
    pub credential_expires: Option<i64>,
}

fn register(registry: &mut Registry, name: Name, metric: impl Metric) {
    let (word, help) = name.words();
    registry.register(format!("posthorn_{word}"), help, metric);
}

fn seconds() -> Histogram {
    let steps = [
        0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
        30.0, 60.0, 600.0,
    ];
    Histogram::new(steps)
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Mutex::default(),
            accepted: Family::default(),
            duplicates: Family::default(),
            accept_seconds: seconds(),
            outcomes: Family::default(),
            verdicts: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            accept_to_vendor: Family::new_with_constructor(seconds),
            depth: Family::default(),
            oldest: Family::default(),
            breaker: Family::default(),
            credential: Family::default(),
            backlog: Family::default(),
            devices: Gauge::default(),
        };
        {
            let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
            let add = &mut *registry;
            register(add, Name::Accepted, metrics.accepted.clone());
            register(add, Name::Duplicates, metrics.duplicates.clone());
            register(add, Name::AcceptSeconds, metrics.accept_seconds.clone());
            register(add, Name::Outcomes, metrics.outcomes.clone());
            register(add, Name::Verdicts, metrics.verdicts.clone());
            register(add, Name::CallSeconds, metrics.call_seconds.clone());
            register(add, Name::AcceptToVendorSeconds, metrics.accept_to_vendor.clone());
            register(add, Name::QueueDepth, metrics.depth.clone());
            register(add, Name::OldestUnsentSeconds, metrics.oldest.clone());
            register(add, Name::BreakerOpen, metrics.breaker.clone());
            register(add, Name::CredentialExpiry, metrics.credential.clone());
            register(add, Name::Backlog, metrics.backlog.clone());
            register(add, Name::Devices, metrics.devices.clone());
        }
        metrics
    }
}

impl Metrics {
    /// What became of events handed in.
    pub fn accepted(&self, app: &str, new: u64, known: u64) {
        let label = AppLabel { app: app.to_owned() };
        self.accepted.get_or_create(&label).inc_by(new);
        if known > 0 {
            self.duplicates.get_or_create(&label).inc_by(known);
        }
    }

    /// How long a caller waited for its answer.
    pub fn accept_took(&self, took: Duration) {
        self.accept_seconds.observe(took.as_secs_f64());
    }

    /// A push's final verdict.
    pub fn verdict(&self, app: &str, lane: &str, vendor: &str, verdict: &str, count: u64) {
        let labels = LaneClassLabels {
            app: app.to_owned(),
            lane: lane.to_owned(),
            vendor: vendor.to_owned(),
            class: verdict.to_owned(),
        };
        self.verdicts.get_or_create(&labels).inc_by(count);
    }

    /// One lane's handles.
    pub fn lane(&self, app: &str, lane: &str, vendor: &str) -> LaneMetrics {
        let labels = lane_labels(app, lane, vendor);
        let outcome = |class: &str| {
            let labels = LaneClassLabels {
                app: app.to_owned(),
                lane: lane.to_owned(),
                vendor: vendor.to_owned(),
                class: class.to_owned(),
            };
            self.outcomes.get_or_create_owned(&labels)
        };
        LaneMetrics {
            outcomes: Outcome::NAMES.map(outcome),
            call_seconds: self.call_seconds.get_or_create_owned(&labels),
            accept_to_vendor: self.accept_to_vendor.get_or_create_owned(&labels),
        }
    }

    /// The page, with the gauges as they are now.
    pub fn page(&self, lanes: &[LaneState], backlog: &[(String, u64)], devices: u64) -> String {
        for state in lanes {
            let labels = lane_labels(&state.app, &state.lane, &state.vendor);
            self.depth.get_or_create(&labels).set(state.waiting as i64);
            let oldest = state.oldest.unwrap_or_default().as_secs_f64();
            self.oldest.get_or_create(&labels).set(oldest);
            self.breaker.get_or_create(&labels).set(i64::from(state.breaker_open));
            if let Some(at) = state.credential_expires {
                self.credential.get_or_create(&labels).set(at);
            }
        }
        for (app, count) in backlog {
            self.backlog.get_or_create(&AppLabel { app: app.clone() }).set(*count as i64);
        }
        self.devices.set(devices as i64);
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut page, &registry).expect("a string takes everything");
        page
    }
}

fn lane_labels(app: &str, lane: &str, vendor: &str) -> LaneLabels {
    LaneLabels { app: app.to_owned(), lane: lane.to_owned(), vendor: vendor.to_owned() }
}

impl LaneMetrics {
    /// A vendor call and what it answered.
    pub fn call(&self, took: Duration, outcomes: &[Outcome]) {
        self.call_seconds.observe(took.as_secs_f64());
        for outcome in outcomes {
            let at = Outcome::NAMES.iter().position(|name| *name == outcome.name());
            if let Some(counter) = at.map(|at| &self.outcomes[at]) {
                counter.inc();
            }
        }
    }

    /// How long after its event was accepted a push had the vendor's answer.
    pub fn answered_after(&self, took: Duration) {
        self.accept_to_vendor.observe(took.as_secs_f64());
    }
}
