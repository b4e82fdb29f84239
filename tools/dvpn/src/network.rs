//! Being in a network: opens what it needs, carries packets until a signal comes, and leaves the
//! system as it was.

mod reload;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use dhtnet::Service;
use dhtnet_cli::node::Role;
use dhtnet_cli::own_identity::{load_contacts, resolve_peer};
use dhtnet_cli::policy::{LivePolicy, Place, PolicyWatch};
use dhtnet_cli::{ExitCode, Failure, Home, Peer, Shutdown, Talk, service, services};
use dhtnet_identity::policy::{Grant, Permission, Policy, Subject};
use dhtnet_identity::target::Network;
use dhtnet_identity::{Contacts, DeviceId};
use dhtnet_vpn_core::address::{self, NetworkName};
use dhtnet_vpn_core::pool::Pool;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::reload::Reload;
use crate::client::{Client, FirstTry, Given, mesh};
use crate::configuration::{Configured, configured};
use crate::control::{self, Control};
use crate::engine::{Engine, Hub};
use crate::flags::Flags;
use crate::interface::Interface;
use crate::leases::LeaseFile;
use crate::plan::{Forwarding, NODE_MARK, Plan};
use crate::resolution::Resolution;
use crate::server::Server;
use crate::session::{EXIT, JOIN, Session, Shown, peer_command};
use crate::settings::{Between, Exit, Settings};
use crate::status::status_of;
use crate::system::{Applied, Instance, mark_tunnel, privilege};

/// Bytes of a peer's datagrams that wait for us: what arrives while the machine is busy elsewhere
/// for some milliseconds at 10 Gbit/s.
const DATAGRAM_QUEUE: usize = 8 << 20;

/// Channels to one peer: one to join, one of packets, and those of a connection that was renewed
/// meanwhile. What a connection takes for each that may be opened is most of what an idle peer costs.
const MAX_CHANNELS: u32 = 64;

/// Messages about what servers gave that wait to be taken up.
const MAX_GIVEN: usize = 16;

/// Warnings that are remembered, so that each is given once: those of a few servers, which say new
/// ones as often as they like.
const MAX_TOLD: usize = 64;

/// What the tool is in the network.
pub(crate) enum Part {
    /// It gives addresses.
    Serve,
    /// It joins these servers.
    Join(Vec<Peer>, FirstTry),
}

