//! What the notification says: a pure function of event, sender and recipient's view.
//!
//! Deliberately absent: storage, vendors' field names, the clock.

mod texts;

use std::borrow::Cow;
use std::collections::HashMap;

use posthorn_vendors::kit::text::truncate;
use posthorn_vendors::{Class, Limits, Notification, Sender};

pub use self::texts::{Language, Phrase};
use crate::model::{Event, Kind, Message, MessageType, Preview};

/// How one group of recipients sees an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) language: Language,
    pub(super) preview: Preview,
    /// Messages that this notification stands for.
    pub(super) count: u32,
}

/// The operator's own words, by language and phrase.
#[derive(Debug, Clone, Default)]
pub struct Wording(pub HashMap<(Language, Phrase), Box<str>>);

impl Wording {
    fn phrase(&self, language: Language, phrase: Phrase) -> &str {
        match self.0.get(&(language, phrase)) {
            Some(own) => own,
            None => phrase.text(language),
        }
    }
}

/// The notification of `event` for recipients with this view at a vendor with these limits.
/// `None` when the event rings nobody by its nature (a custom message without text).
pub(super) fn compose(
    event: &Event,
    sender: Option<&Sender>,
    view: View,
    vendor: &str,
    limits: &Limits,
    words: &Wording,
) -> Option<Notification> {
    let sender = sender.filter(|_| view.preview != Preview::Hidden);
    let title = title(event, sender, view, words);
    let body = body(event, view, words)?;
    Some(Notification {
        title: truncate(&single_line(&title), limits.title),
        body: truncate(body.trim(), limits.body),
        sender: sender.cloned(),
        class: event.class,
        conversation: event.conversation.as_deref().map(str::to_owned),
        event_id: event.id.to_string(),
        badge: event.badge,
        sound: sound(event),
        data: event.push.data.clone(),
        overrides: event.push.vendor.get(vendor).cloned().unwrap_or_default(),
    })
}

fn title<'a>(
    event: &'a Event,
    sender: Option<&'a Sender>,
    view: View,
    words: &'a Wording,
) -> Cow<'a, str> {
    // What the caller wrote may tell as much as the message itself.
    if view.preview != Preview::Hidden
        && let Some(own) = event.push.title.as_deref().filter(|own| !own.trim().is_empty())
    {
        return own.into();
    }
    match sender {
        Some(sender) if !sender.nickname.trim().is_empty() => (&*sender.nickname).into(),
        Some(sender) => (&*sender.id).into(),
        None if event.class == Class::System => {
            words.phrase(view.language, Phrase::SystemTitle).into()
        }
        None => words.phrase(view.language, Phrase::NewMessageTitle).into(),
    }
}

fn body<'a>(event: &'a Event, view: View, words: &'a Wording) -> Option<Cow<'a, str>> {
    let plain = match view.preview {
        Preview::Full => full_text(event, view.language, words)?,
        Preview::Name | Preview::Hidden => hidden_text(event, view.language, words),
    };
    if view.count < 2 {
        return Some(plain);
    }
    let counted = words.phrase(view.language, Phrase::Count);
    Some(counted.replace("{count}", &view.count.to_string()).replace("{text}", &plain).into())
}

fn full_text<'a>(event: &'a Event, language: Language, words: &'a Wording) -> Option<Cow<'a, str>> {
    if let Some(own) = event.push.body.as_deref().filter(|own| !own.trim().is_empty()) {
        return Some(own.into());
    }
    let said = |message: &'a Message| message_text(message, language, words);
    match &event.kind {
        Kind::Message(message) | Kind::Edit { message, .. } => said(message),
        Kind::FriendRequest(Some(message)) | Kind::System(Some(message)) => {
            said(message).or_else(|| Some(words.phrase(language, phrase_of(event)).into()))
        }
        Kind::FriendRequest(None)
        | Kind::System(None)
        | Kind::Call
        | Kind::CallEnd { .. }
        | Kind::Recall { .. }
        | Kind::Read { .. } => Some(words.phrase(language, phrase_of(event)).into()),
    }
}

/// What may be said of an event whose text may not be shown.
fn hidden_text<'a>(event: &Event, language: Language, words: &'a Wording) -> Cow<'a, str> {
    words.phrase(language, phrase_of(event)).into()
}

fn phrase_of(event: &Event) -> Phrase {
    match event.kind {
        Kind::Message(_) | Kind::Edit { .. } | Kind::Read { .. } => Phrase::NewMessage,
        Kind::Call => Phrase::Call,
        Kind::CallEnd { .. } => Phrase::CallEnded,
        Kind::Recall { .. } => Phrase::Recalled,
        Kind::FriendRequest(_) => Phrase::FriendRequest,
        Kind::System(_) => Phrase::System,
    }
}

fn message_text<'a>(
    message: &'a Message,
    language: Language,
    words: &'a Wording,
) -> Option<Cow<'a, str>> {
    let text = message.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let phrase = match message.kind {
        // These are their text; without any there is nothing to say of them.
        MessageType::Text => {
            return Some(
                text.map_or_else(|| words.phrase(language, Phrase::NewMessage).into(), Cow::from),
            );
        }
        MessageType::Custom => return text.map(Cow::from),
        MessageType::System => {
            return Some(
                text.map_or_else(|| words.phrase(language, Phrase::System).into(), Cow::from),
            );
        }
        MessageType::Face => Phrase::Face,
        MessageType::Location => Phrase::Location,
        MessageType::Image => Phrase::Image,
        MessageType::Sound => Phrase::Sound,
        MessageType::File => Phrase::File,
        MessageType::Video => Phrase::Video,
        MessageType::Relay => Phrase::Relay,
    };
    let label = words.phrase(language, phrase);
    Some(match text {
        Some(text) => format!("{label} {text}").into(),
        None => label.into(),
    })
}

