//! The last stage: what follows from each outcome. This table is the specification.
//!
//! | outcome      | the push                                   | the token      | the lane           |
//! |--------------|--------------------------------------------|----------------|--------------------|
//! | accepted     | `sent`                                     | stays          | works              |
//! | unregistered | `failed`                                   | pruned (guard) | works              |
//! | retry        | again: 1 to 2 s, doubling to 60 s          | stays          | a failure          |
//! | throttled    | again when the vendor says                 | stays          | waits, if it is all|
//! | rejected     | `failed`                                   | stays          | works              |
//! | unauthorized | again when the lane is mended              | stays          | breaker opens      |
//!
//! Whatever would be tried again after its deadline is `expired`. The guard: a code that can also
//! mean a wrong project or environment prunes only while the lane had a success lately.

#![deny(clippy::wildcard_enum_match_arm)]

mod in_flight;
mod open;
mod settler;

use std::sync::Arc;
use std::time::Duration;

use posthorn_vendors::{Outcome, Reason, Scope};

pub(super) use self::in_flight::InFlight;
pub(super) use self::settler::{Settler, expire};
use super::dispatch::{Answered, Effect, Fate, Group};
use super::resolve::Resolved;
use crate::model::{Millis, Verdict};

/// What the stages tell settle, in the order it happens.
pub(super) enum News {
    /// An event was resolved; its groups are about to be offered to their lanes.
    Resolved(Resolved),
    /// A lane had no room for this group: it is parked.
    Refused(Arc<Group>),
    /// Pushes have their fates.
    Answered(Answered),
    /// Nobody will tell anything more.
    Stop,
}

/// The pause while a lane is unusable; the breaker decides when it is tried.
const UNAUTHORIZED_PAUSE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What follows for one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is over.
    Done { verdict: Verdict, reason: Option<&'static str>, why: Option<Reason>, prune: Prune },
    /// Once more at this moment.
    Again { at: Millis, why: Reason, attempted: bool },
}

/// Whether the token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prune {
    Keep,
    /// If it was registered before this moment, where the vendor names one.
    Drop {
        since: Option<Millis>,
    },
}

/// What a decision is made from, beside the fate itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) now: Millis,
    pub(super) deadline: Millis,
    /// Vendor calls made before this one.
    pub(super) attempts: u32,
    /// Whether the lane had a success lately.
    pub(super) trusted: bool,
    /// Spreads retries; differs between pushes.
    pub(super) jitter: u8,
}

/// What follows from this fate.
pub(super) fn step(fate: Fate, facts: Facts) -> Step {
    let outcome = match fate {
        Fate::Answered(outcome) => outcome,
        Fate::Overtaken(news) => return over(Verdict::Suppressed, news.word()),
        Fate::Moved => return over(Verdict::Suppressed, "token_moved"),
        Fate::Expired => return over(Verdict::Expired, "deadline"),
    };
    match outcome {
        Outcome::Accepted { .. } => {
            Step::Done { verdict: Verdict::Sent, reason: None, why: None, prune: Prune::Keep }
        }
        Outcome::Unregistered { since, certain, reason } => {
            let prune = if certain || facts.trusted {
                Prune::Drop { since: since.map(Millis::from) }
            } else {
                Prune::Keep
            };
            failed("unregistered", reason, prune)
        }
        Outcome::Retry { after, reason } => {
            let pause = after.unwrap_or_else(|| backoff(facts.attempts, facts.jitter));
            again(facts, pause, reason, true)
        }
        Outcome::Throttled { after, scope: Scope::Lane | Scope::Device, reason } => {
            again(facts, after, reason, true)
        }
        Outcome::Rejected { reason } => failed("rejected", reason, Prune::Keep),
        Outcome::Unauthorized { reason } => again(facts, UNAUTHORIZED_PAUSE, reason, false),
    }
}

/// What one call's outcomes say of its lane.
pub(super) fn effect(outcomes: &[Outcome]) -> Effect {
    let mut effect = Effect::Neutral;
    for outcome in outcomes {
        let this = match outcome {
            Outcome::Accepted { .. } => return Effect::Success,
            Outcome::Unregistered { .. } | Outcome::Rejected { .. } => Effect::Spoke,
            Outcome::Retry { .. } => Effect::Failure,
            Outcome::Throttled { after, scope: Scope::Lane, .. } => Effect::Pause(*after),
            Outcome::Throttled { scope: Scope::Device, .. } => Effect::Spoke,
            Outcome::Unauthorized { reason } => Effect::Unauthorized(reason.to_string()),
        };
        // The first word that is not a mere failure counts.
        if matches!(effect, Effect::Neutral | Effect::Failure) {
            effect = this;
        }
    }
    effect
}

