//! Reading users and their devices.

use super::Embedded;
use super::engine::{Engine, broken};
use super::keys;
use crate::store::records::{self, UserRecord};
use crate::store::{Device, Ownership, Registry as _, StoreError, User};

impl Embedded {
    pub(super) fn read_users(&self, app: &str, users: &[&str]) -> Result<Vec<User>, StoreError> {
        let engine = self.engine()?;
        // Before reading: what changes later must be seen as a change.
        let as_of = self.shared.epoch();
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            let mut user = read_user(&engine, app, user)?;
            user.as_of = as_of;
            found.push(user);
        }
        Ok(found)
    }

    pub(super) fn check_owned(
        &self,
        app: &str,
        checks: &[Ownership<'_>],
        as_of: u64,
    ) -> Result<Vec<bool>, StoreError> {
        if self.is_current(as_of) {
            return Ok(vec![true; checks.len()]);
        }
        let engine = self.engine()?;
        let mut owned = Vec::with_capacity(checks.len());
        for check in checks {
            let row = engine.users.get(keys::user(app, check.user)).map_err(broken)?;
            owned.push(match row {
                Some(bytes) => records::decode::<UserRecord<'_>>(&bytes)?
                    .devices
                    .iter()
                    .any(|d| d.id == check.device && d.generation == check.generation),
                None => false,
            });
        }
        Ok(owned)
    }

    pub(super) fn find_device(
        &self,
        app: &str,
        device: &str,
    ) -> Result<Option<Device>, StoreError> {
        let engine = self.engine()?;
        let Some(row) = engine.devices.get(keys::device(app, device)).map_err(broken)? else {
            return Ok(None);
        };
        let user: Box<str> = String::from_utf8_lossy(&row).into();
        let known = read_user(&engine, app, &user)?;
        let device = known.devices.into_iter().find(|known| *known.id == *device);
        Ok(device.map(|device| Device { user, device }))
    }
}

fn read_user(engine: &Engine, app: &str, user: &str) -> Result<User, StoreError> {
    match engine.users.get(keys::user(app, user)).map_err(broken)? {
        Some(bytes) => records::decode::<UserRecord<'_>>(&bytes)?.user(),
        None => Ok(User::default()),
    }
}
