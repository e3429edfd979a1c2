//! The registry against a model that is too simple to be wrong.

use std::collections::HashMap;

use super::registry::{LANE, generation};
use super::{APP, Bed, DAY, Dice, World};
use crate::model::Millis;
use crate::store::{Owner, Registered};

const OPERATIONS: u64 = 600;
const USERS: u64 = 5;
const DEVICES: u64 = 7;
const TOKENS: u64 = 6;

/// Every device there is, by its id.
#[derive(Default)]
struct Model {
    devices: HashMap<String, Known>,
    /// The newest generation handed out.
    newest: u64,
    /// Generations that were in force once.
    past: Vec<(String, String, u64)>,
}

#[derive(Clone)]
struct Known {
    user: String,
    token: String,
    generation: u64,
    registered_at: Millis,
}

impl Model {
    fn may(&self, user: &str, device: &str, token: &str, must_prove: bool) -> bool {
        match self.devices.get(device) {
            Some(known) => !must_prove || known.user == user || known.token == token,
            None => true,
        }
    }

    fn is_refresh(&self, user: &str, device: &str, token: &str) -> bool {
        self.devices.get(device).is_some_and(|known| known.user == user && known.token == token)
    }

    fn register(&mut self, user: &str, device: &str, token: &str, generation: u64, at: Millis) {
        self.devices.retain(|_, known| known.token != token);
        let known =
            Known { user: user.to_owned(), token: token.to_owned(), generation, registered_at: at };
        self.devices.insert(device.to_owned(), known);
        self.past.push((user.to_owned(), device.to_owned(), generation));
        self.newest = self.newest.max(generation);
    }
}

pub async fn registry_agrees_with_a_simple_model<B: Bed>(mut world: World<B>) {
    let mut dice = Dice::new(world.bed.seed());
    let mut model = Model::default();
    for _ in 0..OPERATIONS {
        match dice.within(0..20) {
            0..=9 => register(&world, &mut model, &mut dice).await,
            10..=12 => unregister(&world, &mut model, &mut dice).await,
            13..=16 => prune(&world, &mut model, &mut dice).await,
            17..=18 => world.pass(DAY / 3),
            _ if dice.within(0..10) == 0 => world.reopen().await,
            _ => {}
        }
        agrees(&world, &model).await;
    }
}

async fn register<B: Bed>(world: &World<B>, model: &mut Model, dice: &mut Dice) {
    let user = format!("user-{}", dice.within(0..USERS));
    let device = format!("device-{}", dice.within(0..DEVICES));
    let token = format!("token-{}", dice.within(0..TOKENS));
    let must_prove = dice.within(0..2) == 0;
    let registered = world.register_as(&user, world.device(&device, &token), must_prove).await;
    if !model.may(&user, &device, &token, must_prove) {
        assert_eq!(registered, Registered::Foreign);
        return;
    }
    let given = generation(registered);
    if model.is_refresh(&user, &device, &token) {
        let generation = model.devices[&device].generation;
        assert_eq!(registered, Registered::Refreshed { generation });
    } else {
        assert!(matches!(registered, Registered::Created { .. }));
        assert!(given > model.newest, "a generation was used again");
    }
    model.register(&user, &device, &token, given, world.now());
}

async fn unregister<B: Bed>(world: &World<B>, model: &mut Model, dice: &mut Dice) {
    let device = format!("device-{}", dice.within(0..DEVICES));
    let user = format!("user-{}", dice.within(0..USERS));
    let only = (dice.within(0..2) == 0).then_some(&*user);
    let was = model.devices.get(&device).is_some_and(|known| only.is_none_or(|u| u == known.user));
    if was {
        model.devices.remove(&device);
    }
    assert_eq!(world.unregister(&device, only).await, was);
}

/// Prunes something that is or was registered, as of now or of some time ago.
async fn prune<B: Bed>(world: &World<B>, model: &mut Model, dice: &mut Dice) {
    if model.past.is_empty() {
        return;
    }
    let newest = model.past.len() as u64;
    let at = dice.within(newest.saturating_sub(8)..newest) as usize;
    let (user, device, generation) = model.past[at].clone();
    let since = [None, Some(world.now()), Some(world.now() - DAY)][dice.within(0..3) as usize];
    let dies = model.devices.get(&device).is_some_and(|known| {
        known.user == user
            && known.generation == generation
            && since.is_none_or(|since| known.registered_at <= since)
    });
    if dies {
        model.devices.remove(&device);
    }
    world.prune(Owner { user: user.into(), device: device.into(), generation }, since).await;
}

async fn agrees<B: Bed>(world: &World<B>, model: &Model) {
    assert_eq!(world.store().device_count(), model.devices.len() as u64);
    for number in 0..DEVICES {
        let id = format!("device-{number}");
        let found = world.store().device_owner(APP, &id).await.expect("reading works");
        let wanted = model.devices.get(&id);
        assert_eq!(found.is_some(), wanted.is_some(), "{id}");
        let (Some(found), Some(wanted)) = (found, wanted) else { continue };
        assert_eq!(*found.user, *wanted.user, "{id}");
        assert_eq!(found.device.token.expose(), wanted.token, "{id}");
        assert_eq!(found.device.generation, wanted.generation, "{id}");
        assert_eq!(found.device.registered_at, wanted.registered_at, "{id}");
        assert_eq!(*found.device.lane, *LANE);
    }
    for number in 0..USERS {
        let name = format!("user-{number}");
        let mut wanted: Vec<&String> = model
            .devices
            .iter()
            .filter(|(_, known)| known.user == name)
            .map(|(id, _)| id)
            .collect();
        wanted.sort_unstable();
        let found = world.devices(&name).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{name}");
    }
}
