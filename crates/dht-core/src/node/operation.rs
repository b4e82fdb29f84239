//! What the owner of a node asks for: lookups in one or both families, and storing at what they
//! found. Each operation is a machine of its own that says whom to ask; [`super::Node`] asks.

mod storing;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use self::storing::Storing;
pub use self::task::AnnouncePort;
pub(crate) use self::task::Task;
use super::event::{Outcome, Refusal};
use super::known_values::KnownValues;
use crate::address::Family;
use crate::krpc::Method;
use crate::lookup::{Asked, Lookup, Reach};
use crate::transactions::Stage;

/// Pages taken from one node: as many as values of the largest size under a full key.
pub(crate) const MAX_PAGES_OF_NODE: u16 = 1_024;

/// Pages taken in one operation: eight nodes with full keys. One hostile node cannot use up the
/// share of the others.
pub(crate) const MAX_PAGES: u16 = 8 * MAX_PAGES_OF_NODE;

/// Nodes late at once that are taken for a delay of this machine.
const MANY_LATE: usize = 3;

/// What comes next for an operation.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send the lookup's query.
    Ask(Asked),
    /// Store at this node, with its token.
    Store(Asked, Box<[u8]>),
    /// Ask the same node for what follows.
    Page(Asked, Box<[u8]>),
    /// Nothing until an answer or a time-out.
    Wait,
    /// The lookups are through; what was found is to be looked at before anything is stored.
    Decided,
    /// All is done.
    Finished,
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Looking,
    Decided,
    Storing,
    /// Its end was told; nodes that answer late store too.
    Lingering,
}

/// One operation under way.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) task: Task,
    pub(crate) started: Instant,
    lookups: [Option<Lookup>; 2],
    storing: Storing,
    /// Nodes that have more to tell, and what they told last.
    pages: Vec<(Asked, Box<[u8]>)>,
    /// Follow-up questions sent, those to each node, and those without an answer yet.
    pages_asked: u16,
    pages_of: BTreeMap<SocketAddr, u16>,
    pages_open: BTreeSet<SocketAddr>,
    phase: Phase,
    answers: u32,
    extra_queries: u32,
    /// The answer is known; nobody else is asked.
    satisfied: bool,
    /// Something of what was looked for was found.
    found: bool,
    pub(crate) stored_here: bool,
    /// Values told so far.
    pub(crate) known: KnownValues,
}

impl Operation {
    pub(crate) fn new(task: Task, now: Instant, lookups: [Option<Lookup>; 2]) -> Self {
        Self {
            task,
            started: now,
            lookups,
            storing: Storing::default(),
            pages: Vec::new(),
            pages_asked: 0,
            pages_of: BTreeMap::new(),
            pages_open: BTreeSet::new(),
            phase: Phase::Looking,
            answers: 0,
            extra_queries: 0,
            satisfied: false,
            found: false,
            stored_here: false,
            known: KnownValues::default(),
        }
    }

    /// The query of its lookups.
    pub(crate) fn query(&self) -> (Method<'_>, u16) {
        self.task.query()
    }

    /// What to do next.
    pub(crate) fn poll(&mut self) -> Step {
        match self.phase {
            Phase::Looking => self.poll_looking(),
            Phase::Decided => Step::Decided,
            Phase::Storing => self.poll_storing(),
            Phase::Lingering => self.poll_lingering(),
        }
    }

    fn poll_looking(&mut self) -> Step {
        if self.satisfied {
            self.phase = Phase::Decided;
            return Step::Decided;
        }
        if let Some((asked, after)) = self.pages.pop()
            && self.pages_asked < MAX_PAGES
        {
            self.pages_asked += 1;
            self.extra_queries += 1;
            self.pages_open.insert(asked.address);
            return Step::Page(asked, after);
        }
        let mut lookups = self.lookups.iter_mut().flatten();
        if let Some(asked) = lookups.find_map(Lookup::poll_query) {
            return Step::Ask(asked);
        }
        let decided = self.lookups.iter().flatten().all(Lookup::is_decided);
        if !decided || !self.pages_open.is_empty() || self.is_in_doubt() {
            return Step::Wait;
        }
        self.phase = Phase::Decided;
        Step::Decided
    }

    /// Whether it is too early to conclude anything, because nodes near the target are merely slow.
    /// A machine that was held up for a moment finds all of them late at once; a few that are late
    /// among others that answered are behind NATs, or dead.
    fn is_in_doubt(&self) -> bool {
        if self.task.stores() {
            let answered: usize = self.lookups().map(|lookup| lookup.closest().count()).sum();
            let late: usize = self.lookups().map(Lookup::stragglers).sum();
            return late > 0 && (answered == 0 || late >= MANY_LATE.max(answered * 2));
        }
        let searches_in_vain = self.task.seeks() && !self.found;
        searches_in_vain && self.lookups().any(|lookup| lookup.stragglers() > 0)
    }

    fn poll_storing(&mut self) -> Step {
        match self.storing.poll() {
            Some((asked, token)) => {
                self.extra_queries += 1;
                Step::Store(asked, token)
            }
            None if self.storing.is_over() => Step::Finished,
            None => Step::Wait,
        }
    }

    fn poll_lingering(&mut self) -> Step {
        match self.storing.poll() {
            Some((asked, token)) => Step::Store(asked, token),
            None if self.has_loose_ends() => Step::Wait,
            None => Step::Finished,
        }
    }

