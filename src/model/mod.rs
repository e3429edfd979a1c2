//! The nouns: what an event, a device, a notification's fate is. Floor 0.
//!
//! Deliberately absent: serialisation and storage. The wire has its own types (`wire/`), the store
//! its own records; these are what the rooms between them speak.

pub mod clock;
pub mod device;
pub mod event;
pub mod trace;

pub use clock::{Clock, Millis, SystemClock};
pub use device::{Device, Preferences, Preview, Profile, QuietHours};
pub use event::{Burst, DirectTarget, Event, Kind, Message, MessageType, Priority, PushOptions};
pub use trace::{EventTrace, PushTrace, Verdict};

use std::sync::Arc;

/// An app's name in the configuration.
pub type AppId = Arc<str>;
/// A lane's name within its app.
pub type LaneName = Arc<str>;
