//! The second stage: who is rung. Leased events become groups: pushes of one event that share a
//! lane, a notification and a slot.
//!
//! Whom a rule keeps back gets a trace row at once; whoever is left goes to dispatch.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use posthorn_vendors::{Id, Notification, Sender};

use super::compose::{self, Language, View};
use super::dispatch::{Group, Lane, Lanes};
use super::{AppRules, ids};
use crate::model::{
    AppId, Burst, Device, DirectTarget, Event, Kind, LaneName, Millis, Preferences, Preview,
    PushTrace, QuietHours, Verdict,
};
use crate::store::{Item, ItemTarget, Lease, LeaseKey, Owner, Store, StoreError, User};

/// An event ready for dispatch.
pub(super) struct Resolved {
    pub(super) lease: LeaseKey,
    pub(super) event: Arc<Event>,
    /// Pushes that end here.
    pub(super) rows: Vec<PushTrace>,
    pub(super) groups: Vec<Arc<Group>>,
}

/// What resolving needs to know.
pub(super) struct Resolver {
    pub(super) store: Arc<dyn Store>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) rules: Arc<HashMap<AppId, AppRules>>,
}

impl Resolver {
    /// Resolves events of any apps. On an error nothing has happened.
    pub(super) async fn resolve(
        &self,
        leases: Vec<Lease>,
        now: Millis,
    ) -> Result<Vec<Resolved>, StoreError> {
        let mut by_app: Vec<(AppId, Vec<Lease>)> = Vec::new();
        for lease in leases {
            match by_app.iter_mut().find(|(app, _)| *app == lease.key.app) {
                Some((_, known)) => known.push(lease),
                None => by_app.push((lease.key.app.clone(), vec![lease])),
            }
        }
        let mut resolved = Vec::new();
        for (app, leases) in by_app {
            self.resolve_app(&app, leases, now, &mut resolved).await?;
        }
        Ok(resolved)
    }

    async fn resolve_app(
        &self,
        app: &AppId,
        leases: Vec<Lease>,
        now: Millis,
        resolved: &mut Vec<Resolved>,
    ) -> Result<(), StoreError> {
        let mut names: Vec<&str> = Vec::new();
        for lease in &leases {
            names.extend(lease.event.to.iter().map(|user| &**user));
            // A sender without looks costs one look-up; the caller's own word spares it.
            names.extend(
                lease.event.from.as_ref().filter(|from| needs_profile(from)).map(|f| &*f.id),
            );
        }
        let users = self.store.users(app, &names).await?;
        let mut users = users.iter();
        let default_rules = AppRules::default();
        let rules = self.rules.get(app).unwrap_or(&default_rules);
        for lease in &leases {
            let event = &lease.event;
            let recipients = users.as_slice().get(..event.to.len()).unwrap_or_default();
            users = users.as_slice().get(event.to.len()..).unwrap_or_default().iter();
            let profile = event.from.as_ref().filter(|from| needs_profile(from));
            let profile = profile.and_then(|_| users.next());
            let sender = event.from.as_ref().map(|from| complete(from, profile));
            let mut draft = Draft {
                event,
                sender,
                rules,
                lanes: &self.lanes,
                now,
                rows: Vec::new(),
                groups: Vec::new(),
            };
            match &event.kind {
                Kind::Read { .. } => draft.note_read(),
                Kind::Recall { of } | Kind::CallEnd { of } => {
                    let trace = self.store.trace(app, of).await?;
                    let pushes = trace.map(|trace| trace.pushes).unwrap_or_default();
                    let shown: Vec<PushTrace> =
                        pushes.into_iter().filter(|push| is_shown(push.verdict)).collect();
                    let owners: Vec<&str> =
                        shown.iter().map(|push| push.user_id.as_deref().unwrap_or("")).collect();
                    let owners = self.store.users(app, &owners).await?;
                    draft.replace_shown(&shown, &owners);
                }
                Kind::Message(_)
                | Kind::Call
                | Kind::Edit { .. }
                | Kind::FriendRequest(_)
                | Kind::System(_) => draft.ring(recipients),
            }
            let (rows, groups) = draft.finish();
            resolved.push(Resolved {
                lease: lease.key.clone(),
                event: event.clone(),
                rows,
                groups,
            });
        }
        Ok(())
    }

