//! The one TLS configuration: rustls on aws-lc-rs, the platform's roots, or a CA of the operator's.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt;

use super::settings::Fault;

/// A certificate and its key, presented to vendors that authenticate by TLS.
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// A client configuration offering `alpn`. `ca` is PEM text and replaces the platform's roots;
/// a fault speaks of the key `ca`.
pub fn client(
    ca: Option<&str>,
    identity: Option<Identity>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, Fault> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs supports the default protocol versions");
    let builder = match ca {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => builder
            .with_platform_verifier()
            .map_err(|err| Fault::new("ca", format!("no platform roots to trust: {err}")))?,
    };
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|err| Fault::new("certificate", format!("not usable: {err}")))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn roots(pem: &str) -> Result<rustls::RootCertStore, Fault> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate
            .map_err(|err| err.to_string())
            .and_then(|der| roots.add(der).map_err(|err| err.to_string()))
            .map_err(|err| Fault::new("ca", format!("not a PEM certificate: {err}")))?;
    }
    if roots.is_empty() {
        return Err(Fault::new("ca", "holds no PEM certificate; write file:PATH for a file"));
    }
    Ok(roots)
}
