//! Keeps the paths of live connections good: tells them of changes of the network, and calls a peer
//! again when nothing of it is heard any more or all goes through a relay.
//!
//! What a path is worth the core decides for itself, within its round trips. Here is what takes a
//! message through the DHT, and therefore is done rarely.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::retry::{Effort, Ladder};
use rand_chacha::ChaCha20Rng;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::connect::reach_again;
use crate::core::path::{Paths, Via};
use crate::dht::Dht;
use crate::discovery::Discovery;
use crate::events::Event;
use crate::interfaces::{Changes, next_change};
use crate::report::{PathEvent, PathKind};
use crate::state::{Shared, State};
use crate::traversal::{By, Sessions, Traversal};

/// Time after a change of the network until a peer is called: the paths that are known may well
/// answer by then.
const BEFORE_CALL: Duration = Duration::from_millis(300);

/// What the side that did not begin the connection waits longer, so that not both call.
const AFTER_THE_OTHER: Duration = Duration::from_secs(2);

/// Time between two calls of a peer that is silent. The connection ends by its own time-out.
const WHILE_SILENT: Duration = Duration::from_secs(3);

/// Time between two looks at where others see us, because peers fell silent.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// How often is looked whether a call is due.
const LOOK: Duration = Duration::from_millis(250);

/// How often is looked whether a connection hangs on one relay.
const LOOK_AT_RELAYS: Duration = Duration::from_secs(1);

/// Looks in a row that have to find it busy until a second relay is asked for: one that is over in a
/// moment needs none. The side that did not begin the connection leaves it to the other at first,
/// which may know no second relay.
const BUSY_LOOKS: u32 = 2;
const BUSY_LOOKS_OF_THE_OTHER: u32 = 6;

/// What was heard so lately is traffic: an idle connection is heard every five seconds.
const BUSY: Duration = Duration::from_secs(2);

/// Looks until a second relay is asked for once more.
const LOOKS_BETWEEN: u32 = 60;

/// A peer whose paths could be better.
struct Case {
    /// Looks in a row at which all its traffic hung on one relay.
    hangs: u32,
    ladder: Ladder,
    due: Option<Instant>,
    initiated: bool,
    /// A session towards the peer was at work when this was last looked at: its end without a
    /// direct path is a failure that counts.
    tried: bool,
}

/// Runs until it is dropped.
pub(crate) struct Upkeep(JoinHandle<()>);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upkeep {
    /// Must be called inside a runtime. Without a DHT nobody is called.
    pub(crate) fn start(
        (shared, sessions): (&Arc<Shared>, Arc<Sessions>),
        changes: Option<Changes>,
        (dht, traversal, moved): (Option<Dht>, Option<Traversal>, watch::Sender<u64>),
        (sources, rng): (Vec<Arc<dyn Discovery>>, ChaCha20Rng),
    ) -> Self {
        let work = Work {
            dht,
            moved: Arc::new(moved),
            looked_at: None,
            changed_at: None,
            shared: Arc::downgrade(shared),
            sessions,
            traversal,
            sources,
            rng,
            cases: BTreeMap::new(),
            calls: JoinSet::new(),
            searches: JoinSet::new(),
            looks: JoinSet::new(),
        };
        let events = shared.lock().events.subscribe();
        Self(tokio::spawn(work.run(events, changes)))
    }
}

struct Work {
    /// A node that nobody holds any more is not kept alive by this.
    shared: Weak<Shared>,
    sessions: Arc<Sessions>,
    dht: Option<Dht>,
    traversal: Option<Traversal>,
    /// Where silent peers are looked for.
    sources: Vec<Arc<dyn Discovery>>,
    /// Tells that this device may be somewhere else for the others.
    moved: Arc<watch::Sender<u64>>,
    /// When that was last looked into.
    looked_at: Option<Instant>,
    rng: ChaCha20Rng,
    /// The last change of the network.
    changed_at: Option<Instant>,
    cases: BTreeMap<DeviceId, Case>,
    calls: JoinSet<DeviceId>,
    searches: JoinSet<()>,
    looks: JoinSet<()>,
}

