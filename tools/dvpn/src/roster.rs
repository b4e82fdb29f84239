//! Who is in the network, by the words of the server (or of this server itself): for names and for
//! the status.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dhtnet_identity::target::Network;
use dhtnet_identity::{Alias, DeviceId};
use tokio::sync::watch;

use crate::names::Names;
use crate::session::Session;

/// A device of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Person {
    /// How who told calls it.
    pub(crate) name: Option<String>,
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) routes: Vec<Network>,
}

type Persons = BTreeMap<DeviceId, Person>;

/// Everybody, by who told. What a server told stays when it is away.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    told: Mutex<BTreeMap<DeviceId, Persons>>,
    changed: watch::Sender<u64>,
}

impl Roster {
    /// Takes the place of what `source` told before.
    pub(crate) fn set(&self, source: DeviceId, persons: Persons) {
        let mut told = self.told();
        let is_new = told.get(&source) != Some(&persons);
        told.insert(source, persons);
        drop(told);
        if is_new {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Told of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Everybody once.
    pub(crate) fn all(&self) -> Persons {
        let mut all = Persons::new();
        for (id, person) in self.told().values().flatten() {
            let known = all.entry(*id).or_default();
            known.name = known.name.take().or_else(|| person.name.clone());
            known.ipv4 = known.ipv4.or(person.ipv4);
            known.routes.extend(&person.routes);
        }
        all
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Persons>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds everybody's names. The user's own come first: a server cannot give the name of a contact to
/// another device.
pub(crate) fn add_names(session: &Session, names: &mut Names) {
    let settings = session.settings();
    let persons = session.roster.all();
    let addresses = |id: &DeviceId| -> Vec<IpAddr> {
        let ipv4 = persons.get(id).and_then(|person| person.ipv4);
        let ipv6 = settings.network.address_of(id);
        [Some(ipv6.into()), ipv4.map(IpAddr::from)]
            .into_iter()
            .flatten()
            .collect()
    };
    let own = settings
        .names
        .iter()
        .map(|(id, alias)| (alias.to_string(), *id));
    let contacts = session.contacts();
    let contacts = contacts.iter();
    let contacts = contacts.map(|(alias, peer)| (alias.to_string(), peer.id));
    let told = persons.iter().filter_map(|(id, person)| {
        let name: Alias = person.name.as_ref()?.parse().ok()?;
        Some((name.to_string(), *id))
    });
    let by_id = persons.keys().map(|id| (id.to_string(), *id));
    let mut taken = BTreeMap::new();
    for (name, id) in own.chain(contacts).chain(told).chain(by_id) {
        if *taken.entry(name.clone()).or_insert(id) == id && !names.has(&name) {
            names.add(&name, &addresses(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn what_several_tell_of_one_device_is_joined_and_changes_are_told_once() {
        let id = |number: u8| DeviceKey::from_seed(&[number; 32]).id();
        let roster = Roster::default();
        let mut changes = roster.changes();
        let person = |name: Option<&str>, last: Option<u8>| Person {
            name: name.map(str::to_owned),
            ipv4: last.map(|last| Ipv4Addr::new(10, 0, 0, last)),
            routes: Vec::new(),
        };
        let first = Persons::from([(id(3), person(None, Some(3)))]);
        roster.set(id(1), first.clone());
        roster.set(
            id(2),
            Persons::from([(id(3), person(Some("anna"), Some(9)))]),
        );
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        changes.mark_unchanged();
        roster.set(id(1), first);
        assert!(changes.has_changed().is_ok_and(|changed| !changed));
        let joined = &roster.all()[&id(3)];
        assert_eq!(joined.name.as_deref(), Some("anna"));
        assert!(joined.ipv4.is_some());
    }
}
