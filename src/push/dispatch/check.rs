//! What is looked at last before a vendor call: time, owner, late news.

use super::inbox::Part;
use super::{Fate, Group};
use crate::model::Millis;
use crate::push::ids;
use crate::store::{ItemTarget, Ownership, Standing, Store, StoreError};

/// For each target of `part`, the fate that spares it the call, if any.
pub(super) async fn check(
    store: &dyn Store,
    part: &Part,
    now: Millis,
) -> Result<Vec<Option<Fate>>, StoreError> {
    let item = &part.group.item;
    let targets = &item.targets[part.from..part.to];
    if now >= item.deadline {
        return Ok(vec![Some(Fate::Expired); targets.len()]);
    }
    let mut fates = vec![None; targets.len()];
    let is_owned = |target: &ItemTarget| target.owner.is_some();
    let is_current = store.is_current(part.group.as_of) || !targets.iter().any(is_owned);
    if is_current && !store.has_news() {
        return Ok(fates);
    }
    let owners: Vec<(usize, Ownership<'_>)> =
        targets.iter().enumerate().filter_map(|(at, t)| Some((at, ownership(t)?))).collect();
    if !owners.is_empty() && !is_current {
        let asked: Vec<Ownership<'_>> = owners.iter().map(|(_, owner)| *owner).collect();
        let owned = store.still_owned(&item.app, &asked, part.group.as_of).await?;
        for ((at, _), owned) in owners.iter().zip(owned) {
            if !owned {
                fates[*at] = Some(Fate::Moved);
            }
        }
    }
    let standings: Vec<Standing<'_>> = targets.iter().map(|t| standing(&part.group, t)).collect();
    let overtaken = store.overtaken(&item.app, &standings).await?;
    for (fate, news) in fates.iter_mut().zip(overtaken) {
        if fate.is_none() {
            *fate = news.map(Fate::Overtaken);
        }
    }
    Ok(fates)
}

fn ownership(target: &ItemTarget) -> Option<Ownership<'_>> {
    target.owner.as_ref().map(|owner| Ownership {
        user: &owner.user,
        device: &owner.device,
        generation: owner.generation,
    })
}

fn standing<'a>(group: &'a Group, target: &'a ItemTarget) -> Standing<'a> {
    let item = &group.item;
    let user = target.owner.as_ref().map(|owner| &*owner.user);
    Standing {
        event: &item.event,
        edits: item.edits.as_deref(),
        user,
        conversation: item.conversation.as_deref(),
        sent_at: item.sent_at,
        burst: target
            .burst
            .zip(user)
            .map(|(count, user)| (ids::burst_id(target.slot_id, user), count)),
    }
}
