//! What the app is handed when the user taps a notification: the data, and where to go.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::Notification;

/// The data as one flat object of texts: the caller's pairs, then `event_id`, `conversation` and
/// `sender` (the user id), which the caller cannot overwrite.
pub struct Data<'n>(pub &'n Notification);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = own(self.0);
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.0.data {
            if !own.iter().any(|(name, value)| name == key && value.is_some()) {
                map.serialize_entry(key, value)?;
            }
        }
        for (name, value) in own {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl Data<'_> {
    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts always serialise")
    }
}

/// The intent template with `{event_id}`, `{conversation}` and `{sender}` filled in,
/// percent-encoded; what is absent becomes empty.
pub fn intent(template: &str, notification: &Notification) -> String {
    let mut intent = template.to_owned();
    for (name, value) in own(notification) {
        let place = format!("{{{name}}}");
        if intent.contains(&place) {
            intent = intent.replace(&place, &percent_encoded(value.unwrap_or_default()));
        }
    }
    intent
}

fn own(notification: &Notification) -> [(&'static str, Option<&str>); 3] {
    [
        ("event_id", Some(notification.event_id.as_str())),
        ("conversation", notification.conversation.as_deref()),
        ("sender", notification.sender.as_ref().map(|sender| sender.id.as_str())),
    ]
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_pairs_come_along_and_cannot_take_our_names() {
        let data = [("k", "v"), ("event_id", "forged"), ("sender", "kept")];
        let notification = Notification {
            event_id: "m-1".to_owned(),
            data: data.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..Notification::default()
        };
        let json = Data(&notification).to_json();
        assert_eq!(json, r#"{"k":"v","sender":"kept","event_id":"m-1"}"#);
    }

    #[test]
    fn an_intent_cannot_be_broken_out_of() {
        let notification =
            Notification { conversation: Some("a;end b&c".to_owned()), ..Notification::default() };
        let filled = intent("intent://x?c={conversation}&s={sender}#Intent;end", &notification);
        assert_eq!(filled, "intent://x?c=a%3Bend%20b%26c&s=#Intent;end");
    }
}
