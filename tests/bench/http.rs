//! An HTTP/1.1 client that costs next to nothing: whole requests in, status and body out.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, read: Vec::with_capacity(64 << 10) })
    }

    /// Writes a whole request and reads the whole answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let mut body = None;
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                anyhow::bail!("the connection was closed");
            }
            if body.is_none() {
                body = head(&self.read)?;
            }
            if let Some((status, from, length)) = body
                && self.read.len() >= from + length
            {
                return Ok((status, &self.read[from..from + length]));
            }
        }
    }

    /// The same; anything but success is an error.
    pub(crate) async fn expect(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        let (status, body) = self.call(request).await?;
        if !(200..300).contains(&status) {
            anyhow::bail!("answered {status}: {}", String::from_utf8_lossy(body));
        }
        Ok(body)
    }
}

/// Status, where the body begins, and its length, once the head is complete.
fn head(read: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&read[..end])?;
    let status = text.get(9..12).context("not HTTP/1.1")?.parse()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(Some((status, end + 4, length.unwrap_or(0))))
}

/// A whole request. `key` is a bearer key; an empty one is left out.
pub(crate) fn request(method: &str, path: &str, key: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let authorization = match key {
        "" => String::new(),
        key => format!("authorization: Bearer {key}\r\n"),
    };
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}content-type: {kind}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
