//! Virtual phones: what each device would show, and what it dropped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;

/// Every virtual phone of a sandbox. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Phones {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Inner {
    phones: Vec<Phone>,
    /// (vendor, token) to the phone's place in `phones`.
    by_token: HashMap<(&'static str, Box<str>), usize>,
}

/// One virtual phone.
#[derive(Debug, Clone, Serialize)]
pub struct Phone {
    /// `phone-1`, `phone-2`, …
    pub id: String,
    /// The vendor it listens to.
    pub vendor: &'static str,
    /// The tester's name for it.
    pub name: String,
    /// Its address.
    pub token: String,
    /// `installed` or `uninstalled`.
    pub state: PhoneState,
    /// When the app was removed.
    #[serde(skip)]
    pub uninstalled_at: Option<SystemTime>,
    /// What stands on the screen, oldest first.
    #[serde(flatten)]
    pub screen: Screen,
    #[serde(skip)]
    seen: HashSet<String>,
}

/// What one phone shows and what it no longer or never showed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Screen {
    /// On the screen, oldest first.
    pub shown: Vec<ShownPush>,
    /// Was on the screen until a later push took its place or the sender withdrew it.
    pub replaced: Vec<ShownPush>,
    /// Taken by the vendor but not shown.
    pub dropped: Vec<Dropped>,
}

/// Whether the app is on the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PhoneState {
    /// Yes.
    Installed,
    /// No; the vendor answers for its token as it does for a dead one.
    Uninstalled,
}

/// One notification as the phone renders it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShownPush {
    /// The bold line.
    pub title: String,
    /// The text.
    pub body: String,
    /// The sender's picture, where this vendor's phones can show one.
    pub image: Option<String>,
    /// The number on the app's icon.
    pub badge: Option<u32>,
    /// What a later push must carry to take this one's place.
    pub tag: Option<String>,
    /// What the app is handed on tap.
    pub data: BTreeMap<String, String>,
    /// The vendor's name for the push.
    pub vendor_ref: String,
    /// Milliseconds since 1970.
    pub received_at: u64,
}

/// A push that the vendor took and the phone did not show.
#[derive(Debug, Clone, Serialize)]
pub struct Dropped {
    /// Why: `duplicate id`, `app not running`, …
    pub why: String,
    /// The vendor's name for the push.
    pub vendor_ref: String,
    /// Milliseconds since 1970.
    pub received_at: u64,
}

/// What a vendor knows of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The app is there.
    Installed,
    /// The app was removed at this moment.
    Uninstalled(SystemTime),
    /// Never handed out by this vendor.
    Unknown,
}

/// How a shown push stands to what the phone has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// It is on the screen.
    Shown,
    /// It took an earlier one's place.
    Replaced,
    /// Its de-duplication id was known: not shown.
    Duplicate,
}

impl Default for Phones {
    fn default() -> Self {
        Phones { inner: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }
}

impl Phones {
    /// Adds a phone of `vendor`; `token` makes its token from its serial number.
    pub fn add(
        &self,
        vendor: &'static str,
        name: &str,
        token: impl FnOnce(u64) -> String,
    ) -> Phone {
        let mut inner = self.lock();
        let serial = inner.phones.len() as u64 + 1;
        let phone = Phone {
            id: format!("phone-{serial}"),
            vendor,
            name: name.to_owned(),
            token: token(serial),
            state: PhoneState::Installed,
            uninstalled_at: None,
            screen: Screen::default(),
            seen: HashSet::new(),
        };
        let place = inner.phones.len();
        inner.by_token.insert((vendor, phone.token.as_str().into()), place);
        inner.phones.push(phone.clone());
        drop(inner);
        self.tell();
        phone
    }

    /// The app is removed from this phone. False when there is no such phone.
    pub fn uninstall(&self, id: &str, now: SystemTime) -> bool {
        let mut inner = self.lock();
        let Some(phone) = inner.phones.iter_mut().find(|phone| phone.id == id) else {
            return false;
        };
        phone.state = PhoneState::Uninstalled;
        phone.uninstalled_at = Some(now);
        drop(inner);
        self.tell();
        true
    }

    /// What the vendor knows of this token.
    pub fn look_up(&self, vendor: &'static str, token: &str) -> Lookup {
        let inner = self.lock();
        match inner.by_token.get(&(vendor, token.into())).map(|at| &inner.phones[*at]) {
            None => Lookup::Unknown,
            Some(phone) => match phone.uninstalled_at {
                None => Lookup::Installed,
                Some(at) => Lookup::Uninstalled(at),
            },
        }
    }

