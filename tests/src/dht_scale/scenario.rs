//! What happens to the network, and what is measured.

use std::time::{Duration, Instant};

use dhtnet_dht_core::node::Config;
use dhtnet_dht_core::{Family, Id};
use dhtnet_simnet::MachineId;

use super::Plan;
use super::content::Content;
use super::honest::{Progress, Wish};
use super::hostile::Conduct;
use super::memory;
use super::report::{Report, millis, percent};
use super::world::{Job, World};

/// After the last node has joined: every bucket was refreshed once (BEP 5: 15 minutes).
const SETTLING: Duration = Duration::from_secs(20 * 60);

/// How long idle traffic is counted: everything that is done at intervals comes once at least.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// Nodes that fetch each value.
const READERS: usize = 2;

/// Nodes that hold a key (BEP 5).
const K: usize = 8;

/// A scenario's name, and what plays it.
type Scenario = (&'static str, fn(&mut Stage));

/// All of them.
pub const SCENARIOS: [Scenario; 8] = [
    ("brief", brief),
    ("plain", plain),
    ("deaths", deaths),
    ("churn", churn),
    ("partition", partition),
    ("hostile", hostile),
    ("sybils", sybils),
    ("late-sybils", late_sybils),
];

/// Where a scenario is played.
pub struct Stage {
    plan: Plan,
    world: World,
    report: Report,
}

/// Plays a scenario; none if there is none of that name.
#[must_use]
pub fn run(name: &str, plan: Plan) -> Option<Report> {
    let (name, play) = SCENARIOS.into_iter().find(|(other, _)| *other == name)?;
    let began = Instant::now();
    let mut stage = Stage {
        plan,
        world: World::new(plan.seed, Config::default()),
        report: Report::new(name, plan.nodes, plan.seed),
    };
    play(&mut stage);
    let Stage {
        world, mut report, ..
    } = stage;
    let stats = world.network.stats();
    let events = stats.traffic.received + stats.timeouts;
    let took = began.elapsed().as_secs_f64();
    report.add(
        "virtual time",
        world.network.elapsed().as_secs_f64() / 60.0,
        "min",
    );
    report.add("events", events as f64, "");
    report.add_local("running time", took, "s");
    report.add_local("events per second", (events as f64 / took).round(), "");
    report.fingerprint = world.network.fingerprint();
    Some(report)
}

/// Something that somebody stored.
struct Stored {
    content: Content,
    publisher: MachineId,
}

impl Stage {
    /// Builds the network up, `hostile` percent of it hostile, and lets it settle.
    fn build(&mut self, hostile: u64) {
        self.build_for(hostile, SETTLING);
    }

    fn build_for(&mut self, hostile: u64, settling: Duration) {
        let before = memory::resident();
        self.world.grow(self.plan.nodes, hostile);
        self.world.network.run_for(settling);
        self.report_memory(before);
        self.report_ready();
    }

    fn report_memory(&mut self, before: u64) {
        let resident = memory::resident();
        let each = resident.saturating_sub(before) as f64 / self.plan.nodes as f64;
        self.report.add_local(
            "resident memory",
            resident as f64 / f64::from(1 << 20),
            "MiB",
        );
        self.report
            .add_local("resident memory per node", each / 1024.0, "KiB");
    }

    fn report_ready(&mut self) {
        let now = self.world.network.now();
        let census = self.world.census();
        let (mut ready, mut known, mut good, mut estimates) = (0, 0, 0, Vec::new());
        let (mut real, mut near, mut neighbours) = (0, 0, 0);
        for &id in self.world.living() {
            let Some(honest) = self.world.honest(id) else {
                continue;
            };
            ready += usize::from(honest.node().is_ready(Family::V4));
            let mut nearest = census.nearest(&honest.id(), K + 1);
            nearest.retain(|contact| contact.id != honest.id());
            neighbours += nearest.len();
            for node in honest.node().nodes(now, Family::V4) {
                known += 1;
                good += usize::from(node.good);
                real += usize::from(census.holds(&node.contact));
                near += usize::from(nearest.contains(&node.contact));
            }
            estimates.push(honest.node().estimated_size(now, Family::V4) as f64);
        }
        let living = self.world.living().len();
        self.report
            .add("nodes that are ready", percent(ready, living), "%");
        self.report
            .add("nodes in a table, mean", known as f64 / living as f64, "");
        self.report
            .add("good ones among them", percent(good, known), "%");
        self.report.add(
            "those who have that id and address",
            percent(real, known),
            "%",
        );
        self.report.add(
            "of the 8 neighbours of a node, in its table",
            percent(near, neighbours),
            "%",
        );
        self.report
            .add_spread("estimated size of the network", &mut estimates, "nodes");
    }

    fn report_idle_traffic(&mut self) {
        let before = self.world.network.stats();
        self.world.network.run_for(IDLE);
        let after = self.world.network.stats();
        let sent = after.traffic.since(&before.traffic);
        let node_seconds = self.plan.nodes as f64 * IDLE.as_secs_f64();
        self.report.add(
            "datagrams sent by an idle node",
            sent.sent as f64 / node_seconds * 60.0,
            "per minute",
        );
        self.report.add(
            "bytes sent by an idle node",
            sent.sent_bytes as f64 / node_seconds,
            "B/s",
        );
    }

    /// Lookups of random targets by random nodes.
    fn look_up(&mut self, label: &str) {
        let jobs: Vec<Job> = (0..self.plan.samples)
            .map(|_| Job {
                by: self.world.any(),
                wish: Wish::Lookup(self.random_id()),
            })
            .collect();
        let finished = self.world.perform(jobs);
        let census = self.world.census();
        let (mut hops, mut messages, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut exact, mut asked) = (0, 0);
        for (job, progress) in &finished {
            let (Wish::Lookup(target), Some(outcome)) = (&job.wish, &progress.outcome) else {
                continue;
            };
            hops.push(f64::from(outcome.hops));
            messages.push(f64::from(outcome.queries + outcome.answers));
            times.push(millis(outcome.elapsed));
            // Nobody finds itself.
            let own = self.world.honest(job.by).map(|honest| honest.id());
            let mut nearest = census.nearest(target, K + 1);
            nearest.retain(|contact| Some(contact.id) != own);
            nearest.truncate(K);
            asked += nearest.len();
            exact += nearest
                .iter()
                .filter(|contact| outcome.closest.contains(contact))
                .count();
        }
        let report = &mut self.report;
        report.add(
            format!("{label}: ended"),
            percent(hops.len(), finished.len()),
            "%",
        );
        report.add(
            format!("{label}: of the 8 nearest, found"),
            percent(exact, asked),
            "%",
        );
        report.add_spread(&format!("{label}: hops"), &mut hops, "");
        report.add_spread(&format!("{label}: messages"), &mut messages, "");
        report.add_spread(&format!("{label}: time"), &mut times, "ms");
    }

    /// Stores values, each by another of `publishers`.
    fn store(&mut self, label: &str, keep: Keep, publishers: &[MachineId]) -> Vec<Stored> {
        let stored: Vec<Stored> = publishers
            .iter()
            .enumerate()
            .map(|(turn, &publisher)| Stored {
                content: Content::random(turn, &mut self.world.rng),
                publisher,
            })
            .collect();
        let jobs = stored.iter().map(|stored| Job {
            by: stored.publisher,
            wish: match keep {
                Keep::Once => Wish::Put(stored.content.clone()),
                Keep::Permanent => Wish::Keep(stored.content.clone()),
            },
        });
        let finished = self.world.perform(jobs.collect());
        let (mut acknowledged, mut times) = (Vec::new(), Vec::new());
        for (_, progress) in &finished {
            if let Some(outcome) = &progress.outcome {
                acknowledged.push(outcome.acknowledged as f64);
                times.push(millis(outcome.elapsed));
            }
        }
        let mean = acknowledged.iter().sum::<f64>() / finished.len().max(1) as f64;
        self.report
            .add(format!("{label}: acknowledgements, mean"), mean, "");
        self.report
            .add_spread(&format!("{label}: time"), &mut times, "ms");
        stored
    }

    /// Fetches each value by [`READERS`] nodes that `may_read`, and counts whose value is right.
    fn fetch(
        &mut self,
        label: &str,
        stored: &[Stored],
        may_read: impl Fn(&World, &Stored, MachineId) -> bool,
    ) {
        let mut jobs = Vec::new();
        for stored in stored {
            for _ in 0..READERS {
                let mut by = self.world.any();
                while by == stored.publisher || !may_read(&self.world, stored, by) {
                    by = self.world.any();
                }
                let wish = Wish::Get(stored.content.clone());
                jobs.push(Job { by, wish });
            }
        }
        let finished = self.world.perform(jobs);
        let (mut right, mut forged, mut times) = (0, 0, Vec::new());
        for (at, (_, progress)) in finished.iter().enumerate() {
            let expected = &stored[at / READERS].content;
            right += usize::from(progress.found.contains(expected));
            let wrong = progress.found.iter().filter(|found| *found != expected);
            forged += wrong.count();
            times.extend(found_after(progress));
        }
        let report = &mut self.report;
        report.add(
            format!("{label}: found"),
            percent(right, finished.len()),
            "%",
        );
        report.add(
            format!("{label}: forged values accepted"),
            forged as f64,
            "",
        );
        report.add_spread(&format!("{label}: time"), &mut times, "ms");
    }

    fn publishers(&mut self) -> Vec<MachineId> {
        (0..self.plan.samples).map(|_| self.world.any()).collect()
    }

    fn random_id(&mut self) -> Id {
        Id::hash_of(&self.world.rng.next_u64().to_be_bytes())
    }
}

/// Whether a value is stored again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Once,
    Permanent,
}

