//! The server's certificate: read at the start, and again while it runs. A new one that is no good changes nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::domain::config::TlsConfig;

/// Why a certificate or its key is no good.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {what} ({hint})", path.display())]
pub struct TlsError {
    /// The configuration's key.
    pub key: &'static str,
    pub path: PathBuf,
    pub what: String,
    pub hint: &'static str,
}

/// A certificate that connections are served with, and that may be another one for later connections.
pub struct Tls {
    held: Arc<Held>,
    config: Arc<ServerConfig>,
}

struct Held(RwLock<Arc<CertifiedKey>>);

impl Tls {
    pub fn load(files: &TlsConfig) -> Result<Self, TlsError> {
        let held = Arc::new(Held(RwLock::new(Arc::new(read(files)?))));
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| certificate_error(files, &error.to_string(), "a fault of ours"))?;
        let resolver: Arc<dyn ResolvesServerCert> = held.clone();
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        // HTTP/2 carries any number of requests on one connection, which could not be capped.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { held, config: Arc::new(config) })
    }

    /// Reads the files again; connections from now on are served with what they hold. An error changes nothing.
    pub fn reload(&self, files: &TlsConfig) -> Result<(), TlsError> {
        let new = Arc::new(read(files)?);
        *self.held.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Are the files good? As far as it can be told without a client: they are read, and the key fits the certificate.
pub fn check(files: &TlsConfig) -> Result<(), TlsError> {
    read(files).map(drop)
}

fn read(files: &TlsConfig) -> Result<CertifiedKey, TlsError> {
    let key_error =
        |what: &str, hint| TlsError { key: "web.tls.key", path: files.key.clone(), what: what.to_owned(), hint };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<CertificateDer<'static>>, pem::Error>>)
        .map_err(|error| certificate_error(files, &told(&error), "it holds certificates in PEM"))?;
    if chain.is_empty() {
        return Err(certificate_error(files, "there is no certificate in it", "it holds certificates in PEM"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| key_error(&told(&error), "it holds a private key in PEM, without a password"))?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| key_error("the key is of no kind that can be used", "RSA, ECDSA and Ed25519 can"))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(key_error(
            "it is not the key of the certificate",
            "both have to be of one pair, the server's own first",
        )),
        Err(error) => Err(certificate_error(files, &error.to_string(), "it holds certificates in PEM")),
    }
}

fn certificate_error(files: &TlsConfig, what: &str, hint: &'static str) -> TlsError {
    TlsError { key: "web.tls.certificate", path: files.certificate.clone(), what: what.to_owned(), hint }
}

/// Nothing of the file is quoted.
fn told(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is no PEM".to_owned(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
