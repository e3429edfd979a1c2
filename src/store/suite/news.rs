//! Late news: what overtakes a push that still waits.

use posthorn_vendors::Id;

use super::{APP, Bed, DAY, HOUR, World, app, text};
use crate::model::{Event, Kind, Millis};
use crate::store::{Changes, Overtaken, Standing};

const ONCE: Standing<'static> = Standing {
    event: "m",
    edits: None,
    user: Some("bob"),
    conversation: Some("c"),
    sent_at: Millis(1000),
    burst: None,
};

impl<B: Bed> World<B> {
    async fn overtaken(&self, push: Standing<'_>) -> Option<Overtaken> {
        self.store().overtaken(APP, &[push]).await.expect("asking works")[0]
    }

    async fn news(&self, id: &str, kind: Kind) {
        self.append(vec![self.event(id, kind)]).await;
    }

    async fn read(&self, id: &str, up_to: u64) {
        let read = self.event(id, Kind::Read { up_to: Millis(up_to) });
        self.append(vec![Event { conversation: Some("c".into()), ..read }]).await;
    }
}

fn recall(of: &str) -> Kind {
    Kind::Recall { of: of.into() }
}

fn edit(of: &str) -> Kind {
    Kind::Edit { of: of.into(), message: text("new") }
}

pub async fn a_recall_overtakes_its_message_even_when_it_comes_first<B: Bed>(world: World<B>) {
    assert_eq!(world.overtaken(ONCE).await, None);
    world.news("r", recall("m")).await;
    world.append(vec![world.message("m")]).await;
    assert_eq!(world.overtaken(ONCE).await, Some(Overtaken::Recalled));
    assert_eq!(world.overtaken(Standing { event: "m2", ..ONCE }).await, None);
    let other = world.store().overtaken("other", &[ONCE]).await.expect("asking works");
    assert_eq!(other, [None], "another app's event of the same id");
    // Each question has its own answer, in order.
    let asked = [Standing { event: "m2", ..ONCE }, ONCE];
    let answers = world.store().overtaken(APP, &asked).await.expect("asking works");
    assert_eq!(answers, [None, Some(Overtaken::Recalled)]);
}

pub async fn a_recall_stands_whatever_is_edited_later<B: Bed>(world: World<B>) {
    world.news("r", recall("m")).await;
    // In the same stroke, later that day, and on another day.
    world.append(vec![world.event("r2", recall("n")), world.event("e2", edit("n"))]).await;
    world.news("e", edit("m")).await;
    world.pass(DAY);
    world.news("e3", edit("m")).await;
    assert_eq!(world.overtaken(ONCE).await, Some(Overtaken::Recalled));
    let edits = Standing { event: "e3", edits: Some("m"), ..ONCE };
    assert_eq!(world.overtaken(edits).await, Some(Overtaken::Recalled), "nor is its edit sent");
    let edits = Standing { event: "e2", edits: Some("n"), ..ONCE };
    assert_eq!(world.overtaken(edits).await, Some(Overtaken::Recalled));
}

pub async fn an_edit_overtakes_the_message_and_earlier_edits<B: Bed>(world: World<B>) {
    world.news("e1", edit("m")).await;
    assert_eq!(world.overtaken(ONCE).await, Some(Overtaken::Edited));
    let first = Standing { event: "e1", edits: Some("m"), ..ONCE };
    let second = Standing { event: "e2", edits: Some("m"), ..ONCE };
    assert_eq!(world.overtaken(first).await, None, "it is the newest text");
    world.pass(13 * HOUR);
    world.news("e2", edit("m")).await;
    assert_eq!(world.overtaken(first).await, Some(Overtaken::Edited));
    assert_eq!(world.overtaken(second).await, None);
    world.news("r", recall("m")).await;
    assert_eq!(world.overtaken(second).await, Some(Overtaken::Recalled));
}

pub async fn a_calls_end_overtakes_the_call<B: Bed>(world: World<B>) {
    world.news("end", Kind::CallEnd { of: "call".into() }).await;
    let call = Standing { event: "call", conversation: None, ..ONCE };
    assert_eq!(world.overtaken(call).await, Some(Overtaken::Ended));
}

pub async fn read_marks_move_only_forward<B: Bed>(world: World<B>) {
    let sent = |at| Standing { sent_at: Millis(at), ..ONCE };
    world.read("r1", 1000).await;
    assert_eq!(world.overtaken(sent(1000)).await, Some(Overtaken::Read));
    assert_eq!(world.overtaken(sent(1001)).await, None);
    world.read("r2", 500).await;
    assert_eq!(world.overtaken(sent(1000)).await, Some(Overtaken::Read), "an older mark came late");
    world.pass(DAY);
    world.read("r3", 700).await;
    assert_eq!(world.overtaken(sent(1000)).await, Some(Overtaken::Read), "even a day late");
    // Two marks in one stroke, the older one last.
    let mark = |id: &str, up_to| Event {
        conversation: Some("c".into()),
        ..world.event(id, Kind::Read { up_to: Millis(up_to) })
    };
    world.append(vec![mark("r4", 3000), mark("r5", 2000)]).await;
    assert_eq!(world.overtaken(sent(3000)).await, Some(Overtaken::Read));
    assert_eq!(world.overtaken(sent(3001)).await, None);
}

pub async fn read_marks_are_of_one_user_and_conversation<B: Bed>(world: World<B>) {
    world.read("r", 5000).await;
    assert_eq!(world.overtaken(ONCE).await, Some(Overtaken::Read));
    for other in [
        Standing { user: Some("carol"), ..ONCE },
        Standing { conversation: Some("c2"), ..ONCE },
        Standing { conversation: None, ..ONCE },
        Standing { user: None, ..ONCE },
    ] {
        assert_eq!(world.overtaken(other).await, None, "{other:?}");
    }
}

pub async fn a_later_message_of_a_burst_supersedes_earlier_ones<B: Bed>(mut world: World<B>) {
    let slot = Id([5; 16]);
    let latest = |count| Changes { latest: vec![(app(APP), slot, count)], ..Changes::default() };
    let third = |count| Standing { burst: Some((slot, count)), ..ONCE };
    world.commit(latest(3)).await;
    assert_eq!(world.overtaken(third(2)).await, Some(Overtaken::Superseded));
    assert_eq!(world.overtaken(third(3)).await, None, "its own retry goes on");
    assert_eq!(world.overtaken(third(4)).await, None);
    world.commit(latest(2)).await;
    world.pass(DAY);
    world.commit(latest(1)).await;
    world.reopen().await;
    assert_eq!(world.overtaken(third(2)).await, Some(Overtaken::Superseded));
    let other = Standing { burst: Some((Id([6; 16]), 1)), ..ONCE };
    assert_eq!(world.overtaken(other).await, None);
}

pub async fn news_survive_a_reopen_and_the_day_change<B: Bed>(mut world: World<B>) {
    world.news("r", recall("m")).await;
    world.read("read", 9).await;
    world.reopen().await;
    let read = Standing { event: "n", sent_at: Millis(9), ..ONCE };
    for _ in 0..7 {
        assert_eq!(world.overtaken(ONCE).await, Some(Overtaken::Recalled));
        assert_eq!(world.overtaken(read).await, Some(Overtaken::Read));
        world.pass(DAY);
        world.append(vec![world.message(&format!("at-{}", world.now().0))]).await;
    }
    world.pass(2 * DAY);
    world.append(vec![world.message("last")]).await;
    assert_eq!(world.overtaken(ONCE).await, None, "forgotten after the retention");
}