fn over(verdict: Verdict, reason: &'static str) -> Step {
    Step::Done { verdict, reason: Some(reason), why: None, prune: Prune::Keep }
}

fn failed(reason: &'static str, why: Reason, prune: Prune) -> Step {
    Step::Done { verdict: Verdict::Failed, reason: Some(reason), why: Some(why), prune }
}

fn again(facts: Facts, pause: Duration, why: Reason, attempted: bool) -> Step {
    let at = facts.now + pause;
    if at >= facts.deadline {
        let reason = Some("deadline");
        return Step::Done {
            verdict: Verdict::Expired,
            reason,
            why: Some(why),
            prune: Prune::Keep,
        };
    }
    Step::Again { at, why, attempted }
}

/// Half to all of 2 s, doubling to 60 s.
fn backoff(attempts: u32, jitter: u8) -> Duration {
    let full = FIRST_RETRY.saturating_mul(1 << attempts.min(5)).min(LONGEST_RETRY);
    full / 2 + full / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Overtaken;

    const NOW: Millis = Millis(1_000_000);

    fn facts() -> Facts {
        Facts {
            now: NOW,
            deadline: NOW + Duration::from_secs(3600),
            attempts: 0,
            trusted: true,
            jitter: 255,
        }
    }

    fn reason() -> Reason {
        Reason::new("code", "hint")
    }

    fn unregistered(certain: bool) -> Fate {
        Fate::Answered(Outcome::Unregistered { since: None, certain, reason: reason() })
    }

    fn prunes(step: &Step) -> bool {
        matches!(step, Step::Done { prune: Prune::Drop { .. }, .. })
    }

    #[test]
    fn a_doubtful_dead_token_is_dropped_only_while_the_lane_works() {
        let doubted = Facts { trusted: false, ..facts() };
        assert!(prunes(&step(unregistered(true), doubted)));
        assert!(prunes(&step(unregistered(false), facts())));
        assert!(!prunes(&step(unregistered(false), doubted)));
    }

    #[test]
    fn retries_come_within_two_seconds_first_and_never_more_than_a_minute_apart() {
        for attempts in 0..40 {
            let slow = backoff(attempts, 255);
            assert!(backoff(attempts, 0) <= slow && slow <= LONGEST_RETRY);
        }
        assert_eq!(backoff(0, 255), Duration::from_secs(2));
        assert_eq!(backoff(0, 0), Duration::from_secs(1));
        assert_eq!(backoff(10, 255), LONGEST_RETRY);
    }

    #[test]
    fn the_vendors_own_delay_wins_over_ours() {
        let after = Some(Duration::from_secs(17));
        let retry = Fate::Answered(Outcome::Retry { after, reason: reason() });
        let Step::Again { at, .. } = step(retry, facts()) else { panic!("again") };
        assert_eq!(at, NOW + Duration::from_secs(17));
    }

    #[test]
    fn what_would_be_tried_after_its_deadline_is_expired() {
        let late = Facts { deadline: NOW + Duration::from_millis(500), ..facts() };
        let retry = Fate::Answered(Outcome::Retry { after: None, reason: reason() });
        let Step::Done { verdict, why, .. } = step(retry, late) else { panic!("done") };
        assert_eq!(verdict, Verdict::Expired);
        assert_eq!(why, Some(reason()));
    }

    #[test]
    fn late_news_suppress_with_their_rule() {
        let read = step(Fate::Overtaken(Overtaken::Read), facts());
        let Step::Done { verdict: Verdict::Suppressed, reason: Some(rule), .. } = read else {
            panic!("suppressed")
        };
        assert_eq!(rule, "read");
    }

    #[test]
    fn one_accepted_push_vouches_for_the_lane_whatever_the_others_got() {
        let retry = Outcome::Retry { after: None, reason: reason() };
        let taken = Outcome::Accepted { vendor_ref: None };
        assert_eq!(effect(&[retry.clone(), taken]), Effect::Success);
        assert_eq!(effect(&[retry.clone(), Outcome::rejected("c", "h")]), Effect::Spoke);
        assert_eq!(effect(&[retry]), Effect::Failure);
        assert_eq!(effect(&[]), Effect::Neutral);
    }
}