impl Work {
    async fn run(mut self, mut events: Receiver<Event>, mut changes: Option<Changes>) {
        let mut relays = tokio::time::interval(LOOK_AT_RELAYS);
        relays.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waiting = self.cases.values().any(|case| case.due.is_some());
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.on_event(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = next_change(&mut changes) => self.on_network_change().await,
                Some(_) = self.looks.join_next() => {}
                Some(_) = self.searches.join_next() => {}
                Some(ended) = self.calls.join_next() => {
                    if let Ok(peer) = ended {
                        self.on_call_ended(peer);
                    }
                }
                () = tokio::time::sleep(LOOK), if waiting => self.call_those_due(),
                _ = relays.tick(), if !self.cases.is_empty() => self.prepare_reserves(),
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Connected { peer, initiated } => {
                let case = Case {
                    hangs: 0,
                    ladder: Ladder::default(),
                    due: None,
                    initiated: *initiated,
                    // The one that has found the path through a relay.
                    tried: true,
                };
                self.cases.insert(*peer, case);
                if self.needs_call(peer) {
                    self.call_in(peer, now + BEFORE_CALL);
                }
            }
            Event::Disconnected { peer, .. } => {
                let gone = |state: &State| state.peers.primary(peer).is_none();
                if self
                    .shared
                    .upgrade()
                    .is_none_or(|shared| gone(&shared.lock()))
                {
                    self.cases.remove(peer);
                }
            }
            Event::PathChanged { peer, change } => match change {
                // It was silent for two seconds before this is said.
                PathEvent::Silent => {
                    self.look_around(now);
                    if self.cases.get(peer).is_some_and(|case| case.initiated) {
                        let (shared, sources) = (self.shared.clone(), self.sources.clone());
                        self.searches.spawn(reach_again(shared, sources, *peer));
                    }
                    self.call_in(peer, now + BEFORE_CALL);
                }
                PathEvent::Changed { path, .. } if path.kind == PathKind::Relayed => {
                    self.call_in(peer, now + BEFORE_CALL);
                }
                PathEvent::Changed { .. } | PathEvent::Back => {
                    if let Some(case) = self.cases.get_mut(peer) {
                        case.ladder.on_success();
                    }
                }
            },
            Event::Refused { .. } | Event::PolicyChanged => {}
        }
    }

    fn call_in(&mut self, peer: &DeviceId, now: Instant) {
        if let Some(case) = self.cases.get_mut(peer) {
            let other = if case.initiated {
                Duration::ZERO
            } else {
                AFTER_THE_OTHER
            };
            let due = now + other;
            case.due = Some(case.due.map_or(due, |at| at.min(due)));
        }
    }

    async fn on_network_change(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        tracing::debug!("the network has changed");
        self.sessions.on_network_change();
        shared.with(|state| state.core.on_network_change(now));
        drop(shared);
        if let Some(dht) = &self.dht {
            // An offer that names the old address would lead nowhere.
            dht.on_network_change().await;
        }
        self.moved.send_modify(|count| *count += 1);
        self.changed_at = Some(now);
        for case in self.cases.values_mut() {
            case.ladder.on_network_change(now);
            case.tried = false;
            // Whoever began it: it is this side that the other cannot find.
            case.due = Some(now + BEFORE_CALL);
        }
    }

