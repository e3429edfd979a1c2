//! The sandbox's own certificate authority and the one server certificate it signs.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Made anew at every start; lives in memory and, its public half, in `ca.pem`.
pub struct Authority {
    ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    /// A new authority and a certificate for `127.0.0.1`, `localhost` and `host`.
    pub fn new(host: IpAddr) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Posthorn sandbox");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?;
        let issuer = Issuer::new(params, ca_key);

        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), host.to_string()];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Posthorn sandbox vendor");
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(Authority {
            ca_pem: ca.pem(),
            chain: vec![leaf.der().clone()],
            key: key.serialize_der(),
        })
    }

    /// The certificate that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A server that offers these protocols.
    pub fn server(&self, alpn: &[&str]) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(self.chain.clone(), key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
