//! `posthorn check`: what is wrong, what is missing, what is still to be applied for.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, block_on};
use crate::config::{self, Config};
use crate::model::{Clock, SystemClock};
use crate::push::LaneSettings;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Ask each vendor whether the credential is good; sends nothing to any phone
    #[arg(long)]
    probe: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found of one lane.
struct Finding {
    app: String,
    lane: String,
    vendor: &'static str,
    probe: Option<Result<String, String>>,
    advice: Vec<String>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    let findings = block_on(async { Ok(look(&config, arguments.probe).await) })?;
    if arguments.json {
        say!("{}", as_json(&findings));
    } else {
        tell(&config, &findings);
    }
    if findings.iter().any(|finding| matches!(finding.probe, Some(Err(_)))) {
        return Err(Failure::Told);
    }
    Ok(())
}

async fn look(config: &Config, probe: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for lane in config.apps.iter().flat_map(|app| &app.lanes) {
        findings.push(Finding {
            app: lane.app.to_string(),
            lane: lane.name.to_string(),
            vendor: lane.vendor_id,
            probe: if probe { Some(ask(lane).await) } else { None },
            advice: lane.vendor.advice().iter().map(ToString::to_string).collect(),
        });
    }
    findings
}

async fn ask(lane: &LaneSettings) -> Result<String, String> {
    let now = SystemClock.now().into();
    match tokio::time::timeout(Duration::from_secs(15), lane.vendor.probe(now)).await {
        Ok(answer) => answer.map_err(|reason| reason.to_string()),
        Err(_) => Err("no answer within 15 s".to_owned()),
    }
}

fn tell(config: &Config, findings: &[Finding]) {
    say!("the configuration is sound: {} app(s), {} lane(s)", config.apps.len(), findings.len());
    if config.admin_key.is_none() {
        say!("  admin.key is not set: `posthorn why`, metrics and dead letters are closed");
    }
    for app in config.apps.iter().filter(|app| app.lanes.is_empty()) {
        say!("  app {} has no lane: its events ring nobody", app.name);
    }
    for finding in findings {
        say!("{} / {} ({})", finding.app, finding.lane, finding.vendor);
        match &finding.probe {
            Some(Ok(checked)) => say!("  probe: {checked}"),
            Some(Err(why)) => say!("  probe FAILED: {why}"),
            None => {}
        }
        for advice in &finding.advice {
            say!("  - {advice}");
        }
    }
}

fn as_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        let probe = finding.probe.as_ref().map(|probe| match probe {
            Ok(checked) => json!({"ok": true, "detail": checked}),
            Err(why) => json!({"ok": false, "detail": why}),
        });
        json!({
            "app": finding.app, "lane": finding.lane, "vendor": finding.vendor,
            "probe": probe, "advice": finding.advice,
        })
    };
    json!({"lanes": findings.iter().map(one).collect::<Vec<_>>()})
}
