//! A lane's patience: after failures in a row it stops calling, and asks with one call at a time
//! whether the vendor is back.

use std::time::Duration;

use crate::model::Millis;

/// Failed calls in a row that open it.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A tripped breaker probes at least this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a vendor call says about the lane as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The vendor took something.
    Success,
    /// It answered for each push by itself, though it took none.
    Spoke,
    /// It does not answer, or says it is broken.
    Failure,
    /// It wants us to wait.
    Pause(Duration),
    /// The credential or set-up is wrong; the reason is for the operator.
    Unauthorized(String),
    /// Nobody was asked.
    Neutral,
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    Call,
    /// One call, to see whether the vendor is back.
    Probe,
    /// Not before this moment.
    NotUntil(Millis),
    /// Not before the probe in the air is answered.
    NotNow,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Open>,
    paused_until: Millis,
}

#[derive(Debug)]
struct Open {
    until: Millis,
    pause: Duration,
    probing: bool,
    /// Why, when it is the credential; told once.
    unauthorized: bool,
}

impl Breaker {
    pub(super) fn may_call(&self, now: Millis) -> May {
        if now < self.paused_until {
            return May::NotUntil(self.paused_until);
        }
        match &self.open {
            None => May::Call,
            Some(open) if open.probing => May::NotNow,
            Some(open) if now < open.until => May::NotUntil(open.until),
            Some(_) => May::Probe,
        }
    }

    /// A call starts.
    pub(super) fn called(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A call is over. True when the breaker opened just now for a wrong credential, which the
    /// operator must hear of once.
    pub(super) fn note(&mut self, effect: &Effect, now: Millis) -> bool {
        match effect {
            Effect::Success | Effect::Spoke => {
                self.failures = 0;
                self.open = None;
                false
            }
            Effect::Failure => {
                self.failures += 1;
                if self.failures >= THRESHOLD || self.open.is_some() {
                    self.trip(now, false);
                }
                false
            }
            Effect::Pause(how_long) => {
                self.paused_until = self.paused_until.max(now + *how_long);
                // The vendor spoke, so the probe is answered.
                self.open = None;
                false
            }
            Effect::Unauthorized(_) => {
                let known = self.open.as_ref().is_some_and(|open| open.unauthorized);
                self.trip(now, true);
                !known
            }
            Effect::Neutral => {
                if let Some(open) = &mut self.open {
                    open.probing = false;
                }
                false
            }
        }
    }

    fn trip(&mut self, now: Millis, unauthorized: bool) {
        let pause = match &self.open {
            // Calls that were in the air when it opened do not lengthen the pause.
            Some(open) if !open.probing => return,
            Some(open) => (open.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let unauthorized = unauthorized || self.open.as_ref().is_some_and(|o| o.unauthorized);
        self.open = Some(Open { until: now + pause, pause, probing: false, unauthorized });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tripped(now: Millis) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..THRESHOLD {
            breaker.called();
            breaker.note(&Effect::Failure, now);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let now = Millis(1_000_000);
        let mut breaker = tripped(now);
        assert_eq!(breaker.may_call(now), May::NotUntil(now + FIRST_PAUSE));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.may_call(later), May::Probe);
        breaker.called();
        assert_eq!(breaker.may_call(later), May::NotNow);
        breaker.note(&Effect::Success, later);
        assert_eq!(breaker.may_call(later), May::Call);
    }

    #[test]
    fn it_probes_at_least_every_ten_seconds() {
        let mut now = Millis(1_000_000);
        let mut breaker = tripped(now);
        for _ in 0..20 {
            let May::NotUntil(next) = breaker.may_call(now) else { panic!("open") };
            assert!(next.since(now) <= LONGEST_PAUSE);
            now = next;
            breaker.called();
            breaker.note(&Effect::Failure, now);
        }
    }

    #[test]
    fn a_wrong_credential_is_told_once() {
        let now = Millis(1_000_000);
        let mut breaker = Breaker::default();
        let wrong = Effect::Unauthorized("bad key".into());
        breaker.called();
        assert!(breaker.note(&wrong, now));
        assert!(!breaker.note(&wrong, now));
        let later = now + LONGEST_PAUSE;
        breaker.called();
        assert!(!breaker.note(&wrong, later));
    }
}
