//! What became of an event's pushes. Pushes that share their fate, as those of one vendor call do,
//! share its words.

use posthorn_vendors::Id;
use serde::{Deserialize, Serialize};

use super::{VERDICTS, code, coded};
use crate::model::{Millis, PushTrace};
use crate::store::{StoreError, TraceRow};

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct TraceRecord<'a> {
    pub(in crate::store) settles: bool,
    #[serde(borrow)]
    fates: Vec<FateRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct FateRecord<'a> {
    #[serde(borrow)]
    fate: Fate<'a>,
    pushes: Vec<PushRecord<'a>>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Fate<'a> {
    slot_id: [u8; 16],
    lane: &'a str,
    verdict: u8,
    reason: Option<&'a str>,
    code: Option<&'a str>,
    hint: Option<&'a str>,
    vendor_ref: Option<&'a str>,
    attempts: u32,
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct PushRecord<'a> {
    push_id: [u8; 16],
    user: Option<&'a str>,
    device: Option<&'a str>,
}

impl<'a> TraceRecord<'a> {
    pub(in crate::store) fn of(row: &'a TraceRow) -> Self {
        let mut fates: Vec<FateRecord<'a>> = Vec::new();
        for push in &row.pushes {
            let fate = Fate::of(push);
            let record = PushRecord {
                push_id: push.push_id.0,
                user: push.user_id.as_deref(),
                device: push.device_id.as_deref(),
            };
            match fates.last_mut() {
                Some(last) if last.fate == fate => last.pushes.push(record),
                Some(_) | None => fates.push(FateRecord { fate, pushes: vec![record] }),
            }
        }
        TraceRecord { settles: row.settles, fates }
    }

    pub(in crate::store) fn pushes(self) -> Result<Vec<PushTrace>, StoreError> {
        let mut pushes = Vec::new();
        for FateRecord { fate, pushes: records } in self.fates {
            for record in records {
                pushes.push(fate.push(&record)?);
            }
        }
        Ok(pushes)
    }
}

impl<'a> Fate<'a> {
    fn of(push: &'a PushTrace) -> Self {
        Fate {
            slot_id: push.slot_id.0,
            lane: &push.lane,
            verdict: code(&VERDICTS, push.verdict),
            reason: push.reason.as_deref(),
            code: push.code.as_deref(),
            hint: push.hint.as_deref(),
            vendor_ref: push.vendor_ref.as_deref(),
            attempts: push.attempts,
            at: push.at.0,
        }
    }

    fn push(&self, record: &PushRecord<'_>) -> Result<PushTrace, StoreError> {
        Ok(PushTrace {
            push_id: Id(record.push_id),
            slot_id: Id(self.slot_id),
            user_id: record.user.map(Box::from),
            device_id: record.device.map(Box::from),
            lane: self.lane.into(),
            verdict: coded(&VERDICTS, self.verdict)?,
            reason: self.reason.map(Box::from),
            code: self.code.map(Box::from),
            hint: self.hint.map(Box::from),
            vendor_ref: self.vendor_ref.map(Box::from),
            attempts: self.attempts,
            at: Millis(self.at),
        })
    }
}
