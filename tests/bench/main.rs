//! The benchmark: one command, one table, everything compared in one run. See README.md.
//!
//! Deliberately absent: pass and fail. Figures of one run stand against each other; a clock decides
//! nothing.

#![expect(clippy::print_stdout, reason = "the table is the output")]

mod http;
mod latency;
mod load;
mod process;
mod scale;
mod sender;
mod soak;
mod stage;
mod throughput;

use std::path::Path;
use std::process::ExitCode;

/// The same allocator for every process, so that none is ahead by it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) ratio: String,
    pub(crate) aim: &'static str,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>) -> Row {
        Row { name: name.into(), value: value.into(), ratio: String::new(), aim: "" }
    }

    pub(crate) fn ratio(self, ratio: f64, aim: &'static str) -> Row {
        Row { ratio: format!("{ratio:.2}"), aim, ..self }
    }

    pub(crate) fn aim(self, aim: &'static str) -> Row {
        Row { aim, ..self }
    }
}

const PARTS: [&str; 6] = ["throughput", "latency", "fanout", "bulkhead", "scale", "soak"];

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("bench: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider is installed already");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sender", kind, dir, count] => {
            let told = runtime.block_on(sender::run(kind, Path::new(dir), count.parse()?))?;
            println!("{}", serde_json::to_string(&told)?);
            Ok(())
        }
        ["profile", what] => runtime.block_on(throughput::endless(what)),
        [] => runtime.block_on(table(&PARTS, false)),
        [part] if PARTS.contains(part) => runtime.block_on(table(&[part], true)),
        _ => anyhow::bail!("the parts are {}", PARTS.join(", ")),
    }
}

/// `alone`: asked for by name, so it may take its time.
async fn table(parts: &[&str], alone: bool) -> anyhow::Result<()> {
    println!("{}\n", process::machine());
    let mut rows = Vec::new();
    for part in parts {
        eprintln!("… {part}");
        let more = match *part {
            "throughput" => throughput::rows().await,
            "latency" => latency::rows().await,
            "fanout" => throughput::fan_out().await,
            "bulkhead" => latency::bulkhead().await,
            "scale" => scale::rows().await,
            "soak" => soak::rows(if alone { 10_000_000 } else { 500_000 }).await,
            other => anyhow::bail!("there is no part {other}"),
        };
        match more {
            Ok(more) => rows.extend(more),
            Err(err) => rows.push(Row::new(*part, format!("did not finish: {err:#}"))),
        }
    }
    print(&rows);
    Ok(())
}

fn print(rows: &[Row]) {
    println!("| what | measured | of R | aim |\n| --- | --- | --- | --- |");
    for Row { name, value, ratio, aim } in rows {
        println!("| {name} | {value} | {ratio} | {aim} |");
    }
}
