//! Which certificate a handshake gets: the one of its site, or what is shown instead.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::super::{SandboxError, lock};
use super::sites::{Served, site_for};
use super::{Shared, files};

/// What handshakes get instead of the certificate of their site
///
/// Files are read at each handshake. Where they cannot be used the handshake is refused.
#[derive(Clone, Debug)]
pub enum Instead {
    /// The live certificate of this lineage
    Lineage(String),
    /// The newest generation below the live one; as long as there is none, what is served
    Previous,
    /// Any pair, an expired one say
    Pair {
        /// Certificates, the leaf first
        chain_pem: String,
        /// Key of the leaf
        key_pem: String,
    },
    /// A certificate for the name that no CA signed
    SelfSigned,
    /// The certificate that is served, without those above it
    LeafOnly,
    /// The handshake is refused
    Nothing,
}

/// What is shown instead, ready to be used
pub(super) enum Departure {
    Lineage(String),
    Previous,
    Made(Arc<CertifiedKey>),
    LeafOnly,
    Nothing,
}

impl Departure {
    pub(super) fn prepare(name: &str, instead: Instead) -> Result<Self, SandboxError> {
        Ok(match instead {
            Instead::Lineage(lineage) => Self::Lineage(lineage),
            Instead::Previous => Self::Previous,
            Instead::Pair { chain_pem, key_pem } => Self::Made(made(&chain_pem, &key_pem)?),
            Instead::SelfSigned => {
                let key = KeyPair::generate()?;
                let certificate = CertificateParams::new([name.to_owned()])?.self_signed(&key)?;
                Self::Made(made(&certificate.pem(), &key.serialize_pem())?)
            }
            Instead::LeafOnly => Self::LeafOnly,
            Instead::Nothing => Self::Nothing,
        })
    }
}

fn made(chain_pem: &str, key_pem: &str) -> Result<Arc<CertifiedKey>, SandboxError> {
    files::pair(chain_pem.as_bytes(), key_pem.as_bytes())
        .map_err(|unfit| SandboxError::Tls(rustls::Error::General(unfit.to_string())))
}

/// TLS as the sites speak it
///
/// There is no resumption: a resumed session would show no certificate, and certd asks for one.
pub(super) fn config(shared: &Arc<Shared>) -> Result<Arc<ServerConfig>, SandboxError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver(shared.clone())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

struct Resolver(Arc<Shared>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate(hello.server_name())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Shared {
    fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let state = lock(&self.state);
        let served = site_for(state.served.as_deref()?, name)?;
        let departure = state
            .tls
            .iter()
            .find(|(of, _)| name.is_some_and(|name| name.eq_ignore_ascii_case(of)));
        match departure {
            None => served.key.clone(),
            Some((_, departure)) => self.instead(departure, served),
        }
    }

    fn instead(&self, departure: &Departure, served: &Served) -> Option<Arc<CertifiedKey>> {
        let options = &self.options;
        match departure {
            Departure::Lineage(lineage) => files::live(options, lineage).ok(),
            Departure::Previous => {
                let lineage = served.lineage.as_ref();
                let previous = lineage.and_then(|lineage| files::previous(options, lineage));
                previous.or_else(|| served.key.clone())
            }
            Departure::Made(key) => Some(key.clone()),
            Departure::LeafOnly => {
                let own = served.key.as_ref()?;
                let leaf = own.cert.first().cloned();
                let leaf = CertifiedKey::new(leaf.into_iter().collect(), own.key.clone());
                Some(Arc::new(leaf))
            }
            Departure::Nothing => None,
        }
    }
}
