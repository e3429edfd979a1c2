//! Randomness that can be played again: the seed is printed, and `POSTHORN_TEST_SEED` sets it.

use std::ops::Range;
use std::time::SystemTime;

/// A small generator (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Seeds from the environment or the clock, and says with what.
    #[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "the seed is for the log")]
    pub fn thrown(test: &str) -> Dice {
        let given = std::env::var("POSTHORN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        println!("{test}: POSTHORN_TEST_SEED={seed}");
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `range`, which must not be empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}
