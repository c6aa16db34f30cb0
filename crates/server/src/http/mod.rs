//! OTLP/HTTP (OTLP 1.11, "OTLP/HTTP"): POST requests to answers of the receiver.

mod status;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use self::status::{JSON, MEDIA_TYPES, PROTOBUF, refused, response};
use crate::access::Denied;
use crate::answer::{Answer, Refusal, bounded};
use crate::body::{discard, receive};
use crate::decompress::Compression;
use crate::intake::Encoding;
use crate::receiver::{Message, Protocol, Receiver, Signal};

/// Returns the answer to a request that is not let in.
pub(crate) fn denied(denied: Denied, headers: &HeaderMap, receiver: &Receiver) -> Response<Body> {
    let encoding = encoding(headers).unwrap_or(Encoding::Json);
    refuse(&Wrong::Refused(denied.refusal()), encoding, receiver)
}

/// Answers a request.
pub(crate) async fn request<B>(request: Request<B>, receiver: &Receiver) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    match asked(&request) {
        Ok((signal, encoding)) => {
            let answer = export(request, signal, encoding, receiver).await;
            receiver.metrics.answered(Protocol::Http, Some(signal), &answer);
            response(&answer, signal, encoding)
        }
        Err(wrong) => {
            let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
            discard(request.into_body(), receiver.limits.request_time_max).await;
            refuse(&wrong, encoding, receiver)
        }
    }
}

/// What is wrong with a request, whatever its body holds.
enum Wrong {
    Refused(Refusal),
    Method(Refusal),
    MediaType(Refusal),
}

/// Reads what a request exports, and in which encoding.
fn asked<B>(request: &Request<B>) -> Result<(Signal, Encoding), Wrong> {
    let path = request.uri().path();
    let Some(signal) = signal(path) else {
        let message = format!("no such path: `{path}`; OTLP/HTTP traces go to `/v1/traces`");
        return Err(Wrong::Refused(Refusal::Unknown(bounded(&message))));
    };
    if request.method() != Method::POST {
        let message = format!("expected POST, found {}", request.method());
        return Err(Wrong::Method(Refusal::Unknown(bounded(&message))));
    }
    match encoding(request.headers()) {
        Ok(encoding) => Ok((signal, encoding)),
        Err(message) => Err(Wrong::MediaType(Refusal::Malformed(message))),
    }
}

/// Counts and answers a request that is refused before it is read.
fn refuse(wrong: &Wrong, encoding: Encoding, receiver: &Receiver) -> Response<Body> {
    let (Wrong::Refused(refusal) | Wrong::Method(refusal) | Wrong::MediaType(refusal)) = wrong;
    receiver.metrics.answered(Protocol::Http, None, &Answer::Refused(refusal.clone()));
    let mut response = refused(refusal, encoding);
    let (status, header, value) = match wrong {
        Wrong::Refused(_) => return response,
        Wrong::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, ALLOW, "POST"),
        Wrong::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, ACCEPT, MEDIA_TYPES),
    };
    *response.status_mut() = status;
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
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
    let (in_flight, offload, metrics) = (&receiver.in_flight, &receiver.offload, &receiver.metrics);
    let body = request.into_body();
    let body = receive(body, bytes_max, time_max, in_flight, offload, metrics).await;
    let (compression, whole) = match (compression, body) {
        (Ok(compression), Ok(whole)) => (compression, whole),
        (Err(refusal), _) | (_, Err(refusal)) => return Answer::Refused(refusal),
    };
    let protocol = Protocol::Http;
    let (bytes, held) = (whole.bytes, whole.held);
    receiver.export(Message { protocol, signal, encoding, compression, bytes, held }).await
}
