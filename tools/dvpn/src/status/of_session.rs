//! The status of this process.

use std::sync::atomic::Ordering;

use dhtnet_identity::DeviceId;

use super::{PathStatus, PeerStatus, Status};
use crate::link::Link;
use crate::roster::Person;
use crate::session::Session;

/// How the network `name`, which this process runs, stands.
pub(crate) fn status_of(session: &Session, name: &str) -> Status {
    let settings = session.settings();
    let shown = session.shown();
    let links = session.engine.links();
    let mut persons = session.roster.all();
    for link in &links {
        persons.entry(link.peer).or_default();
    }
    let own = session.node.id();
    persons.remove(&own);
    let drops = session.engine.drops();
    Status {
        name: name.to_owned(),
        interface: settings.interface.clone(),
        id: own.to_string(),
        role: shown.role.to_owned(),
        addresses: shown
            .addresses
            .iter()
            .map(|(ip, prefix)| format!("{ip}/{prefix}"))
            .collect(),
        mtu: shown.mtu,
        up_seconds: session.started.elapsed().as_secs(),
        routes: shown.routes.iter().map(ToString::to_string).collect(),
        peers: persons
            .iter()
            .map(|(id, person)| {
                let link = links.iter().find(|link| link.peer == *id);
                peer(session, (id, person), link.map(AsRef::as_ref))
            })
            .collect(),
        drops: drops
            .iter()
            .map(|(reason, count)| (reason.to_string(), count))
            .collect(),
    }
}

fn peer(session: &Session, (id, person): (&DeviceId, &Person), link: Option<&Link>) -> PeerStatus {
    let settings = session.settings();
    let contacts = session.contacts();
    let contact = contacts.alias_of(id);
    let own_name = settings.names.get(id).or(contact).map(ToString::to_string);
    let report = link.and_then(Link::report);
    let traffic = link.map(|link| &link.traffic);
    let path = report.as_ref().and_then(|report| report.path);
    PeerStatus {
        id: id.to_string(),
        name: own_name.or_else(|| person.name.clone()),
        addresses: session
            .networks_of(id, person.ipv4, &person.routes)
            .iter()
            .map(ToString::to_string)
            .collect(),
        is_connected: link.is_some(),
        path: path.map(|path| PathStatus {
            kind: path.kind.as_str().to_owned(),
            address: path.remote.to_string(),
            rtt_ms: path.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        }),
        last_handshake_seconds: report.map(|report| report.age.as_secs()),
        received_bytes: traffic.map_or(0, |t| t.received_bytes.load(Ordering::Relaxed)),
        sent_bytes: traffic.map_or(0, |t| t.sent_bytes.load(Ordering::Relaxed)),
    }
}
