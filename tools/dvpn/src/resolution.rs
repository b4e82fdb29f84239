//! How names are looked up while the network is up: the name server, and what the system is told.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::configuration::DnsSettings;
use crate::names::{NameServer, Names, dns_plan};
use crate::plan::DnsPlan;
use crate::roster::add_names;
use crate::session::Session;
use crate::system;

/// The name server, which follows who is in the network.
pub(crate) struct Resolution {
    shared: Arc<Shared>,
    at: Vec<IpAddr>,
    _following: JoinSet<()>,
}

struct Shared {
    session: Arc<Session>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    server: Option<NameServer>,
    /// Where other names are looked up.
    dns: DnsSettings,
    /// Resolvers that the system asks beside us, or asked before us.
    present: Vec<IpAddr>,
    own: Vec<IpAddr>,
}

/// How often it is looked which resolvers the system has: a machine that moves gets others.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Resolution {
    /// No server yet. Needs a tokio runtime.
    pub(crate) fn new(session: Arc<Session>) -> Self {
        let mut changes = session.roster.changes();
        let shared = Arc::new(Shared {
            session,
            state: Mutex::new(State {
                present: system::present_servers(),
                ..State::default()
            }),
        });
        let mut following = JoinSet::new();
        following.spawn({
            let shared = shared.clone();
            async move {
                loop {
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() {
                            return;
                        },
                        () = tokio::time::sleep(LOOK_EVERY) => if !shared.look_again() {
                            continue;
                        },
                    }
                    shared.update();
                }
            }
        });
        Self {
            shared,
            at: Vec::new(),
            _following: following,
        }
    }

    /// What the system is to be told when names are answered at `own`; resolvers of the
    /// configuration come before those that servers gave.
    pub(crate) fn plan(
        &mut self,
        own: &[IpAddr],
        (servers, domains): (Vec<IpAddr>, Vec<String>),
    ) -> Option<DnsPlan> {
        let configured = self.shared.session.settings().dns.clone();
        let mut dns = configured.clone().unwrap_or_default();
        if dns.servers.is_empty() {
            dns = DnsSettings {
                servers,
                domains,
                ..dns
            };
        }
        // A server that gives resolvers to others is not to ask itself in a circle.
        dns.servers.retain(|server| !own.contains(server));
        let plan = configured.and_then(|_| dns_plan(&dns, own));
        let mut state = self.shared.state();
        state.own = own.to_vec();
        state.dns = dns;
        plan
    }

    /// Answers at these addresses, which the interface has by now.
    pub(crate) fn answer_at(&mut self, own: &[IpAddr]) {
        let usable = own.iter().copied().filter(|own| system::has_family(*own));
        let own: &[IpAddr] = &usable.collect::<Vec<_>>();
        if self.at != own {
            let mut state = self.shared.state();
            // The old one first: its port is that of the new one.
            state.server = None;
            match NameServer::start(own, Names::default()) {
                Ok(server) => state.server = Some(server),
                Err((address, error)) => self.shared.session.talk.warn(format_args!(
                    "names of peers are not answered: cannot listen at {address}: {error}"
                )),
            }
            drop(state);
            self.at = own.to_vec();
        }
        self.shared.update();
    }
}

impl Shared {
    /// Whether the system has other resolvers than before. Where there is none but us, those that
    /// were there before are still the best guess.
    fn look_again(&self) -> bool {
        let mut found = system::present_servers();
        let mut state = self.state();
        found.retain(|server| !state.own.contains(server));
        if found.is_empty() || found == state.present {
            return false;
        }
        state.present = found;
        true
    }

    fn update(&self) {
        let mut state = self.state();
        let mut names = Names::new(&state.dns, state.present.clone());
        add_names(&self.session, &mut names);
        if let Some(server) = &mut state.server {
            server.set(names);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
