//! The task that carries the plan out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::RELEASE_LIMIT;
use super::ground::Ground;
use super::plan::{Failed, Method, Plan, Step};
use super::question::{Got, Grip, Question, Spot, release};
use super::report::{MappingProtocol, PortMapping};
use crate::driver::Mark;
use crate::interfaces::Changes;

pub(super) struct Mapper {
    bound: (Vec<SocketAddr>, Mark),
    changes: Changes,
    list: watch::Sender<Vec<PortMapping>>,
    nonce: [u32; 3],
    ground: Ground,
    /// Counts the grounds: an answer from an earlier one is out of date.
    generation: u32,
    plan: Plan,
    spots: HashMap<Method, Spot>,
    grips: HashMap<Method, Grip>,
    /// Questions that leave nothing behind, whatever the answer.
    probes: JoinSet<Answer>,
    /// Questions whose answer may be a mapping.
    requests: JoinSet<Answer>,
    releases: JoinSet<Result<(), Failed>>,
}

struct Answer {
    method: Method,
    generation: u32,
    result: Result<Got, Failed>,
}

impl Mapper {
    pub(super) fn new(
        bound: (Vec<SocketAddr>, Mark),
        mut changes: Changes,
        list: watch::Sender<Vec<PortMapping>>,
    ) -> Result<Self, getrandom::Error> {
        changes.mark_unchanged();
        let mut nonce = [0; 3];
        for word in &mut nonce {
            *word = getrandom::u32()?;
        }
        let ground = Ground::now(&bound.0, bound.1);
        Ok(Self {
            bound,
            changes,
            list,
            nonce,
            ground,
            generation: 0,
            plan: Plan::new(ground.methods(), Instant::now()),
            spots: HashMap::new(),
            grips: HashMap::new(),
            probes: JoinSet::new(),
            requests: JoinSet::new(),
            releases: JoinSet::new(),
        })
    }

