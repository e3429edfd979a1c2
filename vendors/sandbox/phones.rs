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
    devices: Vec<Device>,
    /// Vendor, then token, to the place in `devices`.
    by_token: HashMap<&'static str, HashMap<Box<str>, usize>>,
}

/// A phone as it is kept. Load tests put hundreds of thousands of pushes on one, so that nothing
/// here may cost more with what is already shown.
struct Device {
    id: String,
    vendor: &'static str,
    name: String,
    token: String,
    uninstalled_at: Option<SystemTime>,
    /// By order of arrival.
    shown: BTreeMap<u64, Arc<ShownPush>>,
    arrivals: u64,
    /// Tag to place in `shown`.
    by_tag: HashMap<String, u64>,
    replaced: Vec<Arc<ShownPush>>,
    dropped: Vec<Arc<Dropped>>,
    seen: HashSet<String>,
}

/// One virtual phone, as it was when asked for.
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
}

/// What one phone shows and what it no longer or never showed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Screen {
    /// On the screen, oldest first.
    pub shown: Vec<Arc<ShownPush>>,
    /// Was on the screen until a later push took its place or the sender withdrew it.
    pub replaced: Vec<Arc<ShownPush>>,
    /// Taken by the vendor but not shown.
    pub dropped: Vec<Arc<Dropped>>,
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
        let place = inner.devices.len();
        let device = Device::new(place as u64 + 1, vendor, name, token);
        let phone = device.snapshot();
        inner.by_token.entry(vendor).or_default().insert(device.token.as_str().into(), place);
        inner.devices.push(device);
        drop(inner);
        self.tell();
        phone
    }

    /// The app is removed from this phone. False when there is no such phone.
    pub fn uninstall(&self, id: &str, now: SystemTime) -> bool {
        let mut inner = self.lock();
        let Some(at) = inner.place(id) else { return false };
        inner.devices[at].uninstalled_at.get_or_insert(now);
        drop(inner);
        self.tell();
        true
    }

    /// What the vendor knows of this token.
    pub fn look_up(&self, vendor: &'static str, token: &str) -> Lookup {
        let mut inner = self.lock();
        match inner.device(vendor, token).map(|device| device.uninstalled_at) {
            None => Lookup::Unknown,
            Some(None) => Lookup::Installed,
            Some(Some(at)) => Lookup::Uninstalled(at),
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
        let Some(device) = inner.device(vendor, token) else { return Show::Duplicate };
        let verdict = device.show(dedupe, push);
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
        if let Some(device) = inner.device(vendor, token) {
            device.drop_push(why, vendor_ref, millis(now));
        }
        drop(inner);
        self.tell();
    }

    /// Withdraws what carries this tag. True when it stood on the screen.
    pub fn revoke(&self, vendor: &'static str, token: &str, tag: &str) -> bool {
        let mut inner = self.lock();
        let revoked = inner.device(vendor, token).is_some_and(|device| device.take_tag(tag));
        drop(inner);
        self.tell();
        revoked
    }

    /// Every phone as it is now.
    pub fn all(&self) -> Vec<Phone> {
        self.lock().devices.iter().map(Device::snapshot).collect()
    }

    /// One phone as it is now.
    pub fn get(&self, id: &str) -> Option<Phone> {
        let inner = self.lock();
        inner.place(id).map(|at| inner.devices[at].snapshot())
    }

    /// Wakes whenever any phone changed; the number counts the changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How often any phone changed so far.
    pub fn version(&self) -> u64 {
        *self.changed.borrow()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Ids are given in order, so the number in one is its place.
    fn place(&self, id: &str) -> Option<usize> {
        let serial: usize = id.strip_prefix("phone-")?.parse().ok()?;
        let place = serial.checked_sub(1)?;
        self.devices.get(place).filter(|device| device.id == id).map(|_| place)
    }

    fn device(&mut self, vendor: &str, token: &str) -> Option<&mut Device> {
        let place = *self.by_token.get(vendor)?.get(token)?;
        self.devices.get_mut(place)
    }
}

impl Device {
    fn new(
        serial: u64,
        vendor: &'static str,
        name: &str,
        token: impl FnOnce(u64) -> String,
    ) -> Self {
        Device {
            id: format!("phone-{serial}"),
            vendor,
            name: name.to_owned(),
            token: token(serial),
            uninstalled_at: None,
            shown: BTreeMap::new(),
            arrivals: 0,
            by_tag: HashMap::new(),
            replaced: Vec::new(),
            dropped: Vec::new(),
            seen: HashSet::new(),
        }
    }

    fn show(&mut self, dedupe: Option<&str>, push: ShownPush) -> Show {
        if dedupe.is_some_and(|id| !self.seen.insert(id.to_owned())) {
            self.drop_push("duplicate id", &push.vendor_ref, push.received_at);
            return Show::Duplicate;
        }
        let replaced = push.tag.as_deref().is_some_and(|tag| self.take_tag(tag));
        self.arrivals += 1;
        if let Some(tag) = &push.tag {
            self.by_tag.insert(tag.clone(), self.arrivals);
        }
        self.shown.insert(self.arrivals, Arc::new(push));
        if replaced { Show::Replaced } else { Show::Shown }
    }

    /// Moves whatever carries `tag` to `replaced`.
    fn take_tag(&mut self, tag: &str) -> bool {
        let at = self.by_tag.remove(tag);
        let Some(old) = at.and_then(|at| self.shown.remove(&at)) else { return false };
        self.replaced.push(old);
        true
    }

    fn drop_push(&mut self, why: &str, vendor_ref: &str, received_at: u64) {
        self.dropped.push(Arc::new(Dropped {
            why: why.to_owned(),
            vendor_ref: vendor_ref.to_owned(),
            received_at,
        }));
    }

    fn snapshot(&self) -> Phone {
        let state = match self.uninstalled_at {
            None => PhoneState::Installed,
            Some(_) => PhoneState::Uninstalled,
        };
        Phone {
            id: self.id.clone(),
            vendor: self.vendor,
            name: self.name.clone(),
            token: self.token.clone(),
            state,
            uninstalled_at: self.uninstalled_at,
            screen: Screen {
                shown: self.shown.values().cloned().collect(),
                replaced: self.replaced.clone(),
                dropped: self.dropped.clone(),
            },
        }
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