    /// Puts a push on the phone's screen. `dedupe` is the vendor's de-duplication id, where it has
    /// one; `push.tag` its replacement id. Call only for a token that `look_up` found installed.
    pub fn show(
        &self,
        vendor: &'static str,
        token: &str,
        dedupe: Option<&str>,
        mut push: ShownPush,
        now: SystemTime,
    ) -> Show {
        push.received_at = millis(now);
        let mut inner = self.lock();
        let Some(at) = inner.by_token.get(&(vendor, token.into())).copied() else {
            return Show::Duplicate;
        };
        let phone = &mut inner.phones[at];
        let seen_before = dedupe.is_some_and(|id| !phone.seen.insert(id.to_owned()));
        let verdict = if seen_before {
            phone.screen.dropped.push(Dropped {
                why: "duplicate id".to_owned(),
                vendor_ref: push.vendor_ref,
                received_at: push.received_at,
            });
            Show::Duplicate
        } else {
            let replaced = phone.screen.take_tag(push.tag.as_deref());
            phone.screen.shown.push(push);
            if replaced { Show::Replaced } else { Show::Shown }
        };
        drop(inner);
        self.tell();
        verdict
    }

    /// Notes a push that the vendor took but the phone does not show.
    pub fn drop_push(
        &self,
        vendor: &'static str,
        token: &str,
        why: &str,
        vendor_ref: &str,
        now: SystemTime,
    ) {
        let mut inner = self.lock();
        if let Some(at) = inner.by_token.get(&(vendor, token.into())).copied() {
            inner.phones[at].screen.dropped.push(Dropped {
                why: why.to_owned(),
                vendor_ref: vendor_ref.to_owned(),
                received_at: millis(now),
            });
        }
        drop(inner);
        self.tell();
    }

    /// Withdraws what carries this tag. True when it stood on the screen.
    pub fn revoke(&self, vendor: &'static str, token: &str, tag: &str) -> bool {
        let mut inner = self.lock();
        let Some(at) = inner.by_token.get(&(vendor, token.into())).copied() else {
            return false;
        };
        let revoked = inner.phones[at].screen.take_tag(Some(tag));
        drop(inner);
        self.tell();
        revoked
    }

    /// Every phone as it is now.
    pub fn all(&self) -> Vec<Phone> {
        self.lock().phones.clone()
    }

    /// One phone as it is now.
    pub fn get(&self, id: &str) -> Option<Phone> {
        self.lock().phones.iter().find(|phone| phone.id == id).cloned()
    }

    /// Wakes whenever any phone changed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    /// Moves whatever carries `tag` to `replaced`.
    fn take_tag(&mut self, tag: Option<&str>) -> bool {
        let Some(tag) = tag else { return false };
        let Some(at) = self.shown.iter().position(|push| push.tag.as_deref() == Some(tag)) else {
            return false;
        };
        let old = self.shown.remove(at);
        self.replaced.push(old);
        true
    }
}

/// Milliseconds since 1970.
pub fn millis(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tag: &str, body: &str) -> ShownPush {
        ShownPush { tag: Some(tag.into()), body: body.into(), ..ShownPush::default() }
    }

    #[test]
    fn a_later_push_with_the_same_tag_takes_the_earlier_ones_place() {
        let phones = Phones::default();
        let phone = phones.add("apns", "bob", |n| format!("token-{n}"));
        let now = SystemTime::UNIX_EPOCH;
        phones.show("apns", &phone.token, None, push("a", "one"), now);
        let second = phones.show("apns", &phone.token, None, push("a", "two"), now);
        let phone = phones.get(&phone.id).expect("the phone");
        assert_eq!(second, Show::Replaced);
        assert_eq!(phone.screen.shown.len(), 1);
        assert_eq!(phone.screen.shown[0].body, "two");
        assert_eq!(phone.screen.replaced[0].body, "one");
    }

    #[test]
    fn a_known_de_duplication_id_is_dropped_and_said_so() {
        let phones = Phones::default();
        let phone = phones.add("apns", "bob", |n| format!("token-{n}"));
        let now = SystemTime::UNIX_EPOCH;
        phones.show("apns", &phone.token, Some("1"), push("a", "one"), now);
        assert_eq!(
            phones.show("apns", &phone.token, Some("1"), push("b", "one"), now),
            Show::Duplicate
        );
        assert_eq!(phones.get(&phone.id).expect("the phone").screen.dropped.len(), 1);
    }
}
