//! OTLP/HTTP (OTLP 1.11, "OTLP/HTTP"): POST requests to answers of the receiver.

mod status;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use self::status::{JSON, PROTOBUF, refused, response, unknown_media_type};
use crate::access::Denied;
use crate::answer::{Answer, Refusal, bounded};
use crate::body::receive;
use crate::decompress::Compression;
use crate::intake::Encoding;
use crate::receiver::{Message, Protocol, Receiver, Signal};

/// Returns the answer to a request that is not let in.
pub(crate) fn denied(denied: Denied, headers: &HeaderMap) -> Response<Body> {
    let refusal = match denied {
        Denied::Token => Refusal::Unauthenticated(denied.message()),
        Denied::Host | Denied::Origin => Refusal::Forbidden(denied.message()),
    };
    refused(&refusal, encoding(headers).unwrap_or(Encoding::Json))
}

/// Answers a request.
pub(crate) async fn request<B>(request: Request<B>, receiver: &Receiver) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let asked = encoding(request.headers());
    let encoding = asked.as_ref().copied().unwrap_or(Encoding::Json);
    let Some(signal) = signal(request.uri().path()) else {
        let path = request.uri().path();
        let message = format!("no such path: `{path}`; OTLP/HTTP traces go to `/v1/traces`");
        return refused(&Refusal::Unknown(bounded(&message)), encoding);
    };
    if request.method() != Method::POST {
        let message = format!("expected POST, found {}", request.method());
        let mut response = refused(&Refusal::Unknown(bounded(&message)), encoding);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if let Err(message) = asked {
        return unknown_media_type(message);
    }
    let answer = export(request, signal, encoding, receiver).await;
    receiver.metrics.answered(Protocol::Http, signal, &answer);
    response(&answer, signal, encoding)
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/metrics" => Some(Signal::Metrics),
        "/v1/logs" => Some(Signal::Logs),
        _ => None,
    }
}

/// Returns the encoding that the media type of a request names.
fn encoding(headers: &HeaderMap) -> Result<Encoding, String> {
    let value = header(headers, &CONTENT_TYPE).unwrap_or_default();
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
        Ok(Encoding::Protobuf)
    } else if media_type.eq_ignore_ascii_case(JSON.as_bytes()) {
        Ok(Encoding::Json)
    } else {
        let found = String::from_utf8_lossy(media_type);
        Err(bounded(&format!("expected content type `{PROTOBUF}` or `{JSON}`, found `{found}`")))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

async fn export<B>(
    request: Request<B>,
    signal: Signal,
    encoding: Encoding,
    receiver: &Receiver,
) -> Answer
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let compression = Compression::parse(header(request.headers(), &CONTENT_ENCODING));
    let limits = &receiver.limits;
    let (bytes_max, time_max) = (limits.message_bytes_max, limits.request_time_max);
    // The body is read also when its compression is not known: who is cut off sees no answer.
    let (in_flight, offload) = (&receiver.in_flight, &receiver.offload);
    let body = receive(request.into_body(), bytes_max, time_max, in_flight, offload).await;
    let (compression, whole) = match (compression, body) {
        (Ok(compression), Ok(whole)) => (compression, whole),
        (Err(refusal), _) | (_, Err(refusal)) => return Answer::Refused(refusal),
    };
    let protocol = Protocol::Http;
    let (bytes, held) = (whole.bytes, whole.held);
    receiver.export(Message { protocol, signal, encoding, compression, bytes, held }).await
}
