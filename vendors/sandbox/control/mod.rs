//! The control API: plain HTTP and JSON for the tester, on an address of its own.
//!
//! It has no password. What keeps strangers out is that it listens on loopback, and that a browser
//! led here under another name (DNS rebinding) or by another site's page is turned away.

mod console;
mod door;
mod phones;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use console::{WriteAs, WriteHook};
use phones::PhoneList;

use super::faults::Fault;
use super::host::World;
use super::receipts::{self, ReceiptError};
use super::simulator::ReceiptKind;

const MAX_BODY: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Result<Response<Body>, Refusal>;

/// What the control API works on.
struct Desk {
    world: Arc<World>,
    phones: PhoneList,
}

/// Why a call is refused; the tester reads the text.
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(problem: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, problem.into())
    }

    fn missing(what: impl Into<String>) -> Self {
        Refusal(StatusCode::NOT_FOUND, what.into())
    }
}

/// Takes connections until dropped.
pub(super) async fn listen(listener: TcpListener, world: Arc<World>) {
    let phones = PhoneList::of(world.phones.clone());
    let desk = Arc::new(Desk { world, phones });
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let desk = desk.clone();
        connections.spawn(async move {
            let service = service_fn(|request| call(&desk, request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(tcp), service)
                .await;
            if let Err(err) = served {
                tracing::debug!("control connection ended: {err}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn call(desk: &Desk, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let answered = match door::check(request.headers(), desk.world.allow_remote) {
        Ok(()) => route(desk, request).await,
        Err(why) => Err(Refusal(StatusCode::FORBIDDEN, why.to_owned())),
    };
    Ok(answered
        .unwrap_or_else(|Refusal(status, problem)| told_with(status, &json!({ "error": problem }))))
}

async fn route(desk: &Desk, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_matches('/').to_owned();
    let steps: Vec<&str> = path.split('/').collect();
    let world = &*desk.world;
    match (&head.method, steps.as_slice()) {
        (&Method::POST, ["phones"]) => phones::add(world, &read(body).await?),
        (&Method::GET, ["phones"]) => Ok(raw_json(desk.phones.current())),
        (&Method::GET, ["phones", "events"]) => Ok(desk.phones.events()),
        (&Method::GET, ["phones", id]) => phones::one(world, id),
        (&Method::DELETE, ["phones", id]) => phones::uninstall(world, id),
        (&Method::PUT, ["faults", vendor]) => set_fault(world, vendor, read(body).await?),
        (&Method::DELETE, ["faults"]) => Ok(clear_faults(world)),
        (&Method::GET, ["requests"]) => requests(world, head.uri.query().unwrap_or("")),
        (&Method::POST, ["receipts", vendor]) => receipts(world, vendor, read(body).await?).await,
        (&Method::GET, ["console", page]) => console::page(world, page),
        (&Method::POST, ["console", "write"]) => console::write(world, body).await,
        (method, _) => Err(Refusal::missing(format!("there is no {method} /{path} here"))),
    }
}

fn set_fault(world: &World, vendor: &str, fault: Fault) -> Answer {
    let booth = world.booth(vendor).ok_or_else(|| unknown_vendor(world, vendor))?;
    fault.check().map_err(Refusal::bad)?;
    let answer = told(&json!({ "vendor": vendor, "fault": fault }));
    booth.set_fault(Some(fault));
    Ok(answer)
}

fn clear_faults(world: &World) -> Response<Body> {
    for booth in &world.booths {
        booth.set_fault(None);
    }
    told(&json!({ "cleared": true }))
}

fn requests(world: &World, query: &str) -> Answer {
    let (mut vendor, mut limit) = (None, 100);
    let url = format!("http://sandbox/?{query}");
    let url = reqwest::Url::parse(&url).map_err(|err| Refusal::bad(err.to_string()))?;
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "vendor" => vendor = Some(value.into_owned()),
            "limit" => {
                limit = value.parse().map_err(|_| Refusal::bad("limit must be a number"))?;
            }
            other => return Err(Refusal::bad(format!("unknown parameter `{other}`"))),
        }
    }
    let vendor = vendor.ok_or_else(|| Refusal::bad("say which vendor: ?vendor=…"))?;
    let booth = world.booth(&vendor).ok_or_else(|| unknown_vendor(world, &vendor))?;
    Ok(told(&booth.last(limit)))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptWanted {
    phone: String,
    kind: ReceiptKind,
    #[serde(default)]
    url: Option<String>,
}

async fn receipts(world: &World, vendor: &str, wanted: ReceiptWanted) -> Answer {
    let booth = world.booth(vendor).ok_or_else(|| unknown_vendor(world, vendor))?;
    let phone = world.phones.get(&wanted.phone).filter(|phone| phone.vendor == booth.spec.id);
    let phone =
        phone.ok_or_else(|| Refusal::missing(format!("{vendor} has no phone {}", wanted.phone)))?;
    match receipts::post(world, booth, &phone, wanted.kind, wanted.url).await {
        Ok(posted) => Ok(told(&posted)),
        Err(err @ ReceiptError::None(_)) => Err(Refusal::missing(err.to_string())),
        Err(err @ (ReceiptError::NothingShown | ReceiptError::NoUrl)) => {
            Err(Refusal::bad(err.to_string()))
        }
        Err(err @ ReceiptError::Post(_)) => Err(Refusal(StatusCode::BAD_GATEWAY, err.to_string())),
    }
}

fn unknown_vendor(world: &World, vendor: &str) -> Refusal {
    let known: Vec<&str> = world.booths.iter().map(|booth| booth.spec.id).collect();
    Refusal::missing(format!("there is no vendor {vendor}; there are: {}", known.join(", ")))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|err| Refusal::bad(format!("could not read the body: {err}")))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|err| Refusal::bad(format!("the body is not what this call takes: {err}")))
}

fn told(value: &impl Serialize) -> Response<Body> {
    told_with(StatusCode::OK, value)
}

fn told_with(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("plain structs with string keys always serialise");
    let mut response = raw_json(text.into());
    *response.status_mut() = status;
    response
}

fn raw_json(text: Bytes) -> Response<Body> {
    typed("application/json", text)
}

fn typed(kind: &'static str, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(text).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
