//! Finding devices on the local network by multicast DNS (RFC 6762, RFC 6763).
//!
//! The id itself is never announced: knowing it is what lets a stranger talk to a device. Each
//! [`Service`] of a device announces a service type of its own, `_dhtnet-TAG._udp.local.`, where TAG is
//! the first 23 base32 characters of SHA-256("dhtnet mdns 1" ‖ id ‖ name of the service); only who knows
//! the id can ask for it. The instance name is random for each process, so that two processes of one
//! device do not collide.
//! (A subtype of one common type would be the textbook way; the answers of mdns-sd to questions for
//! subtypes are not understood by itself.)

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use dhtnet_identity::{DeviceId, PeerAddress};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};

use super::{Announcement, Discovery, Lookup, OtherServices};
use crate::interfaces;
use crate::service::{Service, Services};

/// Characters of the tag: with the prefix this is the longest service name that mdns-sd allows,
/// and 115 bits keep two devices apart.
const TAG_LEN: usize = 23;

/// Longest service name; RFC 6763 section 7.2 asks for 15, which no hash fits.
const NAME_LEN_MAX: u8 = 30;

/// A device on the network answers within a second, and is asked again after 1, 3 and 7 s; after
/// this nobody will answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses taken from one answer.
const MAX_ADDRESSES: usize = 16;

/// The responder and querier, started when first needed: its own thread, no runtime.
pub(crate) struct Mdns {
    /// The one address that the node is bound to, if it is.
    bound: Option<IpAddr>,
    /// Random part of the names that this process announces.
    nonce: u64,
    services: Arc<Services>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    daemon: Option<ServiceDaemon>,
    announced: Vec<String>,
    closed: bool,
}

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdns")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl Mdns {
    pub(crate) fn new(bound: Option<IpAddr>, nonce: u64, services: Arc<Services>) -> Self {
        Self {
            bound,
            nonce,
            services,
            running: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn daemon(&self) -> Option<ServiceDaemon> {
        let mut running = self.lock();
        if running.closed {
            return None;
        }
        if running.daemon.is_none() {
            match self.start() {
                Ok(daemon) => running.daemon = Some(daemon),
                Err(error) => tracing::warn!(%error, "no discovery on the local network"),
            }
        }
        running.daemon.clone()
    }

    fn start(&self) -> Result<ServiceDaemon, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        daemon.set_service_name_len_max(NAME_LEN_MAX)?;
        match self.bound {
            Some(ip) if ip.is_loopback() => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
            }
            Some(ip) => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::Addr(ip))?;
            }
            // Two programs on a machine without any network find each other on the loopback.
            None if !interfaces::any_outside() => {}
            None => daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?,
        }
        Ok(daemon)
    }

    fn register(&self, own: &Announcement, address: SocketAddr) -> Result<(), mdns_sd::Error> {
        let Some(daemon) = self.daemon() else {
            return Ok(());
        };
        // One service for each family, since the ports may differ.
        let family = if address.is_ipv4() { 4 } else { 6 };
        let instance = format!("{:016x}-{family}", self.nonce);
        let host = format!("{instance}.local.");
        let none: &[(&str, &str)] = &[];
        let service_type = service_type(&own.id, &own.service);
        let mut service = if address.ip().is_unspecified() {
            ServiceInfo::new(&service_type, &instance, &host, (), address.port(), none)?
                .enable_addr_auto()
        } else {
            ServiceInfo::new(
                &service_type,
                &instance,
                &host,
                address.ip(),
                address.port(),
                none,
            )?
        };
        service.set_interfaces(vec![if address.is_ipv4() {
            IfKind::IPv4
        } else {
            IfKind::IPv6
        }]);
        // The name is random: asking whether somebody else has it would cost 750 ms.
        service.set_requires_probe(false);
        let name = service.get_fullname().to_owned();
        daemon.register(service)?;
        self.lock().announced.push(name);
        Ok(())
    }

    /// Asks for a service of a device, for as long as somebody may answer.
    fn browse(&self, id: &DeviceId, service: &Service) -> Answers {
        let question = service_type(id, service);
        let Some(daemon) = self.daemon() else {
            return futures_util::stream::empty().boxed();
        };
        let answers = match daemon.browse(&question) {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(%error, "cannot ask the local network");
                return futures_util::stream::empty().boxed();
            }
        };
        let browsing = Browsing { daemon, question };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        futures_util::stream::unfold((answers, browsing), move |(answers, browsing)| async move {
            let event = tokio::time::timeout_at(deadline, answers.recv_async())
                .await
                .ok()?
                .ok()?;
            Some((addresses_in(&event), (answers, browsing)))
        })
        .boxed()
    }
}