    /// Whether somebody may still answer.
    fn has_loose_ends(&self) -> bool {
        let late: usize = self.lookups().map(Lookup::stragglers).sum();
        late > 0 || !self.storing.is_settled()
    }

    /// Whether storing is worth going on with when its end is told. On a busy machine each lookup
    /// misses other nodes of the nearest: who puts and who listens would not meet.
    pub(crate) fn may_linger(&self) -> bool {
        let is_over = self.phase == Phase::Storing;
        is_over && self.stores_late() && self.has_loose_ends()
    }

    fn stores_late(&self) -> bool {
        self.task.stores() && self.task.may_be_repeated()
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.phase == Phase::Lingering
    }

    pub(crate) fn move_to_lingering(&mut self) {
        self.phase = Phase::Lingering;
    }

    /// Whether it has told its end, and nothing is to be taken back.
    pub(crate) fn ends_by_itself(&self) -> bool {
        self.is_lingering() && !matches!(self.task, Task::Subscribe { .. })
    }

    /// A node has answered the lookup's question after the lookup was decided: it stores too, if it
    /// is one of the nearest.
    pub(crate) fn on_late_answer(&mut self, address: SocketAddr) {
        let stores = matches!(self.phase, Phase::Storing | Phase::Lingering);
        let lookup = self.lookups[Family::of(&address).index()].as_ref();
        let Some(lookup) = lookup.filter(|_| stores && self.stores_late()) else {
            return;
        };
        let mut all = lookup.closest();
        let found = all.find(|(contact, _)| contact.address == address);
        if let Some((contact, Some(token))) = found {
            let id = Some(contact.id);
            self.storing.add(Asked { address, id }, token);
        }
    }

    /// Goes on from [`Step::Decided`]: stores at the nearest nodes that gave a token, or ends.
    pub(crate) fn move_to_storing(&mut self) {
        self.phase = Phase::Storing;
        if !self.task.stores() {
            return;
        }
        for lookup in self.lookups.iter().flatten() {
            for (contact, token) in lookup.closest() {
                // Who gives no token does not store.
                if let Some(token) = token {
                    let asked = Asked {
                        address: contact.address,
                        id: Some(contact.id),
                    };
                    self.storing.add(asked, token);
                }
            }
        }
    }

    pub(crate) fn lookup_mut(&mut self, family: Family) -> Option<&mut Lookup> {
        self.lookups[family.index()].as_mut()
    }

    pub(crate) fn lookup(&self, family: Family) -> Option<&Lookup> {
        self.lookups[family.index()].as_ref()
    }

    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups.iter().flatten()
    }

    /// Whether one node alone is asked.
    pub(crate) fn asks_one(&self) -> bool {
        self.lookups().any(|lookup| lookup.reach() == Reach::Given)
    }

    pub(crate) fn on_answer(&mut self) {
        self.answers += 1;
    }

    /// Something of what was looked for was found.
    pub(crate) fn on_found(&mut self) {
        self.found = true;
    }

    /// The answer is known: nobody else is asked.
    pub(crate) fn satisfy(&mut self) {
        self.satisfied = true;
    }

    /// A node has more values than fitted.
    pub(crate) fn add_page(&mut self, asked: Asked, after: &[u8]) {
        let of_node = self.pages_of.entry(asked.address).or_default();
        if *of_node < MAX_PAGES_OF_NODE {
            *of_node += 1;
            self.pages.push((asked, after.into()));
        }
    }

    /// The answer to a follow-up question came, or it is not waited for any longer.
    pub(crate) fn on_page_over(&mut self, address: SocketAddr) {
        self.pages_open.remove(&address);
    }

    pub(crate) fn on_stored(&mut self, address: SocketAddr) {
        self.storing.on_stored(address);
    }

    pub(crate) fn on_refused(&mut self, refusal: Refusal) {
        self.storing.on_refused(refusal);
    }

    /// A node refused before it could be asked to store.
    pub(crate) fn on_question_refused(&mut self, refusal: Refusal) {
        self.storing.add_refusal(refusal);
    }

    /// The write token of a node that a lookup found.
    pub(crate) fn token_of(&self, address: &SocketAddr) -> Option<&[u8]> {
        let lookup = self.lookups[Family::of(address).index()].as_ref()?;
        let mut all = lookup.closest();
        all.find(|(contact, _)| contact.address == *address)?.1
    }

    pub(crate) fn on_store_slow(&mut self, address: SocketAddr, stage: Stage) {
        match stage {
            Stage::Overdue => self.storing.on_overdue(address),
            _ => self.storing.on_given_up(address),
        }
    }

    pub(crate) fn on_silent(&mut self, address: SocketAddr) {
        self.storing.on_silent(address);
    }

    /// What it came to.
    pub(crate) fn outcome(&self, now: Instant) -> Outcome {
        let lookups = || self.lookups.iter().flatten();
        let queries: u32 = lookups().map(|lookup| u32::from(lookup.queries())).sum();
        let nearest = lookups().flat_map(|lookup| lookup.closest().map(|(contact, _)| contact));
        Outcome {
            closest: nearest.collect(),
            acknowledged: self.storing.acknowledged(),
            refused: self.storing.refused().to_vec(),
            silent: self.storing.silent(),
            stored_here: self.stored_here,
            queries: queries + self.extra_queries,
            answers: self.answers,
            hops: lookups().map(Lookup::hops).max().unwrap_or(0),
            elapsed: now.saturating_duration_since(self.started),
        }
    }
}
