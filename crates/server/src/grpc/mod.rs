//! OTLP/gRPC (OTLP 1.11, "OTLP/gRPC"): unary calls over HTTP/2 to answers of the receiver.

mod frame;
mod status;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use self::frame::{HEADER_BYTES, parse};
use self::status::response;
use crate::access::Denied;
use crate::answer::{Answer, Refusal};
use crate::body::{discard, receive};
use crate::decompress::Compression;
use crate::intake::Encoding;
use crate::receiver::{Message, Protocol, Receiver, Signal};

/// The header that names the compression of messages; HTTP's own has another meaning here.
const GRPC_ENCODING: &str = "grpc-encoding";

/// Returns whether a request is a gRPC call.
pub(crate) fn is_call(content_type: Option<&[u8]>) -> bool {
    let rest = content_type.and_then(|text| text.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Returns the answer to a call that is not let in.
pub(crate) fn denied(denied: Denied, receiver: &Receiver) -> Response<Body> {
    refused(denied.refusal(), receiver)
}

/// Counts and answers a call that is refused before it is known what it exports.
fn refused(refusal: Refusal, receiver: &Receiver) -> Response<Body> {
    let answer = Answer::Refused(refusal);
    receiver.metrics.answered(Protocol::Grpc, None, &answer);
    response(&answer)
}

/// Answers a call.
pub(crate) async fn call<B>(request: Request<B>, receiver: &Receiver) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let Some(signal) = signal(request.uri().path()) else {
        let message = format!("no such method: `{}`", request.uri().path());
        discard(request.into_body(), receiver.limits.request_time_max).await;
        return refused(Refusal::Unknown(crate::answer::bounded(&message)), receiver);
    };
    if request.method() != Method::POST {
        let message = format!("expected POST, found {}", request.method());
        discard(request.into_body(), receiver.limits.request_time_max).await;
        let refusal = Refusal::Protocol(crate::answer::bounded(&message));
        receiver.metrics.answered(Protocol::Grpc, Some(signal), &Answer::Refused(refusal));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    let exported = export(request, signal, receiver).await;
    let answer = exported.unwrap_or_else(Answer::Refused);
    receiver.metrics.answered(Protocol::Grpc, Some(signal), &answer);
    response(&answer)
}

/// The methods of the collector services (opentelemetry-proto 1.11).
fn signal(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

async fn export<B>(
    request: Request<B>,
    signal: Signal,
    receiver: &Receiver,
) -> Result<Answer, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let named = request.headers().get(GRPC_ENCODING).map(http::HeaderValue::as_bytes);
    let named = named.map(<[u8]>::to_vec);
    let limits = &receiver.limits;
    let (bytes_max, time_max) = (limits.message_bytes_max, limits.request_time_max);
    let body = request.into_body();
    let (in_flight, offload, metrics) = (&receiver.in_flight, &receiver.offload, &receiver.metrics);
    let bytes_max_framed = bytes_max + HEADER_BYTES;
    let body = receive(body, bytes_max_framed, time_max, in_flight, offload, metrics).await;
    let whole = body?;
    let frame = parse(&whole.bytes, bytes_max)?;
    let compression = match (frame.is_compressed, Compression::parse(named.as_deref())?) {
        (false, _) => Compression::Identity,
        (true, Compression::Identity) => {
            let message = "the frame is marked as compressed, but no `grpc-encoding` says how";
            return Err(Refusal::Protocol(message.to_owned()));
        }
        (true, compression) => compression,
    };
    let message = Message {
        protocol: Protocol::Grpc,
        signal,
        encoding: Encoding::Protobuf,
        compression,
        bytes: frame.message,
        held: whole.held,
    };
    Ok(receiver.export(message).await)
}