fn found_after(progress: &Progress) -> Option<f64> {
    progress.found_after.map(millis)
}

fn anybody(_: &World, _: &Stored, _: MachineId) -> bool {
    true
}

/// Build-up, two minutes to settle, lookups, values, and values after three nodes of ten died.
fn brief(stage: &mut Stage) {
    stage.build_for(0, Duration::from_secs(120));
    stage.look_up("lookup");
    let publishers = stage.publishers();
    let stored = stage.store("put", Keep::Once, &publishers);
    stage.fetch("get", &stored, anybody);
    stage.world.kill_percent(30, &publishers);
    stage.fetch("get at once after 30 % died", &stored, anybody);
}

/// Build-up, idle traffic, lookups, values.
fn plain(stage: &mut Stage) {
    stage.build(0);
    stage.report_idle_traffic();
    stage.look_up("lookup");
    let publishers = stage.publishers();
    let stored = stage.store("put", Keep::Once, &publishers);
    stage.fetch("get", &stored, anybody);
}

/// Three nodes of ten die at once; their neighbours have to find out.
fn deaths(stage: &mut Stage) {
    stage.build(0);
    let publishers = stage.publishers();
    let stored = stage.store("put", Keep::Permanent, &publishers);
    stage.world.kill_percent(30, &publishers);
    stage.fetch("get at once after 30 % died", &stored, anybody);
    stage.look_up("lookup after 30 % died");
    stage.world.network.run_for(Duration::from_secs(35 * 60));
    stage.fetch("get after republishing", &stored, anybody);
}

