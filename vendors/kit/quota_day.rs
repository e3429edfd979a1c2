//! When a daily quota of the Chinese vendors begins anew: at 00:00 in Shanghai.

use std::time::{Duration, SystemTime};

const DAY_SECS: u64 = 24 * 60 * 60;
/// China has had no summer time since 1991, so a fixed offset is the whole time zone.
const SHANGHAI_AHEAD_SECS: u64 = 8 * 60 * 60;

/// From `now` to the next 00:00 Asia/Shanghai; never zero.
pub fn until_next(now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let into_day = (since_epoch + SHANGHAI_AHEAD_SECS) % DAY_SECS;
    Duration::from_secs(DAY_SECS - into_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_ends_at_sixteen_hours_utc() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(until_next(at(0)), Duration::from_secs(16 * 3600));
        assert_eq!(until_next(at(16 * 3600 - 1)), Duration::from_secs(1));
        assert_eq!(until_next(at(16 * 3600)), Duration::from_secs(DAY_SECS));
    }
}
