//! UserSig, TLSSigAPIv2: how an app's users prove who they are.
//!
//! Zlib-deflated JSON in base64 with `+ / =` written as `* - _`, signed by HMAC-SHA256 over the
//! named lines. Source: <https://cloud.tencent.com/document/product/269/34385>, and the behaviour
//! of npm `tls-sig-api-v2` 1.0.2 and PyPI `tls-sig-api-v2` 1.1, whose outputs differ in form but
//! not in meaning: so the HMAC is recomputed from the parsed values, never compared as text.

use std::io::Read;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use posthorn_vendors::Secret;
use serde::Deserialize;

use crate::model::Millis;

/// The longest signature looked at, and the most it may inflate to.
const LONGEST: usize = 4096;

/// Why a UserSig is refused. The codes are Tencent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    #[error("the UserSig has expired; sign a new one")]
    Expired,
    #[error("the UserSig is empty")]
    Empty,
    #[error("the UserSig cannot be decoded")]
    Malformed,
    #[error("the UserSig was signed with another key")]
    WrongKey,
    #[error("the UserSig is for another SDKAppID, or this app has no user_sig_key")]
    OtherApp,
}

impl SigError {
    pub fn code(self) -> &'static str {
        match self {
            SigError::Expired => "user_sig_70001",
            SigError::Empty => "user_sig_70002",
            SigError::Malformed => "user_sig_70003",
            SigError::WrongKey => "user_sig_70009",
            SigError::OtherApp => "user_sig_70014",
        }
    }
}

/// What a UserSig says; true only once verified.
#[derive(Deserialize)]
pub struct Claims {
    #[serde(rename = "TLS.ver")]
    version: String,
    #[serde(rename = "TLS.identifier")]
    pub identifier: String,
    #[serde(rename = "TLS.sdkappid")]
    pub sdk_app_id: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.time")]
    time: u64,
    #[serde(rename = "TLS.userbuf")]
    user_buf: Option<String>,
    #[serde(rename = "TLS.sig")]
    sig: String,
}

/// Decodes a UserSig without believing it.
pub fn read(sig: &str) -> Result<Claims, SigError> {
    if sig.is_empty() {
        return Err(SigError::Empty);
    }
    if sig.len() > LONGEST {
        return Err(SigError::Malformed);
    }
    let base64: String = sig
        .chars()
        .map(|c| match c {
            '*' => '+',
            '-' => '/',
            '_' => '=',
            other => other,
        })
        .collect();
    let deflated = STANDARD.decode(base64).map_err(|_| SigError::Malformed)?;
    let mut json = Vec::new();
    // A few bytes can inflate to gigabytes: what is longer than any real one is not read.
    ZlibDecoder::new(&*deflated)
        .take(LONGEST as u64)
        .read_to_end(&mut json)
        .map_err(|_| SigError::Malformed)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| SigError::Malformed)?;
    if claims.version != "2.0" {
        return Err(SigError::Malformed);
    }
    Ok(claims)
}

impl Claims {
    /// Whether the app signed this, and it still stands.
    pub fn verify(&self, key: &Secret, now: Millis) -> Result<(), SigError> {
        let mut text = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.sdk_app_id, self.time, self.expire
        );
        if let Some(buf) = &self.user_buf {
            text.push_str(&format!("TLS.userbuf:{buf}\n"));
        }
        let sig = STANDARD.decode(&self.sig).map_err(|_| SigError::Malformed)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
        hmac::verify(&key, text.as_bytes(), &sig).map_err(|_| SigError::WrongKey)?;
        if now.0 / 1000 >= self.time.saturating_add(self.expire) {
            return Err(SigError::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "eJw1ycEKgkAUheF3uVtDriYZAy1caFADiQWtJ*dOXsoanEGE6N0Dx87ufP8HLvIcjzSAgDRGWM2fNb08G55ZPbmlJTj9UNayBpFkGJaE4rknEEm*KAalyfJAIDaYbf-m*A4CbvV17zrXRmMla6rKWkW*MW*Z5gdbHLExVS*jbj2dsNjB9wetYDAw";
    const PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkEnMyk1NhUsUp2YkFBZkpQAlDEwMIMITKpVYUZBalAmXMDEwsDAygoiWZuSAxQ3Ooaph4cWY6yPSkgHD34oziZO0yN5*AVDfXgETtkqC0fB8jc68CR2*DoDS3XB-tDOMKfwNHW6VaAB*pMZA_";
    const UTF8: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBws*nrHjWsV3XECpXnJKdWFCQmaJkZWQABkYQ8ZLM3FQlK0NzAyiAiKZWFGQWgcRNTU2N4KLFmelKVkr*RmZ5RpWl5h6hoYbpyamhqYbluVGu*Zn5qZEhYRX6*mbmeaE*Zmna5s7Ftkq1ADHLMvw_";

    fn key() -> Secret {
        Secret::new("0123456789abcdef".repeat(4))
    }

    #[test]
    fn what_tencents_own_libraries_sign_is_believed() {
        let now = Millis(1_700_000_000_000);
        for (sig, who, app) in
            [(NODE, "alice", 1400000001), (PYTHON, "alice", 1400000001), (UTF8, "用户-1", 20000002)]
        {
            let claims = read(sig).expect("decodes");
            assert_eq!(claims.verify(&key(), now), Ok(()));
            assert_eq!((claims.identifier.as_str(), claims.sdk_app_id), (who, app));
        }
    }

    #[test]
    fn an_expired_or_foreign_or_forged_one_is_not() {
        let claims = read(NODE).expect("decodes");
        let late = Millis((1_700_000_000 + 604_800) * 1000);
        assert_eq!(claims.verify(&key(), late), Err(SigError::Expired));
        let now = Millis(1_700_000_000_000);
        assert_eq!(claims.verify(&Secret::new("other"), now), Err(SigError::WrongKey));
        let forged = Claims { identifier: "bob".into(), ..claims };
        assert_eq!(forged.verify(&key(), now), Err(SigError::WrongKey));
    }

    #[test]
    fn an_inflating_bomb_is_not_unpacked() {
        use flate2::{Compression, write::ZlibEncoder};
        use std::io::Write;
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b' '; 2 << 20]).expect("to memory");
        let bomb = STANDARD.encode(bomb.finish().expect("to memory"));
        let sig = bomb.replace('+', "*").replace('/', "-").replace('=', "_");
        assert!(sig.len() <= LONGEST, "the bomb must get past the length check");
        assert_eq!(read(&sig).err(), Some(SigError::Malformed));
    }
}
