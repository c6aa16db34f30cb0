//! [`Door`]: what stands behind a listener.

use axum::Router;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::access;
use crate::body::discard;
use crate::receiver::Receiver;
use crate::token::Token;
use crate::{grpc, http as otlp_http, web};

/// What requests of a listener are given to, once they are let in.
#[derive(Clone)]
pub(crate) enum Door {
    /// OTLP: calls are told from requests by their media type, so that every address takes both.
    Otlp { receiver: Receiver, token: Option<Token> },
    /// Page, API and metrics.
    Web { router: Router, token: Option<Token> },
}

impl Door {
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self {
            Self::Otlp { receiver, token } => otlp(request, receiver, token.as_ref()).await,
            Self::Web { router, token } => page(request, router, token.as_ref()).await,
        }
    }
}

async fn otlp(
    request: Request<Incoming>,
    receiver: &Receiver,
    token: Option<&Token>,
) -> Response<Body> {
    let is_call = grpc::is_call(request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes));
    let (parts, body) = request.into_parts();
    match (access::check(&parts, token), is_call) {
        (Err(denied), true) => {
            discard(body, receiver.limits.request_time_max).await;
            grpc::denied(denied, receiver)
        }
        (Err(denied), false) => {
            discard(body, receiver.limits.request_time_max).await;
            otlp_http::denied(denied, &parts.headers, receiver)
        }
        (Ok(()), true) => grpc::call(Request::from_parts(parts, body), receiver).await,
        (Ok(()), false) => otlp_http::request(Request::from_parts(parts, body), receiver).await,
    }
}

async fn page(
    request: Request<Incoming>,
    router: &Router,
    token: Option<&Token>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(denied) = access::check(&parts, token)
        && !web::is_open_to_all(parts.uri.path())
    {
        return web::denied(denied);
    }
    let request = Request::from_parts(parts, Body::new(body));
    let Ok(response) = router.clone().oneshot(request).await;
    response
}
