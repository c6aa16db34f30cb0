//! [`Door`]: what stands behind a listener.

use axum::Router;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::access;
use crate::audit::{Asked, Audit};
use crate::body::discard;
use crate::keys::{Keys, Role};
use crate::receiver::Receiver;
use crate::{grpc, http as otlp_http, web};

/// What requests of a listener are given to, once they are let in. Where clients have shown
/// certificates, they need not name this machine.
#[derive(Clone)]
pub(crate) enum Door {
    /// OTLP: calls are told from requests by their media type, so that every address takes both.
    Otlp { receiver: Receiver, keys: Keys, is_certified: bool },
    /// Page, API and metrics.
    Web { router: Router, keys: Keys, is_certified: bool, audit: Option<Audit> },
}

impl Door {
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self {
            Self::Otlp { receiver, keys, is_certified } => {
                otlp(request, receiver, (keys, *is_certified)).await
            }
            Self::Web { router, keys, is_certified, audit } => {
                page(request, router, (keys, *is_certified), audit.as_ref()).await
            }
        }
    }
}

async fn otlp(
    request: Request<Incoming>,
    receiver: &Receiver,
    (keys, is_certified): (&Keys, bool),
) -> Response<Body> {
    let is_call = grpc::is_call(request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes));
    let (parts, body) = request.into_parts();
    match (access::check(&parts, keys, Role::Ingest, is_certified), is_call) {
        (Err(denied), true) => {
            discard(body, receiver.limits.request_time_max).await;
            grpc::denied(denied, receiver)
        }
        (Err(denied), false) => {
            discard(body, receiver.limits.request_time_max).await;
            otlp_http::denied(denied, &parts.headers, receiver)
        }
        (Ok(_), true) => grpc::call(Request::from_parts(parts, body), receiver).await,
        (Ok(_), false) => otlp_http::request(Request::from_parts(parts, body), receiver).await,
    }
}

/// Bytes of a path that are audited: whoever asks for longer ones must not fill the disk.
const PATH_BYTES_MAX: usize = 1024;

/// Returns the beginning of a path, marked as such if it is not all of it.
fn cut(path: &str) -> String {
    match path.get(..PATH_BYTES_MAX) {
        Some(start) if start.len() < path.len() => format!("{start}..."),
        _ => path.to_owned(),
    }
}

async fn page(
    request: Request<Incoming>,
    router: &Router,
    (keys, is_certified): (&Keys, bool),
    audit: Option<&Audit>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let is_open = web::is_open_to_all(parts.uri.path());
    let checked = access::check(&parts, keys, Role::Read, is_certified);
    let token = checked.ok().flatten().map(|key| key.name().to_owned());
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let what = format!("{} {}", parts.method, cut(path));
    let response = match checked {
        Err(denied) if !is_open => web::denied(denied),
        _ => {
            let request = Request::from_parts(parts, Body::new(body));
            let Ok(response) = router.clone().oneshot(request).await;
            response
        }
    };
    if let Some(audit) = audit.filter(|_| !is_open) {
        audit.note(&Asked { token, what, status: Some(response.status().as_u16()) });
    }
    response
}