/// Takes part until `shutdown`.
pub(crate) async fn run(
    typed: &Flags,
    home: &Home,
    talk: &Talk,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let contacts = load_contacts(home)?;
    let Configured {
        name,
        flags,
        settings,
    } = configured(typed, &contacts)?;
    let flags = &flags;
    privilege::check()?;
    // From here on it would end this process in the middle of something.
    let hangups = hangups()?;
    let part = part(flags, &contacts)?;
    demand_somebody(flags, &part, &settings, home)?;
    let key = flags.home.load_or_create_key(home, talk)?;
    let place = Place {
        home,
        own: key.id(),
    };
    let policy = policy(flags, &settings, &place)?;
    if flags.policy.anonymous {
        talk.warn("anyone may join (-a)");
    }
    if let Some(complaint) = policy.complaint() {
        talk.warn(complaint);
    }
    let control = control::path(home, &name);
    let claimed = Instance::claim(home, &name, &control)?;
    privilege::check_free(&settings.interface)?;
    if claimed.has_cleaned_up {
        talk.note("undid what an earlier run had left");
    }
    let pool = match part {
        Part::Serve => pool(&settings)?,
        Part::Join(..) => None,
    };
    let interface = Interface::open(&settings.interface)?;
    mark_tunnel(&settings.interface, settings.network.as_str())?;
    let hub = match (&part, settings.between) {
        (Part::Join(..), _) => Hub::None,
        (Part::Serve, Between::Isolated) => Hub::Isolated,
        (Part::Serve, _) => Hub::Open,
    };
    let is_called = matches!(part, Part::Serve) || policy.policy() != Policy::deny_all();
    let role = if is_called {
        Role::Listener
    } else {
        Role::Caller
    };
    let services = services(flags, &settings);
    let own = key.id();
    let claim = flags.network.claim(services.first(), &own, (home, role));
    let _claim = claim.await?;
    let place = (home, role, services.as_slice());
    let open = flags
        .network
        .open_node_with(key, policy.policy(), place, |node| {
            let node = node.datagram_queue(DATAGRAM_QUEUE);
            node.max_channels(MAX_CHANNELS).mark(NODE_MARK)
        });
    let node = open.await?;
    let engine = Arc::new(Engine::new(interface, settings.max_mtu, hub));
    let limit = flags.network.connect_limit();
    let words = (contacts, talk.clone());
    let session = Arc::new(Session::new((node, limit), engine, words, settings));
    let leases = LeaseFile::of(home, &session.settings().interface);
    let _answering = answer_status(&session, &name, &control)?;
    let policy = policy.watch(&session.node, talk);
    let _credentials = flags.network.follow_credentials(&session.node, home, talk);
    let mut network = UpNetwork {
        policy,
        desired: Desired::new(&session, pool.as_ref()),
        instance: Some(claimed.instance),
        applied: None,
        resolution: Resolution::new(session.clone()),
        reload: Reload {
            typed: typed.clone(),
            home: home.clone(),
            role: match part {
                Part::Serve => "server",
                Part::Join(..) => "client",
            },
        },
        hangups,
        told: Vec::new(),
        session: session.clone(),
    };
    let ended = match part {
        Part::Serve => network.serve((pool, leases), shutdown).await,
        Part::Join(servers, first) => network.join((servers, first), is_called, shutdown).await,
    };
    if let Err(failure) = &ended {
        talk.error(failure);
    }
    let undone = network.undo();
    session.node.shutdown().await;
    undone?;
    Ok(ended.unwrap_or_else(|failure| failure.code()))
}

/// Devices of one network look for each other alone: another may be up beside it with the same identity.
fn services(flags: &Flags, settings: &Settings) -> Vec<Service> {
    let network = &settings.network;
    if flags.network.service.is_some() || *network == NetworkName::default() {
        return flags.network.services(&[services::DVPN]);
    }
    let service = services::named(services::DVPN, Some(network.as_str()));
    service.into_iter().collect()
}

fn part(flags: &Flags, contacts: &Contacts) -> Result<Part, Failure> {
    match (flags.listen, flags.peers.is_empty()) {
        (true, true) => Ok(Part::Serve),
        (true, false) => Err(Failure::usage(
            "-l serves, and PEER joins: give one of the two",
        )),
        (false, true) => {
            Err(Failure::usage("no peer to join").advise("name one, or serve with -l --allow PEER"))
        }
        (false, false) => {
            let peers = flags.peers.iter().map(|peer| resolve_peer(contacts, peer));
            let first = if flags.retry {
                FirstTry::Again
            } else {
                FirstTry::Counts
            };
            Ok(Part::Join(peers.collect::<Result<_, _>>()?, first))
        }
    }
}

/// A server lets nobody in by default, so it has to be told of somebody.
fn demand_somebody(
    flags: &Flags,
    part: &Part,
    settings: &Settings,
    home: &Home,
) -> Result<(), Failure> {
    let configured = !settings.allowed.is_empty() || !settings.fixed.is_empty();
    match part {
        Part::Serve if !configured => flags.policy.demand_somebody(home),
        _ => Ok(()),
    }
}