    /// Whether a recall must wait: its event's pushes are still on their way, and what it has to
    /// take off the screen is not known yet.
    pub(super) async fn must_wait(&self, event: &Event) -> Result<bool, StoreError> {
        let (Kind::Recall { of } | Kind::CallEnd { of }) = &event.kind else { return Ok(false) };
        let trace = self.store.trace(&event.app, of).await?;
        Ok(trace.is_some_and(|trace| {
            !trace.settled || trace.pushes.iter().any(|push| !push.verdict.is_final())
        }))
    }
}

fn needs_profile(from: &Sender) -> bool {
    from.nickname.is_empty() || from.avatar.is_none()
}

/// The sender as the event says, completed by the stored profile.
fn complete(from: &Sender, user: Option<&User>) -> Sender {
    let profile = user.map(|user| &user.profile);
    let nickname = match (from.nickname.is_empty(), profile.and_then(|p| p.nickname.as_deref())) {
        (true, Some(stored)) => stored.to_owned(),
        (true, None) | (false, _) => from.nickname.clone(),
    };
    let stored = || profile.and_then(|p| p.avatar.as_deref()).map(str::to_owned);
    Sender { id: from.id.clone(), nickname, avatar: from.avatar.clone().or_else(stored) }
}

/// One event being resolved.
struct Draft<'a> {
    event: &'a Arc<Event>,
    sender: Option<Sender>,
    rules: &'a AppRules,
    lanes: &'a Lanes,
    now: Millis,
    rows: Vec<PushTrace>,
    groups: Vec<Open>,
}

/// A group being filled.
struct Open {
    lane: Arc<Lane>,
    view: View,
    slot: Id,
    notification: Option<Arc<Notification>>,
    targets: Vec<ItemTarget>,
    as_of: u64,
}

