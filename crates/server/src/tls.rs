//! [`Tls`]: certificate and key from files, which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::Error;
use crate::intake::locked;

/// Between two looks at whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The name of the thread that looks.
const THREAD_NAME: &str = "timesink-tls";

/// What connections speak (RFC 7301): OTLP/gRPC needs HTTP/2.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of TLS, all of them PEM (RFC 7468).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots of the certificates that clients have to show, if they have to.
    pub client_roots: Option<PathBuf>,
}

/// What connections are encrypted with; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
    seen: Mutex<LastRead>,
}

/// What the files were when they were read last, and whether they could be used: if not, that may
/// change without them.
#[derive(Debug)]
struct LastRead {
    seen: Vec<Seen>,
    are_used: bool,
}

/// By what a file that has changed is told: its time and length.
type Seen = Option<(SystemTime, u64)>;

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] when one cannot be read, or they do not belong together.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, Error> {
        let seen = Mutex::new(LastRead { seen: seen(&files), are_used: true });
        let config = RwLock::new(Arc::new(config(&files)?));
        Ok(Self(Arc::new(Shared { files, config, seen })))
    }

    /// Returns what new connections are accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Reads the files again whenever they change, as long as connections may come. Files that
    /// cannot be used are told to `troubled`, and those before stay in use.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has no thread.
    pub(crate) fn watch(&self, troubled: impl Fn(Error) + Send + 'static) -> Result<(), Error> {
        let shared = Arc::downgrade(&self.0);
        let watch = move || {
            while let Some(shared) = Weak::upgrade(&shared) {
                if let Err(error) = shared.refresh() {
                    troubled(error);
                }
                drop(shared);
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(watch);
        thread.map(drop).map_err(Error::Start)
    }
}

impl Shared {
    fn refresh(&self) -> Result<(), Error> {
        let now = seen(&self.files);
        let mut last = locked(&self.seen);
        let has_changed = last.seen != now;
        if !has_changed && last.are_used {
            return Ok(());
        }
        let read = config(&self.files);
        *last = LastRead { seen: now, are_used: read.is_ok() };
        match read {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                Ok(())
            }
            // Told once.
            Err(error) => {
                if has_changed {
                    Err(error)
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn seen(files: &TlsFiles) -> Vec<Seen> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_roots.as_ref()];
    let look = |path: &PathBuf| {
        let known = std::fs::metadata(path).ok()?;
        Some((known.modified().ok()?, known.len()))
    };
    paths.into_iter().flatten().map(look).collect()
}

fn config(files: &TlsFiles) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&files.certificate, error))?;
    let builder = match &files.client_roots {
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error))?;
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| failed(&files.certificate, error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| failed(path, error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| failed(path, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| failed(path, error))?;
    if found.is_empty() { Err(failed(path, "it has no certificate")) } else { Ok(found) }
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::Tls { path: path.to_owned(), cause: cause.to_string() }
}
