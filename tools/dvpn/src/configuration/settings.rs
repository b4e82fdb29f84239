//! From the file and the flags to the settings of a network.

use dhtnet_cli::Failure;
use dhtnet_cli::own_identity::resolve_peer;
use dhtnet_identity::Contacts;
use dhtnet_vpn_core::MAX_MTU;

use super::Configuration;
use crate::flags::{Command, Flags};
use crate::plan::{Inbound, KillSwitch, SubnetNat};
use crate::settings::{Accepted, Between, Exit, Settings};

/// The interface when neither the flag nor the file names one.
const DEFAULT_INTERFACE: &str = "dvpn0";

/// What is to be run: the flags with what the file adds to them, and the settings.
pub(crate) struct Configured {
    /// Under which name the network is known on this device.
    pub(crate) name: String,
    pub(crate) flags: Flags,
    pub(crate) settings: Settings,
}

/// Reads the file that the flags name, if they name one. Flags come before the file.
///
/// # Errors
/// Exit code 2: a mistake in the file, or an unknown contact.
pub(crate) fn configured(flags: &Flags, contacts: &Contacts) -> Result<Configured, Failure> {
    let mut flags = flags.clone();
    let up = match &flags.command {
        Some(Command::Up(up)) => Some(up.name.clone()),
        _ => None,
    };
    let path = match (&flags.vpn_configuration, &up) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(name)) => Some(Configuration::path_of(name)?),
        (None, None) => None,
    };
    let file = match path {
        Some(path) => Configuration::load(&path)?,
        None => Configuration::default(),
    };
    flags.listen |= file.listen;
    if flags.peers.is_empty() {
        flags.peers.clone_from(&file.join);
    }
    flags.policy.allow.extend(file.allow.iter().cloned());
    let named = flags.interface.clone().or_else(|| file.interface.clone());
    let interface = named.or_else(|| up.clone());
    let interface = interface.unwrap_or_else(|| DEFAULT_INTERFACE.to_owned());
    let settings = settings(&file, &interface, contacts)?;
    Ok(Configured {
        name: up.unwrap_or(interface),
        flags,
        settings,
    })
}

fn settings(
    file: &Configuration,
    interface: &str,
    contacts: &Contacts,
) -> Result<Settings, Failure> {
    let mut settings = Settings::of_interface(interface);
    settings.network.clone_from(&file.network);
    settings.max_mtu = file.mtu.unwrap_or(MAX_MTU).min(MAX_MTU);
    settings.subnets.clone_from(&file.routes.offer);
    settings.subnet_nat = match file.routes.nat {
        true => SubnetNat::On,
        false => SubnetNat::Off,
    };
    settings.inbound = match file.routes.inbound {
        true => Inbound::Open,
        false => Inbound::RepliesOnly,
    };
    settings.pool = file.pool.or(settings.pool);
    for peer in &file.peers {
        let id = resolve_peer(contacts, &peer.id)?.address.id;
        if let Some(address) = peer.address {
            settings.fixed.insert(id, address);
        }
        if !peer.allowed.is_empty() {
            settings.allowed.insert(id, peer.allowed.clone());
        }
        if let Some(name) = &peer.name {
            settings.names.insert(id, name.clone());
        }
    }
    let switch = |on: bool| if on { Exit::Yes } else { Exit::No };
    settings.exit = switch(file.exit_node);
    settings.accepted = Accepted {
        exit: switch(file.full_tunnel),
        networks: file.routes.accept.clone(),
    };
    if file.isolate {
        settings.between = Between::Isolated;
    }
    if file.kill_switch {
        settings.kill_switch = KillSwitch::On;
    }
    settings.dns.clone_from(&file.dns);
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use clap::Parser;
    use dhtnet_identity::{DeviceKey, PeerAddress};

    use super::*;

    fn run(words: &[&str], text: &str) -> Configured {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home.toml");
        std::fs::write(&path, text).unwrap();
        let mut all = vec!["dvpn", "-C", path.to_str().unwrap()];
        all.extend(words);
        let mut contacts = Contacts::default();
        let id = DeviceKey::from_seed(&[1; 32]).id();
        contacts
            .add("anna".parse().unwrap(), PeerAddress::from(id))
            .unwrap();
        configured(&Flags::try_parse_from(all).unwrap(), &contacts).unwrap()
    }

    #[test]
    fn the_file_adds_to_the_flags_and_flags_come_first() {
        let file = "join = ['anna']\nallow = ['anna']\ninterface = 'tun9'\nfull_tunnel = true\n\
                    [routes]\naccept = ['10.0.0.0/8']\n";
        let from_file = run(&[], file);
        assert_eq!(from_file.flags.peers.len(), 1);
        assert_eq!(
            (
                from_file.name.as_str(),
                from_file.settings.interface.as_str()
            ),
            ("tun9", "tun9")
        );
        assert_eq!(from_file.settings.accepted.exit, Exit::Yes);
        assert_eq!(from_file.flags.policy.allow.len(), 1);
        let by_flag = run(&["--interface", "tun7", "other"], file);
        assert_eq!(by_flag.settings.interface, "tun7");
        assert_eq!(by_flag.flags.peers[0].to_string(), "other");
    }

    #[test]
    fn peers_are_known_by_their_contacts() {
        let file = "listen = true\nisolate = true\nkill_switch = true\nmtu = 1300\n\
                    [[peer]]\nid = 'anna'\nname = 'ann'\naddress = '10.80.77.9'\n\
                    allowed = ['192.168.5.0/24']\n";
        let found = run(&[], file);
        let id = DeviceKey::from_seed(&[1; 32]).id();
        assert!(found.flags.listen);
        assert_eq!(found.settings.fixed[&id].to_string(), "10.80.77.9");
        assert_eq!(found.settings.allowed[&id].len(), 1);
        assert_eq!(found.settings.names[&id].as_str(), "ann");
        assert_eq!(found.settings.between, Between::Isolated);
        assert_eq!(found.settings.kill_switch, KillSwitch::On);
        assert_eq!(found.settings.max_mtu, 1_300);
    }

    #[test]
    fn the_network_of_up_is_called_like_its_file() {
        let found = run(&["up", "office"], "listen = true\n");
        assert_eq!(
            (found.name.as_str(), found.settings.interface.as_str()),
            ("office", "office")
        );
        assert_eq!(run(&["-l"], "").name, DEFAULT_INTERFACE);
    }
}
