//! Every key's shape, in one place. Names are separated by a zero byte, which no name may hold
//! (the doors refuse control characters); numbers are big-endian, so that order is numeric.

use posthorn_vendors::Id;

use super::super::{ItemKey, LaneKey, LeaseKey};
use crate::model::{Millis, Priority};

pub(super) const FORMAT: &[u8] = b"format";
pub(super) const SEQUENCE: &[u8] = b"sequence";
pub(super) const DEVICE_COUNT: &[u8] = b"device-count";

fn names(tag: &[u8], parts: &[&str]) -> Vec<u8> {
    let length = tag.len() + parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let mut key = Vec::with_capacity(length + 20);
    key.extend_from_slice(tag);
    for part in parts {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    key
}

/// `queue`: priority, app, sequence.
pub(super) fn queued(key: &LeaseKey) -> Vec<u8> {
    let mut bytes = names(&[key.priority as u8], &[&key.app]);
    bytes.extend_from_slice(&key.sequence.to_be_bytes());
    bytes
}

pub(super) fn parse_queued(bytes: &[u8]) -> Option<(Priority, &str, u64)> {
    let (priority, rest) = bytes.split_first()?;
    let (app, sequence) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
    let app = std::str::from_utf8(app.strip_suffix(&[0])?).ok()?;
    Some((priority_of(*priority)?, app, u64::from_be_bytes(sequence.try_into().ok()?)))
}

fn priority_of(byte: u8) -> Option<Priority> {
    Priority::ALL.get(usize::from(byte)).copied()
}

/// `items`: app, lane, priority, due, sequence.
pub(super) fn item(key: &ItemKey) -> Vec<u8> {
    item_at(&key.lane, key.priority, key.due, key.sequence)
}

pub(super) fn item_at(lane: &LaneKey, priority: Priority, due: Millis, sequence: u64) -> Vec<u8> {
    let mut bytes = names(&[], &[&lane.0, &lane.1]);
    bytes.push(priority as u8);
    bytes.extend_from_slice(&due.0.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes
}

pub(super) fn parse_item(bytes: &[u8]) -> Option<(&str, &str, Priority, Millis, u64)> {
    let (head, tail) = bytes.split_at_checked(bytes.len().checked_sub(17)?)?;
    let mut parts = std::str::from_utf8(head).ok()?.split('\0');
    let (app, lane) = (parts.next()?, parts.next()?);
    let (due, sequence) = tail[1..].split_at_checked(8)?;
    Some((
        app,
        lane,
        priority_of(tail[0])?,
        Millis(u64::from_be_bytes(due.try_into().ok()?)),
        u64::from_be_bytes(sequence.try_into().ok()?),
    ))
}

/// `users`: app, user.
pub(super) fn user(app: &str, user: &str) -> Vec<u8> {
    names(&[], &[app, user])
}

/// `devices`: app, device id.
pub(super) fn device(app: &str, device: &str) -> Vec<u8> {
    names(&[], &[app, device])
}

/// `owners`: app, lane, token.
pub(super) fn owner(app: &str, lane: &str, token: &str) -> Vec<u8> {
    names(&[], &[app, lane, token])
}

/// `dead`: app, sequence.
pub(super) fn dead(app: &str, sequence: u64) -> Vec<u8> {
    let mut key = names(&[], &[app]);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The sequence at the end of a key.
pub(super) fn sequence_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk::<8>()?))
}

/// A day: `i`, app, event id.
pub(super) fn event_id(app: &str, event: &str) -> Vec<u8> {
    names(b"i", &[app, event])
}

/// A day: `t`, app, event id; a part's number follows.
pub(super) fn trace(app: &str, event: &str) -> Vec<u8> {
    names(b"t", &[app, event])
}

pub(super) fn trace_part(app: &str, event: &str, part: u64) -> Vec<u8> {
    let mut key = trace(app, event);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// A day: `u`, app, user; the sequence and the event id follow.
pub(super) fn events_of(app: &str, user: &str) -> Vec<u8> {
    names(b"u", &[app, user])
}

pub(super) fn event_of(app: &str, user: &str, sequence: u64, event: &str) -> Vec<u8> {
    let mut key = events_of(app, user);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.extend_from_slice(event.as_bytes());
    key
}

/// A day: `b`, app; the sequence and the event id follow. Holds the hashes of the users named.
pub(super) fn broadcasts(app: &str) -> Vec<u8> {
    names(b"b", &[app])
}

pub(super) fn broadcast(app: &str, sequence: u64, event: &str) -> Vec<u8> {
    let mut key = broadcasts(app);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.extend_from_slice(event.as_bytes());
    key
}

/// Six bytes of a user's FNV-1a hash: stable, and a stranger among 500 is one in 500 billion.
pub(super) fn user_hash(user: &str) -> [u8; 6] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in user.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let bytes = hash.to_be_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]
}

/// A day: `x`, app, event id: what overtook the event.
pub(super) fn tombstone(app: &str, event: &str) -> Vec<u8> {
    names(b"xe", &[app, event])
}

/// A day: `x`, app, user, conversation: read up to.
pub(super) fn read_mark(app: &str, user: &str, conversation: &str) -> Vec<u8> {
    names(b"xr", &[app, user, conversation])
}

/// A day: `x`, app, slot: the newest message of a burst that the vendor took.
pub(super) fn latest(app: &str, slot: Id) -> Vec<u8> {
    let mut key = names(b"xs", &[app]);
    key.extend_from_slice(&slot.0);
    key
}

/// What every key of late news begins with, so that a day without any is passed over.
pub(super) const NEWS: &[u8] = b"x";

/// The name of a day's keyspace.
pub(super) fn day_name(day: u32) -> String {
    format!("day-{day:08}")
}

pub(super) fn parse_day_name(name: &str) -> Option<u32> {
    name.strip_prefix("day-")?.parse().ok()
}