/// Nodes come and go, half of them within half an hour; publishers stay.
fn churn(stage: &mut Stage) {
    const HALF_LIFE: Duration = Duration::from_secs(30 * 60);
    stage.build(0);
    let publishers = stage.publishers();
    let once = stage.store("put once", Keep::Once, &publishers);
    let kept = stage.store("put permanently", Keep::Permanent, &publishers);
    for half_lives in [1, 2, 3, 4] {
        stage.world.churn(HALF_LIFE, HALF_LIFE, &publishers);
        let minutes = 30 * half_lives;
        stage.fetch(
            &format!("permanent values after {minutes} min"),
            &kept,
            anybody,
        );
        if half_lives == 1 {
            stage.fetch("values stored once, after 30 min", &once, anybody);
        }
    }
    stage.look_up("lookup in churn");
}

/// Half of the nodes do not reach the other half for half an hour.
fn partition(stage: &mut Stage) {
    stage.build(0);
    let publishers = stage.publishers();
    let before = stage.store("put before", Keep::Permanent, &publishers);
    stage.world.split();
    stage.world.network.run_for(Duration::from_secs(20 * 60));
    let during = stage.store("put during the partition", Keep::Permanent, &publishers);
    stage.fetch("put before, got during it", &before, anybody);
    stage.fetch(
        "put during it, got on the same side",
        &during,
        |world, stored, by| world.network.group(by) == world.network.group(stored.publisher),
    );
    stage.world.network.run_for(Duration::from_secs(10 * 60));
    stage.world.network.heal();
    stage.fetch(
        "put during it, got at once after it healed",
        &during,
        anybody,
    );
    stage.world.network.run_for(Duration::from_secs(3 * 60));
    stage.fetch("put during it, got 3 min after it healed", &during, anybody);
    stage.world.network.run_for(Duration::from_secs(27 * 60));
    stage.fetch("put before, got 30 min after it healed", &before, anybody);
    stage.fetch(
        "put during it, got 30 min after it healed",
        &during,
        anybody,
    );
    stage.look_up("lookup after it healed");
}