impl Draft<'_> {
    fn ring(&mut self, recipients: &[User]) {
        let event = self.event;
        for (place, user) in recipients.iter().enumerate() {
            let name = &event.to[place];
            if let Some(rule) = kept_back(event, &user.preferences, self.now) {
                self.suppress(Some(name), rule);
                continue;
            }
            if user.devices.is_empty() {
                self.suppress(Some(name), "no_device");
                continue;
            }
            let burst = event.burst_of(place);
            for device in &user.devices {
                self.ring_device(name, user, device, burst);
            }
        }
        for target in &event.targets {
            self.ring_target(target);
        }
    }

    fn ring_device(&mut self, user: &str, known: &User, device: &Device, burst: Option<Burst>) {
        let Some(lane) = self.lanes.get(&self.event.app, &device.lane) else {
            let row = self.no_lane(Some((user, &device.id)), &device.lane);
            self.rows.push(row);
            return;
        };
        let slot = match (burst, &self.event.kind) {
            (Some(burst), _) => burst.slot,
            (None, Kind::Edit { of, .. }) => ids::slot_id(&self.event.app, of),
            (None, _) => ids::slot_id(&self.event.app, &self.event.id),
        };
        let count = burst.map_or(1, |burst| burst.count);
        let view = self.view(&known.preferences, device.locale.as_deref(), count);
        let target = ItemTarget {
            push_id: ids::push_id(
                &self.event.app,
                &self.event.id,
                &device.id,
                device.token.expose(),
            ),
            slot_id: slot,
            token: device.token.clone(),
            owner: Some(Owner {
                user: user.into(),
                device: device.id.clone(),
                generation: device.generation,
            }),
            // News of an earlier event takes its place whatever stands there.
            burst: (self.event.conversation.is_some() && self.event.speaks_of().is_none())
                .then_some(count),
        };
        self.add(lane, view, slot, target, known.as_of);
    }

    fn ring_target(&mut self, target: &DirectTarget) {
        let Some(lane) = self.lanes.get(&self.event.app, &target.lane) else {
            let row = self.no_lane(None, &target.lane);
            self.rows.push(row);
            return;
        };
        let original = self.event.speaks_of().unwrap_or(&self.event.id);
        let slot = ids::slot_id(&self.event.app, original);
        let view = self.view(&Preferences::default(), None, 1);
        let token = target.token.expose();
        let target = ItemTarget {
            push_id: ids::push_id(&self.event.app, &self.event.id, &target.lane, token),
            slot_id: slot,
            token: target.token.clone(),
            owner: None,
            burst: None,
        };
        self.add(lane, view, slot, target, 0);
    }

    /// A recall or a call's end takes the place of what is on the screen, and rings nobody else.
    /// `owners` are the users of `shown`, in order. Only the caller knows the tokens it keeps
    /// itself: those are replaced where it names them again.
    fn replace_shown(&mut self, shown: &[PushTrace], owners: &[User]) {
        for (push, owner) in shown.iter().zip(owners) {
            let Some(user) = push.user_id.as_deref() else { continue };
            let device = owner.devices.iter().find(|d| Some(&*d.id) == push.device_id.as_deref());
            if let Some(device) = device {
                let burst = Burst { slot: push.slot_id, count: 1 };
                self.ring_device(user, owner, device, Some(burst));
            }
        }
        for target in &self.event.targets {
            self.ring_target(target);
        }
        if self.groups.is_empty() && self.rows.is_empty() {
            self.suppress(None, "nothing_shown");
        }
    }

    fn note_read(&mut self) {
        for user in &self.event.to {
            let row = self.row(Some((user, "")), "", Verdict::Suppressed, "read_marker");
            self.rows.push(PushTrace { device_id: None, ..row });
        }
    }

    fn view(&self, wishes: &Preferences, locale: Option<&str>, count: u32) -> View {
        let preview = [wishes.preview, self.event.push.preview, Some(self.rules.preview)];
        let language = wishes.language.as_deref().and_then(Language::of);
        View {
            language: language
                .or_else(|| locale.and_then(Language::of))
                .unwrap_or(self.rules.language),
            preview: preview.into_iter().flatten().fold(Preview::Full, Preview::stricter),
            count,
        }
    }

    fn add(&mut self, lane: Arc<Lane>, view: View, slot: Id, target: ItemTarget, as_of: u64) {
        let same = |open: &&mut Open| {
            Arc::ptr_eq(&open.lane, &lane) && open.view == view && open.slot == slot
        };
        if let Some(open) = self.groups.iter_mut().find(same) {
            open.targets.push(target);
            open.as_of = open.as_of.min(as_of);
            return;
        }
        let settings = lane.settings();
        let notification = compose::compose(
            self.event,
            self.sender.as_ref(),
            view,
            settings.vendor_id,
            settings.vendor.limits(),
            &self.rules.wording,
        );
        self.groups.push(Open {
            lane,
            view,
            slot,
            notification: notification.map(Arc::new),
            targets: vec![target],
            as_of,
        });
    }

    fn finish(mut self) -> (Vec<PushTrace>, Vec<Arc<Group>>) {
        let mut groups = Vec::with_capacity(self.groups.len());
        for open in std::mem::take(&mut self.groups) {
            let Some(notification) = open.notification else {
                for target in &open.targets {
                    let row = self.silent(target, open.lane.name());
                    self.rows.push(row);
                }
                continue;
            };
            let event = self.event;
            let edits = match &event.kind {
                Kind::Edit { of, .. } => Some(of.clone()),
                _ => None,
            };
            let item = Item {
                app: event.app.clone(),
                lane: open.lane.name().clone(),
                priority: event.priority(),
                due: self.now,
                event: event.id.clone(),
                received_at: event.received_at,
                sent_at: event.sent_at,
                deadline: event.deadline,
                conversation: event.conversation.clone(),
                notification,
                targets: open.targets,
                attempts: 0,
                edits,
                leased: false,
            };
            groups.push(Arc::new(Group::new(open.lane, item, open.as_of, None)));
        }
        (self.rows, groups)
    }

    fn suppress(&mut self, user: Option<&str>, rule: &str) {
        let row = self.row(user.map(|user| (user, "")), "", Verdict::Suppressed, rule);
        self.rows.push(PushTrace { device_id: None, ..row });
    }

    fn silent(&self, target: &ItemTarget, lane: &LaneName) -> PushTrace {
        let owner = target.owner.as_ref().map(|owner| (&*owner.user, &*owner.device));
        PushTrace {
            push_id: target.push_id,
            ..self.row(owner, lane, Verdict::Suppressed, "no_text")
        }
    }

    fn no_lane(&self, owner: Option<(&str, &str)>, lane: &str) -> PushTrace {
        let hint = format!(
            "app {} has no lane `{lane}`: configure it under [apps.{}.lanes.{lane}], then send \
             the event again under a new id",
            self.event.app, self.event.app
        );
        PushTrace { hint: Some(hint.into()), ..self.row(owner, lane, Verdict::Failed, "no_lane") }
    }

    fn row(
        &self,
        owner: Option<(&str, &str)>,
        lane: &str,
        verdict: Verdict,
        reason: &str,
    ) -> PushTrace {
        let (user, device) = owner.unwrap_or_default();
        PushTrace {
            push_id: ids::push_id(&self.event.app, &self.event.id, device, user),
            slot_id: Id([0; 16]),
            user_id: owner.map(|(user, _)| user.into()),
            device_id: owner.map(|(_, device)| device.into()),
            lane: lane.into(),
            verdict,
            reason: Some(reason.into()),
            code: None,
            hint: None,
            vendor_ref: None,
            attempts: 0,
            at: self.now,
        }
    }
}

