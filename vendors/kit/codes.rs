//! A vendor's table of codes: what each one means for the push it was given for.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::quota_day;
use crate::{Outcome, Reason, Scope};

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The token is dead, or the project is the wrong one: the code says both.
    PerhapsDead,
    /// Nobody's fault.
    Retry,
    /// The lane waits this long.
    Wait(Duration),
    /// The lane's quota is used up until the next day in Shanghai.
    NextDay,
    /// The same for one kind of message only. It is told of the device, not of the lane: a used-up
    /// marketing quota must not hold the chat messages of the lane back.
    NextDayForKind,
    /// This push is refused, the token is fine.
    Refused,
    /// The lane's set-up is wrong.
    SetUp,
}

/// One line of the table: the code, its class, and the hint for the operator.
pub type Row = (&'static str, Class, &'static str);

/// The class and hint of `code`, where the table has it.
pub fn find(table: &[Row], code: &str) -> Option<(Class, &'static str)> {
    table.iter().find(|row| row.0 == code).map(|row| (row.1, row.2))
}

impl Class {
    /// The outcome of this class with the vendor's `code`.
    pub fn outcome(
        self,
        code: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
        now: SystemTime,
    ) -> Outcome {
        let reason = Reason::new(code, hint);
        match self {
            Class::PerhapsDead => Outcome::Unregistered { since: None, certain: false, reason },
            Class::Retry => Outcome::Retry { after: None, reason },
            Class::Wait(after) => Outcome::Throttled { after, scope: Scope::Lane, reason },
            Class::NextDay => {
                Outcome::Throttled { after: quota_day::until_next(now), scope: Scope::Lane, reason }
            }
            Class::NextDayForKind => {
                let after = quota_day::until_next(now);
                Outcome::Throttled { after, scope: Scope::Device, reason }
            }
            Class::Refused => Outcome::Rejected { reason },
            Class::SetUp => Outcome::Unauthorized { reason },
        }
    }
}

/// The delay that a reply's `Retry-After` names in seconds.
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let named = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    named.parse().ok().map(Duration::from_secs)
}
