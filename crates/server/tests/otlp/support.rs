//! A server on free ports, requests as bytes, answers as they came.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use timesink_server::{Key, Keys, Purpose, Role, Server, ServerOptions, Token};

/// The year 2100: no span of these tests lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// How long a test waits for an answer that should come at once.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

pub(crate) fn options() -> ServerOptions {
    ServerOptions::new(|| NOW_UNIX_NANO, "0.0.0-test")
}

/// Returns keys with one that is for all.
pub(crate) fn keys_of(token: &Token) -> Keys {
    Keys::new(vec![Key::of("test", Role::Admin, token).expect("a key")])
}

/// Starts a server that collects.
pub(crate) fn server(options: &ServerOptions) -> (Server, SocketAddr) {
    let server = Server::start(options, Purpose::Collect).expect("it starts");
    let address = server.addresses().otlp[0];
    (server, address)
}

/// Returns how many spans came since the last call.
pub(crate) fn spans(server: &Server) -> usize {
    server.take().expect("nothing is lost").spans.iter().map(RecordBatch::num_rows).sum()
}

/// A request with so many good spans and so many without an id.
pub(crate) fn request(good: u64, bad: u64) -> ExportTraceServiceRequest {
    let span = |number: u64, trace_id: Vec<u8>| Span {
        trace_id,
        span_id: number.to_be_bytes().to_vec(),
        name: "GET /".to_owned(),
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 2_000_000_000,
        ..Span::default()
    };
    let good = (1..=good).map(|number| span(number, vec![7; 16]));
    let spans = good.chain((1..=bad).map(|number| span(number, Vec::new()))).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

pub(crate) fn protobuf(good: u64, bad: u64) -> Vec<u8> {
    request(good, bad).encode_to_vec()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("a vector takes all")
}

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns a header's value; names are compared as HTTP does.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request over HTTP/1.1, on a connection of its own, and reads the answer.
pub(crate) fn http1(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = connect(address);
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    // Who is refused may be cut off; what it says is what counts.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read_answer(stream)
}

pub(crate) fn post(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http1(address, "POST", "/v1/traces", headers, body)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration over zero");
    stream
}

/// Reads an answer from a connection that ends with it.
pub(crate) fn read_answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer comes");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// An answer to a gRPC call.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) http: u16,
    /// Headers, and trailers behind them.
    pub(crate) metadata: HeaderMap,
    pub(crate) body: Bytes,
}

impl Called {
    pub(crate) fn code(&self) -> i32 {
        let code = self.metadata.get("grpc-status").and_then(|value| value.to_str().ok());
        code.and_then(|code| code.parse().ok()).expect("a status")
    }

    pub(crate) fn status(&self) -> tonic::Status {
        tonic::Status::from_header_map(&self.metadata).expect("a status")
    }

    /// Returns the message of the answer, without its frame.
    pub(crate) fn message(&self) -> &[u8] {
        assert_eq!(self.body[0], 0, "not compressed");
        let length = u32::from_be_bytes(self.body[1..5].try_into().expect("four bytes"));
        assert_eq!(length as usize, self.body.len() - 5);
        &self.body[5..]
    }
}

/// Returns a message in its frame.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Calls a method with the body of one request, over HTTP/2.
pub(crate) fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Called {
    let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let called = tokio::time::timeout(PATIENCE, exchange(address, request));
        called.await.expect("an answer comes")
    })
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Called {
    let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("an answer comes");
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("a whole body");
    let mut metadata = parts.headers;
    metadata.extend(collected.trailers().cloned().unwrap_or_default());
    Called { http: parts.status.as_u16(), metadata, body: collected.to_bytes() }
}