fn is_shown(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Sent | Verdict::Delivered | Verdict::Clicked)
}

/// The user's own rule that keeps this event back, if any.
fn kept_back(event: &Event, wishes: &Preferences, now: Millis) -> Option<&'static str> {
    if let Some(conversation) = &event.conversation
        && wishes.muted.contains(conversation)
    {
        return Some("muted");
    }
    match &wishes.quiet_hours {
        Some(hours) if is_quiet(hours, now) => Some("quiet_hours"),
        Some(_) | None => None,
    }
}

fn is_quiet(hours: &QuietHours, now: Millis) -> bool {
    let (Ok(zone), Ok(at)) =
        (TimeZone::get(&hours.time_zone), jiff::Timestamp::from_millisecond(now.0 as i64))
    else {
        return false;
    };
    let local = at.to_zoned(zone);
    let minute = local.hour() as u16 * 60 + local.minute() as u16;
    if hours.from_minute <= hours.to_minute {
        (hours.from_minute..hours.to_minute).contains(&minute)
    } else {
        minute >= hours.from_minute || minute < hours.to_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_span_midnight_in_the_users_own_zone() {
        let hours = QuietHours {
            from_minute: 22 * 60,
            to_minute: 7 * 60,
            time_zone: "Asia/Shanghai".into(),
        };
        // 2026-11-23 14:30 UTC is 22:30 in Shanghai.
        let at = |utc: &str| {
            Millis(utc.parse::<jiff::Timestamp>().expect("a time").as_millisecond() as u64)
        };
        assert!(is_quiet(&hours, at("2026-11-23T14:30:00Z")));
        assert!(is_quiet(&hours, at("2026-11-23T22:59:00Z")));
        assert!(!is_quiet(&hours, at("2026-11-23T23:00:00Z")));
        assert!(!is_quiet(&hours, at("2026-11-23T13:59:00Z")));
    }
}
