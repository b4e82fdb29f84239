//! `crawl`: walks through the network from node to node, and counts.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dhtnet_cli::{ExitCode, Failure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::dht::{Contact, Id, Network};
use crate::flags::CrawlFlags;
use crate::output::Halt;
use crate::reports::{milliseconds, version_text};
use crate::session::{How, Session};

/// Nodes that are asked at the same time. At the default rate and a time limit of some seconds
/// for each, more are not needed.
const MAX_ASKED_AT_ONCE: usize = 256;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// Queries to each node: a ping, and two `find_node`, for its own neighbours and for the far half
/// of the key space. In a network of a few nodes that is enough to hear of every one.
const QUERIES_PER_NODE: u32 = 3;

/// What the walk has found.
#[derive(Default)]
struct Walk {
    limit: usize,
    seen: HashSet<SocketAddr>,
    waiting: VecDeque<Contact>,
    asked: usize,
    answered: usize,
    speak_values: usize,
    versions: BTreeMap<String, usize>,
}

/// One node's answers.
struct Visit {
    /// The version that it gave; none if it did not answer.
    version: Option<String>,
    speaks_values: bool,
    known: Vec<Contact>,
}

impl Walk {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes nodes to ask, each address once, no more than the limit.
    fn take_up(&mut self, nodes: impl IntoIterator<Item = Contact>) {
        for node in nodes {
            if self.seen.len() >= self.limit {
                return;
            }
            if self.seen.insert(node.address) {
                self.waiting.push_back(node);
            }
        }
    }

    fn note(&mut self, visit: Visit) {
        self.asked += 1;
        if let Some(version) = visit.version {
            self.answered += 1;
            self.speak_values += usize::from(visit.speaks_values);
            *self.versions.entry(version).or_default() += 1;
        }
        self.take_up(visit.known);
    }

    /// Versions, the most frequent first.
    fn histogram(&self) -> Vec<(&str, usize)> {
        let mut rows: Vec<_> = self
            .versions
            .iter()
            .map(|(v, n)| (v.as_str(), *n))
            .collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        rows
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} nodes, {} answered, {} speak the value layer\n",
            self.seen.len(),
            self.answered,
            self.speak_values
        );
        for (version, count) in self.histogram() {
            text.push_str(&format!("{count:7} {version}\n"));
        }
        text
    }

    fn json(&self, elapsed: Duration) -> Value {
        json!({
            "nodes": self.seen.len(),
            "asked": self.asked,
            "answered": self.answered,
            "values": self.speak_values,
            "versions": self.versions,
            "complete": self.waiting.is_empty() && self.seen.len() < self.limit,
            "milliseconds": milliseconds(elapsed),
        })
    }
}

