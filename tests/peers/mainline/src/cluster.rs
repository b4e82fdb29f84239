//! Many nodes in one process, and how long their puts and gets take.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use mainline::{Dht, MutableItem, SigningKey};
use serde_json::{Value, json};

use crate::{Outcome, Role, converse, start, text};

/// Nodes that join at the same time.
const AT_ONCE: usize = 32;

pub(crate) fn run(count: &str, first_port: &str, bootstrap: &[&str]) -> Outcome<()> {
    let (count, first_port): (usize, u16) = (count.parse()?, first_port.parse()?);
    let started = Instant::now();
    let first = SocketAddrV4::new(Ipv4Addr::LOCALHOST, first_port);
    let seed = bootstrap
        .first()
        .map_or(first.to_string(), |seed| (*seed).to_owned());
    let mut nodes = vec![start(Role::Server, first, bootstrap)?];
    let mut port = first_port;
    while nodes.len() < count {
        let batch = AT_ONCE.min(count - nodes.len());
        let before = nodes.len();
        for _ in 0..batch {
            port += 1;
            nodes.push(start(
                Role::Server,
                SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
                &[&seed],
            )?);
        }
        std::thread::scope(|scope| {
            for node in &nodes[before..] {
                scope.spawn(|| node.bootstrapped());
            }
        });
    }
    let seconds = started.elapsed().as_secs_f64();
    let ready = json!({ "ready": first.to_string(), "seconds": seconds });
    converse(&ready, |verb, request| match verb {
        "measure" => measure(&nodes, request),
        _ => Err(format!("unknown request {verb}").into()),
    })
}

/// `rounds` times: one node puts, another gets. Milliseconds of each that succeeded.
fn measure(nodes: &[Dht], request: &Value) -> Outcome {
    let rounds = request["rounds"]
        .as_u64()
        .ok_or("no rounds in the request")?;
    let label = text(request, "label")?;
    let (mut puts, mut firsts, mut gets) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Two walks over the nodes that never meet in the same round.
        let writer = round as usize * 7 % nodes.len();
        let reader = (writer + 1 + round as usize * 13 % (nodes.len() - 1)) % nodes.len();
        let mut seed = [0; 32];
        let name = format!("{label}{round}");
        seed[..name.len()].copy_from_slice(name.as_bytes());
        let item = MutableItem::new(SigningKey::from_bytes(&seed), &[b'v'; 64], 1, None);
        let key = *item.key();
        let started = Instant::now();
        if nodes[writer].put_mutable(item, None).is_ok() {
            puts.push(milliseconds(started));
        }
        let started = Instant::now();
        let mut found = nodes[reader].get_mutable(&key, None, None);
        if found.next().is_some() {
            firsts.push(milliseconds(started));
            found.for_each(drop);
        }
        gets.push(milliseconds(started));
    }
    Ok(json!({ "put": puts, "first": firsts, "get": gets, "push": [] }))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
