//! A simulated DHT and its fate: joins, deaths, churn, and what its nodes are asked to do.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::node::{Config, OperationId};
use dhtnet_dht_core::secure_id::secure_id;
use dhtnet_dht_core::{Contact, Family, Id};
use dhtnet_simnet::{MachineId, Network, NetworkConfig, Rng};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::addresses::Addresses;
use super::census::Census;
use super::honest::{Honest, Progress, Wish};
use super::hostile::{Coalition, Conduct, Hostile};
use super::participant::Participant;

/// The time in which a growing network doubles.
const DOUBLING: Duration = Duration::from_secs(30);

/// A network of this size grows by its own size in [`DOUBLING`], like all larger ones.
const FIRST_NODES: f64 = 8.0;

/// Between the beginnings of two wishes.
const SPACING: Duration = Duration::from_millis(20);

/// How long all wishes of a round may take after the last one began.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at whether they are done.
const GLANCE: Duration = Duration::from_millis(200);

/// Honest nodes that a hostile one knows from the start.
const VICTIMS: usize = 8;

/// A node and what it is to do.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) by: MachineId,
    pub(super) wish: Wish,
}

/// A simulated DHT.
pub(super) struct World {
    pub(super) network: Network<Participant>,
    pub(super) rng: Rng,
    config: Arc<Config>,
    addresses: Addresses,
    coalition: Coalition,
    /// The honest nodes that live.
    living: Vec<MachineId>,
}

impl World {
    /// An empty one.
    pub(super) fn new(seed: u64, config: Config) -> Self {
        let paths = NetworkConfig::default().with_loss(0.01);
        Self {
            network: Network::new(Instant::now(), paths, seed),
            rng: Rng::new(seed ^ 0x5eed),
            config: Arc::new(config.families(&[Family::V4])),
            addresses: Addresses::new(seed),
            coalition: Coalition::default(),
            living: Vec::new(),
        }
    }

    /// Lets `count` nodes join, each of which knows one that was there before; of a hundred,
    /// `hostile` are hostile. The network doubles every half minute.
    pub(super) fn grow(&mut self, count: usize, hostile: u64) {
        let start = self.network.now();
        for number in 0..count {
            let doublings = (1.0 + number as f64 / FIRST_NODES).log2();
            self.network.run_until(start + DOUBLING.mul_f64(doublings));
            // Those who come first found the network; they are honest.
            if number >= VICTIMS && self.rng.next_u64() % 100 < hostile {
                let conduct = Conduct::ALL[number % Conduct::ALL.len()];
                self.join_hostile(conduct);
            } else {
                self.join();
            }
        }
    }

    /// One more honest node, which knows a random living one.
    pub(super) fn join(&mut self) -> MachineId {
        let known = (!self.living.is_empty()).then(|| self.any());
        let known = known.map(|id| self.network.address(id));
        let (now, elapsed) = (self.network.now(), self.network.elapsed());
        let honest = Honest::new(self.config.clone(), now, elapsed, &mut self.rng, known);
        let address = self.addresses.next();
        let id = self.network.add(address, Participant::Honest(honest));
        self.living.push(id);
        id
    }

    fn join_hostile(&mut self, conduct: Conduct) {
        let address = self.addresses.next();
        let mut rng = ChaCha20Rng::seed_from_u64(self.rng.next_u64());
        let id = secure_id(address.ip(), &mut rng);
        let victims: Vec<SocketAddr> = (0..VICTIMS)
            .map(|_| {
                let victim = self.any();
                self.network.address(victim)
            })
            .collect();
        let hostile = Hostile::new(
            id,
            conduct,
            Rc::clone(&self.coalition),
            self.network.now(),
            &victims,
        );
        self.enlist(address, hostile);
    }

    /// Hostile nodes with ids next to `target`, known to the honest nodes nearest to it. Nothing
    /// keeps them from choosing ids but that these do not follow from their addresses.
    pub(super) fn join_sybils(&mut self, count: usize, target: Id, conduct: Conduct) {
        let nearest = self.census().nearest(&target, 4 * VICTIMS);
        let victims: Vec<SocketAddr> = nearest.iter().map(|contact| contact.address).collect();
        let now = self.network.now();
        for _ in 0..count {
            let mut bytes = *target.as_bytes();
            bytes[10..18].copy_from_slice(&self.rng.next_u64().to_be_bytes());
            let coalition = Rc::clone(&self.coalition);
            let hostile = Hostile::new(Id::from_bytes(bytes), conduct, coalition, now, &victims);
            let address = self.addresses.next();
            self.enlist(address, hostile.with_focus(target));
        }
    }

