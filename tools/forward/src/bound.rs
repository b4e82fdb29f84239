//! The far side of `-R`: places on this side where a peer may listen, as long as it holds the
//! channel that asked for them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use dhtnet::{Channel, ChannelRequest, DeclineCode, DeclineReason, Incoming, RecvHalf, SendHalf};
use dhtnet_cli::Peer;
use dhtnet_cli::failure::one_line;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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

/// The end of a decline's message for a place that is taken; it is on the wire.
pub(crate) const IN_USE: &str = "the address is in use";

/// All places that peers hold.
pub(crate) struct Bounds {
    session: Arc<Session>,
    ending: Ending,
    room: Arc<Semaphore>,
    held: JoinSet<()>,
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
        }
    }

    /// Listens where a request that the policy allowed says, or declines it.
    pub(crate) async fn open(&mut self, incoming: Incoming) {
        let peer = self.session.name(incoming.peer());
        let declined = |code, why: &str| DeclineReason::new(code, one_line(why));
        if self.held.len() >= MAX_BINDS {
            incoming.decline(declined(DeclineCode::Busy, "too many listeners"));
            return;
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
        self.held
            .spawn(hold_until_given_up(taking, (send, recv), way));
    }

    /// Waits until one was given up; for ever while there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        if self.held.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
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