/// The addresses in each answer.
type Answers = BoxStream<'static, Vec<SocketAddr>>;

impl Discovery for Mdns {
    fn name(&self) -> &'static str {
        "the local network (mDNS)"
    }

    fn lookup(&self, peer: &PeerAddress) -> Lookup {
        let sought = self.services.sought.iter();
        let answers: SelectAll<Answers> = sought.map(|one| self.browse(&peer.id, one)).collect();
        answers.flat_map(futures_util::stream::iter).boxed()
    }

    fn lookup_others(&self, peer: &PeerAddress) -> OtherServices {
        let others = self.services.others.iter().map(|service| {
            let answers = self.browse(&peer.id, service);
            let service = service.clone();
            let found = answers.filter_map(move |addresses| {
                let found = (!addresses.is_empty()).then(|| service.clone());
                std::future::ready(found)
            });
            found.boxed()
        });
        others.collect::<SelectAll<OtherServices>>().boxed()
    }

    fn announce(&self, own: &Announcement) {
        if !self.lock().announced.is_empty() {
            return;
        }
        for address in &own.addresses {
            if let Err(error) = self.register(own, *address) {
                tracing::warn!(%error, "cannot announce this device on the local network");
            }
        }
    }

    fn close(&self) {
        let mut running = self.lock();
        running.closed = true;
        let Some(daemon) = running.daemon.take() else {
            return;
        };
        for name in running.announced.drain(..) {
            // Others forget the name by its time to live if the goodbye cannot be sent.
            let _ = daemon.unregister(&name);
        }
        let _ = daemon.shutdown();
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends a question when its stream is dropped.
struct Browsing {
    daemon: ServiceDaemon,
    question: String,
}

impl Drop for Browsing {
    fn drop(&mut self) {
        // A daemon that is gone asks nothing any more.
        let _ = self.daemon.stop_browse(&self.question);
    }
}

/// The service type under which a program of a device is announced and asked for.
fn service_type(id: &DeviceId, service: &Service) -> String {
    let hash = service.sha256(b"dhtnet mdns 1", id);
    let tag = BASE32_NOPAD.encode(&hash).to_ascii_lowercase();
    format!("_dhtnet-{}._udp.local.", &tag[..TAG_LEN])
}

fn addresses_in(event: &ServiceEvent) -> Vec<SocketAddr> {
    match event {
        ServiceEvent::ServiceResolved(service) => addresses_of(service),
        _ => Vec::new(),
    }
}

fn addresses_of(service: &ResolvedService) -> Vec<SocketAddr> {
    let port = service.get_port();
    let mut found: Vec<SocketAddr> = service
        .get_addresses()
        .iter()
        .filter_map(|ip| match ip {
            ScopedIp::V4(v4) => Some(SocketAddr::new(IpAddr::V4(*v4.addr()), port)),
            ScopedIp::V6(v6) => Some(interfaces::scoped(
                IpAddr::V6(*v6.addr()),
                port,
                v6.scope_id().index,
            )),
            _ => None,
        })
        .filter(|address| address.port() != 0)
        .collect();
    found.sort();
    found.truncate(MAX_ADDRESSES);
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn the_question_does_not_contain_the_id_and_fits_a_dns_label() {
        let id = DeviceKey::from_seed(&[5; 32]).id();
        let question = service_type(&id, &Service::default());
        assert_eq!(question, "_dhtnet-n5jkb5sr3t6gi2gppncq3xh._udp.local.");
        let label = question.split('.').next().unwrap();
        assert!(label.len() - 1 <= usize::from(NAME_LEN_MAX));
        assert!(!id.to_string().contains(&label[8..16]));
    }

    #[test]
    fn devices_and_their_services_are_asked_for_by_different_names() {
        let one = DeviceKey::from_seed(&[5; 32]).id();
        let two = DeviceKey::from_seed(&[6; 32]).id();
        let (none, dsh) = (Service::default(), Service::new("dsh").unwrap());
        assert_ne!(service_type(&one, &none), service_type(&two, &none));
        assert_ne!(service_type(&one, &none), service_type(&one, &dsh));
    }
}
