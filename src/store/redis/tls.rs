//! TLS: whom to trust, and what to show the server.
//!
//! The connector is ours and not the redis crate's: that one takes the process's crypto provider, which panics where a
//! program's dependencies bring two, and reads the roots anew for each connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::error::{Error, ErrorKind, Result};

/// How to encrypt: by default the server's certificate must be signed by a public authority (those that Mozilla trusts) and
/// be made out to the host it is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) insecure: bool,
}

impl Tls {
    /// Public authorities, no client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates in this PEM file, and no public authority.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// Shows the server the certificate in one PEM file, with the key in another.
    #[must_use]
    pub fn client_certificate(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.cert, self.key) = (Some(cert.into()), Some(key.into()));
        self
    }

    /// Accepts any certificate: whoever answers can read and change everything, passwords too. For trials only; connecting
    /// logs a warning.
    #[must_use]
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// What makes connections; the files are read now.
    pub(super) fn connector(&self) -> Result<TlsConnector> {
        let provider = Arc::new(ring::default_provider());
        let roots = match &self.ca {
            Some(path) => read_roots(path)?,
            None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|err| Error::with_source(ErrorKind::Invalid, "TLS cannot be set up", err))?
            .with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = read_certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|err| unreadable(key, err))?;
                builder.with_client_auth_cert(chain, secret).map_err(|err| {
                    let both =
                        format!("{} and {} are no certificate with its key: {err}", cert.display(), key.display());
                    Error::with_source(ErrorKind::Invalid, both, err)
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        if self.insecure {
            config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate(provider)));
        }
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|err| {
            Error::with_source(ErrorKind::Invalid, format!("{} holds no usable CA: {err}", path.display()), err)
        })?;
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(|err| unreadable(path, err))? {
        none if none.is_empty() => {
            Err(Error::invalid(format!("{} holds no certificate: a PEM file is expected", path.display())))
        }
        certificates => Ok(certificates),
    }
}

fn unreadable(path: &Path, err: rustls::pki_types::pem::Error) -> Error {
    Error::with_source(ErrorKind::Invalid, format!("{} cannot be read as PEM: {err}", path.display()), err)
}

/// Takes every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
