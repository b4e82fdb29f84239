//! `dhtnode run`: one node or many in one process, until told to end.

use std::future::pending;
use std::time::{Duration, Instant};

use dhtnet_cli::{ExitCode, Failure, Shutdown, Talk, open_files, service};
use dhtnet_identity::DeviceId;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::blocklist;
use crate::dht::Network;
use crate::flags::{Flags, RunFlags};
use crate::output::{Form, Halt, Output};
use crate::relay::{self, Reach};
use crate::session::{Place, settings};
use crate::stats::Stats;

/// How often a node that waits for others looks whether they came.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A socket for each family, the lock of the state file, and that file while it is written.
const FILES_PER_NODE: usize = 4;

/// Starts the nodes, serves, and ends them in order.
pub(crate) async fn run(
    flags: &Flags,
    run: &RunFlags,
    place: &Place,
    output: &Output,
    talk: &Talk,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Halt> {
    // Before anything else: a reload that comes early must not end the process.
    let hangups = signal(SignalKind::hangup())
        .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))?;
    if run.relay.relay && run.cluster > 1 {
        return Err(Failure::usage("--relay does not go with --cluster").into());
    }
    open_files::allow(usize::from(run.cluster) * FILES_PER_NODE + run.relay.files());
    let mut nodes = Vec::new();
    let ended = tokio::select! {
        started = start(flags, run, place, output, talk, &mut nodes) => started.map(|()| None),
        code = shutdown.requested() => Ok(Some(code)),
    };
    let ended = match ended {
        Ok(Some(code)) => Ok(code),
        Ok(None) => {
            service::tell("READY=1");
            tokio::select! {
                ended = serve(&nodes, flags, run, output, talk, hangups) => ended,
                code = shutdown.requested() => Ok(code),
            }
        }
        Err(halt) => Err(halt),
    };
    service::tell("STOPPING=1");
    end(nodes).await;
    ended
}

/// Starts the nodes one after another; those after the first enter by it as well.
async fn start(
    flags: &Flags,
    run: &RunFlags,
    place: &Place,
    output: &Output,
    talk: &Talk,
    nodes: &mut Vec<Network>,
) -> Result<(), Halt> {
    for number in 0..run.cluster {
        let mut settings = settings(flags, place, number, talk)?;
        if let Some(first) = nodes.first() {
            settings.enter_by(&first.loopback_addresses());
        }
        settings.relay = run.relay.plan(place, talk)?;
        let relay = settings.relay.as_ref();
        let relay = relay.map(|plan| (plan.key.id(), plan.reach));
        let node = Network::open(settings).await?;
        tell_addresses(&node, (number, relay), output, talk)?;
        nodes.push(node);
    }
    Ok(())
}

fn tell_addresses(
    node: &Network,
    (number, relay): (u16, Option<(DeviceId, Reach)>),
    output: &Output,
    talk: &Talk,
) -> Result<(), Halt> {
    if let Some(relay) = relay {
        relay::tell(node, relay, talk);
    }
    for address in node.local_addresses() {
        talk.note(format_args!("node {} listens on {address}", number + 1));
    }
    if output.form() == Form::Json {
        let ids: serde_json::Map<_, _> = node
            .ids()
            .into_iter()
            .map(|(family, id)| (family.to_string(), json!(id.to_string())))
            .collect();
        let mut json = json!({
            "event": "listening",
            "node": number + 1,
            "addresses": node.local_addresses(),
            "ids": ids,
        });
        if let (Some((id, _)), Some(found)) = (relay, node.relay()) {
            let id = id.to_string();
            json["relay"] = json!({ "id": id, "udp": found.udp, "tcp": found.tcp });
        }
        output.print("", &json)?;
    }
    Ok(())
}

/// Prints counters and reloads the blocklist, for ever.
async fn serve(
    nodes: &[Network],
    flags: &Flags,
    run: &RunFlags,
    output: &Output,
    talk: &Talk,
    mut hangups: Signal,
) -> Result<ExitCode, Halt> {
    let told = tell_ready(nodes, output, talk);
    let counted = print_stats(nodes, run.stats, output);
    let announced = relay::tell_announcements(nodes.first(), talk);
    tokio::pin!(told, counted, announced);
    let mut is_told = false;
    loop {
        tokio::select! {
            told = &mut told, if !is_told => {
                told?;
                is_told = true;
            }
            never = &mut announced => match never {},
            counted = &mut counted => return counted.map(|()| ExitCode::Done),
            Some(()) = hangups.recv() => reload(nodes, flags, talk),
        }
    }
}

/// Says when the first node has found others, and what is wrong as long as it has not.
async fn tell_ready(nodes: &[Network], output: &Output, talk: &Talk) -> Result<(), Halt> {
    let Some(first) = nodes.first() else {
        return Ok(());
    };
    let tried = first.ready().await;
    if !first.has_found_others() {
        service::tell("STATUS=waits for others");
        match tried {
            Ok(()) => talk.note("waits for others"),
            Err(failure) => talk.warn(failure),
        }
    }
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    while !first.has_found_others() {
        looks.tick().await;
    }
    service::tell("STATUS=in the network");
    talk.note("in the network");
    if output.form() == Form::Json {
        output.print("", &json!({ "event": "ready", "node": 1 }))?;
    }
    Ok(())
}

async fn print_stats(
    nodes: &[Network],
    interval: Option<Duration>,
    output: &Output,
) -> Result<(), Halt> {
    let Some(interval) = interval else {
        return pending().await;
    };
    let total = || Stats::total(nodes.iter().map(Network::stats));
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await; // The first is at once.
    let (mut before, mut since) = (total(), Instant::now());
    loop {
        ticks.tick().await;
        let now = total();
        let mut json = now.json();
        json["event"] = json!("stats");
        output.print(&now.line(&before, since.elapsed()), &json)?;
        (before, since) = (now, Instant::now());
    }
}

/// Reads the blocklist again; a file that is wrong leaves the old list in force.
fn reload(nodes: &[Network], flags: &Flags, talk: &Talk) {
    let Some(path) = &flags.blocklist else {
        talk.note("there is no blocklist to reload");
        return;
    };
    match blocklist::load(path, talk) {
        Ok(list) => {
            for node in nodes {
                node.block(list.clone());
            }
            talk.note(format_args!("reloaded the blocklist {}", path.display()));
        }
        Err(failure) => talk.error(format_args!("{failure}; the old list stays in force")),
    }
}

async fn end(nodes: Vec<Network>) {
    let mut ending = tokio::task::JoinSet::new();
    for node in nodes {
        ending.spawn(async move { node.shutdown().await });
    }
    while ending.join_next().await.is_some() {}
}
