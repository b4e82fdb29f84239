//! Cryptokey routing: each address belongs to one device, by the longest prefix.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dhtnet_identity::target::Network;

/// Most networks in a table: those of 4,096 peers with 16 each. What is past it is refused.
pub const MAX_NETWORKS: usize = 65_536;

/// Why a network was not given to an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Another owner has exactly this network.
    #[error("another peer has {0}")]
    Taken(Network),
    /// The table holds [`MAX_NETWORKS`].
    #[error("the table holds {MAX_NETWORKS} networks already")]
    Full,
}

/// Who owns which addresses. `P` names an owner.
#[derive(Debug, Clone)]
pub struct Table<P> {
    v4: Family<P>,
    v6: Family<P>,
    len: usize,
}

/// Networks of a family by their length, the longest first.
type Family<P> = Vec<(u8, BTreeMap<u128, P>)>;

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
            len: 0,
        }
    }
}

impl<P: Copy + Eq> Table<P> {
    /// Gives `network` to `owner`. A longer prefix inside another owner's network is a part of it
    /// that goes elsewhere, and is no conflict.
    ///
    /// # Errors
    /// [`TableError`]; the table is then as before.
    pub fn insert(&mut self, network: Network, owner: P) -> Result<(), TableError> {
        let (address, len) = (network.address(), network.prefix_len());
        let full = self.len >= MAX_NETWORKS;
        let family = match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        let place = family.binary_search_by(|(other, _)| len.cmp(other));
        if let Ok(index) = place
            && let Some(other) = family[index].1.get(&bits(address))
        {
            return match *other == owner {
                true => Ok(()),
                false => Err(TableError::Taken(network)),
            };
        }
        if full {
            return Err(TableError::Full);
        }
        let index = place.unwrap_or_else(|index| {
            family.insert(index, (len, BTreeMap::new()));
            index
        });
        family[index].1.insert(bits(address), owner);
        self.len += 1;
        Ok(())
    }

    /// Takes everything from `owner`.
    pub fn remove_owner(&mut self, owner: P) {
        for family in [&mut self.v4, &mut self.v6] {
            for (_, networks) in family.iter_mut() {
                networks.retain(|_, other| *other != owner);
            }
            family.retain(|(_, networks)| !networks.is_empty());
        }
        let count = |family: &Family<P>| family.iter().map(|(_, n)| n.len()).sum::<usize>();
        self.len = count(&self.v4) + count(&self.v6);
    }

    /// The owner of an address: that of the longest network that holds it.
    pub fn owner(&self, address: IpAddr) -> Option<P> {
        let (family, width) = match address {
            IpAddr::V4(_) => (&self.v4, 32),
            IpAddr::V6(_) => (&self.v6, 128),
        };
        let bits = bits(address);
        family.iter().find_map(|(len, networks)| {
            let cleared = width - u32::from(*len);
            let kept = u128::MAX.checked_shl(cleared).unwrap_or(0);
            networks.get(&(bits & kept)).copied()
        })
    }

    /// Who has exactly this network.
    pub fn owner_of(&self, network: &Network) -> Option<P> {
        let family = match network.address() {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let (_, networks) = family
            .iter()
            .find(|(len, _)| *len == network.prefix_len())?;
        networks.get(&bits(network.address())).copied()
    }

    /// Networks in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn table(entries: &[(&str, u8)]) -> Table<u8> {
        let mut table = Table::default();
        for (network, owner) in entries {
            table.insert(network.parse().unwrap(), *owner).unwrap();
        }
        table
    }

    fn owner(table: &Table<u8>, address: &str) -> Option<u8> {
        table.owner(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_decides_in_each_family() {
        let table = table(&[
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3", 4),
            ("fd00::/8", 5),
            ("fd00::1", 6),
        ]);
        for (address, expected) in [
            ("1.1.1.1", Some(1)),
            ("10.9.9.9", Some(2)),
            ("10.1.9.9", Some(3)),
            ("10.1.2.3", Some(4)),
            ("fd00::2", Some(5)),
            ("fd00::1", Some(6)),
            ("2001::1", None),
        ] {
            assert_eq!(owner(&table, address), expected, "{address}");
        }
        assert_eq!(table.len(), 6);
        let exactly = |text: &str| table.owner_of(&text.parse().unwrap());
        assert_eq!(exactly("10.1.0.0/16"), Some(3));
        assert_eq!(exactly("10.1.0.0/17"), None);
        assert_eq!(exactly("10.2.0.0/16"), None);
    }

    #[test]
    fn the_same_network_has_one_owner_until_that_one_leaves() {
        let mut table = table(&[("10.0.0.0/8", 1), ("fd00::1", 1), ("10.1.0.0/16", 2)]);
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert_eq!(table.insert(network, 2), Err(TableError::Taken(network)));
        assert_eq!(table.insert(network, 1), Ok(()));
        table.remove_owner(1);
        assert_eq!((table.len(), owner(&table, "fd00::1")), (1, None));
        assert_eq!(owner(&table, "10.1.0.1"), Some(2));
        assert_eq!(table.insert(network, 2), Ok(()));
        table.remove_owner(2);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_refuses_one_more_and_stays_as_it_was() {
        let mut table = Table::default();
        for number in 0..MAX_NETWORKS as u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            table
                .insert(address.to_string().parse().unwrap(), 1)
                .unwrap();
        }
        let more: Network = "192.0.2.1".parse().unwrap();
        assert_eq!(table.insert(more, 1), Err(TableError::Full));
        assert_eq!(table.len(), MAX_NETWORKS);
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            entries in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..40),
            asked in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let mut table = Table::default();
            let mut plain: Vec<(Network, usize)> = Vec::new();
            for (index, (bits, len)) in entries.iter().enumerate() {
                // Few bits differ, so that networks lie in each other.
                let kept = u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
                let address = Ipv4Addr::from_bits(bits & 0x8000_00ff & kept);
                let network: Network = format!("{address}/{len}").parse().unwrap();
                if table.insert(network, index).is_ok() {
                    plain.push((network, index));
                }
            }
            for bits in asked {
                let address = IpAddr::V4(Ipv4Addr::from_bits(bits & 0x8000_00ff));
                let best = plain.iter().filter(|(network, _)| network.contains(address));
                let best = best.max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(table.owner(address), best.map(|(_, owner)| *owner));
            }
        }
    }
}
