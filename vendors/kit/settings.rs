//! Reading one TOML table into a configuration struct, with every fault told at once.
//!
//! serde stops at the first fault. An operator wants all of them, so each fault is noted, mended
//! in a copy of the table, and reading goes on until nothing new comes up.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, dotted, relative to the table read; empty for the table itself.
    pub key: String,
    /// What is wrong and what would be right, lower case, without the value (it may be secret).
    pub problem: String,
}

impl Fault {
    /// A fault from its two parts.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Fault { key: key.into(), problem: problem.into() }
    }

    /// The same fault seen from the table that holds `prefix`.
    pub fn under(self, prefix: &str) -> Self {
        let key =
            if self.key.is_empty() { prefix.to_owned() } else { format!("{prefix}.{}", self.key) };
        Fault { key, problem: self.problem }
    }
}

/// Reads `table` into `C` (which should deny unknown fields), or tells every fault found.
pub fn read<C: DeserializeOwned>(mut table: Table) -> Result<C, Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let failed = match serde_path_to_error::deserialize::<_, C>(Value::Table(table.clone())) {
            Ok(config) if faults.is_empty() => return Ok(config),
            Ok(_) => return Err(faults),
            Err(failed) => failed,
        };
        let path = failed.path().to_string();
        let message = failed.inner().message().to_owned();
        let Some((fault, mend)) = understand(&path, &message) else {
            faults.push(Fault::new(path.trim_matches('.'), message));
            return Err(faults);
        };
        // A second word on the same key comes from our own mending; it ends the search.
        if faults.iter().any(|known| known.key == fault.key) {
            return Err(faults);
        }
        let mended = match mend {
            Mend::Remove => remove(&mut table, &fault.key),
            Mend::Fill => insert(&mut table, &fault.key),
        };
        faults.push(fault);
        if !mended {
            return Err(faults);
        }
    }
}

enum Mend {
    Remove,
    Fill,
}

fn understand(path: &str, message: &str) -> Option<(Fault, Mend)> {
    let path = if path == "." { "" } else { path };
    let parent = |field: &str| match path.rsplit_once('.') {
        // serde names the unknown field itself as the last step of the path.
        Some((above, last)) if last == field => format!("{above}.{field}"),
        _ if path == field || path.is_empty() => field.to_owned(),
        _ => format!("{path}.{field}"),
    };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (field, expected) = rest.split_once('`')?;
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let problem = match nearest(field, known.iter().copied()) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => format!("unknown key; known here: {}", known.join(", ")),
        };
        return Some((Fault::new(parent(field), problem), Mend::Remove));
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let (field, _) = rest.split_once('`')?;
        let key = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        return Some((Fault::new(key, "missing"), Mend::Fill));
    }
    if path.is_empty() {
        return None;
    }
    Some((Fault::new(path, redacted(message)), Mend::Remove))
}

/// serde quotes the offending value, which may be a secret: `invalid type: string "…", expected …`.
fn redacted(message: &str) -> String {
    match (message.split_once(':'), message.rsplit_once(", expected ")) {
        (
            Some((what @ ("invalid type" | "invalid value" | "invalid length"), _)),
            Some((_, want)),
        ) => {
            format!("{what}, expected {want}")
        }
        _ => message.to_owned(),
    }
}

fn holder<'t>(table: &'t mut Table, key: &str) -> Option<(&'t mut Table, String)> {
    let mut steps: Vec<&str> = key.split('.').collect();
    let last = steps.pop()?.to_owned();
    let mut at = table;
    for step in steps {
        at = at.get_mut(step)?.as_table_mut()?;
    }
    Some((at, last))
}

fn remove(table: &mut Table, key: &str) -> bool {
    // A fault inside an array is mended by removing the array.
    let key = key.split('[').next().unwrap_or(key);
    holder(table, key).and_then(|(at, last)| at.remove(&last)).is_some()
}

fn insert(table: &mut Table, key: &str) -> bool {
    let filled = holder(table, key).map(|(at, last)| at.insert(last, Value::String(String::new())));
    matches!(filled, Some(None))
}

/// The known word within a small edit distance of `word`.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(d, candidate)| *d <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let swap = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Sample {
        team_id: String,
        port: u16,
        #[serde(default)]
        topic: String,
    }

    #[test]
    fn every_fault_is_told_at_once_and_no_value_is_quoted() {
        let table = "port = \"s3cret\"\ntopik = \"x\"".parse().expect("toml");
        let faults = read::<Sample>(table).expect_err("three faults");
        let told: Vec<String> =
            faults.iter().map(|f| format!("{}: {}", f.key, f.problem)).collect();
        assert!(told.iter().any(|t| t == "topik: unknown key; did you mean `topic`?"), "{told:?}");
        assert!(told.iter().any(|t| t == "team_id: missing"), "{told:?}");
        assert!(told.iter().any(|t| t == "port: invalid type, expected u16"), "{told:?}");
        assert!(!told.concat().contains("s3cret"));
    }
}
