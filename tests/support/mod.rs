//! What every integration test stands on: a sandbox with phones, a gateway over it (a process that
//! can be killed, or one in this process), and a caller.
//!
//! Nothing is shared between tests: each [`Scene`] has its own sandbox, directory and ports.
//! Nothing sleeps: [`eventually`] is the one place that waits for a condition.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a harness offers more than each test takes"
)]

pub mod caller;
pub mod dice;
pub mod mount;
pub mod process;
pub mod scene;

use std::time::Duration;

use tokio::time::Instant;

pub use self::caller::Caller;
pub use self::dice::Dice;
pub use self::process::Process;
pub use self::scene::Scene;

/// How long a condition may take before the test fails. Never met by a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer, and fails the test when there is none in time.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// [`eventually`] with a patience of its own.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + patience;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < give_up, "not within {patience:?}: {what}");
    }
}
