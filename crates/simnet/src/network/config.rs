//! What the paths between the machines of a network are like.

use std::net::IpAddr;
use std::time::Duration;

use crate::Rng;

/// Configuration of a [`Network`](crate::Network): delays and losses of all its paths.
///
/// The default is an internet at its better: 10 to 150 ms one way, the same in both directions
/// of a pair of hosts and for ever; 5 ms of jitter; nothing lost.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    shortest: Duration,
    longest: Duration,
    jitter: Duration,
    loss: f64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            shortest: Duration::from_millis(10),
            longest: Duration::from_millis(150),
            jitter: Duration::from_millis(5),
            loss: 0.0,
        }
    }
}

impl NetworkConfig {
    /// One-way delay: each pair of hosts has its own, evenly spread from `shortest` to `longest`.
    /// Default: 10 to 150 ms.
    #[must_use]
    pub fn with_delay(mut self, shortest: Duration, longest: Duration) -> Self {
        self.shortest = shortest;
        self.longest = longest.max(shortest);
        self
    }

    /// Up to this much further delay per datagram, evenly spread; datagrams overtake each other.
    /// Default: 5 ms.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Probability that a datagram is lost, each by itself. Default: 0.
    #[must_use]
    pub fn with_loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// The travel time of one datagram between `a` and `b`, jitter included; none when it is
    /// lost. The part that belongs to the pair is drawn from `seed`, the rest from `rng`.
    pub(crate) fn travel(&self, a: IpAddr, b: IpAddr, seed: u64, rng: &mut Rng) -> Option<u64> {
        // Always both, so that one setting does not shift the dice of the other.
        let lost = rng.chance(self.loss);
        let jitter = self.jitter.mul_f64(rng.unit());
        let pair = (self.longest - self.shortest).mul_f64(share_of_pair(a, b, seed));
        (!lost).then(|| (self.shortest + pair + jitter).as_nanos() as u64)
    }
}

/// A number in `[0, 1)` that belongs to the pair of hosts, whichever comes first.
fn share_of_pair(a: IpAddr, b: IpAddr, seed: u64) -> f64 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut state = seed;
    for host in [low, high] {
        let bits = host_bits(host);
        for word in [bits as u64, (bits >> 64) as u64] {
            state = Rng::new(state ^ word).next_u64();
        }
    }
    Rng::new(state).unit()
}

fn host_bits(host: IpAddr) -> u128 {
    match host {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [IpAddr; 3] = [
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    ];

    #[test]
    fn a_pair_has_one_delay_in_both_directions_and_another_seed_gives_another() {
        let config = NetworkConfig::default().with_jitter(Duration::ZERO);
        let mut rng = Rng::new(1);
        let mut travel = |a: usize, b: usize, seed| {
            config
                .travel(HOSTS[a], HOSTS[b], seed, &mut rng)
                .expect("nothing is lost")
        };
        assert_eq!(travel(0, 1, 5), travel(1, 0, 5));
        assert_ne!(travel(0, 1, 5), travel(0, 2, 5));
        assert_ne!(travel(0, 1, 5), travel(0, 1, 6));
    }

    #[test]
    fn delays_fill_the_range() {
        let config = NetworkConfig::default()
            .with_delay(Duration::from_millis(20), Duration::from_millis(40))
            .with_jitter(Duration::ZERO);
        let mut rng = Rng::new(1);
        let delays: Vec<u64> = (0..10_000u32)
            .filter_map(|host| config.travel(HOSTS[0], IpAddr::V4(host.into()), 1, &mut rng))
            .map(|nanos| nanos / 1_000)
            .collect();
        let mean = delays.iter().sum::<u64>() / delays.len() as u64;
        assert!((29_500..30_500).contains(&mean), "{mean}");
        assert!(delays.iter().all(|delay| (20_000..40_000).contains(delay)));
        assert!(delays.iter().any(|&delay| delay < 20_100));
        assert!(delays.iter().any(|&delay| delay > 39_900));
    }
}
