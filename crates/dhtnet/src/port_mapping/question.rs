//! The questions themselves: one future for each, none longer than its own time limit.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp};

use super::ground::{Ground, GroundV4};
use super::igd::{self, Firewall, Router};
use super::plan::{Failed, LEASE, Lease, Method};

/// The first answer is waited for this long; it comes from the local network (RFC 6886 section
/// 3.1). PCP's own three seconds (RFC 6887 section 8.1.1) would hold NAT-PMP up.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Repetitions, each waited for twice as long: 3.75 s in all.
const RETRIES: usize = 3;

/// Repetitions of the last word: 250 + 500 ms.
const RELEASE_RETRIES: usize = 1;

/// What a first question found.
#[derive(Clone)]
pub(super) enum Spot {
    NatPmp,
    Router(Box<Router>),
    Firewall(Box<Firewall>),
}

/// What is needed to renew a mapping and to take it back.
#[derive(Clone)]
pub(super) enum Grip {
    /// PCP and NAT-PMP.
    Port(Box<crab_nat::PortMapping>),
    /// UPnP: the external port on that router.
    Igd(Box<Router>, u16),
    /// UPnP: a number given by that firewall.
    Pinhole(Box<Firewall>, u16),
}

/// An answer that is not a failure.
pub(super) enum Got {
    Found(Spot),
    Mapped(Lease, Grip),
}

/// All that a question is made of.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) ground: Ground,
    /// Names this node to PCP servers, so that nobody else can change its mappings.
    pub(super) nonce: pcp::Nonce,
}

impl Question {
    /// Is there somebody?
    pub(super) async fn probe(self) -> Result<Got, Failed> {
        let v4 = self.ground.v4;
        let spot = match self.method {
            Method::Upnp => {
                let local = *v4.ok_or(Failed::Refused)?.internal.ip();
                Spot::Router(Box::new(igd::search(local).await?))
            }
            Method::Pinhole => {
                let v6 = self.ground.v6.ok_or(Failed::Refused)?;
                let found = igd::search_firewall(*v6.internal.ip(), v6.interface).await?;
                Spot::Firewall(Box::new(found))
            }
            Method::Pcp | Method::NatPmp | Method::Pcp6 => {
                external_v4(v4.ok_or(Failed::Refused)?).await?;
                Spot::NatPmp
            }
        };
        Ok(Got::Found(spot))
    }

    /// A new mapping, from whom the first question found.
    pub(super) async fn map(self, spot: Option<Spot>) -> Result<Got, Failed> {
        match (self.method, spot) {
            (Method::Pcp | Method::Pcp6, _) => self.map_by_pcp().await,
            (Method::NatPmp, _) => map_by_nat_pmp(self.v4()?, None).await,
            (Method::Upnp, Some(Spot::Router(router))) => {
                let internal = self.v4()?.internal;
                let (lease, port) = igd::map(&router, internal, internal.port()).await?;
                Ok(Got::Mapped(lease, Grip::Igd(router, port)))
            }
            (Method::Pinhole, Some(Spot::Firewall(firewall))) => {
                let internal = self.ground.v6.ok_or(Failed::Refused)?.internal;
                let (lease, number) = igd::open(&firewall, internal).await?;
                Ok(Got::Mapped(lease, Grip::Pinhole(firewall, number)))
            }
            _ => Err(Failed::Refused),
        }
    }

    /// The same mapping again.
    pub(super) async fn renew(self, grip: Grip) -> Result<Got, Failed> {
        match grip {
            Grip::Port(mapping) => match mapping.mapping_type() {
                PortMappingType::NatPmp => {
                    map_by_nat_pmp(self.v4()?, Some(mapping.external_port())).await
                }
                PortMappingType::Pcp { .. } => {
                    let mut mapping = mapping;
                    mapping.renew().await.map_err(|error| match error {
                        crab_nat::MappingFailure::Pcp(error) => of_pcp(&error),
                        crab_nat::MappingFailure::NatPmp(error) => of_nat_pmp(&error),
                    })?;
                    got_by_pcp(*mapping)
                }
            },
            Grip::Igd(router, port) => {
                let (lease, port) = igd::map(&router, self.v4()?.internal, port).await?;
                Ok(Got::Mapped(lease, Grip::Igd(router, port)))
            }
            Grip::Pinhole(firewall, number) => {
                let internal = self.ground.v6.ok_or(Failed::Refused)?.internal;
                let lease = igd::keep_open(&firewall, number, internal).await?;
                Ok(Got::Mapped(lease, Grip::Pinhole(firewall, number)))
            }
        }
    }