/// Who may join. Those that a server names with --allow may use it as an exit too, if it is one;
/// networks are brought by who was given them in the configuration.
fn policy(flags: &Flags, settings: &Settings, place: &Place<'_>) -> Result<LivePolicy, Failure> {
    let mut grants = vec![Grant::action(JOIN)];
    if settings.exit == Exit::Yes {
        grants.push(Grant::action(EXIT));
    }
    let configured = |grant: Grant| grant.named("the configuration of the network");
    let named: std::collections::BTreeSet<&DeviceId> = settings
        .allowed
        .keys()
        .chain(settings.fixed.keys())
        .collect();
    let join = |id: &&DeviceId| (Subject::Peer(**id), configured(Grant::action(JOIN)));
    let mut further: Vec<(Subject, Grant)> = named.iter().map(join).collect();
    for (id, networks) in &settings.allowed {
        let permissions = networks
            .iter()
            .filter_map(|net| format!("dvpn.route {net}").parse().ok());
        let permissions: Vec<Permission> = permissions.collect();
        further.push((Subject::Peer(*id), configured(Grant::of(permissions))));
    }
    flags.policy.live_with(place, &grants, further)
}

fn pool(settings: &Settings) -> Result<Option<Pool>, Failure> {
    let Some(network) = settings.pool else {
        return Ok(None);
    };
    let overlaps = |offer: &&Network| offer.includes(&network) || network.includes(offer);
    if let Some(offer) = settings.subnets.iter().find(overlaps) {
        let what = format!("the offered network {offer} overlaps the pool {network}");
        return Err(
            Failure::usage(what).advise("change [routes] or [address] in the configuration")
        );
    }
    let unusable = |error: dhtnet_vpn_core::pool::PoolError| {
        Failure::usage(error.to_string()).advise("change [address] in the configuration")
    };
    let mut pool = Pool::new(network).map_err(unusable)?;
    for (id, address) in &settings.fixed {
        pool.fix(*id, *address).map_err(unusable)?;
    }
    Ok(Some(pool))
}

/// What the system should be like, from what is known so far.
struct Desired {
    mtu: u16,
    own_v6: (IpAddr, u8),
    own_v4: Vec<(IpAddr, u8)>,
    routes: Vec<Network>,
    /// From which own address packets to some of them leave.
    sources: BTreeMap<Network, IpAddr>,
    /// Resolvers that servers gave, and the domains that they know.
    given_dns: (Vec<IpAddr>, Vec<String>),
}

impl Desired {
    fn new(session: &Session, pool: Option<&Pool>) -> Self {
        let settings = session.settings();
        let own = settings.network.address_of(&session.node.id());
        Self {
            mtu: dhtnet_vpn_core::MIN_MTU,
            own_v6: (own.into(), address::PREFIX_LEN),
            own_v4: pool
                .map(|pool| (pool.own().into(), pool.network().prefix_len()))
                .into_iter()
                .collect(),
            routes: Vec::new(),
            sources: BTreeMap::new(),
            given_dns: (Vec::new(), Vec::new()),
        }
    }

    fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let own_v4 = self.own_v4.iter().copied();
        std::iter::once(self.own_v6).chain(own_v4).collect()
    }

    fn plan(&self, settings: &Settings, hub: &Forwarding) -> Plan {
        let mut plan = Plan::of_interface(settings.interface.as_str());
        plan.addresses = self.addresses();
        plan.mtu = self.mtu;
        plan.routes.clone_from(&self.routes);
        plan.routes.sort();
        plan.routes.dedup();
        plan.sources.clone_from(&self.sources);
        plan.mark = Some(NODE_MARK);
        plan.forwarding = hub.clone();
        plan.kill_switch = settings.kill_switch;
        plan
    }
}

/// A network that is up, or coming up.
struct UpNetwork {
    /// Keeps the node at the policy of the files.
    policy: PolicyWatch,
    session: Arc<Session>,
    desired: Desired,
    instance: Option<Instance>,
    applied: Option<Applied>,
    resolution: Resolution,
    reload: Reload,
    hangups: Signal,
    /// Warnings that were given.
    told: Vec<String>,
}

impl UpNetwork {
    /// Makes the system as it should be now. Once it is up, what cannot be is told, and the rest stays.
    ///
    /// # Errors
    /// The network is not up, or no more.
    fn settle_on(&mut self) -> Result<(), Failure> {
        match self.settle() {
            Err(failure) if self.is_up() => {
                self.tell_once(failure.to_string());
                Ok(())
            }
            settled => settled,
        }
    }