fn sound(event: &Event) -> Option<String> {
    // What takes an earlier notification's place must not ring again.
    if matches!(event.kind, Kind::Recall { .. } | Kind::CallEnd { .. } | Kind::Edit { .. }) {
        return None;
    }
    match event.push.sound.as_deref() {
        None => Some("default".to_owned()),
        Some("") => None,
        Some(own) => Some(own.to_owned()),
    }
}

/// A title is one line; line breaks in a nickname would push the text off the screen.
fn single_line(title: &str) -> Cow<'_, str> {
    if title.contains(char::is_control) {
        title.replace(char::is_control, " ").trim().to_owned().into()
    } else {
        title.trim().into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthorn_vendors::kit::text::measure;
    use posthorn_vendors::{Batching, Cost, TextLimit, TextUnit};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Millis, PushOptions};

    fn limits(title: usize, body: usize, unit: TextUnit) -> Limits {
        Limits {
            batching: Batching::Single,
            cost: Cost::PerCall,
            title: TextLimit { max: title, unit },
            body: TextLimit { max: body, unit },
            ttl_max: Duration::from_secs(1),
            concurrency: 1,
        }
    }

    fn event(kind: Kind) -> Event {
        Event {
            app: "demo".into(),
            id: "m-1".into(),
            kind,
            class: Class::Im,
            to: vec!["bob".into()],
            targets: Vec::new(),
            from: None,
            conversation: None,
            sent_at: Millis(0),
            received_at: Millis(0),
            deadline: Millis(1),
            badge: None,
            push: PushOptions::default(),
            bursts: Vec::new(),
        }
    }

    fn message(kind: MessageType, text: Option<&str>) -> Event {
        event(Kind::Message(Message { kind, text: text.map(Box::from) }))
    }

    fn alice() -> Sender {
        Sender { id: "alice".into(), nickname: "Alice".into(), avatar: None }
    }

    fn say(event: &Event, language: Language, preview: Preview, count: u32) -> (String, String) {
        let view = View { language, preview, count };
        let roomy = limits(100, 200, TextUnit::Chars);
        let said = compose(event, Some(&alice()), view, "apns", &roomy, &Wording::default());
        said.map(|said| (said.title, said.body)).unwrap_or_default()
    }

    #[test]
    fn each_message_type_has_its_words_in_each_language() {
        let image = message(MessageType::Image, None);
        let says = |language| say(&image, language, Preview::Full, 1).1;
        assert_eq!(says(Language::En), "[Photo]");
        assert_eq!(says(Language::ZhHans), "[图片]");
        assert_eq!(says(Language::ZhHant), "[圖片]");
        assert_eq!(says(Language::Ja), "[写真]");
        assert_eq!(says(Language::Ko), "[사진]");
    }

    #[test]
    fn privacy_hides_the_text_then_the_name() {
        let hi = message(MessageType::Text, Some("the secret"));
        let (title, body) = say(&hi, Language::En, Preview::Full, 1);
        assert_eq!((title.as_str(), body.as_str()), ("Alice", "the secret"));
        let (title, body) = say(&hi, Language::En, Preview::Name, 1);
        assert_eq!((title.as_str(), body.as_str()), ("Alice", "New message"));
        let (title, body) = say(&hi, Language::En, Preview::Hidden, 1);
        assert_eq!((title.as_str(), body.as_str()), ("New message", "New message"));
    }

    #[test]
    fn an_own_title_and_body_are_hidden_too() {
        let mut own = message(MessageType::Text, Some("x"));
        own.push.title = Some("Falcon".into());
        own.push.body = Some("launch at nine".into());
        assert_eq!(say(&own, Language::En, Preview::Full, 1).1, "launch at nine");
        let (title, body) = say(&own, Language::En, Preview::Hidden, 1);
        assert!(!title.contains("Falcon") && !body.contains("nine"));
    }

    #[test]
    fn a_burst_counts_up() {
        let hi = message(MessageType::Text, Some("three"));
        assert_eq!(say(&hi, Language::En, Preview::Full, 3).1, "(3 messages) three");
        assert_eq!(say(&hi, Language::ZhHans, Preview::Full, 3).1, "[3条] three");
    }

    #[test]
    fn a_custom_message_without_text_rings_nobody() {
        let silent = message(MessageType::Custom, None);
        let view = View { language: Language::En, preview: Preview::Full, count: 1 };
        let roomy = limits(100, 200, TextUnit::Chars);
        assert_eq!(compose(&silent, None, view, "apns", &roomy, &Wording::default()), None);
    }

    proptest! {
        #[test]
        fn texts_never_exceed_a_vendors_limit(
            nickname in "\\PC{0,80}", text in "\\PC{0,200}",
            title in 0usize..60, body in 0usize..130, count in 1u32..5
        ) {
            let event = message(MessageType::Text, Some(&text));
            let sender = Sender { id: "a".into(), nickname, avatar: None };
            for unit in [TextUnit::Bytes, TextUnit::Chars, TextUnit::Utf16] {
                let view = View { language: Language::ZhHant, preview: Preview::Full, count };
                let limits = limits(title, body, unit);
                let said = compose(&event, Some(&sender), view, "x", &limits, &Wording::default())
                    .expect("a text rings");
                prop_assert!(measure(&said.title, unit) <= title);
                prop_assert!(measure(&said.body, unit) <= body);
            }
        }
    }
}