    fn enlist(&mut self, address: SocketAddr, hostile: Hostile) {
        let contact = Contact::new(hostile.id(), address);
        self.coalition.borrow_mut().add(contact);
        self.network.add(address, Participant::Hostile(hostile));
    }

    /// The honest nodes that live.
    pub(super) fn living(&self) -> &[MachineId] {
        &self.living
    }

    /// Hostile nodes.
    pub(super) fn hostile(&self) -> usize {
        self.coalition.borrow().contacts().len()
    }

    /// The honest nodes that live, as contacts.
    pub(super) fn census(&self) -> Census {
        Census::of(self.living.iter().filter_map(|&id| {
            let honest = self.honest(id)?;
            Some(Contact::new(honest.id(), self.network.address(id)))
        }))
    }

    pub(super) fn honest(&self, id: MachineId) -> Option<&Honest> {
        self.network.machine(id)?.honest()
    }

    /// A random honest node that lives.
    pub(super) fn any(&mut self) -> MachineId {
        self.living[self.rng.next_u64() as usize % self.living.len()]
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u64() as usize % bound
    }

    /// Kills `percent` of the honest nodes at once, sparing some.
    pub(super) fn kill_percent(&mut self, percent: usize, spared: &[MachineId]) {
        for _ in 0..self.living.len() * percent / 100 {
            let at = self.below(self.living.len());
            if !spared.contains(&self.living[at]) {
                let id = self.living.swap_remove(at);
                self.network.kill(id);
            }
        }
    }

    /// Lets nodes come and go for `time`: each lives for `half_life` with one chance in two, and
    /// a new one takes the place of each that dies. The spared live on.
    pub(super) fn churn(&mut self, time: Duration, half_life: Duration, spared: &[MachineId]) {
        let end = self.network.now() + time;
        // Between two deaths of the whole network, on average.
        let lifetime = half_life.div_f64(std::f64::consts::LN_2);
        while self.network.now() < end {
            let mean = lifetime.div_f64(self.living.len() as f64);
            let pause = mean.mul_f64(-(1.0 - self.rng.unit()).ln());
            self.network.run_until(end.min(self.network.now() + pause));
            let at = self.below(self.living.len());
            if !spared.contains(&self.living[at]) {
                let id = self.living.swap_remove(at);
                self.network.kill(id);
                self.join();
            }
        }
    }

    /// Splits the network into two halves that cannot reach each other, by chance.
    pub(super) fn split(&mut self) {
        let ids: Vec<MachineId> = self.network.ids().collect();
        for id in ids {
            let group = self.rng.next_u64() % 2;
            self.network.set_group(id, group as u16);
        }
    }

    /// Lets every node do its job, one after the other begun, and waits for all.
    pub(super) fn perform(&mut self, jobs: Vec<Job>) -> Vec<(Job, Progress)> {
        let mut started: Vec<(Job, Option<OperationId>)> = Vec::with_capacity(jobs.len());
        for job in jobs {
            let operation = self.network.drive(job.by, |participant, now| {
                let honest = participant.honest_mut()?;
                honest.start(now, &job.wish)
            });
            started.push((job, operation.flatten()));
            self.network.run_for(SPACING);
        }
        let end = self.network.now() + PATIENCE;
        while self.network.now() < end && !self.all_over(&started) {
            self.network.run_for(GLANCE);
        }
        let finished = started.into_iter().map(|(job, operation)| {
            let taken = self.network.drive(job.by, |participant, _| {
                participant.honest_mut()?.take(operation?)
            });
            (job, taken.flatten().unwrap_or_default())
        });
        finished.collect()
    }

    fn all_over(&self, started: &[(Job, Option<OperationId>)]) -> bool {
        started.iter().all(|(job, operation)| {
            let honest = self.honest(job.by);
            honest
                .zip(*operation)
                .is_none_or(|(honest, operation)| honest.is_over(operation))
        })
    }
}
