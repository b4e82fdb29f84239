//! Flows over one shared bottleneck, and what an observer of it measures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_simnet::{Clock, Link, LinkConfig, LinkStats};
use quinn_proto::congestion::ControllerFactory;

use super::flow::{Datagram, Flow, Settings};

pub(crate) type Factory = Arc<dyn ControllerFactory + Send + Sync>;

/// IPv4 and UDP headers.
pub(crate) const OVERHEAD: usize = 28;

/// Flows that share one link there and one link back.
pub(crate) struct Net {
    clock: Clock,
    there: Link<Datagram>,
    back: Link<Datagram>,
    flows: Vec<Option<Flow>>,
    plans: Vec<(Factory, Settings)>,
    start: Instant,
    /// Smallest window of each flow's sender seen since the last call of `measure`.
    pub(crate) smallest_window: u64,
}

/// What one flow got during a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Bytes per second the receiving application read.
    pub(crate) goodput: f64,
    /// Bytes declared lost, as a part of the bytes sent.
    pub(crate) retransmitted: f64,
}

/// A measurement over a span of virtual time.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) shares: Vec<Share>,
    /// Mean wait for the line of the packets carried meanwhile.
    pub(crate) mean_wait: Duration,
    /// The link's counters since the start.
    pub(crate) link: LinkStats,
}

impl Report {
    /// What a flow got, as a part of `rate` in bits per second.
    pub(crate) fn part(&self, flow: usize, rate: f64) -> f64 {
        self.shares[flow].goodput * 8.0 / rate
    }
}

impl Net {
    pub(crate) fn new(there: LinkConfig, back: LinkConfig, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            clock: Clock::new(start),
            there: Link::new(there.with_overhead(OVERHEAD), seed),
            back: Link::new(back.with_overhead(OVERHEAD), seed ^ 0xBAC),
            flows: Vec::new(),
            plans: Vec::new(),
            start,
            smallest_window: u64::MAX,
        }
    }

    pub(crate) fn add(&mut self, factory: Factory, settings: Settings) {
        self.flows.push(None);
        self.plans.push((factory, settings));
    }

    /// Changes the link there from now on.
    pub(crate) fn reconfigure(&mut self, there: LinkConfig) {
        self.there.reconfigure(there.with_overhead(OVERHEAD));
    }

    pub(crate) fn flow(&mut self, number: usize) -> &mut Flow {
        self.flows[number].as_mut().expect("the flow has begun")
    }

    /// Runs to `until` after the start.
    pub(crate) fn run_until(&mut self, until: Duration) {
        let end = self.start + until;
        while let Some(next) = self.next_due().filter(|next| *next <= end) {
            self.clock.advance_to(next);
            self.step();
        }
        self.clock.advance_to(end);
    }

    /// Runs to `until` and reports on the time between the call and then.
    pub(crate) fn measure(&mut self, until: Duration) -> Report {
        let begin = self.clock.elapsed();
        let before: Vec<_> = self.flows.iter().map(reading).collect();
        let link = self.there.stats();
        self.smallest_window = u64::MAX;
        self.run_until(until);
        let seconds = (self.clock.elapsed() - begin).as_secs_f64();
        let shares = self
            .flows
            .iter()
            .map(reading)
            .zip(before)
            .map(|(now, before)| Share {
                goodput: (now.0 - before.0) as f64 / seconds,
                retransmitted: (now.1 - before.1) as f64 / (now.2 - before.2).max(1) as f64,
            })
            .collect();
        let after = self.there.stats();
        Report {
            shares,
            mean_wait: after.mean_wait_since(&link),
            link: after,
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        let start = self.start;
        let plans = &self.plans;
        let flows = self
            .flows
            .iter_mut()
            .zip(plans)
            .filter_map(|(flow, plan)| match flow {
                Some(flow) => flow.next_due(),
                None => Some(start + plan.1.begins),
            });
        flows
            .chain(self.there.next_delivery())
            .chain(self.back.next_delivery())
            .min()
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let mut touched = [false; 8];
        while let Some(packet) = self.there.poll_delivery(now) {
            let flow = packet.item.flow;
            touched[flow] = true;
            self.flow(flow)
                .deliver_to_server(now, &packet.item, packet.marked);
        }
        while let Some(packet) = self.back.poll_delivery(now) {
            let flow = packet.item.flow;
            touched[flow] = true;
            self.flow(flow)
                .deliver_to_client(now, &packet.item, packet.marked);
        }
        for (number, slot) in self.flows.iter_mut().enumerate() {
            let (factory, settings) = &self.plans[number];
            if slot.is_none() && self.start + settings.begins <= now {
                *slot = Some(Flow::new(number, Arc::clone(factory), *settings, now));
                touched[number] = true;
            }
            let Some(flow) = slot else { continue };
            if touched[number] || flow.next_due().is_some_and(|due| due <= now) {
                flow.act(now, &mut self.there, &mut self.back);
                let window = flow.sender().congestion_state().window();
                self.smallest_window = self.smallest_window.min(window);
            }
        }
    }
}

/// Bytes read by the receiver, declared lost, and sent.
fn reading(flow: &Option<Flow>) -> (u64, u64, u64) {
    flow.as_ref().map_or((0, 0, 0), |flow| {
        let stats = flow.sender().stats();
        (flow.received, stats.path.lost_bytes, stats.udp_tx.bytes)
    })
}
