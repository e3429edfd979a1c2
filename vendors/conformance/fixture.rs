//! What a fixture file holds, and how it becomes a batch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use crate::{Batch, Class, Id, Notification, Push, Sender, Spec, Token};

/// All files of one vendor's fixture folder.
pub(super) struct Fixtures {
    pub(super) lane: toml::Table,
    pub(super) cases: Vec<Case>,
    pub(super) codes: Vec<Codes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, rename = "case")]
    pub(super) cases: Vec<Case>,
    #[serde(default)]
    pub(super) codes: Vec<Codes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kind: Option<Kind>,
    #[serde(default = "default_now")]
    pub(super) now: u64,
    #[serde(default)]
    pub(super) lane: toml::Table,
    #[serde(default = "one_default_push", rename = "push")]
    pub(super) pushes: Vec<PushIn>,
    pub(super) request: Option<RequestOut>,
    pub(super) reply: Option<ReplyIn>,
    #[serde(default, rename = "outcome")]
    pub(super) outcomes: Vec<OutcomeOut>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Codes {
    pub(super) codes: Vec<String>,
    pub(super) reply: ReplyIn,
    pub(super) outcome: OutcomeOut,
    #[serde(default)]
    pub(super) lane: toml::Table,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Success,
    Partial,
    Malformed,
    ContentType,
    Empty,
    Truncated,
}

pub(super) const KINDS: [Kind; 6] = [
    Kind::Success,
    Kind::Partial,
    Kind::Malformed,
    Kind::ContentType,
    Kind::Empty,
    Kind::Truncated,
];

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PushIn {
    pub(super) same: bool,
    pub(super) push_id: Option<String>,
    pub(super) slot_id: Option<String>,
    pub(super) token: Option<String>,
    pub(super) ttl_secs: Option<u64>,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    pub(super) class: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) sender: Option<SenderIn>,
    pub(super) conversation: Option<String>,
    pub(super) badge: Option<u32>,
    pub(super) sound: Option<String>,
    pub(super) data: BTreeMap<String, String>,
    pub(super) overrides: serde_json::Map<String, Value>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct SenderIn {
    pub(super) id: String,
    pub(super) nickname: String,
    pub(super) avatar: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestOut {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) absent: Vec<String>,
    pub(super) json: Option<String>,
    pub(super) json_has: Option<String>,
    pub(super) json_lacks: Vec<String>,
    pub(super) form: Option<BTreeMap<String, String>>,
    pub(super) form_has: BTreeMap<String, String>,
    pub(super) form_lacks: Vec<String>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplyIn {
    pub(super) status: Option<u16>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutcomeOut {
    pub(super) is: String,
    pub(super) vendor_ref: Option<String>,
    pub(super) code: Option<String>,
    pub(super) hint_has: Option<String>,
    pub(super) certain: Option<bool>,
    pub(super) since_ms: Option<u64>,
    pub(super) after_secs: Option<f64>,
    pub(super) scope: Option<String>,
    pub(super) none: Vec<String>,
}

pub(super) fn default_now() -> u64 {
    1_795_341_600
}

pub(super) fn one_default_push() -> Vec<PushIn> {
    vec![PushIn::default()]
}

/// `None` for the placeholder, whose `wire` refuses without a fault.
pub(super) fn read_fixtures(spec: &Spec) -> Option<Fixtures> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(spec.id).join("fixtures");
    if matches!((spec.wire)(toml::Table::new()), Err(faults) if faults.is_empty()) {
        return None;
    }
    let mut fixtures = Fixtures { lane: toml::Table::new(), cases: vec![], codes: vec![] };
    for path in toml_files(&folder) {
        if path.ends_with("lane.toml") {
            fixtures.lane = parse(&path);
        } else {
            let File { cases, codes } = parse(&path);
            fixtures.cases.extend(cases);
            fixtures.codes.extend(codes);
        }
    }
    Some(fixtures)
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).expect("the fixture was listed");
    toml::from_str(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        panic!("{}: a vendor without fixtures", folder.display());
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

impl Codes {
    /// The table as cases.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        self.codes.iter().map(|code| Case {
            name: format!("code {code}"),
            kind: None,
            now: default_now(),
            lane: self.lane.clone(),
            pushes: one_default_push(),
            request: None,
            reply: Some(ReplyIn {
                body: self.reply.body.replace("{code}", code),
                ..self.reply.clone()
            }),
            outcomes: vec![OutcomeOut { code: Some(code.clone()), ..self.outcome.clone() }],
        })
    }
}

impl Case {
    pub(super) fn batch(&self) -> Batch {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.now);
        let mut pushes: Vec<Push> = Vec::new();
        for (at, given) in self.pushes.iter().enumerate() {
            let place = u8::try_from(at % 0x50 + 1).expect("less than 0x51");
            let shared = given.same.then(|| pushes.first().expect("`same` follows a push"));
            let (notification, expires_at) = match shared {
                Some(first) => (Arc::clone(&first.notification), first.expires_at),
                None => (
                    Arc::new(given.notification()),
                    now + Duration::from_secs(given.ttl_secs.unwrap_or(3600)),
                ),
            };
            pushes.push(Push {
                push_id: id(given.push_id.as_deref(), place),
                slot_id: id(given.slot_id.as_deref(), 0x50 + place),
                token: Token::new(given.token.clone().unwrap_or(format!("TOKEN_{}", at + 1))),
                notification,
                expires_at,
            });
        }
        Batch { pushes, now }
    }
}

impl PushIn {
    fn notification(&self) -> Notification {
        let given = self.clone();
        Notification {
            title: given.title.unwrap_or("Alice".to_owned()),
            body: given.body.unwrap_or("hi".to_owned()),
            sender: given.sender.map(|SenderIn { id, nickname, avatar }| Sender {
                id,
                nickname,
                avatar,
            }),
            class: match given.class.as_deref() {
                None | Some("im") => Class::Im,
                Some("call") => Class::Call,
                Some("friend_request") => Class::FriendRequest,
                Some("system") => Class::System,
                Some("marketing") => Class::Marketing,
                Some(other) => panic!("no such class: {other}"),
            },
            conversation: given.conversation,
            event_id: given.event_id.unwrap_or("m-1001".to_owned()),
            badge: given.badge,
            sound: given.sound,
            data: given.data,
            overrides: given.overrides,
        }
    }
}

fn id(hex: Option<&str>, default: u8) -> Id {
    let Some(hex) = hex else { return Id([default; 16]) };
    Id(u128::from_str_radix(hex, 16).expect("an id of 32 hex digits").to_be_bytes())
}
