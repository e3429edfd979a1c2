//! A user: devices, wishes and looks in one row, so that a recipient costs one look-up.

use posthorn_vendors::Token;
use serde::{Deserialize, Serialize};

use super::{PREVIEWS, code, coded};
use crate::model::{Device, Millis, Preferences, Profile, QuietHours};
use crate::store::{StoreError, User};

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UserRecord<'a> {
    #[serde(borrow)]
    pub(in crate::store) devices: Vec<DeviceRecord<'a>>,
    muted: Vec<&'a str>,
    quiet: Option<(u16, u16, &'a str)>,
    preview: Option<u8>,
    language: Option<&'a str>,
    nickname: Option<&'a str>,
    avatar: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct DeviceRecord<'a> {
    pub(in crate::store) id: &'a str,
    lane: &'a str,
    token: &'a str,
    locale: Option<&'a str>,
    time_zone: Option<&'a str>,
    app_version: Option<&'a str>,
    model: Option<&'a str>,
    pub(in crate::store) generation: u64,
    registered_at: u64,
}

impl<'a> UserRecord<'a> {
    pub(in crate::store) fn of(user: &'a User) -> Self {
        let (wishes, looks) = (&user.preferences, &user.profile);
        let quiet = wishes.quiet_hours.as_ref();
        UserRecord {
            devices: user.devices.iter().map(DeviceRecord::from).collect(),
            muted: wishes.muted.iter().map(|conversation| &**conversation).collect(),
            quiet: quiet.map(|hours| (hours.from_minute, hours.to_minute, &*hours.time_zone)),
            preview: wishes.preview.map(|preview| code(&PREVIEWS, preview)),
            language: wishes.language.as_deref(),
            nickname: looks.nickname.as_deref(),
            avatar: looks.avatar.as_deref(),
        }
    }

    pub(in crate::store) fn user(self) -> Result<User, StoreError> {
        let hours = |(from_minute, to_minute, zone): (u16, u16, &str)| QuietHours {
            from_minute,
            to_minute,
            time_zone: zone.into(),
        };
        Ok(User {
            devices: self.devices.iter().map(DeviceRecord::device).collect(),
            preferences: Preferences {
                muted: self.muted.into_iter().map(Box::from).collect(),
                quiet_hours: self.quiet.map(hours),
                preview: self.preview.map(|preview| coded(&PREVIEWS, preview)).transpose()?,
                language: self.language.map(Box::from),
            },
            profile: Profile {
                nickname: self.nickname.map(Box::from),
                avatar: self.avatar.map(Box::from),
            },
            as_of: 0,
        })
    }
}

impl<'a> From<&'a Device> for DeviceRecord<'a> {
    fn from(device: &'a Device) -> Self {
        DeviceRecord {
            id: &device.id,
            lane: &device.lane,
            token: device.token.expose(),
            locale: device.locale.as_deref(),
            time_zone: device.time_zone.as_deref(),
            app_version: device.app_version.as_deref(),
            model: device.model.as_deref(),
            generation: device.generation,
            registered_at: device.registered_at.0,
        }
    }
}

impl DeviceRecord<'_> {
    fn device(&self) -> Device {
        Device {
            id: self.id.into(),
            lane: self.lane.into(),
            token: Token::new(self.token),
            locale: self.locale.map(Box::from),
            time_zone: self.time_zone.map(Box::from),
            app_version: self.app_version.map(Box::from),
            model: self.model.map(Box::from),
            generation: self.generation,
            registered_at: Millis(self.registered_at),
        }
    }
}
