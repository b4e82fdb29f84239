//! From a listening socket of this side to channels, one for each connection.

use std::sync::Arc;
use std::time::Duration;

use dhtnet::{Channel, ChannelKind, ChannelRequest, ConnectOptions, SendHalf};
use dhtnet_cli::{Failure, Peer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::join::Ending;
use crate::session::Session;
use crate::socket::{Entry, Socket};

/// Forwarded connections at the same time, all entries together; more wait in the system's queue.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// How long to wait when the system has no file descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// On which connection the channels are opened.
#[derive(Clone)]
pub(crate) enum Over {
    /// Whichever there is to the peer; a new one if there is none.
    Any,
    /// That of this channel.
    With(Arc<SendHalf>),
}

/// Where one entry leads.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) session: Arc<Session>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) over: Over,
    pub(crate) request: ChannelRequest,
    /// What is asked of the peer, for messages.
    pub(crate) asked: Arc<str>,
    pub(crate) ending: Ending,
}

impl Way {
    /// Opens a channel. What comes first on a stream travels with the request; datagrams wait until
    /// the peer has accepted, since what comes before that is lost.
    pub(crate) async fn open(&self) -> Result<Channel, Failure> {
        let (session, peer, request) = (&self.session, &self.peer, &self.request);
        let options = ConnectOptions::default()
            .timeout(session.connect_limit)
            .early(request.kind == ChannelKind::Stream);
        let opened = match &self.over {
            Over::Any => {
                let node = &session.node;
                node.connect_with(&peer.address, request.clone(), options)
                    .await
            }
            Over::With(channel) => channel.open_beside(request, options).await,
        };
        opened.map_err(|error| session.connect_failure(peer, &self.asked, &error))
    }

    /// Carries one connection.
    async fn carry(&self, socket: Socket) {
        let why = match self.open().await {
            Ok(channel) => match socket.join(channel, self.ending).await {
                Ok(()) => return,
                Err(error) => self
                    .session
                    .forward_trouble(&self.peer, &self.asked, &error),
            },
            Err(failure) => {
                socket.abort();
                failure.to_string()
            }
        };
        let asked = &self.asked;
        self.session
            .talk
            .warn(format_args!("a connection to {asked}: {why}"));
    }
}

/// Takes connections while there is room. Ends only by being dropped, with all its connections.
pub(crate) async fn accept_all(entry: Entry, way: Way, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let accepted = loop {
            tokio::select! {
                accepted = entry.accept() => break accepted,
                Some(_) = connections.join_next() => {}
            }
        };
        match accepted {
            Ok(socket) => {
                let way = way.clone();
                connections.spawn(async move {
                    way.carry(socket).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // A connection that died in the queue, or no file descriptors: others may do.
                way.session
                    .talk
                    .warn(format_args!("cannot take a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
