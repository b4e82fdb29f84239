//! The sockets of an examination: those that its inquiries share, and single questions beside them.

mod announced;
mod hops;
mod names;
mod relay;
mod router;
mod socket;
mod tcp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use tokio::sync::mpsc;

#[cfg(test)]
pub(crate) use self::announced::ANNOUNCED_LIMIT;
pub(crate) use self::announced::answering;
#[cfg(test)]
pub(crate) use self::hops::LIMIT as HOPS_LIMIT;
pub(crate) use self::hops::hops;
#[cfg(test)]
pub(crate) use self::names::LIMIT as NAME_LIMIT;
pub(crate) use self::names::look_up;
pub(crate) use self::relay::{RelayTrial, try_relay};
pub(crate) use self::router::asks_pcp;
use self::socket::{Incoming, ProbeSocket, SendFault};
#[cfg(test)]
pub(crate) use self::tcp::LIMIT as TCP_LIMIT;
pub(crate) use self::tcp::try_tcp;
use crate::doctor::{Inquiry, Unsendable};

/// What becomes known while an inquiry runs.
#[derive(Debug)]
pub(crate) enum News {
    /// Nodes of the DHT to ask.
    Nodes(Vec<SocketAddr>),
    /// STUN servers to ask.
    Stun(Vec<SocketAddr>),
}

/// The sockets for `bind`: one for each family that the system has. Where the port is taken, as by
/// a node that runs here, another one is used.
pub(crate) fn probe_sockets(bind: SocketAddr) -> Vec<ProbeSocket> {
    let both = bind.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut wanted = vec![bind];
    if both {
        wanted.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, bind.port())));
    }
    let open = |address: &SocketAddr| {
        let free = SocketAddr::new(address.ip(), 0);
        ProbeSocket::bind(*address)
            .or_else(|_| ProbeSocket::bind(free))
            .ok()
    };
    wanted.iter().filter_map(open).collect()
}

/// Runs inquiries until all are done: nothing is waited for, and no news can come any more.
pub(crate) async fn inquire(
    mut parties: Vec<(Inquiry, ProbeSocket)>,
    mut news: mpsc::Receiver<News>,
) -> Vec<Inquiry> {
    let mut may_come = true;
    loop {
        let now = Instant::now();
        for (inquiry, socket) in &mut parties {
            inquiry.handle_timeout(now);
            send_all(now, inquiry, socket);
        }
        pass_foreign_on(now, &mut parties);
        for (inquiry, socket) in &mut parties {
            send_all(now, inquiry, socket);
        }
        let all_done = parties.iter().all(|(inquiry, _)| inquiry.is_done(now));
        let out_of_time = parties.iter().all(|(inquiry, _)| inquiry.is_over(now));
        if (all_done && !may_come) || out_of_time {
            return parties.into_iter().map(|(inquiry, _)| inquiry).collect();
        }
        let next = parties.iter().filter_map(|(one, _)| one.poll_timeout());
        let next = next.min().unwrap_or(now);
        tokio::select! {
            told = news.recv(), if may_come => match told {
                Some(told) => take(Instant::now(), &told, &mut parties),
                None => may_come = false,
            },
            (at, incoming) = receive(&parties) => {
                let now = Instant::now();
                let inquiry = &mut parties[at].0;
                for one in incoming {
                    match one {
                        Incoming::Datagram { from, payload } => {
                            inquiry.handle_datagram(now, from, &payload);
                        }
                        Incoming::Report { by, heard } => inquiry.handle_report(by, heard),
                    }
                }
            }
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

fn take(now: Instant, told: &News, parties: &mut [(Inquiry, ProbeSocket)]) {
    for (inquiry, _) in parties {
        match told {
            News::Nodes(nodes) => nodes.iter().for_each(|node| inquiry.add_node(now, *node)),
            News::Stun(servers) => inquiry.add_stun(now, servers),
        }
    }
}

fn pass_foreign_on(now: Instant, parties: &mut [(Inquiry, ProbeSocket)]) {
    let mut told = Vec::new();
    for (inquiry, _) in parties.iter_mut() {
        told.extend(std::iter::from_fn(|| inquiry.poll_foreign()));
    }
    for (inquiry, _) in parties {
        told.iter().for_each(|node| inquiry.add_node(now, *node));
    }
}

fn send_all(now: Instant, inquiry: &mut Inquiry, socket: &ProbeSocket) {
    while let Some(outgoing) = inquiry.poll_transmit(now) {
        let mut reports = Vec::new();
        let sent = socket.send(&outgoing, &mut reports);
        for one in reports {
            if let Incoming::Report { by, heard } = one {
                inquiry.handle_report(by, heard);
            }
        }
        match sent {
            Ok(()) => {}
            Err(SendFault::TooLong) => inquiry.on_too_long(&outgoing.payload),
            Err(SendFault::NoRoute) => inquiry.on_unsendable(Unsendable::NoRoute),
            Err(SendFault::Forbidden) => inquiry.on_unsendable(Unsendable::Forbidden),
            Err(SendFault::Other) => inquiry.on_unsendable(Unsendable::Other),
        }
    }
}

/// What the first socket to have something has.
async fn receive(parties: &[(Inquiry, ProbeSocket)]) -> (usize, Vec<Incoming>) {
    let all = parties.iter().enumerate();
    let all = all.map(|(at, (_, socket))| Box::pin(async move { (at, socket.receive().await) }));
    let all: Vec<_> = all.collect();
    if all.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(all).await.0
}
