//! Child processes and what the kernel says of them: CPU, memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// Ticks a second in /proc/PID/stat on every Linux of ours.
const TICKS: f64 = 100.0;

/// A child that ends with this value.
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Process> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("could not start {}", command.get_program().display()))?;
        Ok(Process { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds used so far, user and system, ended threads included.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        cpu_of(&self.id().to_string())
    }

    /// Resident memory in MB.
    pub(crate) fn rss(&self) -> anyhow::Result<f64> {
        memory_of(&self.id().to_string(), "VmRSS:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// This process's CPU seconds.
pub(crate) fn own_cpu() -> anyhow::Result<f64> {
    cpu_of("self")
}

/// This process's resident memory in MB.
pub(crate) fn own_rss() -> anyhow::Result<f64> {
    memory_of("self", "VmRSS:")
}

fn cpu_of(process: &str) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has another form")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> {
        Ok(fields.get(at).context("/proc/PID/stat is too short")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

fn memory_of(process: &str, key: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
    let kb: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kb / 1024.0)
}

/// Cores and memory, for the table's head.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let memory: f64 =
        value(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
    let model = value(&read("/proc/cpuinfo"), "model name");
    format!("{cores} cores ({model}), {:.0} GiB", memory / 1024.0 / 1024.0)
}

/// The value at `share` (0 to 1) of the sorted sample.
pub(crate) fn at_share(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((sorted.len() as f64 * share) as usize).min(last)).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    at_share(&values, 0.5)
}

/// `p50 / p99 / p99.9 / max`, in milliseconds.
pub(crate) fn percentiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share| at_share(&values, share);
    format!("{:.2} / {:.2} / {:.2} / {:.1} ms", at(0.5), at(0.99), at(0.999), at(1.0))
}

pub(crate) fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}
