//! IPv4 addresses that stay with the device they were given to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use dhtnet_identity::DeviceId;
use dhtnet_identity::target::Network;

/// Most leases: those of a /16.
pub const MAX_LEASES: usize = 65_536;

/// How long an address is kept for a device that is away, when others need it: a month, longer
/// than a holiday.
pub const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no address for a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Every address is given out to devices that were here lately.
    #[error("all addresses of {0} are in use; make the pool larger")]
    Exhausted(Network),
    /// A network that is not IPv4, or too small for two devices.
    #[error("{0} is no IPv4 network with room for two devices")]
    Unusable(Network),
    /// A fixed address outside the pool, or one that no device can have.
    #[error("{0} is not an address of the pool {1} that a device can have")]
    Outside(Ipv4Addr, Network),
    /// A fixed address that another device has.
    #[error("{0} is fixed for two devices")]
    Twice(Ipv4Addr),
}

/// An address that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// When the device was last here.
    pub seen: SystemTime,
}

/// The addresses of a network, and who has them.
#[derive(Debug, Clone)]
pub struct Pool {
    network: Network,
    first: u32,
    last: u32,
    own: Ipv4Addr,
    fixed: BTreeMap<DeviceId, Ipv4Addr>,
    leases: BTreeMap<DeviceId, Lease>,
    taken: BTreeSet<Ipv4Addr>,
    /// All addresses before this one are taken.
    lowest: u32,
}

impl Pool {
    /// The pool of a network; its first address is the server's own.
    ///
    /// # Errors
    /// [`PoolError::Unusable`].
    pub fn new(network: Network) -> Result<Self, PoolError> {
        let IpAddr::V4(base) = network.address() else {
            return Err(PoolError::Unusable(network));
        };
        if !(1..=30).contains(&network.prefix_len()) {
            return Err(PoolError::Unusable(network));
        }
        let size = u32::MAX >> network.prefix_len();
        // Neither the network's own address nor its broadcast address is a device's.
        let (first, last) = (base.to_bits() + 1, base.to_bits() + size - 1);
        let own = Ipv4Addr::from_bits(first);
        Ok(Self {
            network,
            first,
            last,
            own,
            fixed: BTreeMap::new(),
            leases: BTreeMap::new(),
            taken: BTreeSet::from([own]),
            lowest: first + 1,
        })
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The server's address.
    pub fn own(&self) -> Ipv4Addr {
        self.own
    }

    /// Keeps an address for one device, whatever else happens.
    ///
    /// # Errors
    /// [`PoolError::Outside`], [`PoolError::Twice`].
    pub fn fix(&mut self, id: DeviceId, address: Ipv4Addr) -> Result<(), PoolError> {
        if !(self.first..=self.last).contains(&address.to_bits()) || address == self.own {
            return Err(PoolError::Outside(address, self.network));
        }
        if self
            .fixed
            .iter()
            .any(|(other, fixed)| *fixed == address && *other != id)
        {
            return Err(PoolError::Twice(address));
        }
        self.leases.retain(|_, lease| lease.address != address);
        if let Some(lease) = self.leases.remove(&id) {
            self.release(lease.address);
        }
        if let Some(before) = self.fixed.insert(id, address) {
            self.release(before);
        }
        self.taken.insert(address);
        Ok(())
    }

    /// Takes a lease up again that was saved. One that no longer fits is left out.
    pub fn restore(&mut self, id: DeviceId, lease: Lease) {
        let fits = (self.first..=self.last).contains(&lease.address.to_bits());
        let free = !self.taken.contains(&lease.address)
            && !self.fixed.contains_key(&id)
            && !self.leases.contains_key(&id);
        if fits && free && self.leases.len() < MAX_LEASES {
            self.taken.insert(lease.address);
            self.leases.insert(id, lease);
        }
    }

    /// The address of a device: the one it had, a free one, or that of the device which was away
    /// longest, at least [`KEEP`]. `is_here` says which devices are connected.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`].
    pub fn lease(
        &mut self,
        now: SystemTime,
        id: DeviceId,
        is_here: impl Fn(&DeviceId) -> bool,
    ) -> Result<Ipv4Addr, PoolError> {
        if let Some(address) = self.fixed.get(&id) {
            return Ok(*address);
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.seen = now;
            return Ok(lease.address);
        }
        let free = self.free().filter(|_| self.leases.len() < MAX_LEASES);
        let address = match free {
            Some(address) => address,
            None => self
                .reclaim(now, is_here)
                .ok_or(PoolError::Exhausted(self.network))?,
        };
        self.taken.insert(address);
        self.leases.insert(id, Lease { address, seen: now });
        Ok(address)
    }

    /// Notes that a device was here until now.
    pub fn on_left(&mut self, now: SystemTime, id: &DeviceId) {
        if let Some(lease) = self.leases.get_mut(id) {
            lease.seen = now;
        }
    }

    /// The leases, for saving.
    pub fn leases(&self) -> impl Iterator<Item = (&DeviceId, &Lease)> {
        self.leases.iter()
    }

    fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
        self.lowest = self.lowest.min(address.to_bits());
    }

    /// The lowest address that nobody has.
    fn free(&mut self) -> Option<Ipv4Addr> {
        for taken in self.taken.range(Ipv4Addr::from_bits(self.lowest)..) {
            if taken.to_bits() != self.lowest {
                break;
            }
            self.lowest += 1;
        }
        (self.lowest <= self.last).then(|| Ipv4Addr::from_bits(self.lowest))
    }

