//! Making the stream to a relay.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Wire;
use crate::driver::Mark;
use crate::relays::{Doorway, RelayTransport};

/// How long connecting may take, TLS included: as long as a relay has for its first answer.
const CONNECT_LIMIT: Duration = dhtnet_nat_traversal::turn::GIVE_UP;

/// Connects to a relay within [`CONNECT_LIMIT`].
pub(crate) async fn connect(to: Doorway, mark: Mark) -> io::Result<Box<dyn Wire>> {
    let connecting = async {
        let socket = match to.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        mark.put_on(&socket)?;
        let stream = socket.connect(to.address).await?;
        // A frame that waits for others is a late datagram.
        stream.set_nodelay(true)?;
        match to.transport {
            RelayTransport::Udp | RelayTransport::Tcp => Ok(Box::new(stream) as Box<dyn Wire>),
            RelayTransport::Tls => encrypt(stream, &to).await,
        }
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// TLS with a certificate that the system trusts, or one of the file of the configuration.
async fn encrypt(stream: TcpStream, to: &Doorway) -> io::Result<Box<dyn Wire>> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities(to).await)
        .with_no_client_auth();
    let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
    let encrypted = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Ok(Box::new(encrypted.await?))
}

async fn authorities(to: &Doorway) -> RootCertStore {
    // Files are read, which may take a moment. What is missing there fails the connection.
    let system = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let system = system.map(|found| found.certs).unwrap_or_default();
    let own = to.authorities.iter();
    // The file was checked when it was named.
    let own = own.flat_map(|pem| CertificateDer::pem_slice_iter(pem).flatten());
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(own.chain(system));
    store
}
