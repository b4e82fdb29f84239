//! A network of our own nodes on loopback: `dhtnode run --cluster`, and nodes beside it that are
//! told what to do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PeerError;
use super::cluster::{Place, Samples};
use super::conversation::Conversation;
use super::dhtnode::{DhtNode, Settings, command};
use crate::device::Tools;
use crate::lab::{Host, Usage};

/// For all nodes to have found others.
const START_LIMIT: Duration = Duration::from_secs(120);

/// For one operation; what takes longer is a failure.
const OPERATION_LIMIT: Duration = Duration::from_secs(20);

/// Ports of the nodes beside the cluster count on from here.
const FIRST_PORT_BESIDE: u16 = 60_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values of the value layer.
    Values,
    /// Mutable items of BEP 44.
    MutableItems,
}

/// A process full of our nodes.
#[derive(Debug)]
pub struct OwnCluster {
    conversation: Conversation,
}

impl OwnCluster {
    /// Starts it and waits until every node has found others.
    ///
    /// # Errors
    /// [`PeerError::Missing`] when `dhtnode` is not built.
    pub fn start(host: &Host, place: Place, tools: &Tools) -> Result<Self, PeerError> {
        let name = format!("cluster-{}", place.first_port);
        let home = host.folder().join(format!("{}-{name}", host.name()));
        let settings = Settings {
            bind: on_loopback(place.first_port),
            bootstrap: place.bootstrap.map(on_loopback),
            network: None,
            home: &home,
        };
        let count = place.nodes.to_string();
        let command = command(host, tools, settings)?;
        let command = command.args(["--json", "run", "--stats=0.2", "--cluster", &count]);
        let mut conversation = Conversation::start(&name, command)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = conversation.read("its start", left)?;
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            // A node alone has nobody to find.
            let ready = event["ready"].as_u64().unwrap_or(0) >= place.nodes as u64;
            if event["event"] == "stats" && (ready || place.nodes == 1) {
                return Ok(Self { conversation });
            }
        }
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

/// Three nodes in processes of their own: one puts, one gets, one listens.
#[derive(Debug)]
pub struct Callers {
    writer: DhtNode,
    reader: DhtNode,
    listener: DhtNode,
    key_file: std::path::PathBuf,
}

impl Callers {
    /// Starts them, to enter by the node at `bootstrap`.
    ///
    /// # Errors
    /// When one does not find the network.
    pub fn start(host: &Host, bootstrap: u16, tools: &Tools) -> Result<Self, PeerError> {
        let folder = host.folder().join(format!("{}-callers", host.name()));
        let start = |number: u16| {
            let mut node = DhtNode::start(
                host,
                tools,
                Settings {
                    bind: on_loopback(FIRST_PORT_BESIDE + number),
                    bootstrap: Some(on_loopback(bootstrap)),
                    network: None,
                    home: &folder.join(number.to_string()),
                },
            )?;
            node.stats()?;
            Ok::<_, PeerError>(node)
        };
        let (mut writer, reader, listener) = (start(1)?, start(2)?, start(3)?);
        let key_file = folder.join("key.pem");
        writer.one(&format!("genkey '{}'", key_file.display()))?;
        Ok(Self {
            writer,
            reader,
            listener,
            key_file,
        })
    }

    /// As [`Cluster::measure`](super::cluster::Cluster::measure).
    ///
    /// # Errors
    /// When a process ends.
    pub fn measure(
        &mut self,
        kind: Kind,
        label: &str,
        rounds: usize,
        pushes: usize,
    ) -> Result<Samples, PeerError> {
        let mut samples = Samples::default();
        let value = "v".repeat(64);
        for number in 0..rounds {
            let name = format!("{label}-{number}");
            let put = match kind {
                Kind::Values => format!("put {value} --at {name}"),
                Kind::MutableItems => {
                    let file = self.key_file.display();
                    format!("put {value} --key '{file}' --salt {name} --seq 1")
                }
            };
            let started = Instant::now();
            self.writer.tell(&[put])?;
            let stored = self.writer.next(OPERATION_LIMIT)?;
            if stored["stored"] == true {
                samples.put.push(milliseconds(started));
            }
            let target = match kind {
                Kind::Values => name.clone(),
                Kind::MutableItems => stored["target"].as_str().unwrap_or_default().to_owned(),
            };
            let salt = match kind {
                Kind::Values => String::new(),
                Kind::MutableItems => format!(" --salt {name}"),
            };
            self.get(&format!("get {target}{salt}"), &mut samples)?;
        }
        if pushes > 0 && kind == Kind::Values {
            self.push(label, pushes, &mut samples)?;
        }
        Ok(samples)
    }

    /// Milliseconds of commands that ask nobody: what the way to the process and back costs.
    ///
    /// # Errors
    /// When a process ends.
    pub fn alone(&mut self, rounds: usize) -> Result<Vec<f64>, PeerError> {
        let once = |_| {
            let started = Instant::now();
            self.reader.stats()?;
            Ok(milliseconds(started))
        };
        (0..rounds).map(once).collect()
    }

    /// The first value by one get; the end of another one that waits for everything.
    fn get(&mut self, get: &str, samples: &mut Samples) -> Result<(), PeerError> {
        let started = Instant::now();
        // What is printed after it is the end of a get that found nothing.
        self.reader.tell(&[get.to_owned(), "stats".to_owned()])?;
        if self.reader.next(OPERATION_LIMIT)?.get("uptime").is_none() {
            samples.first.push(milliseconds(started));
            self.reader.next(OPERATION_LIMIT)?;
        }
        let started = Instant::now();
        self.reader.ask(&format!("{get} --all"))?;
        samples.get.push(milliseconds(started));
        Ok(())
    }

    fn push(&mut self, label: &str, pushes: usize, samples: &mut Samples) -> Result<(), PeerError> {
        let key = format!("{label}-push");
        self.listener.tell(&[format!("listen {key}")])?;
        // The listener reaches the nodes that will hold the values.
        std::thread::sleep(Duration::from_millis(500));
        for number in 0..pushes {
            let value = format!("{number:064}");
            let started = Instant::now();
            self.writer.tell(&[format!("put {value} --at {key}")])?;
            let heard = self.listener.next(OPERATION_LIMIT)?;
            if heard["value"] == value {
                samples.push.push(milliseconds(started));
            }
            self.writer.next(OPERATION_LIMIT)?;
        }
        Ok(())
    }
}

fn on_loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
