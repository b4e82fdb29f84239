//! Who in this process waits for which channels, and what a request means to the policy.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use dhtnet_channel_mux::{ChannelId, ChannelRequest, DeclineCode, DeclineReason};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, OwnedAction};

use crate::core::ConnectionKey;

/// Requests that wait for one listener's `accept`; the next is declined as busy.
pub(crate) const MAX_BACKLOG: usize = 256;

/// Says which action of the policy a request asks for.
pub(crate) type ActionOf =
    Arc<dyn Fn(&ChannelRequest) -> Result<OwnedAction, DeclineReason> + Send + Sync>;

/// A request that the policy allowed.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) connection: ConnectionKey,
    pub(crate) id: ChannelId,
    pub(crate) peer: DeviceId,
    pub(crate) request: ChannelRequest,
}

struct Listening {
    action_of: ActionOf,
    backlog: VecDeque<Offer>,
    waker: Option<Waker>,
}

/// All listeners, by channel name.
#[derive(Default)]
pub(crate) struct Listeners {
    by_name: BTreeMap<String, Listening>,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Listeners {
    /// Adds a listener; `false` when the name is taken.
    pub(crate) fn insert(&mut self, name: &str, action_of: ActionOf) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        let listening = Listening {
            action_of,
            backlog: VecDeque::new(),
            waker: None,
        };
        self.by_name.insert(name.to_owned(), listening);
        true
    }

    /// Removes a listener; returns the requests that nobody will answer.
    pub(crate) fn remove(&mut self, name: &str) -> Vec<Offer> {
        self.by_name
            .remove(name)
            .map(|l| l.backlog.into())
            .unwrap_or_default()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// What the policy is to be asked. Without a listener of that name it is the plain channel.
    pub(crate) fn action_of(&self, request: &ChannelRequest) -> Result<OwnedAction, DeclineReason> {
        match self.by_name.get(&request.name) {
            Some(listening) => (listening.action_of)(request),
            None => Ok(default_action(request)),
        }
    }

    /// Hands a request to its listener.
    pub(crate) fn offer(&mut self, offer: Offer) -> Result<(), DeclineReason> {
        let Some(listening) = self.by_name.get_mut(&offer.request.name) else {
            return Err(DeclineReason::from(DeclineCode::NoListener));
        };
        if listening.backlog.len() >= MAX_BACKLOG {
            return Err(DeclineReason::from(DeclineCode::Busy));
        }
        listening.backlog.push_back(offer);
        if let Some(waker) = listening.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    /// The next request for `name`; `Ready(None)` when there is no such listener any more.
    pub(crate) fn poll_offer(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Option<Offer>> {
        let Some(listening) = self.by_name.get_mut(name) else {
            return Poll::Ready(None);
        };
        if let Some(offer) = listening.backlog.pop_front() {
            return Poll::Ready(Some(offer));
        }
        listening.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends all listeners and wakes them; returns the requests that nobody will answer.
    pub(crate) fn clear(&mut self) -> Vec<Offer> {
        let mut offers = Vec::new();
        for (_, listening) in std::mem::take(&mut self.by_name) {
            offers.extend(listening.backlog);
            if let Some(waker) = listening.waker {
                waker.wake();
            }
        }
        offers
    }
}

/// The action that a channel's name stands for.
pub(crate) fn default_action(request: &ChannelRequest) -> OwnedAction {
    Action::channel(&request.name).into_owned()
}
