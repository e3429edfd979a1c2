//! Who is rung: a user's devices, wishes and looks.

use posthorn_vendors::Token;

use super::{LaneName, Millis};

/// One app installation of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: Box<str>,
    pub lane: LaneName,
    pub token: Token,
    /// BCP 47, `zh-Hans-CN`.
    pub locale: Option<Box<str>>,
    /// IANA, `Asia/Shanghai`.
    pub time_zone: Option<Box<str>>,
    pub app_version: Option<Box<str>>,
    pub model: Option<Box<str>>,
    /// Grows whenever the token gets an owner; compared at send time and before pruning.
    pub generation: u64,
    pub registered_at: Millis,
}

/// What a user wants to be told, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Conversations that do not ring.
    pub muted: Vec<Box<str>>,
    pub quiet_hours: Option<QuietHours>,
    pub preview: Option<Preview>,
    /// Overrides the devices' own languages.
    pub language: Option<Box<str>>,
}

/// A time of day without notifications; may span midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    /// Minutes after midnight, in `time_zone`.
    pub from_minute: u16,
    /// Minutes after midnight; the first minute that rings again.
    pub to_minute: u16,
    /// IANA.
    pub time_zone: Box<str>,
}

/// How much of a message a lock screen may tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Preview {
    /// Sender and text.
    #[default]
    Full,
    /// Only who wrote.
    Name,
    /// Only that something came.
    Hidden,
}

impl Preview {
    /// The more private of two.
    pub fn stricter(self, other: Preview) -> Preview {
        match (self, other) {
            (Preview::Hidden, _) | (_, Preview::Hidden) => Preview::Hidden,
            (Preview::Name, _) | (_, Preview::Name) => Preview::Name,
            (Preview::Full, Preview::Full) => Preview::Full,
        }
    }
}

/// How a user looks to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub nickname: Option<Box<str>>,
    /// An https URL.
    pub avatar: Option<Box<str>>,
}
