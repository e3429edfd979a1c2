//! The phones over HTTP: adding, looking, uninstalling, and the stream of changes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::super::host::World;
use super::super::phones::Phones;
use super::{Answer, Body, Refusal, told, typed, unknown_vendor};

/// The least time between two events of one listener.
const COALESCE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPhone {
    vendor: String,
    #[serde(default)]
    name: String,
}

pub(super) fn add(world: &World, wanted: &NewPhone) -> Answer {
    let phone = world.add_phone(&wanted.vendor, &wanted.name);
    let phone = phone.ok_or_else(|| unknown_vendor(world, &wanted.vendor))?;
    Ok(told(&json!({
        "id": phone.id,
        "vendor": phone.vendor,
        "lane": phone.vendor,
        "token": phone.token,
    })))
}

pub(super) fn one(world: &World, id: &str) -> Answer {
    let phone = world.phones.get(id).ok_or_else(|| no_phone(id))?;
    Ok(told(&phone))
}

pub(super) fn uninstall(world: &World, id: &str) -> Answer {
    if !world.phones.uninstall(id, SystemTime::now()) {
        return Err(no_phone(id));
    }
    Ok(told(&json!({ "id": id, "state": "uninstalled" })))
}

fn no_phone(id: &str) -> Refusal {
    Refusal::missing(format!("there is no phone {id}"))
}

/// The list of all phones as JSON, made again only when something changed and somebody asks.
pub(super) struct PhoneList {
    phones: Phones,
    made: Arc<Mutex<Made>>,
}

#[derive(Default)]
struct Made {
    version: Option<u64>,
    text: Bytes,
    took: Duration,
}

impl PhoneList {
    pub(super) fn of(phones: Phones) -> Self {
        PhoneList { phones, made: Arc::default() }
    }

    pub(super) fn current(&self) -> Bytes {
        self.make().0
    }

    /// The text and how long it took to make.
    fn make(&self) -> (Bytes, Duration) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the phones are: a change in between only makes the text again next time.
        let version = self.phones.version();
        if made.version != Some(version) {
            let start = Instant::now();
            let text = serde_json::to_vec(&self.phones.all())
                .expect("plain structs with string keys always serialise");
            *made = Made { version: Some(version), text: text.into(), took: start.elapsed() };
        }
        (made.text.clone(), made.took)
    }

    /// Server-sent events: the whole list now, and again after changes.
    pub(super) fn events(&self) -> Response<Body> {
        let list = PhoneList { phones: self.phones.clone(), made: self.made.clone() };
        let mut changes = self.phones.watch();
        changes.mark_changed();
        let events = stream::unfold((list, changes, None), next_event);
        let mut response = typed("text/event-stream", Bytes::new());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = StreamBody::new(events).boxed_unsync();
        response
    }
}

type Listening = (PhoneList, watch::Receiver<u64>, Option<tokio::time::Instant>);

async fn next_event(
    (list, mut changes, rest): Listening,
) -> Option<(Result<Frame<Bytes>, Infallible>, Listening)> {
    if let Some(rest) = rest {
        tokio::time::sleep_until(rest).await;
    }
    changes.changed().await.ok()?;
    changes.borrow_and_update();
    let (text, took) = list.make();
    // A list that takes long to make must not take the whole machine.
    let rest = tokio::time::Instant::now() + COALESCE.max(took * 10);
    let mut event = Vec::with_capacity(text.len() + 24);
    event.extend_from_slice(b"event: phones\ndata: ");
    event.extend_from_slice(&text);
    event.extend_from_slice(b"\n\n");
    Some((Ok(Frame::data(event.into())), (list, changes, Some(rest))))
}
