//! Xiaomi's side of the wire: both send calls on one host.
//!
//! Field rules as at dev.mi.com/xiaomihyperos/documentation/detail?pId=1559, 1560 and 2314 (read
//! 2026-11-22), unknown fields refused. Which code answers a wrong template is not published; the
//! sandbox says 27001 or 10017. Deliberately absent: aliases, topics, sending later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use self::message::{Sent, Wrong};
use super::SPEC;
use crate::sandbox::phones::{Lookup, Phone, Phones, ShownPush, millis};
use crate::sandbox::{Exchange, ReceiptKind, Reply, Simulator};

mod message;

const APP_SECRET: &str = "sandbox+secret/==";
const PACKAGE: &str = "com.example.im";
const ONE_CONTENT: &str = "/v3/message/regid";
const MANY_CONTENTS: &str = "/v2/multi_messages/regids";
/// Receipts can be asked for this many of the latest messages.
const REMEMBERED: usize = 100_000;

/// The simulator.
#[derive(Default)]
pub(super) struct XiaomiHost {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serial: u64,
    /// What each message and target asked of its receipts.
    callbacks: BTreeMap<(String, String), Callback>,
}

/// A message's wish for receipts.
#[derive(Clone)]
struct Callback {
    param: String,
    /// The kinds wanted, as bits.
    kinds: u32,
}

impl XiaomiHost {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_id(&self) -> String {
        let mut state = self.lock();
        state.serial += 1;
        format!("sdm{:012}", state.serial)
    }

    fn send(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        let authorised = exchange.headers.get(header::AUTHORIZATION).is_some_and(|given| {
            given.to_str().is_ok_and(|given| given.strip_prefix("key=") == Some(APP_SECRET))
        });
        let content_type = exchange.headers.get(header::CONTENT_TYPE);
        let is_form = content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next() == Some("application/x-www-form-urlencoded")
        });
        if exchange.method != Method::POST {
            return self.refuse(&Wrong(10021, "POST only".to_owned()));
        }
        if !authorised {
            return self.refuse(&Wrong(21301, "Invalid application secret.".to_owned()));
        }
        if !is_form {
            return self.refuse(&Wrong(10012, "want a form".to_owned()));
        }
        let read = match exchange.uri.path() {
            ONE_CONTENT => message::read_one(exchange.body),
            _ => message::read_many(exchange.body),
        };
        match read {
            Ok(sent) => self.deliver(&sent, phones, exchange.now),
            Err(wrong) => self.refuse(&wrong),
        }
    }

    fn deliver(&self, sent: &[Sent], phones: &Phones, now: SystemTime) -> Reply {
        let id = self.new_id();
        let mut bad = Vec::new();
        for Sent { target, shown, callback } in sent {
            match phones.look_up(SPEC.id, target) {
                Lookup::Installed => {
                    let push = ShownPush { vendor_ref: id.clone(), ..shown.clone() };
                    phones.show(SPEC.id, target, None, push, now);
                    self.remember(&id, target, callback.clone());
                }
                Lookup::Uninstalled(_) | Lookup::Unknown => bad.push(target.as_str()),
            }
        }
        let taken = sent.len() - bad.len();
        if taken == 0 {
            return self.refuse(&Wrong(20301, "No valid targets!".to_owned()));
        }
        let mut data = json!({"id": id, "day_quota": "50000", "day_acked": "0"});
        if !bad.is_empty() {
            data["bad_regids"] = Value::String(bad.join(","));
        }
        let info = format!("Received push messages for {taken} REGID");
        Reply::json(
            200,
            &json!({
                "result": "ok", "trace_id": format!("X{id}"), "code": 0, "data": data,
                "description": "成功", "info": info,
            }),
        )
    }

    fn remember(&self, id: &str, target: &str, callback: Option<Callback>) {
        let Some(callback) = callback else { return };
        let mut state = self.lock();
        state.callbacks.insert((id.to_owned(), target.to_owned()), callback);
        if state.callbacks.len() > REMEMBERED {
            state.callbacks.pop_first();
        }
    }

    fn refuse(&self, Wrong(code, reason): &Wrong) -> Reply {
        Reply::json(
            200,
            &json!({
                "result": "error", "reason": reason, "trace_id": format!("X{}", self.new_id()),
                "code": code, "description": "发送消息失败",
            }),
        )
    }
}

impl Simulator for XiaomiHost {
    /// 64 characters of base64, as real ones, with those that a form must encode.
    fn token(&self, serial: u64) -> String {
        format!("{serial:0>12}+/sandboxPosthorn{:x<34}=", "")
    }

    fn lane(&self, base_url: &str) -> toml::Table {
        let mut lane = toml::Table::new();
        for (key, value) in
            [("package", PACKAGE), ("app_secret", APP_SECRET), ("base_url", base_url)]
        {
            lane.insert(key.to_owned(), value.into());
        }
        lane.insert("channels".to_owned(), message::channels().into());
        lane
    }

    fn answer(&self, exchange: &Exchange<'_>, phones: &Phones) -> Reply {
        match exchange.uri.path() {
            ONE_CONTENT | MANY_CONTENTS => self.send(exchange, phones),
            _ => Reply::empty(404),
        }
    }

    fn refusal(&self, code: &str, _exchange: &Exchange<'_>) -> Reply {
        match code.parse::<i64>() {
            Ok(status @ 400..600) => Reply::empty(u16::try_from(status).unwrap_or(500)),
            Ok(20301) => self.refuse(&Wrong(20301, "No valid targets!".to_owned())),
            Ok(code) => self.refuse(&Wrong(code, "a fault of the sandbox".to_owned())),
            Err(_) => self.refuse(&Wrong(-1, "unknown".to_owned())),
        }
    }

    fn too_many(&self, quota: bool, _after_secs: Option<u64>, exchange: &Exchange<'_>) -> Reply {
        match (quota, exchange.uri.path()) {
            (false, _) => self.refuse(&Wrong(200_002, "over the QPS".to_owned())),
            // This call has no code for it, only a count.
            (true, MANY_CONTENTS) => {
                let data = json!({"id": self.new_id(), "channel_exceed_quota": "100001:1"});
                Reply::json(200, &json!({"result": "ok", "code": 0, "data": data}))
            }
            (true, _) => self.refuse(&Wrong(200_001, "quota: 1000, delivered: 1000".to_owned())),
        }
    }

    /// The secret is static and never ends.
    fn expire_credentials(&self) {}

    /// Only for messages that named an address for it.
    fn receipt(
        &self,
        phone: &Phone,
        shown: &ShownPush,
        kind: ReceiptKind,
        now: SystemTime,
    ) -> Option<(HeaderMap, Bytes)> {
        let bit = match kind {
            ReceiptKind::Delivered => 1,
            ReceiptKind::Clicked => 2,
            ReceiptKind::Uninstalled => 16,
        };
        let key = (shown.vendor_ref.clone(), phone.token.clone());
        let callback = self.lock().callbacks.get(&key).cloned()?;
        if callback.kinds & bit == 0 {
            return None;
        }
        let report = json!({
            "param": callback.param, "type": bit, "targets": phone.token, "jobkey": "",
            "barStatus": "Enable", "timestamp": millis(now),
        });
        let data = json!({ shown.vendor_ref.as_str(): report }).to_string();
        let form =
            form_urlencoded::Serializer::new(String::new()).append_pair("data", &data).finish();
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, content_type);
        Some((headers, Bytes::from(form)))
    }
}

#[cfg(test)]
mod tests;
