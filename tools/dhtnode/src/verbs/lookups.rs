//! Nodes and peers: ping, find-node, closest, get-peers, announce, sample, stats, nodes.

use dhtnet_cli::flags::HostPort;
use dhtnet_cli::{ExitCode, Failure};
use serde_json::{Value, json};

use super::judge;
use crate::dht::{AnnouncedPort, Contact, Id};
use crate::flags::AnnounceFlags;
use crate::output::Halt;
use crate::reports::{contact_json, contact_line, milliseconds, version_text};
use crate::session::{How, Lasting, Session};

pub(super) async fn ping(session: &Session, how: &How, host: &HostPort) -> Result<(), Halt> {
    let address = session.resolve(host).await?;
    let pong = session.network.ping(address).await?;
    let time = milliseconds(pong.round_trip);
    let version = version_text(pong.version.as_deref());
    let mut text = format!("{} {address} {time} ms, version {version}", pong.id);
    if let Some(external) = pong.external {
        text.push_str(&format!(", sees this host as {external}"));
    }
    let json = json!({
        "id": pong.id.to_string(),
        "address": address,
        "milliseconds": time,
        "version": version,
        "external": pong.external,
        "extension": pong.extension,
    });
    how.output.print(&(text + "\n"), &json)
}

pub(super) async fn find_node(session: &Session, how: &How, target: Id) -> Result<(), Halt> {
    let via = session.asked(how).await?;
    let nodes = session.network.find_node(target, via).await?;
    found_some(&nodes, target)?;
    for contact in &nodes {
        how.output
            .print(&contact_line(contact), &contact_json(contact))?;
    }
    Ok(())
}

pub(super) async fn closest(session: &Session, how: &How, target: Id) -> Result<(), Halt> {
    if how.remote.is_some() {
        return Err(
            Failure::usage("closest asks node after node and not one only")
                .advise("for one node's answer: dhtnode find-node ID --remote ADDR")
                .into(),
        );
    }
    session.ready().await?;
    let looked = session.network.closest(target).await?;
    found_some(&looked.closest, target)?;
    let time = milliseconds(looked.elapsed);
    session.talk.note(format_args!(
        "{} queries in {time} ms, {} hops",
        looked.queries, looked.hops
    ));
    let lines: String = looked.closest.iter().map(contact_line).collect();
    let json = json!({
        "target": target.to_string(),
        "closest": looked.closest.iter().map(contact_json).collect::<Vec<_>>(),
        "hops": looked.hops,
        "queries": looked.queries,
        "milliseconds": time,
    });
    how.output.print(&lines, &json)
}

fn found_some(nodes: &[Contact], target: Id) -> Result<(), Failure> {
    if nodes.is_empty() {
        return Err(Failure::new(
            ExitCode::Unreachable,
            format!("no node is known near {target}"),
        )
        .advise("name one with --bootstrap HOST:PORT"));
    }
    Ok(())
}

pub(super) async fn get_peers(session: &Session, how: &How, hash: Id) -> Result<(), Halt> {
    let via = session.asked(how).await?;
    let mut peers = session.network.peers(hash, via).await?;
    let mut count = 0_usize;
    while let Some(peer) = peers.next().await {
        count += 1;
        how.output.print(
            &format!("{peer}\n"),
            &json!({ "hash": hash.to_string(), "peer": peer }),
        )?;
    }
    if count == 0 {
        return Err(Failure::new(
            ExitCode::Unreachable,
            format!("no peer is known under {hash}"),
        )
        .advise("check the hash; peers are forgotten some time after their last announce")
        .into());
    }
    Ok(())
}

pub(super) async fn announce(
    session: &Session,
    how: &How,
    flags: &AnnounceFlags,
) -> Result<(), Halt> {
    let storing = session
        .storing(how, Lasting::of_flag(flags.permanent))
        .await?;
    let port = match (flags.port, flags.implied) {
        (Some(port), _) => AnnouncedPort::Number(port.get()),
        (None, true) => AnnouncedPort::Implied,
        (None, false) => AnnouncedPort::Own,
    };
    let stored = session
        .network
        .announce(flags.hash.0, port, storing)
        .await?;
    let text = format!("{}\n", stored.target);
    let judged = judge(&stored, &session.talk);
    how.output
        .print(if judged.is_ok() { &text } else { "" }, &stored.json())?;
    Ok(judged?)
}

pub(super) async fn sample(
    session: &Session,
    how: &How,
    host: &HostPort,
    target: Option<Id>,
) -> Result<(), Halt> {
    let address = session.resolve(host).await?;
    let sampled = session.network.sample(address, target).await?;
    session.talk.note(format_args!(
        "{} of the {} hashes that it stores; others in {} s",
        sampled.samples.len(),
        sampled.count,
        sampled.interval.as_secs()
    ));
    let lines: String = sampled
        .samples
        .iter()
        .map(|hash| format!("{hash}\n"))
        .collect();
    let json = json!({
        "address": address,
        "samples": sampled.samples.iter().map(Id::to_string).collect::<Vec<_>>(),
        "count": sampled.count,
        "interval": sampled.interval.as_secs(),
        "nodes": sampled.nodes.iter().map(contact_json).collect::<Vec<_>>(),
    });
    how.output.print(&lines, &json)
}

pub(super) async fn stats(session: &Session, how: &How) -> Result<(), Halt> {
    wait_a_little(session).await;
    let stats = session.network.stats();
    let mut json = stats.json();
    json["addresses"] = json!(session.network.local_addresses());
    json["ids"] = ids_json(session);
    json["external"] = session
        .network
        .external()
        .into_iter()
        .map(|(family, address)| (family.to_string(), json!(address)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut text = String::new();
    for (family, id) in session.network.ids() {
        text.push_str(&format!("{:10} {id} ({family})\n", "id"));
    }
    for address in session.network.local_addresses() {
        text.push_str(&format!("{:10} {address}\n", "address"));
    }
    for (_, address) in session.network.external() {
        text.push_str(&format!("{:10} {address}\n", "seen as"));
    }
    how.output.print(&(text + &stats.table()), &json)
}

fn ids_json(session: &Session) -> Value {
    let ids = session.network.ids().into_iter();
    ids.map(|(family, id)| (family.to_string(), json!(id.to_string())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(super) async fn nodes(session: &Session, how: &How) -> Result<(), Halt> {
    wait_a_little(session).await;
    for node in session.network.nodes() {
        let time = node.round_trip.map(milliseconds);
        let mut text = contact_line(&node.contact);
        text.pop();
        if let Some(time) = time {
            text.push_str(&format!(" {time} ms"));
        }
        if !node.is_good {
            text.push_str(" questionable");
        }
        if node.speaks_values {
            text.push_str(" values");
        }
        let mut json = contact_json(&node.contact);
        json["milliseconds"] = json!(time);
        json["good"] = json!(node.is_good);
        json["values"] = json!(node.speaks_values);
        how.output.print(&(text + "\n"), &json)?;
    }
    Ok(())
}

/// A node that was just started is given the time to find others; none to be found is no failure
/// of looking at the counters.
async fn wait_a_little(session: &Session) {
    if let Err(failure) = session.ready().await {
        session.talk.warn(failure);
    }
}