    fn is_up(&self) -> bool {
        self.applied.as_ref().is_some_and(Applied::is_up)
    }

    /// Warns, unless it has been said.
    fn tell_once(&mut self, warning: String) {
        if !self.told.contains(&warning) {
            self.session.talk.warn(&warning);
            self.told.truncate(MAX_TOLD - 1);
            self.told.push(warning);
        }
    }

    /// Makes the system as it should be now.
    fn settle(&mut self) -> Result<(), Failure> {
        let settings = self.session.settings();
        let settings = settings.as_ref();
        let forwarding = Forwarding {
            exit: settings.exit == Exit::Yes,
            subnets: settings.subnets.clone(),
            subnet_nat: settings.subnet_nat,
            inbound: settings.inbound,
            isolated: settings.between == Between::Isolated,
        };
        let mut plan = self.desired.plan(settings, &forwarding);
        let own: Vec<IpAddr> = plan.addresses.iter().map(|(own, _)| *own).collect();
        plan.dns = self.resolution.plan(&own, self.desired.given_dns.clone());
        let engine = &self.session.engine;
        engine.set_own(own.clone(), settings.subnets.clone());
        match (&mut self.applied, self.instance.take()) {
            (Some(applied), _) => applied.change(&plan)?,
            (None, Some(instance)) => self.applied = Some(instance.apply(&plan)?),
            (None, None) => {}
        }
        let warnings = self.applied.iter().flat_map(|applied| applied.warnings());
        for warning in warnings.cloned().collect::<Vec<_>>() {
            self.tell_once(warning);
        }
        self.resolution.answer_at(&own);
        self.session.show(Shown {
            role: self.reload.role,
            addresses: plan.addresses,
            mtu: plan.mtu,
            routes: plan.routes,
        });
        Ok(())
    }

    fn undo(&mut self) -> Result<(), Failure> {
        match &mut self.applied {
            Some(applied) => Ok(applied.undo()?),
            None => Ok(()),
        }
    }

    async fn serve(
        &mut self,
        (pool, leases): (Option<Pool>, LeaseFile),
        shutdown: &mut Shutdown,
    ) -> Result<ExitCode, Failure> {
        let mut pool = pool;
        if let Some(pool) = &mut pool
            && let Err(failure) = leases.restore(pool)
        {
            self.session
                .talk
                .warn(format_args!("{failure}; addresses are given anew"));
        }
        self.settle()?;
        let server = Arc::new(Server::new(self.session.clone(), pool, leases));
        let mut changes = server.changes();
        let mut tasks = JoinSet::new();
        let (serving, session) = (server.clone(), self.session.clone());
        tasks.spawn(serving.run());
        tasks.spawn(run_outgoing(session.engine.clone()));
        session.talk.bare(peer_command(&session));
        self.tell_up();
        let mut mtu = self.session.engine.mtu();
        let engine = self.session.engine.clone();
        tokio::select! {
            code = shutdown.requested() => Ok(code),
            () = engine.run_refresh() => pending().await,
            Some(ended) = tasks.join_next() => Err(ended.unwrap_or_else(|_| panicked())),
            ended = async {
                loop {
                    tokio::select! {
                        () = next_mtu(&mut mtu, &mut self.desired.mtu) => {}
                        _ = changes.changed() => {
                            let routes = server.routes();
                            if routes == self.desired.routes {
                                continue;
                            }
                            self.desired.routes = routes;
                        }
                        _ = self.hangups.recv() => {
                            if let Err(failure) = self.reload() {
                                return failure;
                            }
                            continue;
                        }
                    }
                    if let Err(failure) = self.settle_on() {
                        return failure;
                    }
                }
            } => Err(ended),
        }
    }

