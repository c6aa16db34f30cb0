//! [`Error`]: why a server could not start, or a client could not send.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Split by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another address, or an end to what has it.
    #[error("failed to listen on `{address}`: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    /// A token, certificates of clients, or an address of this machine.
    #[error(
        "`{address}` can be reached from other machines: set a token (`TIMESINK_TOKEN` or \
         `--token-file`), ask clients for certificates (`--tls-client-roots-file`), or listen on a \
         loopback address"
    )]
    Open { address: SocketAddr },
    /// A longer token.
    #[error("a token has at least {min} characters of visible ASCII, without spaces")]
    Token { min: usize },
    /// To look at the machine: threads or signals could not be had.
    #[error("failed to start: {0}")]
    Start(std::io::Error),
    /// Other files.
    #[error("failed to read `{}` for TLS: {cause}", path.display())]
    Tls { path: PathBuf, cause: String },
    /// To look at the file, or to bring its key back.
    #[error("failed to read or make the key of the redaction, `{}`: {cause}", path.display())]
    RedactionKey { path: PathBuf, cause: std::io::Error },
    /// To look at the data directory.
    #[error(transparent)]
    Store(#[from] timesink_store::Error),
    /// To look at its tables.
    #[error(transparent)]
    Tables(#[from] timesink_tables::Error),
    /// To look at the server that was sent to.
    #[error("failed to export spans to `{endpoint}`: {reason}")]
    Export { endpoint: String, reason: String },
    /// To report it.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}
