//! A server that speaks TLS only, with certificates made for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use super::Server;

/// Certificates in PEM files: a CA, what it signed for a server on 127.0.0.1 and for a client, and a CA that signed neither.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Makes them all.
    pub fn new() -> Self {
        let certificates = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        let ca = certificates.authority("ca");
        certificates.authority("other-ca");
        certificates.sign(&ca, "server", &["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
        certificates.sign(&ca, "client", &["costguard"], ExtendedKeyUsagePurpose::ClientAuth);
        certificates
    }

    /// The path of `ca.pem`, `other-ca.pem`, `server.pem`, `server-key.pem`, `client.pem` or `client-key.pem`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        self.write(&format!("{name}.pem"), &ca.pem());
        ca
    }

    fn sign(&self, ca: &CertifiedIssuer<'_, KeyPair>, name: &str, hosts: &[&str], purpose: ExtendedKeyUsagePurpose) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("valid parameters");
        params.extended_key_usages.push(purpose);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, ca).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}-key.pem"), &key.serialize_pem());
    }

    fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.path(name), pem).expect("a file in the temporary directory");
    }
}

/// A server whose TLS port takes clients with a certificate of the same CA only, or any.
pub struct TlsServer {
    _server: Server,
    addr: SocketAddr,
}

impl TlsServer {
    /// Starts it.
    pub fn start(certificates: &Certificates, wants_client_certificate: bool) -> Self {
        let path = |name: &str| certificates.path(name).to_string_lossy().into_owned();
        let addr = super::server::free_addr();
        let server = Server::start_with(&[
            "--tls-port",
            &addr.port().to_string(),
            "--tls-cert-file",
            &path("server.pem"),
            "--tls-key-file",
            &path("server-key.pem"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            if wants_client_certificate { "yes" } else { "no" },
        ]);
        Self { _server: server, addr }
    }

    /// Where it speaks TLS.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it speaks plainly.
    pub fn plain_addr(&self) -> SocketAddr {
        self._server.addr()
    }
}
