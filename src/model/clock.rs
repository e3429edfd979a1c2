//! The only wall clock. Everything else takes the time as a value, so tests can set it.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The day this moment falls in, counted from 1970, UTC.
    pub fn day(self) -> u32 {
        (self.0 / 86_400_000) as u32
    }

    /// How long since `earlier`; nothing when it lies ahead.
    pub fn since(self, earlier: Millis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Millis {
    type Output = Millis;
    fn add(self, after: Duration) -> Millis {
        Millis(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Millis {
    type Output = Millis;
    fn sub(self, before: Duration) -> Millis {
        Millis(self.0.saturating_sub(u64::try_from(before.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<Millis> for SystemTime {
    fn from(at: Millis) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)
    }
}

impl From<SystemTime> for Millis {
    fn from(at: SystemTime) -> Millis {
        Millis::default() + at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Millis {
        SystemTime::now().into()
    }
}

/// A clock that tests set.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `at`.
    pub fn at(at: Millis) -> Self {
        ManualClock(AtomicU64::new(at.0))
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}
