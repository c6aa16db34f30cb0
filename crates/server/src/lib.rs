//! The receiver: OTLP in over gRPC and HTTP, the live window, the API.
//!
//! Nothing here decides anything: handlers translate, call and translate back. What detects is the
//! engine of `timesink-rules`; what decodes is `timesink-otlp`. Read [`Server`] first, then
//! `receiver`, where both protocols meet, and `live`.

mod access;
mod answer;
mod audit;
mod body;
mod client;
mod connections;
mod decompress;
mod doors;
mod durable;
mod error;
mod flush;
mod grpc;
mod http;
mod intake;
mod keys;
mod live;
mod metrics;
mod offload;
mod options;
mod paced;
mod receiver;
mod redact;
mod server;
mod tls;
mod token;
mod watch;
mod web;

pub use audit::{Act, note_command};
pub use client::Exporter;
pub use error::Error;
pub use keys::{Key, Keys, Role};
pub use live::OnAnalysis;
pub use options::{
    Durability, LiveOptions, ReceiverLimits, RedactionRules, ServerOptions, StoreOptions,
};
pub use redact::{masking, redaction};
pub use server::{Addresses, Purpose, Server};
pub use tls::TlsFiles;
pub use token::Token;