    /// Runs until `stop` is used or dropped, and takes back what is held then.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        tracing::debug!(ground = ?self.ground, "asking routers for a way in");
        let mut is_watched = true;
        loop {
            while let Some((method, step)) = self.plan.poll(Instant::now()) {
                self.ask(method, step);
            }
            self.publish();
            let due = self.plan.poll_timeout();
            let answer = tokio::select! {
                _ = &mut stop => break,
                changed = self.changes.changed(), if is_watched => {
                    is_watched = changed.is_ok();
                    if is_watched {
                        self.on_network_change();
                    }
                    continue;
                }
                () = sleep_until(due) => continue,
                Some(_) = self.releases.join_next() => continue,
                Some(answer) = self.probes.join_next() => answer,
                Some(answer) = self.requests.join_next() => answer,
            };
            match answer {
                Ok(answer) => self.on_answer(answer),
                // Its method stays as asked; the next change of the network begins anew.
                Err(error) => tracing::error!(%error, "a question about port mappings failed"),
            }
        }
        self.list.send_modify(Vec::clear);
        if tokio::time::timeout(RELEASE_LIMIT, self.release_all())
            .await
            .is_err()
        {
            tracing::debug!("not all port mappings were taken back in time");
        }
    }

    fn ask(&mut self, method: Method, step: Step) {
        let generation = self.generation;
        let question = Question {
            method,
            ground: self.ground,
            nonce: self.nonce,
        };
        let answer = move |result| Answer {
            method,
            generation,
            result,
        };
        match (step, self.grips.get(&method)) {
            (Step::Probe, _) => {
                self.probes
                    .spawn(async move { answer(question.probe().await) });
            }
            (Step::Renew, Some(grip)) => {
                let grip = grip.clone();
                self.requests
                    .spawn(async move { answer(question.renew(grip).await) });
            }
            (Step::Map | Step::Renew, _) => {
                let spot = self.spots.get(&method).cloned();
                self.requests
                    .spawn(async move { answer(question.map(spot).await) });
            }
        }
    }

    fn on_answer(&mut self, answer: Answer) {
        let (method, now) = (answer.method, Instant::now());
        if answer.generation != self.generation {
            if let Ok(Got::Mapped(_, grip)) = answer.result {
                self.releases.spawn(release(grip));
            }
            return;
        }
        match answer.result {
            Ok(Got::Found(spot)) => {
                tracing::debug!(?method, "a router answers");
                self.spots.insert(method, spot);
                self.plan.on_found(method, now);
            }
            Ok(Got::Mapped(lease, grip)) => {
                tracing::debug!(?method, external = %lease.external, lifetime = ?lease.lifetime,
                    "port mapping granted");
                self.grips.insert(method, grip);
                if self.plan.on_mapped(method, lease, now) {
                    tracing::debug!(?method, "the router has rebooted");
                }
            }
            Err(failed) => {
                tracing::debug!(?method, ?failed, "no port mapping");
                self.plan.on_failed(method, failed, now);
            }
        }
    }

    /// Tells what there is, if it is not what was told before.
    fn publish(&mut self) {
        let held: Vec<PortMapping> = self
            .plan
            .mapped()
            .map(|(method, lease, expires)| PortMapping {
                protocol: protocol(method),
                external: lease.external,
                expires,
            })
            .collect();
        // What was lost may be there still, on a router that is not heard.
        let lost = |method: &Method| {
            !self.plan.is_asking(*method) && self.plan.mapped().all(|(held, ..)| held != *method)
        };
        let lost: Vec<Method> = self.grips.keys().copied().filter(lost).collect();
        for method in lost {
            if let Some(grip) = self.grips.remove(&method) {
                self.releases.spawn(release(grip));
            }
        }
        self.list.send_if_modified(|told| {
            let differs = *told != held;
            for new in held.iter().filter(|new| is_new(new, told)) {
                tell(new);
            }
            *told = held;
            differs
        });
    }

    fn on_network_change(&mut self) {
        let (ground, now) = (Ground::now(&self.bound.0, self.bound.1), Instant::now());
        if ground == self.ground {
            self.plan.check_all(now);
            return;
        }
        tracing::debug!(?ground, "asking routers anew");
        self.ground = ground;
        self.generation += 1;
        self.plan = Plan::new(ground.methods(), now);
        self.spots.clear();
        self.probes.abort_all();
        // The old router may still be reached, over another interface.
        for (_, grip) in self.grips.drain() {
            self.releases.spawn(release(grip));
        }
    }

    async fn release_all(mut self) {
        self.probes.abort_all();
        let asked: Vec<Method> = self.grips.keys().copied().collect();
        for method in asked {
            // A renewal on its way would make the mapping again.
            if !self.plan.is_asking(method)
                && let Some(grip) = self.grips.remove(&method)
            {
                self.releases.spawn(release(grip));
            }
        }
        while let Some(answer) = self.requests.join_next().await {
            let Ok(answer) = answer else { continue };
            let before = self.grips.remove(&answer.method);
            let grip = match answer.result {
                Ok(Got::Mapped(_, grip)) => Some(grip),
                _ => before,
            };
            if let Some(grip) = grip {
                self.releases.spawn(release(grip));
            }
        }
        while self.releases.join_next().await.is_some() {}
    }
}

fn protocol(method: Method) -> MappingProtocol {
    match method {
        Method::Pcp | Method::Pcp6 => MappingProtocol::Pcp,
        Method::NatPmp => MappingProtocol::NatPmp,
        Method::Upnp | Method::Pinhole => MappingProtocol::Upnp,
    }
}

fn is_new(mapping: &PortMapping, told: &[PortMapping]) -> bool {
    !told
        .iter()
        .any(|before| before.external == mapping.external)
}

fn tell(mapping: &PortMapping) {
    if mapping.is_public() {
        tracing::info!("the router lets others in, asked by {}", mapping.protocol);
    } else {
        tracing::debug!(
            external = %mapping.external,
            "the router has a private address itself: another NAT is between it and the Internet"
        );
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