/// Walks until no new node turns up, the limit is reached, or the user has seen enough.
pub(crate) async fn crawl(session: &Session, how: &How, flags: &CrawlFlags) -> Result<(), Halt> {
    let begun = Instant::now();
    let mut walk = Walk::new(flags.limit as usize);
    walk.take_up(first_nodes(session, how).await?);
    let mut pace = tokio::time::interval(Duration::from_secs(1) * QUERIES_PER_NODE / flags.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await; // The first is at once.
    let mut visits = JoinSet::new();
    loop {
        let may_ask = visits.len() < MAX_ASKED_AT_ONCE && !walk.waiting.is_empty();
        if visits.is_empty() && walk.waiting.is_empty() {
            break;
        }
        tokio::select! {
            _ = pace.tick(), if may_ask => {
                if let Some(node) = walk.waiting.pop_front() {
                    visits.spawn(visit(session.network.clone(), node));
                }
            }
            Some(Ok(visit)) = visits.join_next() => walk.note(visit),
            _ = progress.tick() => session.talk.note(format_args!(
                "{} nodes so far, {} answered, {} to ask",
                walk.seen.len(),
                walk.answered,
                walk.waiting.len()
            )),
        }
    }
    if walk.seen.len() >= walk.limit {
        session.talk.note(format_args!(
            "stopped at {} nodes; go further with --limit N",
            walk.limit
        ));
    }
    how.output.print(&walk.text(), &walk.json(begun.elapsed()))
}

/// Where the walk begins: at the node of `--remote`, else at those that this node knows.
async fn first_nodes(session: &Session, how: &How) -> Result<Vec<Contact>, Failure> {
    let ready = async {
        match session.asked(how).await? {
            Some(address) => {
                let pong = session.network.ping(address).await?;
                Ok(vec![Contact::new(pong.id, address)])
            }
            None => Ok(session
                .network
                .nodes()
                .into_iter()
                .map(|known| known.contact)
                .collect()),
        }
    };
    let nodes: Vec<Contact> = tokio::time::timeout(how.limit, ready)
        .await
        .unwrap_or_else(|_| {
            Err(
                Failure::new(ExitCode::Unreachable, "no node answered in time")
                    .advise("try again, or a longer -w"),
            )
        })?;
    if nodes.is_empty() {
        return Err(
            Failure::new(ExitCode::Unreachable, "there is no node to begin at")
                .advise("name one with --bootstrap HOST:PORT"),
        );
    }
    Ok(nodes)
}

async fn visit(network: Network, node: Contact) -> Visit {
    let mut visit = Visit {
        version: None,
        speaks_values: false,
        known: Vec::new(),
    };
    // Who does not answer the ping is not asked further.
    if let Ok(pong) = network.ping(node.address).await {
        visit.version = Some(version_text(pong.version.as_deref()));
        visit.speaks_values = pong.extension.is_some();
        for target in [pong.id, far_from(pong.id)] {
            if let Ok(nodes) = network.find_node(target, Some(node.address)).await {
                visit.known.extend(nodes);
            }
        }
    }
    visit
}

/// The id that differs from `id` in every bit.
fn far_from(id: Id) -> Id {
    Id::from_bytes(id.as_bytes().map(|byte| !byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u16) -> Contact {
        let id = Id::hash_of(&number.to_be_bytes());
        Contact::new(id, SocketAddr::from(([127, 0, 0, 1], number)))
    }

    #[test]
    fn each_address_is_asked_once_and_no_more_than_the_limit_are() {
        let mut walk = Walk::new(3);
        walk.take_up([contact(1), contact(1), contact(2)]);
        assert_eq!(walk.waiting.len(), 2);
        walk.take_up([contact(2), contact(3)]);
        assert_eq!(walk.waiting.len(), 3);
        walk.take_up([contact(4)]);
        assert_eq!((walk.waiting.len(), walk.seen.len()), (3, 3));
    }

    #[test]
    fn the_histogram_counts_those_that_answered() {
        let mut walk = Walk::new(10);
        walk.take_up([contact(1), contact(2), contact(3)]);
        for (version, speaks_values) in
            [(Some("LT 0206"), false), (Some("DN"), true), (None, false)]
        {
            walk.note(Visit {
                version: version.map(str::to_owned),
                speaks_values,
                known: vec![contact(3), contact(4)],
            });
        }
        walk.note(Visit {
            version: Some("DN".to_owned()),
            speaks_values: true,
            known: vec![],
        });
        assert_eq!(
            walk.text(),
            "4 nodes, 3 answered, 2 speak the value layer\n      2 DN\n      1 LT 0206\n"
        );
        let json = walk.json(Duration::from_millis(5));
        assert_eq!((&json["asked"], &json["answered"]), (&json!(4), &json!(3)));
        assert_eq!(json["versions"], json!({ "DN": 2, "LT 0206": 1 }));
    }

    #[test]
    fn a_node_is_asked_for_the_far_end_of_the_key_space() {
        let id = Id::hash_of(b"x");
        assert_eq!(far_from(id).common_prefix(&id), 0);
        assert_eq!(far_from(far_from(id)), id);
    }
}
