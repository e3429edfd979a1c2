//! Builds every room from the configuration, connects them, starts and drains them. Floor 4.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::auth::Keys;
use crate::api::door::Door;
use crate::api::{self, Api};
use crate::config::{Config, StoreUrl};
use crate::ingest::events::{self, Ingest};
use crate::model::{AppId, Clock, SystemClock};
use crate::push::{Accept, AppRules, LaneSettings, Pipeline};
use crate::store::embedded::Embedded;
use crate::store::{Health, Store};
use crate::telemetry::Metrics;

/// How long requests and vendor calls in the air may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(25);
/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(10);

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    pub pipeline: Arc<Pipeline>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    serving: TaskTracker,
}

impl Gateway {
    /// Opens the store, starts the pipeline, then binds the port.
    pub async fn start(config: Config) -> anyhow::Result<Gateway> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let StoreUrl::Embedded(directory) = &config.store;
        let store = Embedded::open(directory, clock.clone())
            .with_context(|| format!("could not open the store in {}", directory.display()))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let metrics = Arc::new(Metrics::default());
        let mut rules: HashMap<AppId, AppRules> = HashMap::new();
        let mut lanes: Vec<LaneSettings> = Vec::new();
        let mut keys = Vec::new();
        for app in config.apps {
            rules.insert(app.name, app.rules);
            lanes.extend(app.lanes);
            keys.push(app.keys);
        }
        let apps: Arc<[AppId]> = rules.keys().cloned().collect();
        let accept = Arc::new(Accept::new(store.clone(), metrics.clone(), rules.clone()));
        let pipeline =
            Arc::new(Pipeline::start(store.clone(), clock.clone(), metrics.clone(), rules, lanes));
        let door = Arc::new(Door {
            keys: Keys::new(config.admin_key.as_ref(), keys),
            clock,
            metrics,
            max_body_bytes: config.max_body_bytes,
        });
        let routes = events::routes(Ingest { door: door.clone(), accept: accept.clone() }).merge(
            api::routes(Api {
                door,
                store: store.clone(),
                accept,
                pipeline: pipeline.clone(),
                apps,
            }),
        );
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("could not listen on {} (server.listen)", config.listen))?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let serving = TaskTracker::new();
        serving.spawn(serve(listener, routes, stop.clone(), serving.clone()));
        serving.spawn(watch_store(store.clone(), stop.clone()));
        Ok(Gateway { address, pipeline, store, stop, serving })
    }

    /// Puts the lanes of a new configuration in force. The rest needs a restart.
    pub fn reload(&self, config: Config) {
        let lanes = config.apps.into_iter().flat_map(|app| app.lanes).collect();
        self.pipeline.configure(lanes);
    }

    /// Takes no more requests, finishes those in the air and the vendor calls under way, and
    /// returns. Whatever is left is on disk and due at the next start.
    pub async fn drain(self) {
        self.stop.cancel();
        self.serving.close();
        let drained = async {
            self.serving.wait().await;
            self.pipeline.drain().await;
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(
                "not everything in the air finished in time; it is due at the next start"
            );
        }
        drop(self.store);
    }
}

async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
    serving: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(err) => {
                // Out of file handles, usually: waiting lets some be closed.
                tracing::warn!(error = %err, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // A small answer must not wait for a delayed acknowledgement.
        if let Err(err) = stream.set_nodelay(true) {
            tracing::debug!(error = %err, "could not switch Nagle's algorithm off");
        }
        let service = TowerToHyperService::new(routes.clone());
        let stop = stop.clone();
        serving.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(err) = ended {
                tracing::debug!(error = %err, "a connection broke off");
            }
        });
    }
}

/// A commit that hangs never comes back (fjall-rs/fjall#323): the process ends, and starts again
/// with everything it ever acknowledged.
async fn watch_store(store: Arc<dyn Store>, stop: CancellationToken) {
    let mut told = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return,
        }
        if store.health() != Health::Stalled {
            told = false;
            continue;
        }
        if told {
            tracing::error!("the store's commit still hangs; ending the process for a restart");
            std::process::exit(70);
        }
        // One more second, in which /readyz has said so.
        tracing::error!("a commit has been hanging for 10 s");
        told = true;
    }
}
