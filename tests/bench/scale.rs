//! Memory and start-up, empty and with a million devices.

use std::path::Path;
use std::sync::Arc;

use posthorn::model::{Clock, Device, SystemClock};
use posthorn::store::embedded::Embedded;
use posthorn::store::{Changes, Commit, Registration};
use posthorn_vendors::Token;

use crate::Row;
use crate::process::median;
use crate::stage::{Gateway, Sandbox};

const DEVICES: usize = 1_000_000;
const STARTS: usize = 5;

pub(crate) async fn rows() -> anyhow::Result<Vec<Row>> {
    let sandbox = Sandbox::start()?;
    let empty = sandbox.dir().join("empty");
    let full = sandbox.dir().join("full");
    fill(&full).await?;
    let (idle, idle_start) = start(&sandbox, &empty).await?;
    let (loaded, loaded_start) = start(&sandbox, &full).await?;
    Ok(vec![
        Row::new(
            "RSS idle, nothing stored",
            format!("{idle:.0} MB, ready after {idle_start:.2} s"),
        ),
        Row::new("RSS with 1,000,000 devices", format!("{loaded:.0} MB")).aim("≤ 150 MB"),
        Row::new("start to ready with 1,000,000 devices", format!("{loaded_start:.2} s"))
            .aim("≤ 1 s"),
    ])
}

/// Memory a second after the start, and how long the start took; medians.
async fn start(sandbox: &Sandbox, store: &Path) -> anyhow::Result<(f64, f64)> {
    let (mut memory, mut took) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let gateway = Gateway::start(sandbox, store).await?;
        took.push(gateway.ready_after.as_secs_f64());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        memory.push(gateway.process.rss()?);
    }
    Ok((median(memory), median(took)))
}

async fn fill(path: &Path) -> anyhow::Result<()> {
    const AT_ONCE: usize = 1000;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Embedded::open(path, clock.clone())?;
    for first in (0..DEVICES).step_by(AT_ONCE) {
        let register = (first..first + AT_ONCE).map(|at| registration(at, &*clock)).collect();
        let changes = Changes { register, durable: true, ..Changes::default() };
        store.commit(changes.into()).await?;
    }
    Ok(())
}

fn registration(at: usize, clock: &dyn Clock) -> Registration {
    Registration {
        app: "demo".into(),
        user: format!("user-{at}").into(),
        device: Device {
            id: format!("device-{at}").into(),
            lane: "apns".into(),
            token: Token::new(format!("{at:064x}")),
            locale: Some("zh-Hans-CN".into()),
            time_zone: Some("Asia/Shanghai".into()),
            app_version: Some("8.3.1".into()),
            model: Some("iPhone17,1".into()),
            generation: 0,
            registered_at: clock.now(),
        },
        must_prove: false,
    }
}
