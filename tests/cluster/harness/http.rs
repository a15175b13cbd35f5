//! Just enough HTTP/1.1 to ask a daemon or a service: one request a connection, errors as values.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// A service on the same machine answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer answers are not expected of anything here.
const BODY_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

/// `GET` over TCP from the calling thread's network namespace.
pub fn get(address: Ipv4Addr, port: u16, path: &str) -> io::Result<Response> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    request(stream, "GET", path, None)
}

/// A request to a daemon's socket, in the Docker API's own version.
pub fn api(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    request(stream, method, path, body)
}

fn request(mut stream: impl Read + Write, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut bytes = Vec::new();
    stream.take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off"))
}

/// Status line, headers, body; chunks are put together (RFC 9112, 7.1). None when something is missing.
fn parse(bytes: &[u8]) -> Option<Response> {
    let end = find(bytes, b"\r\n\r\n").or_else(|| find(bytes, b"\n\n").map(|n| n - 2))?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let body = bytes.get(end + 4..)?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let header = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let body = if header("transfer-encoding") == Some("chunked") {
        dechunk(body)?
    } else {
        match header("content-length").and_then(|n| n.parse::<usize>().ok()) {
            Some(length) => body.get(..length)?.to_vec(),
            None => body.to_vec(),
        }
    };
    Some(Response { status, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..line)?).ok()?.trim(), 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// Where `needle` starts in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}

#[test]
fn an_answer_in_chunks_is_put_together_and_a_cut_one_is_refused() {
    let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let response = parse(whole).expect("it is complete");
    assert_eq!((response.status, response.text().as_str()), (200, "abcde"));
    assert!(parse(&whole[..whole.len() - 8]).is_none());
    assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").is_none());
}
