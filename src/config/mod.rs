//! The configuration file, checked whole before anything is opened: every fault is told at once.
//!
//! This is the only room that reads the environment and the operator's files (`sources.rs`).

mod sources;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthorn_vendors::Secret;
use posthorn_vendors::kit::settings::{self, Fault, nearest};
use serde::Deserialize;
use toml::{Table, Value};

use self::sources::{Sources, override_from};
use crate::api::auth::AppKeys;
use crate::model::{AppId, Preview};
use crate::push::{AppRules, LaneSettings, Language, Phrase, Wording};

/// Everything the gateway is told, checked.
pub struct Config {
    pub listen: SocketAddr,
    pub public_url: Option<String>,
    pub max_body_bytes: usize,
    pub store: StoreUrl,
    pub admin_key: Option<Secret>,
    pub apps: Vec<App>,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory of our own.
    Embedded(PathBuf),
}

/// One app.
pub struct App {
    pub name: AppId,
    pub keys: AppKeys,
    pub rules: AppRules,
    pub lanes: Vec<LaneSettings>,
}

/// All that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    pub file: PathBuf,
    pub faults: Vec<Fault>,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.faults.len();
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} fault{s}", self.file.display())?;
        for fault in &self.faults {
            match fault.key.as_str() {
                "" => write!(f, "\n  {}", fault.problem)?,
                key => write!(f, "\n  {key}: {}", fault.problem)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads and checks `file`.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let fail = |faults| ConfigError { file: file.to_owned(), faults };
    let text = std::fs::read_to_string(file)
        .map_err(|err| fail(vec![Fault::new("", format!("cannot be read: {err}"))]))?;
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let environment: HashMap<String, String> = std::env::vars().collect();
    parse(&text, file.parent().unwrap_or(Path::new(".")), &environment).map_err(fail)
}

/// Checks a configuration's text. `dir` is what relative paths are relative to.
pub fn parse(
    text: &str,
    dir: &Path,
    environment: &HashMap<String, String>,
) -> Result<Config, Vec<Fault>> {
    let mut root: Table = text.parse().map_err(|err: toml::de::Error| {
        vec![Fault::new("", format!("not TOML: {}", err.to_string().trim_end()))]
    })?;
    let mut faults = Vec::new();
    override_from(environment, &mut root);
    Sources { dir, environment }.fill(&mut root, "", &mut faults);
    for key in root.keys() {
        const KNOWN: [&str; 4] = ["server", "store", "admin", "apps"];
        if !KNOWN.contains(&key.as_str()) {
            let problem = match nearest(key, KNOWN.into_iter()) {
                Some(near) => format!("unknown section; did you mean `{near}`?"),
                None => format!("unknown section; known here: {}", KNOWN.join(", ")),
            };
            faults.push(Fault::new(key.clone(), problem));
        }
    }
    let server: ServerTable = section(&mut root, "server", &mut faults).unwrap_or_default();
    let store: StoreTable = section(&mut root, "store", &mut faults).unwrap_or_default();
    let admin: AdminTable = section(&mut root, "admin", &mut faults).unwrap_or_default();
    let listen = server.listen.parse().map_err(|_| {
        faults.push(Fault::new("server.listen", "not an address; write 127.0.0.1:8080"));
    });
    let store = store_url(&store.url, dir).map_err(|fault| faults.push(fault));
    let apps = apps(&mut root, &mut faults);
    check_keys(&apps, admin.key.as_ref(), &mut faults);
    match (listen, store) {
        (Ok(listen), Ok(store)) if faults.is_empty() => Ok(Config {
            listen,
            public_url: server.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            max_body_bytes: server.max_body_bytes,
            store,
            admin_key: admin.key,
            apps,
        }),
        _ => Err(faults),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerTable {
    listen: String,
    public_url: Option<String>,
    max_body_bytes: usize,
}

impl Default for ServerTable {
    fn default() -> Self {
        ServerTable {
            listen: "127.0.0.1:8080".to_owned(),
            public_url: None,
            max_body_bytes: 8 << 20,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreTable {
    url: String,
}

impl Default for StoreTable {
    fn default() -> Self {
        StoreTable { url: "embedded:data".to_owned() }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AdminTable {
    key: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppTable {
    sdk_app_id: Option<u64>,
    user_sig_key: Option<Secret>,
    #[serde(default)]
    server_keys: Vec<Secret>,
    #[serde(default)]
    admins: Vec<String>,
    rate_per_sec: Option<u32>,
    max_backlog: Option<u64>,
    #[serde(default)]
    burst: BurstTable,
    language: Option<String>,
    preview: Option<PreviewWord>,
    #[serde(default)]
    texts: HashMap<String, HashMap<String, String>>,
    #[serde(default)]
    lanes: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BurstTable {
    window_ms: u64,
}

impl Default for BurstTable {
    fn default() -> Self {
        BurstTable { window_ms: 3000 }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum PreviewWord {
    Full,
    Name,
    Hidden,
}

impl From<PreviewWord> for Preview {
    fn from(word: PreviewWord) -> Preview {
        match word {
            PreviewWord::Full => Preview::Full,
            PreviewWord::Name => Preview::Name,
            PreviewWord::Hidden => Preview::Hidden,
        }
    }
}

/// The keys of a lane that are ours; the others are its vendor's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneTable {
    vendor: String,
    receipt_key: Option<Secret>,
    concurrency: Option<usize>,
    rate_per_sec: Option<u32>,
    timeout_ms: Option<u64>,
}

const LANE_KEYS: [&str; 5] = ["vendor", "receipt_key", "concurrency", "rate_per_sec", "timeout_ms"];

fn section<C: serde::de::DeserializeOwned>(
    root: &mut Table,
    name: &str,
    faults: &mut Vec<Fault>,
) -> Option<C> {
    let table = match root.remove(name)? {
        Value::Table(table) => table,
        _ => {
            faults.push(Fault::new(name, format!("not a section; write [{name}]")));
            return None;
        }
    };
    settings::read(table)
        .map_err(|found| faults.extend(found.into_iter().map(|fault| fault.under(name))))
        .ok()
}

fn store_url(url: &str, dir: &Path) -> Result<StoreUrl, Fault> {
    match url.split_once(':') {
        Some(("embedded", path)) if !path.is_empty() => Ok(StoreUrl::Embedded(dir.join(path))),
        _ => Err(Fault::new("store.url", "not a store; write embedded:DIRECTORY")),
    }
}

fn apps(root: &mut Table, faults: &mut Vec<Fault>) -> Vec<App> {
    let mut apps = Vec::new();
    let tables = match root.remove("apps") {
        Some(Value::Table(tables)) if !tables.is_empty() => tables,
        Some(Value::Table(_)) | None => {
            faults.push(Fault::new("apps", "missing: at least one [apps.NAME]"));
            return apps;
        }
        Some(_) => {
            faults.push(Fault::new("apps", "not a section; write [apps.NAME]"));
            return apps;
        }
    };
    for (name, value) in tables {
        let mut found = Vec::new();
        check_name(&name, &mut found);
        match value {
            Value::Table(table) => match settings::read::<AppTable>(table) {
                Ok(table) => apps.push(app(&name, table, &mut found)),
                Err(faults) => found.extend(faults),
            },
            _ => found.push(Fault::new("", "not a section")),
        }
        let place = format!("apps.{name}");
        faults.extend(found.into_iter().map(|fault| fault.under(&place)));
    }
    apps
}

fn app(name: &str, table: AppTable, faults: &mut Vec<Fault>) -> App {
    let name = AppId::from(name);
    if table.sdk_app_id.is_some() != table.user_sig_key.is_some() {
        faults.push(Fault::new("user_sig_key", "sdk_app_id and user_sig_key go together"));
    }
    if table.server_keys.is_empty() {
        faults.push(Fault::new("server_keys", "missing: an IM server needs a key to call with"));
    }
    let language = table.language.as_deref().map(|tag| {
        Language::of(tag).unwrap_or_else(|| {
            faults.push(Fault::new("language", format!("not one of {}", tags())));
            Language::default()
        })
    });
    let defaults = AppRules::default();
    let rules = AppRules {
        max_backlog: table.max_backlog.unwrap_or(defaults.max_backlog),
        burst_window: Duration::from_millis(table.burst.window_ms),
        language: language.unwrap_or_default(),
        preview: table.preview.map(Preview::from).unwrap_or_default(),
        wording: wording(table.texts, faults),
    };
    let mut lanes = Vec::new();
    for (lane, value) in table.lanes {
        let place = format!("lanes.{lane}");
        let mut found = Vec::new();
        check_name(&lane, &mut found);
        match value {
            Value::Table(table) => lanes.extend(lane_settings(&name, &lane, table, &mut found)),
            _ => found.push(Fault::new("", "not a section")),
        }
        faults.extend(found.into_iter().map(|fault| fault.under(&place)));
    }
    let keys = AppKeys {
        app: name.clone(),
        sdk_app_id: table.sdk_app_id,
        user_sig_key: table.user_sig_key,
        server_keys: table.server_keys,
        admins: table.admins,
        rate_per_sec: table.rate_per_sec,
    };
    App { name, keys, rules, lanes }
}

fn lane_settings(
    app: &AppId,
    name: &str,
    mut table: Table,
    faults: &mut Vec<Fault>,
) -> Option<LaneSettings> {
    let mut ours = Table::new();
    for key in LANE_KEYS {
        ours.extend(table.remove_entry(key));
    }
    let ours: LaneTable = settings::read(ours).map_err(|found| faults.extend(found)).ok()?;
    let Some(spec) = posthorn_vendors::vendor(&ours.vendor) else {
        let known: Vec<&str> = posthorn_vendors::VENDORS.iter().map(|spec| spec.id).collect();
        let problem = match nearest(&ours.vendor, known.iter().copied()) {
            Some(near) => format!("unknown vendor; did you mean `{near}`?"),
            None => format!("unknown vendor; known here: {}", known.join(", ")),
        };
        faults.push(Fault::new("vendor", problem));
        return None;
    };
    for (key, value) in
        [("concurrency", ours.concurrency), ("timeout_ms", ours.timeout_ms.map(|n| n as usize))]
    {
        if value == Some(0) {
            faults.push(Fault::new(key, "must be at least 1"));
        }
    }
    if ours.receipt_key.as_ref().is_some_and(|key| key.expose().is_empty()) {
        faults.push(Fault::new("receipt_key", "empty"));
    }
    let vendor = (spec.build)(table).map_err(|found| faults.extend(found)).ok()?;
    Some(LaneSettings {
        app: app.clone(),
        name: name.into(),
        vendor_id: spec.id,
        vendor,
        concurrency: ours.concurrency,
        rate_per_sec: ours.rate_per_sec,
        timeout: Duration::from_millis(ours.timeout_ms.unwrap_or(10_000)),
    })
}

fn wording(texts: HashMap<String, HashMap<String, String>>, faults: &mut Vec<Fault>) -> Wording {
    let mut wording = Wording::default();
    for (tag, phrases) in texts {
        let known = Language::TAGS.iter().find(|(known, _)| *known == tag);
        let Some((_, language)) = known else {
            faults.push(Fault::new(format!("texts.{tag}"), format!("not one of {}", tags())));
            continue;
        };
        for (name, text) in phrases {
            match Phrase::named(&name) {
                Some(phrase) => {
                    wording.0.insert((*language, phrase), text.into());
                }
                None => {
                    let problem = match nearest(&name, Phrase::names()) {
                        Some(near) => format!("unknown phrase; did you mean `{near}`?"),
                        None => "unknown phrase; config/posthorn.toml lists them".to_owned(),
                    };
                    faults.push(Fault::new(format!("texts.{tag}.{name}"), problem));
                }
            }
        }
    }
    wording
}

fn tags() -> String {
    Language::TAGS.map(|(tag, _)| tag).join(", ")
}

fn check_name(name: &str, faults: &mut Vec<Fault>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        faults.push(Fault::new("", "a name is 1 to 64 letters, digits, - or _"));
    }
}

/// A key opens one door; one that two apps share would open the wrong one.
fn check_keys(apps: &[App], admin: Option<&Secret>, faults: &mut Vec<Fault>) {
    let mut owners: HashMap<&str, String> = HashMap::new();
    if let Some(admin) = admin {
        if admin.expose().is_empty() {
            faults.push(Fault::new("admin.key", "empty"));
        }
        owners.insert(admin.expose(), "admin.key".to_owned());
    }
    for app in apps {
        let place = format!("apps.{}.server_keys", app.name);
        for key in &app.keys.server_keys {
            if key.expose().is_empty() {
                faults.push(Fault::new(place.clone(), "holds an empty key"));
                continue;
            }
            match owners.insert(key.expose(), place.clone()) {
                Some(other) if other != place => {
                    let problem = format!("holds a key that {other} has too");
                    faults.push(Fault::new(place.clone(), problem));
                }
                Some(_) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let faults = match parse(text, Path::new("."), &HashMap::new()) {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        };
        faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect()
    }

    #[test]
    fn every_fault_is_listed_with_its_key_and_the_nearest_known_one() {
        let faults = faults_of(
            r#"
            [server]
            lisen = "127.0.0.1:1"
            [stor]
            [apps.demo]
            server_keys = ["env:NO_SUCH_KEY"]
            user_sig_key = "k"
            [apps.demo.lanes.a]
            vendor = "huawai"
            "#,
        );
        for wanted in [
            "stor: unknown section; did you mean `store`?",
            "server.lisen: unknown key; did you mean `listen`?",
            "apps.demo.server_keys: the environment has no NO_SUCH_KEY",
            "apps.demo.user_sig_key: sdk_app_id and user_sig_key go together",
            "apps.demo.lanes.a.vendor: unknown vendor; did you mean `huawei`?",
        ] {
            assert!(faults.iter().any(|fault| fault == wanted), "{wanted} not in {faults:#?}");
        }
    }

    #[test]
    fn a_key_that_two_apps_share_is_refused() {
        let faults =
            faults_of("[apps.a]\nserver_keys = [\"k\"]\n[apps.b]\nserver_keys = [\"k\"]\n");
        assert_eq!(faults, ["apps.b.server_keys: holds a key that apps.a.server_keys has too"]);
    }

    #[test]
    fn the_environment_overrides_any_key() {
        let environment =
            HashMap::from([("POSTHORN__SERVER__LISTEN".to_owned(), "127.0.0.1:9".to_owned())]);
        let text = "[apps.a]\nserver_keys = [\"k\"]\n";
        let config = parse(text, Path::new("/x"), &environment).map_err(|f| format!("{f:?}"));
        let config = config.expect("a sound configuration");
        assert_eq!(config.listen, "127.0.0.1:9".parse().expect("an address"));
        assert_eq!(config.store, StoreUrl::Embedded("/x/data".into()));
    }
}
