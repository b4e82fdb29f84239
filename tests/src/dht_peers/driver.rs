//! libtorrent and the crate `mainline`, each in a driver that speaks lines of JSON.
//!
//! A driver's first line is `{"ready": "ADDRESS:PORT"}`. Requests and answers:
//!
//! | request | answer |
//! |---|---|
//! | `{"do": "nodes"}` | `{"nodes": N}`, in its routing table |
//! | `{"do": "announce", "hash": HEX}` | `{"announced": PORT}` |
//! | `{"do": "peers", "hash": HEX}` | `{"peers": ["ADDRESS:PORT", …]}` |
//! | `{"do": "put", "value": TEXT}` | `{"target": HEX, …}` |
//! | `{"do": "get", "target": HEX}` | `{"value": TEXT or null}` |
//! | `{"do": "put_mutable", "secret": HEX, "salt": TEXT, "value": TEXT}` | `{"public": HEX, "seq": N, …}` |
//! | `{"do": "get_mutable", "public": HEX, "salt": TEXT}` | `{"value": TEXT or null, "seq": N or null}` |
//! | `{"do": "measure", "label": TEXT, "rounds": N, "pushes": N}` (clusters) | `{"put": [MS, …], "first": […], "get": […], "push": […]}` |
//! | `{"do": "quit"}` | none; it ends |
//!
//! Any answer may be `{"error": TEXT}` instead. A secret is a seed of 32 bytes or an expanded key
//! of 64, and a put takes the next sequence number after the stored one.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::Conversation;
use super::{MainlinePeer, PYTHON, PeerError, Signer, require_module};
use crate::device::Tools;
use crate::lab::{Command, Host};

const LIBTORRENT: &str = include_str!("../../peers/libtorrent_peer.py");

/// Longer than a driver's own limit for one operation.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);

/// Longer than any test.
const LIFETIME: Duration = Duration::from_secs(600);

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It answers and stores.
    Server,
    /// It only asks (BEP 43).
    Client,
}

/// A foreign node of the Mainline DHT.
#[derive(Debug)]
pub struct Driver {
    conversation: Conversation,
    address: SocketAddrV4,
}

impl Driver {
    /// A libtorrent session on `host`.
    ///
    /// # Errors
    /// [`PeerError::Missing`] without Debian's python3-libtorrent.
    pub fn libtorrent(
        host: &Host,
        address: SocketAddrV4,
        bootstrap: Option<SocketAddrV4>,
    ) -> Result<Self, PeerError> {
        require_module("libtorrent", "libtorrent", "python3-libtorrent")?;
        let command = host.command(PYTHON).args(["-c", LIBTORRENT]);
        Self::start("libtorrent", command, address, bootstrap)
    }

    /// A node of the crate `mainline` on `host`. As a server it answers those queries alone whose
    /// transaction id has four bytes; libtorrent's have two, and it waits for the answer.
    ///
    /// # Errors
    /// [`PeerError::Missing`] when its driver is not built beside the tools.
    pub fn mainline(
        host: &Host,
        role: Role,
        address: SocketAddrV4,
        bootstrap: Option<SocketAddrV4>,
        tools: &Tools,
    ) -> Result<Self, PeerError> {
        let role = match role {
            Role::Server => "server",
            Role::Client => "client",
        };
        let command = mainline_command(host, tools)?.arg(role);
        Self::start("mainline", command, address, bootstrap)
    }

    fn start(
        name: &str,
        command: Command,
        address: SocketAddrV4,
        bootstrap: Option<SocketAddrV4>,
    ) -> Result<Self, PeerError> {
        let mut command = command.arg(address.to_string()).lifetime(LIFETIME);
        if let Some(bootstrap) = bootstrap {
            command = command.arg(bootstrap.to_string());
        }
        let mut conversation = Conversation::start(name, command)?;
        read_json(&mut conversation, "its start", ANSWER_LIMIT)?;
        Ok(Self {
            conversation,
            address,
        })
    }

    fn ask<T>(
        &mut self,
        request: &Value,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, PeerError> {
        let answer = ask(&mut self.conversation, request, ANSWER_LIMIT)?;
        let unexpected = || {
            self.conversation
                .answer(&request.to_string(), &answer.to_string())
        };
        read(&answer).ok_or_else(unexpected)
    }
}

impl MainlinePeer for Driver {
    fn name(&self) -> &str {
        self.conversation.name()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn nodes(&mut self) -> Result<usize, PeerError> {
        self.ask(&json!({ "do": "nodes" }), |answer| {
            answer["nodes"].as_u64()?.try_into().ok()
        })
    }

    fn announce(&mut self, hash: &str) -> Result<u16, PeerError> {
        let request = json!({ "do": "announce", "hash": hash });
        self.ask(&request, |answer| {
            answer["announced"].as_u64()?.try_into().ok()
        })
    }

    fn peers(&mut self, hash: &str) -> Result<Vec<SocketAddrV4>, PeerError> {
        self.ask(&json!({ "do": "peers", "hash": hash }), |answer| {
            let peers = answer["peers"].as_array()?.iter();
            peers.map(|peer| peer.as_str()?.parse().ok()).collect()
        })
    }

    fn put(&mut self, value: &str) -> Result<String, PeerError> {
        let request = json!({ "do": "put", "value": value });
        self.ask(&request, |answer| Some(answer["target"].as_str()?.into()))
    }

    fn get(&mut self, target: &str) -> Result<Option<String>, PeerError> {
        let request = json!({ "do": "get", "target": target });
        self.ask(&request, |answer| optional_text(answer.get("value")?))
    }

    fn put_mutable(&mut self, signer: Signer<'_>, value: &str) -> Result<String, PeerError> {
        let secret = hex(signer.seed);
        let request = json!({
            "do": "put_mutable", "secret": secret, "salt": signer.salt, "value": value,
        });
        self.ask(&request, |answer| Some(answer["public"].as_str()?.into()))
    }

    fn get_mutable(
        &mut self,
        public: &str,
        salt: &str,
    ) -> Result<Option<(i64, String)>, PeerError> {
        let request = json!({ "do": "get_mutable", "public": public, "salt": salt });
        self.ask(&request, |answer| {
            let value = optional_text(answer.get("value")?)?;
            Some(value.map(|value| (answer["seq"].as_i64().unwrap_or(-1), value)))
        })
    }
}

/// The driver of the crate `mainline`, without arguments.
pub(super) fn mainline_command(host: &Host, tools: &Tools) -> Result<Command, PeerError> {
    let program = tools.path("mainline-peer");
    if program.is_file() {
        return Ok(host.command(program));
    }
    Err(PeerError::Missing {
        peer: "mainline",
        reason: format!(
            "{} is not built (cargo build --manifest-path tests/peers/mainline/Cargo.toml)",
            program.display()
        ),
    })
}

pub(super) fn ask(
    conversation: &mut Conversation,
    request: &Value,
    limit: Duration,
) -> Result<Value, PeerError> {
    let request = request.to_string();
    conversation.write(&request)?;
    read_json(conversation, &request, limit)
}

pub(super) fn read_json(
    conversation: &mut Conversation,
    request: &str,
    limit: Duration,
) -> Result<Value, PeerError> {
    let line = conversation.read(request, limit)?;
    match serde_json::from_str::<Value>(&line) {
        Ok(answer) if answer.get("error").is_none() => Ok(answer),
        _ => Err(conversation.answer(request, &line)),
    }
}

/// `Some(None)` for null.
fn optional_text(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
