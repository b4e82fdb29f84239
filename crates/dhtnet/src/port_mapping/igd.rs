//! UPnP Internet Gateway Devices: port mappings (WANIPConnection) and pinholes in the IPv6
//! firewall (WANIPv6FirewallControl). igd-next is named here and nowhere else.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use igd_next::aio::tokio::{Tokio, search_gateway, search_ipv6_firewall_gateway};
use igd_next::aio::{Gateway, Ipv6FirewallGateway};
use igd_next::{
    AddAnyPortError, AddPortError, GatewayIpVersion, PortMappingProtocol, RemovePortError,
    SearchOptions,
};

use super::plan::{Failed, LEASE, Lease};

/// A router that maps ports.
pub(super) type Router = Gateway<Tokio>;

/// A router that opens its IPv6 firewall.
pub(super) type Firewall = Ipv6FirewallGateway<Tokio>;

/// Routers answer a search at a random time within the three seconds that igd-next gives them
/// (MX), and their description has to be fetched.
const SEARCH_LIMIT: Duration = Duration::from_secs(6);

/// Any one request: an HTTP exchange on the local network, with a slow router.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What the router's own pages call the mapping.
const DESCRIPTION: &str = "dhtnet";

/// Looks for a router from this address.
pub(super) async fn search(local: Ipv4Addr) -> Result<Router, Failed> {
    let mut options = SearchOptions::default();
    options.bind_addr = (local, 0).into();
    options.gateway_ip_version = GatewayIpVersion::V4;
    options.timeout = Some(SEARCH_LIMIT);
    let found = search_gateway(options).await;
    found.map_err(|error| told(&error, Failed::Silent))
}

/// Looks for a firewall behind the interface with this index, from this address: a router
/// answers it from the address that its pages are at, and opens holes for whoever asks only.
pub(super) async fn search_firewall(local: Ipv6Addr, interface: u32) -> Result<Firewall, Failed> {
    let mut options = SearchOptions::ipv6(interface);
    options.bind_addr = (local, 0).into();
    options.timeout = Some(SEARCH_LIMIT);
    let found = search_ipv6_firewall_gateway(options).await;
    found.map_err(|error| told(&error, Failed::Silent))
}

/// The address outside, as the router tells it.
pub(super) async fn external(router: &Router) -> Result<IpAddr, Failed> {
    let external = within(router.get_external_ip()).await?;
    external.map_err(|error| told(&error, Failed::Refused))
}

/// Maps a port, by preference `wanted`. Returns the external port as well.
pub(super) async fn map(
    router: &Router,
    internal: SocketAddrV4,
    wanted: u16,
) -> Result<(Lease, u16), Failed> {
    let external = external(router).await?;
    if external.is_unspecified() {
        tracing::debug!("the UPnP router has no external address");
        return Err(Failed::Refused);
    }
    let mut last = None;
    for lifetime in [Some(LEASE), None] {
        match within(add(router, internal, wanted, lifetime)).await? {
            Ok(port) => {
                let lease = Lease {
                    external: SocketAddr::new(external, port),
                    lifetime,
                    epoch: None,
                };
                return Ok((lease, port));
            }
            // Routers that know no limited leases say so in more than one way.
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(Failed::Refused, |error| told(&error, Failed::Refused)))
}

async fn add(
    router: &Router,
    internal: SocketAddrV4,
    wanted: u16,
    lifetime: Option<Duration>,
) -> Result<u16, AddAnyPortError> {
    let (protocol, internal) = (PortMappingProtocol::UDP, SocketAddr::V4(internal));
    let seconds = lease_seconds(lifetime);
    let asked = router.add_port(protocol, wanted, internal, seconds, DESCRIPTION);
    match asked.await {
        Ok(()) => Ok(wanted),
        Err(AddPortError::PortInUse | AddPortError::SamePortValuesRequired) => {
            let any = router.add_any_port(protocol, internal, seconds, DESCRIPTION);
            any.await
        }
        Err(AddPortError::RequestError(error)) => Err(AddAnyPortError::RequestError(error)),
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            Err(AddAnyPortError::OnlyPermanentLeasesSupported)
        }
        Err(error) => {
            tracing::debug!(%error, "UPnP");
            Err(AddAnyPortError::ActionNotAuthorized)
        }
    }
}

/// Takes a mapping back.
pub(super) async fn release(router: &Router, port: u16) -> Result<(), Failed> {
    match within(router.remove_port(PortMappingProtocol::UDP, port)).await? {
        Ok(()) | Err(RemovePortError::NoSuchPortMapping) => Ok(()),
        Err(error) => Err(told(&error, Failed::Refused)),
    }
}

/// Lets everyone in to an own IPv6 address. Returns the firewall's number for it as well.
pub(super) async fn open(
    firewall: &Firewall,
    internal: SocketAddrV6,
) -> Result<(Lease, u16), Failed> {
    let seconds = lease_seconds(Some(LEASE));
    let opened = firewall.add_pinhole(PortMappingProtocol::UDP, internal, seconds);
    let number = within(opened).await?;
    let number = number.map_err(|error| told(&error, Failed::Refused))?;
    Ok((pinhole(internal), number))
}

/// Keeps a pinhole for another lifetime.
pub(super) async fn keep_open(
    firewall: &Firewall,
    number: u16,
    internal: SocketAddrV6,
) -> Result<Lease, Failed> {
    let kept = within(firewall.update_pinhole(number, lease_seconds(Some(LEASE)))).await?;
    kept.map_err(|error| told(&error, Failed::Refused))?;
    Ok(pinhole(internal))
}

/// Closes a pinhole.
pub(super) async fn close(firewall: &Firewall, number: u16) -> Result<(), Failed> {
    let closed = within(firewall.remove_pinhole(number)).await?;
    closed.map_err(|error| told(&error, Failed::Refused))
}

fn pinhole(internal: SocketAddrV6) -> Lease {
    Lease {
        external: SocketAddr::new(IpAddr::V6(*internal.ip()), internal.port()),
        lifetime: Some(LEASE),
        epoch: None,
    }
}

/// 0 is for ever.
fn lease_seconds(lifetime: Option<Duration>) -> u32 {
    lifetime.map_or(0, |lifetime| {
        u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
    })
}

async fn within<T>(request: impl Future<Output = T>) -> Result<T, Failed> {
    let answer = tokio::time::timeout(REQUEST_LIMIT, request).await;
    answer.map_err(|error| told(&error, Failed::Silent))
}

fn told(error: &dyn Display, failed: Failed) -> Failed {
    tracing::debug!(%error, "UPnP");
    failed
}
