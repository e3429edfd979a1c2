//! Values that stand elsewhere: `env:NAME` and `file:PATH` in the file, `POSTHORN__SECTION__KEY` in
//! the environment.

use std::collections::HashMap;
use std::path::Path;

use posthorn_vendors::kit::settings::Fault;
use toml::{Table, Value};

/// `POSTHORN__SERVER__LISTEN=…` sets `server.listen`.
pub(super) fn override_from(environment: &HashMap<String, String>, root: &mut Table) {
    let mut names: Vec<&String> =
        environment.keys().filter(|name| name.starts_with("POSTHORN__")).collect();
    names.sort();
    for name in names {
        let path = name["POSTHORN__".len()..].to_ascii_lowercase();
        let mut steps: Vec<&str> = path.split("__").collect();
        let Some(last) = steps.pop() else { continue };
        if let Some(table) = table_at(root, &steps) {
            table.insert(last.to_owned(), value_of(&environment[name]));
        }
    }
}

/// The table these steps lead to, made where there is none.
fn table_at<'t>(root: &'t mut Table, steps: &[&str]) -> Option<&'t mut Table> {
    let Some((first, rest)) = steps.split_first() else { return Some(root) };
    let next = root.entry(*first).or_insert_with(|| Value::Table(Table::new()));
    table_at(next.as_table_mut()?, rest)
}

/// A number, a boolean or an array where it reads as one, else the text itself.
fn value_of(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>();
    match parsed.ok().and_then(|mut table| table.remove("v")) {
        Some(Value::Table(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

/// Where `env:NAME` and `file:PATH` are looked up.
pub(super) struct Sources<'a> {
    pub(super) dir: &'a Path,
    pub(super) environment: &'a HashMap<String, String>,
}

impl Sources<'_> {
    pub(super) fn fill(&self, table: &mut Table, place: &str, faults: &mut Vec<Fault>) {
        for (key, value) in table.iter_mut() {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            self.fill_value(value, &place, faults);
        }
    }

    fn fill_value(&self, value: &mut Value, place: &str, faults: &mut Vec<Fault>) {
        match value {
            Value::Table(table) => self.fill(table, place, faults),
            Value::Array(values) => {
                for value in values {
                    self.fill_value(value, place, faults);
                }
            }
            Value::String(text) => match self.named(text) {
                Some(Ok(named)) => *text = named,
                Some(Err(problem)) => faults.push(Fault::new(place, problem)),
                None => {}
            },
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn named(&self, text: &str) -> Option<Result<String, String>> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = self.environment.get(name).filter(|value| !value.is_empty());
            return Some(value.cloned().ok_or(format!("the environment has no {name}")));
        }
        let path = self.dir.join(text.strip_prefix("file:")?);
        let read = std::fs::read_to_string(&path);
        Some(
            read.map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|err| format!("{} cannot be read: {err}", path.display())),
        )
    }
}
