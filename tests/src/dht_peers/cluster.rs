//! Many nodes in one process on loopback, for benchmarks.

use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::Conversation;
use super::driver::{ask, mainline_command, read_json};
use super::own_cluster::VERB;
use super::{PYTHON, PeerError, require_module};
use crate::device::Tools;
use crate::lab::{Command, Host, Usage};

const OPENDHT: &str = include_str!("../../peers/opendht_cluster.py");

/// For all nodes of a cluster to join.
const START_LIMIT: Duration = Duration::from_secs(180);

/// For a whole row of measurements: seconds an operation when nodes are dead.
const MEASURE_LIMIT: Duration = Duration::from_secs(900);

/// Longer than any benchmark.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// Where a cluster listens, from which port on, and whom it joins.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Nodes.
    pub nodes: usize,
    /// UDP port of the first node; the others count on.
    pub first_port: u16,
    /// Port of the node to join; `None` for a network of its own.
    pub bootstrap: Option<u16>,
}

/// Milliseconds of each operation that succeeded.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// A put, until it is confirmed.
    pub put: Vec<f64>,
    /// The first value of a get, by another node.
    pub first: Vec<f64>,
    /// The end of a get, also of one that found nothing.
    pub get: Vec<f64>,
    /// From a put to a listener's report.
    pub push: Vec<f64>,
}

/// A process full of nodes.
#[derive(Debug)]
pub struct Cluster {
    conversation: Conversation,
}

impl Cluster {
    /// OpenDHT by its Python bindings.
    ///
    /// # Errors
    /// [`PeerError::Missing`] without Debian's python3-opendht.
    pub fn opendht(host: &Host, place: Place) -> Result<Self, PeerError> {
        require_module("OpenDHT", "opendht", "python3-opendht")?;
        let mut command = host.command(PYTHON).args(["-c", OPENDHT]);
        command = command.args([place.nodes.to_string(), place.first_port.to_string()]);
        if let Some(port) = place.bootstrap {
            command = command.arg(port.to_string());
        }
        Self::start("OpenDHT", command)
    }

    /// The crate `mainline`.
    ///
    /// # Errors
    /// [`PeerError::Missing`] when its driver is not built beside the tools.
    pub fn mainline(host: &Host, place: Place, tools: &Tools) -> Result<Self, PeerError> {
        let mut command = mainline_command(host, tools)?.arg("cluster");
        command = command.args([place.nodes.to_string(), place.first_port.to_string()]);
        if let Some(port) = place.bootstrap {
            command = command.arg(format!("127.0.0.1:{port}"));
        }
        Self::start("mainline", command)
    }

    /// Nodes of ours, by the library.
    ///
    /// # Errors
    /// When one does not join.
    pub fn own(host: &Host, place: Place) -> Result<Self, PeerError> {
        let mut command = host.command(std::env::current_exe()?).arg(VERB);
        command = command.args([place.nodes.to_string(), place.first_port.to_string()]);
        if let Some(port) = place.bootstrap {
            command = command.arg(port.to_string());
        }
        Self::start("dhtnet", command)
    }

    fn start(name: &str, command: Command) -> Result<Self, PeerError> {
        let mut conversation = Conversation::start(name, command.lifetime(LIFETIME))?;
        read_json(&mut conversation, "its start", START_LIMIT)?;
        Ok(Self { conversation })
    }

    /// As [`Cluster::measure`], with mutable items (BEP 44) where the peer has values too.
    ///
    /// # Errors
    /// As there.
    pub fn measure_items(&mut self, label: &str, rounds: usize) -> Result<Samples, PeerError> {
        let label = format!("{label} items ");
        self.run(&json!({ "do": "measure", "label": label, "rounds": rounds, "pushes": 0, "kind": "items" }))
    }

    /// Puts and gets `rounds` values, and pushes `pushes` where the peer can; `label` names keys
    /// that no other call uses.
    ///
    /// # Errors
    /// When it fails as a whole; an operation that fails is a sample missing.
    pub fn measure(
        &mut self,
        label: &str,
        rounds: usize,
        pushes: usize,
    ) -> Result<Samples, PeerError> {
        let request =
            json!({ "do": "measure", "label": label, "rounds": rounds, "pushes": pushes });
        self.run(&request)
    }

    fn run(&mut self, request: &Value) -> Result<Samples, PeerError> {
        let answer = ask(&mut self.conversation, request, MEASURE_LIMIT)?;
        let list = |name: &str| -> Vec<f64> {
            let samples = answer[name].as_array().into_iter().flatten();
            samples.filter_map(Value::as_f64).collect()
        };
        Ok(Samples {
            put: list("put"),
            first: list("first"),
            get: list("get"),
            push: list("push"),
        })
    }

    /// Memory and CPU time of the whole process.
    pub fn usage(&self) -> Option<Usage> {
        self.conversation.usage()
    }

    /// Ends all its nodes at once, without a word.
    pub fn kill(mut self) {
        self.conversation.process().kill();
    }
}
