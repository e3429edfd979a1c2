//! What became of an event, in honest words.

use posthorn_vendors::Id;

use super::{LaneName, Millis};

/// The fate of a push, or of an event as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// We have it; nothing final yet.
    Accepted,
    /// The vendor took it.
    Sent,
    /// The vendor's receipt says the phone showed it.
    Delivered,
    /// The vendor's receipt says the user tapped it.
    Clicked,
    /// A rule kept it back; `reason` names the rule.
    Suppressed,
    /// The vendor refused it for good, or we could not ask it.
    Failed,
    /// Its time ran out first.
    Expired,
}

impl Verdict {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Sent => "sent",
            Verdict::Delivered => "delivered",
            Verdict::Clicked => "clicked",
            Verdict::Suppressed => "suppressed",
            Verdict::Failed => "failed",
            Verdict::Expired => "expired",
        }
    }

    /// Whether nothing of ours will change it any more.
    pub fn is_final(self) -> bool {
        self != Verdict::Accepted
    }
}

/// What became of one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTrace {
    /// Joins later news of the same push.
    pub push_id: Id,
    /// The place on the screen it was sent to.
    pub slot_id: Id,
    pub user_id: Option<Box<str>>,
    pub device_id: Option<Box<str>>,
    /// Empty when no device was found at all.
    pub lane: LaneName,
    pub verdict: Verdict,
    /// The rule that suppressed it, or the kind of failure, in one word.
    pub reason: Option<Box<str>>,
    /// The vendor's code.
    pub code: Option<Box<str>>,
    /// What it means and what to do.
    pub hint: Option<Box<str>>,
    pub vendor_ref: Option<Box<str>>,
    /// Vendor calls made so far.
    pub attempts: u32,
    pub at: Millis,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTrace {
    pub id: Box<str>,
    pub received_at: Millis,
    pub pushes: Vec<PushTrace>,
    /// Whether the event itself is through; pushes may still be on their way.
    pub settled: bool,
}

impl EventTrace {
    /// The event's status: the furthest any of its pushes came, or `accepted` while any is on its way.
    pub fn verdict(&self) -> Verdict {
        let open = !self.settled || self.pushes.iter().any(|push| !push.verdict.is_final());
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Clicked => 6,
            Verdict::Delivered => 5,
            Verdict::Sent => 4,
            Verdict::Failed => 3,
            Verdict::Expired => 2,
            Verdict::Suppressed => 1,
            Verdict::Accepted => 0,
        };
        let furthest = self.pushes.iter().map(|push| push.verdict).max_by_key(rank);
        match furthest {
            Some(verdict) if !open || rank(&verdict) >= rank(&Verdict::Sent) => verdict,
            Some(_) | None if open => Verdict::Accepted,
            Some(verdict) => verdict,
            None => Verdict::Suppressed,
        }
    }
}