    async fn join(
        &mut self,
        (servers, first): (Vec<Peer>, FirstTry),
        is_called: bool,
        shutdown: &mut Shutdown,
    ) -> Result<ExitCode, Failure> {
        let (tell, mut told) = mpsc::channel(MAX_GIVEN);
        let mut given: Vec<Given> = vec![Given::default(); servers.len()];
        let mut tasks = JoinSet::new();
        for (number, server) in servers.into_iter().enumerate() {
            let client = Client {
                session: self.session.clone(),
                server,
                number,
                given: tell.clone(),
            };
            tasks.spawn(client.run(first));
        }
        if is_called {
            tasks.spawn(mesh::listen(self.session.clone()));
        }
        tasks.spawn(run_outgoing(self.session.engine.clone()));
        let mut mtu = self.session.engine.mtu();
        let engine = self.session.engine.clone();
        tokio::select! {
            code = shutdown.requested() => Ok(code),
            () = engine.run_refresh() => pending().await,
            Some(ended) = tasks.join_next() => Err(ended.unwrap_or_else(|_| panicked())),
            ended = async {
                let mut is_up = false;
                loop {
                    tokio::select! {
                        () = next_mtu(&mut mtu, &mut self.desired.mtu) => {
                            if !is_up {
                                continue;
                            }
                        }
                        Some((number, new)) = told.recv() => {
                            given[number] = new;
                            self.take_up(&given);
                        }
                        _ = self.hangups.recv() => {
                            if let Err(failure) = self.reload() {
                                return failure;
                            }
                            continue;
                        }
                    }
                    if let Err(failure) = self.settle_on() {
                        return failure;
                    }
                    if !std::mem::replace(&mut is_up, true) {
                        self.tell_up();
                    }
                }
            } => Err(ended),
        }
    }

    /// Takes up what servers gave.
    fn take_up(&mut self, given: &[Given]) {
        let desired = &mut self.desired;
        desired.own_v4 = given.iter().filter_map(Given::address).collect();
        desired.routes = given.iter().flat_map(Given::all_routes).collect();
        desired.sources.clear();
        // With one address the kernel has no choice.
        if desired.own_v4.len() > 1 {
            for given in given {
                let Some((own, _)) = given.address() else {
                    continue;
                };
                for route in given.all_routes().filter(|route| route.address().is_ipv4()) {
                    desired.sources.entry(route).or_insert(own);
                }
            }
        }
        let servers: Vec<IpAddr> = given.iter().flat_map(|given| given.dns.clone()).collect();
        let domains = given.iter().flat_map(|given| given.domains.clone());
        desired.given_dns = (servers, domains.collect());
    }

    fn tell_up(&self) {
        let addresses: Vec<String> = self
            .desired
            .addresses()
            .iter()
            .map(|(own, _)| own.to_string())
            .collect();
        let settings = self.session.settings();
        service::tell("READY=1");
        self.session.talk.note(format_args!(
            "the network {} is up on {} with {}",
            settings.network,
            settings.interface,
            addresses.join(" and ")
        ));
    }
}

fn hangups() -> Result<Signal, Failure> {
    signal(SignalKind::hangup())
        .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))
}

/// Answers `dvpn status` until the returned value is dropped.
fn answer_status(
    session: &Arc<Session>,
    name: &str,
    path: &std::path::Path,
) -> Result<JoinSet<()>, Failure> {
    let control = Control::bind(path).map_err(|error| {
        Failure::failed(format!("cannot listen at {}: {error}", path.display()))
    })?;
    let (session, name) = (session.clone(), name.to_owned());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { control.serve(|| status_of(&session, &name)).await });
    Ok(tasks)
}

/// Waits until the interface should have another MTU.
async fn next_mtu(mtu: &mut watch::Receiver<u16>, current: &mut u16) {
    loop {
        // The engine lives as long as its tasks.
        if mtu.changed().await.is_err() {
            pending::<()>().await;
        }
        let next = *mtu.borrow_and_update();
        if std::mem::replace(current, next) != next {
            return;
        }
    }
}

/// A task of its own, so that a packet wakes this and nothing else.
async fn run_outgoing(engine: Arc<Engine>) -> Failure {
    let error = engine.run_outgoing().await;
    Failure::failed(format!("the interface failed: {error}"))
}

fn panicked() -> Failure {
    Failure::failed("a part of the program failed; this is a defect, please report it")
}
