//! Randomness that can be played again: the seed is printed, and `POSTHORN_TEST_SEED` sets it.

use std::time::SystemTime;

pub use posthorn::store::suite::Dice;

/// Dice for this test.
pub fn thrown(test: &str) -> Dice {
    Dice::new(seed(test))
}

/// From the environment or the clock; says which.
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a seed is for the log")]
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("POSTHORN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    });
    println!("{test}: POSTHORN_TEST_SEED={seed}");
    seed
}