    /// A router may have been restarted without our noticing: others then see us elsewhere, and
    /// what they send to where we were is lost.
    fn look_around(&mut self, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at) < LOOK_AROUND;
        let Some(dht) = self
            .dht
            .clone()
            .filter(|_| !self.looked_at.is_some_and(recently))
        else {
            return;
        };
        self.looked_at = Some(now);
        let moved = self.moved.clone();
        self.looks.spawn(async move {
            dht.on_network_change().await;
            moved.send_modify(|count| *count += 1);
        });
    }

    /// Whether the peer is connected and could be reached better.
    fn needs_call(&self, peer: &DeviceId) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let state = shared.lock();
        let connection = state.peers.primary(peer);
        connection
            .and_then(|key| state.core.get(key))
            .is_some_and(|c| {
                let unproven = self
                    .changed_at
                    .is_some_and(|at| !c.paths.is_heard_since(at));
                let relayed = c.paths.is_relayed() && self.sessions.may_use(Via::Shared);
                c.paths.is_lost() || relayed || unproven
            })
    }

    fn is_silent(&self, peer: &DeviceId) -> bool {
        self.shared.upgrade().is_some_and(|shared| {
            let state = shared.lock();
            let connection = state.peers.primary(peer);
            connection
                .and_then(|key| state.core.get(key))
                .is_some_and(|c| c.paths.is_lost())
        })
    }

    fn call_those_due(&mut self) {
        let now = Instant::now();
        let due = self.cases.iter_mut().filter_map(|(peer, case)| {
            case.due.take_if(|at| *at <= now)?;
            Some(*peer)
        });
        for peer in due.collect::<Vec<_>>() {
            let Some(traversal) = self.traversal.clone() else {
                continue;
            };
            if !self.needs_call(&peer) {
                continue;
            }
            if self.sessions.is_looking_for(&peer) {
                self.note_trial(&peer);
                self.call_in(&peer, now + WHILE_SILENT);
                continue;
            }
            if self.take_trial(&peer) && !self.is_silent(&peer) {
                self.on_call_ended(peer);
                continue;
            }
            let by = self.way_to(&peer);
            tracing::debug!(peer = %peer.short(), ?by, "looking for a better path");
            self.calls.spawn(async move {
                traversal.call_once(peer, by).await;
                peer
            });
        }
    }

    /// Over the connection, if the peer was heard on it since the network changed.
    fn way_to(&self, peer: &DeviceId) -> By {
        let Some(shared) = self.shared.upgrade() else {
            return By::Dht;
        };
        let state = shared.lock();
        let connection = state.heard(peer).and_then(|key| state.core.get(key));
        let changed = self.changed_at;
        let is_proven =
            connection.is_some_and(|c| changed.is_none_or(|at| c.paths.is_heard_since(at)));
        if is_proven { By::Connection } else { By::Dht }
    }

    /// Asks for a second relay for each connection that is busy and hangs on one.
    fn prepare_reserves(&mut self) {
        let (Some(shared), Some(traversal)) = (self.shared.upgrade(), &self.traversal) else {
            return;
        };
        let now = Instant::now();
        let state = shared.lock();
        for (peer, case) in &mut self.cases {
            let connection = state.heard(peer).and_then(|key| state.core.get(key));
            let busy = now.checked_sub(BUSY).unwrap_or(now);
            let relayed = |paths: &Paths| paths.is_relayed() && paths.is_heard_since(busy);
            let only = connection
                .filter(|c| relayed(&c.paths))
                .and_then(|_| traversal.only_relay(&state, peer));
            let Some(only) = only else {
                case.hangs = 0;
                continue;
            };
            let enough = if case.initiated {
                BUSY_LOOKS
            } else {
                BUSY_LOOKS_OF_THE_OTHER
            };
            if case.hangs % LOOKS_BETWEEN == enough {
                let (traversal, peer) = (traversal.clone(), *peer);
                self.searches
                    .spawn(async move { traversal.prepare_reserve(peer, only).await });
            }
            case.hangs += 1;
        }
    }

    fn note_trial(&mut self, peer: &DeviceId) {
        if let Some(case) = self.cases.get_mut(peer) {
            case.tried = true;
        }
    }

    fn take_trial(&mut self, peer: &DeviceId) -> bool {
        let case = self.cases.get_mut(peer);
        case.is_some_and(|case| std::mem::take(&mut case.tried))
    }

    fn on_call_ended(&mut self, peer: DeviceId) {
        if !self.needs_call(&peer) {
            return;
        }
        let (now, silent) = (Instant::now(), self.is_silent(&peer));
        let effort = self.sessions.effort(&peer).unwrap_or(Effort::Checks);
        if let Some(case) = self.cases.get_mut(&peer) {
            case.due = if silent {
                Some(now + WHILE_SILENT)
            } else {
                case.ladder.on_failure(now, effort, &mut self.rng)
            };
        }
    }
}
