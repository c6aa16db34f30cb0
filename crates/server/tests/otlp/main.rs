//! The sentences of OTLP 1.11 that bind a server, each with its section, over real sockets.

mod clients;
mod grpc;
mod hostile;
mod http;
mod support;