    fn v4(&self) -> Result<GroundV4, Failed> {
        self.ground.v4.ok_or(Failed::Refused)
    }

    async fn map_by_pcp(self) -> Result<Got, Failed> {
        let (gateway, internal) = match (self.method, self.ground.v4, self.ground.v6) {
            (Method::Pcp, Some(v4), _) => (v4.gateway.map(Into::into), SocketAddr::V4(v4.internal)),
            (_, _, Some(v6)) => (v6.gateway_address(), SocketAddr::V6(v6.internal)),
            _ => return Err(Failed::Refused),
        };
        let gateway = gateway.ok_or(Failed::Refused)?;
        let port = NonZeroU16::new(internal.port()).ok_or(Failed::Refused)?;
        let base = pcp::BaseMapRequest::new(gateway, internal.ip(), InternetProtocol::Udp, port);
        let options = options(Some(port));
        let mapping = pcp::port_mapping(base, Some(self.nonce), None, options).await;
        got_by_pcp(mapping.map_err(|error| of_pcp(&error))?)
    }
}

/// Takes a mapping back.
pub(super) async fn release(grip: Grip) -> Result<(), Failed> {
    match grip {
        Grip::Port(mut mapping) => {
            mapping.timeout_config = timing(RELEASE_RETRIES);
            let gone = mapping.try_drop().await;
            gone.map_err(|(error, _)| {
                tracing::debug!(%error, "a port mapping could not be taken back");
                Failed::Refused
            })
        }
        Grip::Igd(router, port) => igd::release(&router, port).await,
        Grip::Pinhole(firewall, number) => igd::close(&firewall, number).await,
    }
}

/// The gateway's external address, as NAT-PMP tells it.
pub(super) async fn external_v4(ground: GroundV4) -> Result<std::net::Ipv4Addr, Failed> {
    let gateway = ground.gateway.ok_or(Failed::Refused)?.into();
    let found = natpmp::external_address(gateway, Some(timing(RETRIES))).await;
    let found = found.map_err(|error| of_nat_pmp(&error))?;
    if found.is_unspecified() {
        return Err(Failed::Refused);
    }
    Ok(found)
}

async fn map_by_nat_pmp(ground: GroundV4, port: Option<NonZeroU16>) -> Result<Got, Failed> {
    let gateway = ground.gateway.ok_or(Failed::Refused)?.into();
    let internal = NonZeroU16::new(ground.internal.port()).ok_or(Failed::Refused)?;
    // The answer to a mapping does not tell the address.
    let external = external_v4(ground).await?;
    let options = options(port.or(Some(internal)));
    let mapping = natpmp::port_mapping(gateway, InternetProtocol::Udp, internal, options).await;
    let mapping = mapping.map_err(|error| of_nat_pmp(&error))?;
    let external = SocketAddr::from((external, mapping.external_port().get()));
    Ok(got(mapping, external))
}

fn got_by_pcp(mapping: crab_nat::PortMapping) -> Result<Got, Failed> {
    let PortMappingType::Pcp { external_ip, .. } = mapping.mapping_type() else {
        return Err(Failed::Refused);
    };
    let external = (external_ip.to_canonical(), mapping.external_port().get());
    Ok(got(mapping, external.into()))
}

fn got(mapping: crab_nat::PortMapping, external: SocketAddr) -> Got {
    let lease = Lease {
        external,
        lifetime: Some(Duration::from_secs(mapping.lifetime().into())),
        epoch: Some(mapping.gateway_epoch()),
    };
    Got::Mapped(lease, Grip::Port(Box::new(mapping)))
}

fn options(external_port: Option<NonZeroU16>) -> PortMappingOptions {
    PortMappingOptions {
        external_port,
        lifetime_seconds: u32::try_from(LEASE.as_secs()).ok(),
        timeout_config: Some(timing(RETRIES)),
    }
}

fn timing(max_retries: usize) -> TimeoutConfig {
    TimeoutConfig {
        initial_timeout: FIRST_WAIT,
        max_retries,
        max_retry_timeout: None,
    }
}

fn of_pcp(error: &pcp::Failure) -> Failed {
    tracing::debug!(%error, "PCP");
    match error {
        pcp::Failure::Timeout | pcp::Failure::Socket(_) => Failed::Silent,
        _ => Failed::Refused,
    }
}

fn of_nat_pmp(error: &natpmp::Failure) -> Failed {
    tracing::debug!(%error, "NAT-PMP");
    match error {
        natpmp::Failure::Timeout | natpmp::Failure::Socket(_) => Failed::Silent,
        _ => Failed::Refused,
    }
}
