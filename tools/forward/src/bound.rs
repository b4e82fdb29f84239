//! The far side of `-R`: places on this side where a peer may listen, as long as it holds the
//! channel that asked for them.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use dhtnet::{Channel, ChannelRequest, DeclineCode, DeclineReason, Incoming, RecvHalf, SendHalf};
use dhtnet_cli::Peer;
use dhtnet_cli::failure::one_line;
use dhtnet_identity::DeviceId;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::{self, JoinError, JoinSet};

use crate::carry::{self, MAX_CONNECTIONS, Over, Way};
use crate::datagrams;
use crate::forward_spec::Bind;
use crate::join::Ending;
use crate::serve::asked_place;
use crate::session::Session;
use crate::socket::Entry;

/// Places that all peers together hold at the same time; the next is declined as busy. As many as
/// the reverse forwards of some dozens of peers; each is a socket of this machine.
pub(crate) const MAX_BINDS: usize = 256;

/// Of these, those that one peer holds; its next is declined as busy. A quarter, so that no peer
/// takes the place of all others, and more than anybody has typed `-R`.
pub(crate) const MAX_BINDS_OF_ONE_PEER: usize = 64;

/// The end of a decline's message for a place that is taken; it is on the wire.
pub(crate) const IN_USE: &str = "the address is in use";

/// All places that peers hold.
pub(crate) struct Bounds {
    session: Arc<Session>,
    ending: Ending,
    room: Arc<Semaphore>,
    held: JoinSet<()>,
    /// Whose the tasks in `held` are.
    holders: HashMap<task::Id, DeviceId>,
}

/// What listens, not yet in use.
enum Listening {
    Stream(Entry),
    Datagrams(UdpSocket),
}

impl Bounds {
    pub(crate) fn new(session: Arc<Session>, ending: Ending) -> Self {
        Self {
            session,
            ending,
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            held: JoinSet::new(),
            holders: HashMap::new(),
        }
    }

    /// Listens where a request that the policy allowed says, or declines it.
    pub(crate) async fn open(&mut self, incoming: Incoming) {
        let peer = self.session.name(incoming.peer());
        let declined = |code, why: &str| DeclineReason::new(code, one_line(why));
        while let Some(ended) = self.held.try_join_next_with_id() {
            self.on_ended(&ended);
        }
        if let Err(why) = has_room(self.holders.values(), &incoming.peer()) {
            return incoming.decline(declined(DeclineCode::Busy, why));
        }
        let bind = match asked_place(incoming.request()) {
            Ok(place) => Bind::of_target(&place),
            Err(reason) => return incoming.decline(reason),
        };
        let Some(bind) = bind else {
            let why = "a place to listen is an address, not a name";
            return incoming.decline(declined(DeclineCode::BadRequest, why));
        };
        match listen(&bind).await {
            Ok(listening) => self.hold(peer, &bind, listening, incoming.accept()),
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => IN_USE.to_owned(),
                    _ => error.to_string(),
                };
                self.session
                    .talk
                    .warn(format_args!("{peer} asked to listen on {bind}: {why}"));
                let why = format!("{bind}: {why}");
                incoming.decline(declined(DeclineCode::TargetFailed, &why));
            }
        }
    }

    fn hold(&mut self, peer: Peer, bind: &Bind, listening: Listening, channel: Channel) {
        let talk = &self.session.talk;
        talk.detail(format_args!("{peer} listens on {bind}"));
        let (send, recv) = channel.split();
        let send = Arc::new(send);
        let place = bind.to_string();
        let name = self.session.names.reverse;
        let request = match bind {
            Bind::Udp(_) => ChannelRequest::datagrams(name),
            _ => ChannelRequest::stream(name),
        };
        let way = Way {
            session: self.session.clone(),
            peer: Arc::new(peer),
            over: Over::With(send.clone()),
            request: request.metadata(place.clone()),
            asked: place.into(),
            ending: self.ending,
        };
        let taking: Pin<Box<dyn Future<Output = ()> + Send>> = match listening {
            Listening::Stream(entry) => {
                Box::pin(carry::accept_all(entry, way.clone(), self.room.clone()))
            }
            Listening::Datagrams(socket) => Box::pin(datagrams::forward_all(socket, way.clone())),
        };
        let holder = way.peer.address.id;
        let held = self
            .held
            .spawn(hold_until_given_up(taking, (send, recv), way));
        self.holders.insert(held.id(), holder);
    }

    /// Waits until one was given up; for ever while there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        match self.held.join_next_with_id().await {
            Some(ended) => self.on_ended(&ended),
            None => std::future::pending().await,
        }
    }

    fn on_ended(&mut self, ended: &Result<(task::Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.holders.remove(&id);
    }
}

/// Whether a peer may have one place more, beside what is held by these.
fn has_room<'a>(
    holders: impl Iterator<Item = &'a DeviceId>,
    peer: &DeviceId,
) -> Result<(), &'static str> {
    let (mut all, mut own) = (0, 0);
    for holder in holders {
        all += 1;
        own += usize::from(holder == peer);
    }
    if own >= MAX_BINDS_OF_ONE_PEER {
        return Err("too many listeners of this device");
    }
    if all >= MAX_BINDS {
        return Err("too many listeners");
    }
    Ok(())
}

async fn listen(bind: &Bind) -> io::Result<Listening> {
    match bind {
        Bind::Udp(address) => UdpSocket::bind(address).await.map(Listening::Datagrams),
        stream => Entry::open(stream).await.map(Listening::Stream),
    }
}

/// Takes connections until the peer ends the channel or is gone; they end with it.
async fn hold_until_given_up(
    taking: Pin<Box<dyn Future<Output = ()> + Send>>,
    (_send, mut recv): (Arc<SendHalf>, RecvHalf),
    way: Way,
) {
    let mut blocks = [Bytes::new()];
    tokio::select! {
        () = taking => {}
        // Nothing is said on this channel; whatever comes is passed over.
        () = async { while let Ok(Some(_)) = recv.read_chunks(&mut blocks).await {} } => {}
    }
    let (peer, asked) = (&way.peer, &way.asked);
    way.session
        .talk
        .detail(format_args!("{peer} no longer listens on {asked}"));
}

#[cfg(test)]
mod tests {
    use dhtnet_identity::DeviceKey;

    use super::*;

    fn id(seed: u8) -> DeviceId {
        DeviceKey::from_seed(&[seed; 32]).id()
    }

    #[test]
    fn the_last_place_of_a_peer_and_of_all_is_given_and_one_more_is_not() {
        let peers: Vec<DeviceId> = (1..6).map(id).collect();
        let mut holders = vec![peers[0]; MAX_BINDS_OF_ONE_PEER - 1];
        assert_eq!(has_room(holders.iter(), &peers[0]), Ok(()));
        holders.push(peers[0]);
        let own = Err("too many listeners of this device");
        assert_eq!(has_room(holders.iter(), &peers[0]), own);
        assert_eq!(has_room(holders.iter(), &peers[1]), Ok(()), "another peer");
        for peer in &peers[1..4] {
            holders.extend([*peer; MAX_BINDS_OF_ONE_PEER]);
        }
        assert_eq!(holders.len(), MAX_BINDS);
        let all = Err("too many listeners");
        assert_eq!(has_room(holders.iter(), &peers[4]), all);
        holders.pop();
        assert_eq!(has_room(holders.iter(), &peers[4]), Ok(()));
    }
}