    fn reclaim(
        &mut self,
        now: SystemTime,
        is_here: impl Fn(&DeviceId) -> bool,
    ) -> Option<Ipv4Addr> {
        let away = self.leases.iter().filter(|(id, _)| !is_here(id));
        let (id, lease) = away.min_by_key(|(_, lease)| lease.seen)?;
        let (id, lease) = (*id, *lease);
        let long = now
            .duration_since(lease.seen)
            .is_ok_and(|away| away >= KEEP);
        long.then(|| {
            self.leases.remove(&id);
            lease.address
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use dhtnet_identity::DeviceKey;

    use super::*;

    const NOBODY: fn(&DeviceId) -> bool = |_| false;

    fn id(number: u8) -> DeviceId {
        DeviceKey::from_seed(&[number; 32]).id()
    }

    fn pool(network: &str) -> Pool {
        Pool::new(network.parse().unwrap()).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn each_device_has_one_address_and_gets_it_again() {
        let mut pool = pool("10.80.77.0/24");
        assert_eq!(pool.own(), Ipv4Addr::new(10, 80, 77, 1));
        let first = pool.lease(at(1), id(1), NOBODY).unwrap();
        let second = pool.lease(at(1), id(2), NOBODY).unwrap();
        assert_eq!(
            (first, second),
            (Ipv4Addr::new(10, 80, 77, 2), Ipv4Addr::new(10, 80, 77, 3))
        );
        assert_eq!(pool.lease(at(9), id(1), NOBODY), Ok(first));
        // After a restart too.
        let mut again = self::pool("10.80.77.0/24");
        for (id, lease) in pool.leases() {
            again.restore(*id, *lease);
        }
        assert_eq!(again.lease(at(9), id(2), NOBODY), Ok(second));
        assert_eq!(again.lease(at(9), id(1), NOBODY), Ok(first));
    }

    #[test]
    fn a_fixed_address_is_nobody_elses() {
        let mut pool = pool("10.0.0.0/29");
        let address = Ipv4Addr::new(10, 0, 0, 2);
        pool.fix(id(9), address).unwrap();
        assert_eq!(
            pool.lease(at(1), id(1), NOBODY),
            Ok(Ipv4Addr::new(10, 0, 0, 3))
        );
        assert_eq!(pool.lease(at(1), id(9), NOBODY), Ok(address));
        assert_eq!(pool.fix(id(8), address), Err(PoolError::Twice(address)));
        for outside in [[10, 0, 0, 0], [10, 0, 0, 1], [10, 0, 0, 7], [10, 0, 0, 8]] {
            let outside = Ipv4Addr::from(outside);
            assert!(matches!(
                pool.fix(id(7), outside),
                Err(PoolError::Outside(..))
            ));
        }
        // Who had it by lease gets another.
        pool.fix(id(7), Ipv4Addr::new(10, 0, 0, 3)).unwrap();
        assert_eq!(
            pool.lease(at(1), id(1), NOBODY),
            Ok(Ipv4Addr::new(10, 0, 0, 4))
        );
    }

    #[test]
    fn a_full_pool_refuses_one_more_until_somebody_was_away_for_long() {
        let mut pool = pool("10.0.0.0/29");
        for number in 1..=5 {
            pool.lease(at(u64::from(number)), id(number), NOBODY)
                .unwrap();
        }
        let more = |pool: &mut Pool, now, here: fn(&DeviceId) -> bool| pool.lease(now, id(6), here);
        let network = pool.network();
        assert_eq!(
            more(&mut pool, at(100), NOBODY),
            Err(PoolError::Exhausted(network))
        );
        let late = at(2) + KEEP;
        let first_is_here: fn(&DeviceId) -> bool = |other| *other == id(1);
        assert_eq!(
            more(&mut pool, late, first_is_here),
            Ok(Ipv4Addr::new(10, 0, 0, 3))
        );
        assert_eq!(
            pool.lease(late, id(2), first_is_here),
            Err(PoolError::Exhausted(network))
        );
        assert_eq!(
            pool.lease(late, id(1), first_is_here),
            Ok(Ipv4Addr::new(10, 0, 0, 2))
        );
    }

    #[test]
    fn networks_without_room_are_refused() {
        for bad in ["10.0.0.0/31", "10.0.0.1", "0.0.0.0/0", "fd00::/64"] {
            let network = bad.parse().unwrap();
            assert_eq!(
                Pool::new(network).unwrap_err(),
                PoolError::Unusable(network)
            );
        }
        let mut smallest = pool("10.0.0.0/30");
        smallest.lease(at(1), id(1), NOBODY).unwrap();
        smallest.lease(at(1), id(2), NOBODY).unwrap_err();
    }

    #[test]
    fn leases_at_the_bound_fit_and_one_past_it_does_not() {
        let mut pool = pool("10.0.0.0/8");
        let id = |number: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            DeviceKey::from_seed(&seed).id()
        };
        for number in 0..MAX_LEASES as u32 {
            pool.lease(at(1), id(number), NOBODY).unwrap();
        }
        let network = pool.network();
        let more = pool.lease(at(1), id(MAX_LEASES as u32), NOBODY);
        assert_eq!(more, Err(PoolError::Exhausted(network)));
        assert_eq!(pool.leases().count(), MAX_LEASES);
    }
}
