//! [`Exporter`]: an OTLP/gRPC client, for recordings that are sent as a service would.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::{Error, Token};

/// Sends messages to one endpoint; clones share its connection.
#[derive(Debug, Clone)]
pub struct Exporter {
    endpoint: String,
    client: TraceServiceClient<Channel>,
    /// The header that lets it in, if one is asked for.
    authorization: Option<MetadataValue<Ascii>>,
}

impl Exporter {
    /// Connects to an endpoint such as `http://127.0.0.1:4317`.
    ///
    /// # Errors
    ///
    /// [`Error::Export`] when nothing answers there.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        let failed = |reason: String| Error::Export { endpoint: endpoint.to_owned(), reason };
        let parsed = Endpoint::from_shared(endpoint.to_owned());
        let parsed = parsed.map_err(|error| failed(error.to_string()))?;
        let channel = parsed.connect().await.map_err(|error| failed(error.to_string()))?;
        let client = TraceServiceClient::new(channel);
        Ok(Self { endpoint: endpoint.to_owned(), client, authorization: None })
    }

    /// Sends one message. Returns what the receiver had to say of it.
    ///
    /// # Errors
    ///
    /// [`Error::Export`] when the bytes are no `ExportTraceServiceRequest`, or the receiver refuses
    /// them.
    pub async fn export(&self, message: &[u8]) -> Result<Option<String>, Error> {
        let failed = |reason: String| Error::Export { endpoint: self.endpoint.clone(), reason };
        let request = ExportTraceServiceRequest::decode(message);
        let request = request.map_err(|error| failed(error.to_string()))?;
        let mut request = tonic::Request::new(request);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let answer = self.client.clone().export(request).await;
        let answer = answer.map_err(|status| failed(status.to_string()))?;
        Ok(answer.into_inner().partial_success.map(|partial| partial.error_message))
    }

    /// Returns an exporter that gzips what it sends, over the same connection.
    #[must_use]
    pub fn with_gzip(&self) -> Self {
        let client = self.client.clone().send_compressed(tonic::codec::CompressionEncoding::Gzip);
        Self { client, ..self.clone() }
    }

    /// Returns an exporter that shows a token, over the same connection.
    #[must_use]
    pub fn with_token(&self, token: &Token) -> Self {
        Self { authorization: Some(token.header()), ..self.clone() }
    }
}
