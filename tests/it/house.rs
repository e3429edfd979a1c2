//! The house's own rules, read from the source: arrows point down, files stay small, every vendor
//! has its fixtures, the words on the map exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which rooms of `src/` may name which others. Whatever is not here fails.
const ARROWS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("telemetry", &[]),
    ("store", &["model"]),
    ("push", &["model", "store", "telemetry"]),
    ("api", &["model", "push", "store", "telemetry"]),
    ("ingest", &["api", "model", "push", "store"]),
    ("config", &["api", "model", "push"]),
    ("app", &["api", "config", "ingest", "model", "push", "store", "telemetry"]),
    ("cli", &["app", "config", "model", "push"]),
    ("lib", &[]),
];

/// Rooms that may serialise; the model may not.
const LONGEST: usize = 500;
const REFUSED_NAMES: [&str; 9] =
    ["common", "core", "util", "helper", "types", "misc", "manager", "base", "impl"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The part of a file before its tests.
fn production(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a file of ours");
    let is_tests = path.file_stem().is_some_and(|name| name == "tests");
    match text.find("\n#[cfg(test)]\nmod ") {
        _ if is_tests => String::new(),
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The room of `src/` that a file is in.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("under src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let room = room(&path);
        if ["wire", "main", "lib"].contains(&room.as_str()) {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == room);
        let Some((_, allowed)) = allowed else {
            wrong.push(format!("{}: the room {room} is not on the map", relative(&path)));
            continue;
        };
        for (number, line) in production(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for part in code.split("crate::").skip(1) {
                let other: String =
                    part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_macro = part[other.len()..].starts_with('!');
                if other != room && !is_macro && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}:{} names {other}", relative(&path), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the list:\n{}", wrong.join("\n"));
}

#[test]
fn only_dispatch_calls_a_vendor_and_only_settle_reads_an_outcome() {
    for path in sources("src") {
        let name = relative(&path);
        let text = production(&path);
        let in_dispatch = name.starts_with("src/push/dispatch");
        assert!(in_dispatch || !text.contains(".vendor.send("), "{name} calls a vendor");
        let may_read =
            in_dispatch || name.starts_with("src/push/settle") || name == "src/telemetry.rs";
        assert!(may_read || !text.contains("Outcome::"), "{name} reads an outcome");
    }
}

#[test]
fn vendors_and_wire_name_nothing_of_the_gateway() {
    for folder in ["vendors", "src/wire"] {
        for path in sources(folder) {
            let text = production(&path);
            assert!(!text.contains("posthorn::"), "{} names the gateway", relative(&path));
        }
    }
}

#[test]
fn the_model_is_neither_serialised_nor_stored() {
    for path in sources("src/model") {
        let text = production(&path);
        assert!(!text.contains("Serialize"), "{} can be serialised", relative(&path));
    }
}

#[test]
fn files_stay_small_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for folder in ["src", "vendors", "tests"] {
        for path in sources(folder) {
            let text = production(&path);
            let lines = text.lines().count();
            if lines > LONGEST {
                wrong.push(format!("{}: {lines} lines", relative(&path)));
            }
            let whole = std::fs::read_to_string(&path).expect("a file of ours");
            if !whole.starts_with("//!") && !whole.starts_with("#![doc") {
                wrong.push(format!("{}: no word on what it is for", relative(&path)));
            }
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            if REFUSED_NAMES.contains(&name.as_str()) {
                wrong.push(format!("{}: a name that holds anything", relative(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn configuration_never_flattens() {
    for folder in ["src", "vendors"] {
        for path in sources(folder) {
            let text = production(&path);
            let both = text.contains("serde(flatten)") && text.contains("deny_unknown_fields");
            assert!(!both, "{}: flatten defeats deny_unknown_fields", relative(&path));
        }
    }
}

#[test]
fn every_vendor_has_its_folder_fixtures_readme_and_sample() {
    for spec in posthorn_vendors::VENDORS {
        let folder = root().join("vendors").join(spec.id);
        let fixtures = std::fs::read_dir(folder.join("fixtures")).map(|files| files.count());
        assert!(fixtures.is_ok_and(|count| count > 0), "{} has no fixtures", spec.id);
        assert!(folder.join("README.md").is_file(), "{} has no README", spec.id);
        let sample = root().join("config/vendors").join(format!("{}.toml", spec.id));
        assert!(sample.is_file(), "{} has no sample", spec.id);
    }
}

#[test]
fn the_map_names_only_files_that_exist() {
    let map = std::fs::read_to_string(root().join("src/ARCHITECTURE.md")).expect("the map");
    let mut missing = BTreeSet::new();
    for quoted in map.split('`').skip(1).step_by(2) {
        let is_path = quoted.contains('/') && quoted.ends_with(".rs");
        if is_path && !root().join(quoted).exists() && !root().join("src").join(quoted).exists() {
            missing.insert(quoted.to_owned());
        }
    }
    assert!(missing.is_empty(), "the map names what is not there: {missing:?}");
    for (room, _) in ARROWS.iter().filter(|(room, _)| *room != "lib") {
        assert!(map.contains(room), "the map does not show {room}");
    }
}
