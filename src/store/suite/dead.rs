//! What nobody could deliver.

use super::{APP, Bed, World, app};
use crate::store::{Changes, DeadLetter};

impl<B: Bed> World<B> {
    fn letter(&self, name: &str, event: &str) -> DeadLetter {
        let mut item = self.item(event, self.now());
        item.app = app(name);
        DeadLetter {
            app: app(name),
            sequence: 0,
            at: self.now(),
            event: event.into(),
            why: "expired".into(),
            item,
        }
    }

    async fn dead(&self, app: &str, max: usize) -> Vec<DeadLetter> {
        self.store().dead(app, max).await.expect("reading works")
    }
}

pub async fn dead_letters_are_listed_newest_first_until_exhumed<B: Bed>(mut world: World<B>) {
    let letters = ["a", "b", "c"].map(|event| world.letter(APP, event));
    let bury = vec![letters[0].clone(), letters[1].clone(), world.letter("demo2", "x")];
    world.commit(Changes { bury, ..Changes::default() }).await;
    let bury = vec![letters[2].clone()];
    world.commit(Changes { bury, ..Changes::default() }).await;
    world.reopen().await;

    let found = world.dead(APP, 2).await;
    assert_eq!(found.iter().map(|letter| &*letter.event).collect::<Vec<_>>(), ["c", "b"]);
    let kept = DeadLetter { sequence: found[0].sequence, ..letters[2].clone() };
    assert_eq!(found[0], kept);
    world
        .commit(Changes { exhume: vec![(app(APP), found[0].sequence)], ..Changes::default() })
        .await;
    let found = world.dead(APP, 9).await;
    assert_eq!(found.iter().map(|letter| &*letter.event).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(world.dead("demo2", 9).await.len(), 1);
    assert!(world.dead("dem", 9).await.is_empty());
}