/// One node in five is hostile: a third each tells of wrong nodes, is silent, forges values.
fn hostile(stage: &mut Stage) {
    stage.build(20);
    let share = percent(stage.world.hostile(), stage.plan.nodes);
    stage.report.add("hostile nodes", share, "%");
    stage.look_up("lookup");
    let publishers = stage.publishers();
    let stored = stage.store("put", Keep::Once, &publishers);
    stage.fetch("get", &stored, anybody);
}

/// Before a value is stored, 256 hostile nodes take ids next to its key.
fn sybils(stage: &mut Stage) {
    stage.build(0);
    attack(stage, Attack::BeforePut);
}

/// After a value is stored, 256 hostile nodes take ids next to its key.
fn late_sybils(stage: &mut Stage) {
    stage.build(0);
    attack(stage, Attack::AfterPut);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    BeforePut,
    AfterPut,
}

/// One key, many readers.
fn attack(stage: &mut Stage, attack: Attack) {
    const SYBILS: usize = 256;
    let content = Content::random(0, &mut stage.world.rng);
    let target = content.target();
    let publisher = stage.world.any();
    let join = |stage: &mut Stage| {
        stage.world.join_sybils(SYBILS, target, Conduct::Poison);
        stage.world.network.run_for(Duration::from_secs(15 * 60));
    };
    if attack == Attack::BeforePut {
        join(stage);
    }
    let wish = Wish::Put(content.clone());
    let finished = stage.world.perform(vec![Job {
        by: publisher,
        wish,
    }]);
    let outcome = finished
        .into_iter()
        .next()
        .and_then(|(_, progress)| progress.outcome);
    let outcome = outcome.unwrap_or_default();
    let honest = outcome
        .closest
        .iter()
        .filter(|contact| {
            let id = stage.world.network.at(&contact.address);
            id.is_some_and(|id| stage.world.honest(id).is_some())
        })
        .count();
    stage
        .report
        .add("put: acknowledgements", outcome.acknowledged as f64, "");
    stage
        .report
        .add("put: honest among the nearest", honest as f64, "");
    if attack == Attack::AfterPut {
        join(stage);
    }
    // The same value for as many readers as other scenarios have.
    let many: Vec<Stored> = (0..stage.plan.samples / READERS)
        .map(|_| Stored {
            content: content.clone(),
            publisher,
        })
        .collect();
    stage.fetch("get", &many, anybody);
}
