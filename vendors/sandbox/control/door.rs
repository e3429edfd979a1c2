//! Who may come in: callers that name this machine, and pages that came from it.

use std::net::IpAddr;

use http::{HeaderMap, header};

/// Turns away a browser that was led here. `remote` also lets any numeric address pass, for a
/// sandbox that other machines are meant to reach; names never pass, so rebinding fails there too.
pub(super) fn check(headers: &HeaderMap, remote: bool) -> Result<(), &'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or("a request without Host is not taken")?;
    if !is_here(host, remote) {
        return Err("Host must be a loopback address or localhost");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    match origin {
        Some(origin) if is_here(origin, remote) => Ok(()),
        _ => Err("pages of other sites may not call this"),
    }
}

fn is_here(authority: &str, remote: bool) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.is_ok_and(|ip| remote || ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_pages_pass() {
        let asked = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            }
            check(&headers, false).is_ok()
        };
        assert!(asked("127.0.0.1:8080", None));
        assert!(asked("localhost:8080", Some("http://localhost:8080")));
        assert!(asked("[::1]:8080", None));
        assert!(!asked("evil.example:8080", None));
        assert!(!asked("127.0.0.1.evil.example", None));
        assert!(!asked("192.168.1.5:8080", None));
        assert!(!asked("127.0.0.1:8080", Some("https://evil.example")));
        assert!(!asked("127.0.0.1:8080", Some("null")));
    }
}
