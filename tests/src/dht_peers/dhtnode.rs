//! Our `dhtnode`, by the commands on its standard input.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha512};

use super::conversation::Conversation;
use super::driver::hex;
use super::{MainlinePeer, PeerError, Signer};
use crate::device::{Tools, in_home};
use crate::lab::{Command, Host, Usage};

/// Longer than dhtnode's own limit for one command.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// Longer than any test.
const LIFETIME: Duration = Duration::from_secs(600);

/// Prints one line, whatever the state of the network: the end of what came before it.
const MARKER: &str = "stats";

/// How a node is started.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Address of its socket.
    pub bind: SocketAddrV4,
    /// The node to enter by; `None` waits for others.
    pub bootstrap: Option<SocketAddrV4>,
    /// Name of its private network; `None` is the public one.
    pub network: Option<&'a str>,
    /// `$DHTNET_HOME`, which may be there already.
    pub home: &'a Path,
}

/// `dhtnode` with these settings; a command or flags may follow.
///
/// # Errors
/// [`PeerError::Missing`] when it is not built.
pub fn command(host: &Host, tools: &Tools, settings: Settings<'_>) -> Result<Command, PeerError> {
    let program = tools.path("dhtnode");
    if !program.is_file() {
        return Err(PeerError::Missing {
            peer: "dhtnode",
            reason: format!(
                "{} is not built (cargo build -p dhtnode)",
                program.display()
            ),
        });
    }
    std::fs::create_dir_all(settings.home)?;
    let mut command = in_home(host.command(program), settings.home).lifetime(LIFETIME);
    command = command.args(["--bind", &settings.bind.to_string()]);
    command = match settings.bootstrap {
        Some(seed) => command.args(["--bootstrap", &seed.to_string()]),
        None => command.args(["--bootstrap", "none"]),
    };
    Ok(match settings.network {
        Some(name) => command.args(["--network", name]),
        None => command,
    })
}

/// A running node that takes commands.
#[derive(Debug)]
pub struct DhtNode {
    conversation: Conversation,
    address: SocketAddrV4,
    home: PathBuf,
    keys: u32,
}

impl DhtNode {
    /// Starts a node that prints JSON.
    ///
    /// # Errors
    /// As [`command`].
    pub fn start(host: &Host, tools: &Tools, settings: Settings<'_>) -> Result<Self, PeerError> {
        let name = format!("dhtnode on {}", host.name());
        let command = command(host, tools, settings)?.arg("--json");
        Ok(Self {
            conversation: Conversation::start(&name, command)?,
            address: settings.bind,
            home: settings.home.to_owned(),
            keys: 0,
        })
    }

    /// Hands it commands without waiting for what they print.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, commands: &[String]) -> Result<(), PeerError> {
        self.conversation.write(&commands.join("\n"))
    }

    /// What it prints next, one object.
    ///
    /// # Errors
    /// When nothing came within `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Value, PeerError> {
        let line = self.conversation.read("what it was told", limit)?;
        serde_json::from_str(&line).map_err(|_| self.conversation.answer("what it was told", &line))
    }

    /// Everything that one command prints; nothing when it fails.
    ///
    /// # Errors
    /// When it does not come to an end.
    pub fn ask(&mut self, command: &str) -> Result<Vec<Value>, PeerError> {
        self.tell(&[command.to_owned()])?;
        self.rest()
    }

    /// Everything that is printed by the commands so far.
    ///
    /// # Errors
    /// When a command does not come to an end.
    pub fn rest(&mut self) -> Result<Vec<Value>, PeerError> {
        self.tell(&[MARKER.to_owned()])?;
        let mut printed = Vec::new();
        loop {
            let value = self.next(ANSWER_LIMIT)?;
            if value.get("uptime").is_some() {
                return Ok(printed);
            }
            printed.push(value);
        }
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn stats(&mut self) -> Result<Value, PeerError> {
        self.tell(&[MARKER.to_owned()])?;
        self.next(ANSWER_LIMIT)
    }

    /// The only object that `command` prints.
    ///
    /// # Errors
    /// When it prints none or several; with the end of its standard error.
    pub fn one(&mut self, command: &str) -> Result<Value, PeerError> {
        let mut printed = self.ask(command)?;
        match (printed.pop(), printed.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(self.conversation.answer(command, &self.said())),
        }
    }

    /// What it told the user.
    pub fn said(&self) -> String {
        self.conversation.said()
    }

    /// Its memory and CPU time.
    pub fn usage(&self) -> Option<Usage> {
        self.conversation.usage()
    }

    /// Ends it without a word, as a power cut does.
    pub fn kill(&mut self) {
        self.conversation.process().kill();
    }

    fn text(&mut self, command: &str, field: &str) -> Result<String, PeerError> {
        let answer = self.one(command)?;
        let text = answer[field].as_str().map(str::to_owned);
        text.ok_or_else(|| self.conversation.answer(command, &answer.to_string()))
    }

    /// A file with the expanded key, the one form that all three kinds of nodes can be given.
    fn key_file(&mut self, seed: &[u8; 32]) -> Result<PathBuf, PeerError> {
        let mut key = Sha512::digest(seed);
        key[0] &= 248;
        key[31] = key[31] & 63 | 64;
        self.keys += 1;
        let path = self.home.join(format!("key-{}", self.keys));
        std::fs::write(&path, hex(&key))?;
        Ok(path)
    }
}

impl MainlinePeer for DhtNode {
    fn name(&self) -> &str {
        self.conversation.name()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn nodes(&mut self) -> Result<usize, PeerError> {
        Ok(self.ask("nodes")?.len())
    }

    fn announce(&mut self, hash: &str) -> Result<u16, PeerError> {
        self.text(&format!("announce {hash}"), "target")?;
        Ok(self.address.port())
    }

    fn peers(&mut self, hash: &str) -> Result<Vec<SocketAddrV4>, PeerError> {
        let printed = self.ask(&format!("get-peers {hash}"))?;
        let v4 = |value: &Value| match value["peer"].as_str()?.parse().ok()? {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        };
        Ok(printed.iter().filter_map(v4).collect())
    }

    fn put(&mut self, value: &str) -> Result<String, PeerError> {
        self.text(&format!("put '{value}'"), "target")
    }

    fn get(&mut self, target: &str) -> Result<Option<String>, PeerError> {
        let printed = self.ask(&format!("get {target}"))?;
        let value = printed.first().and_then(|found| found["value"].as_str());
        Ok(value.map(str::to_owned))
    }

    fn put_mutable(&mut self, signer: Signer<'_>, value: &str) -> Result<String, PeerError> {
        let file = self.key_file(signer.seed)?;
        let file = file.display();
        self.text(
            &format!("put '{value}' --key '{file}' --salt '{}'", signer.salt),
            "k",
        )
    }

    fn get_mutable(
        &mut self,
        public: &str,
        salt: &str,
    ) -> Result<Option<(i64, String)>, PeerError> {
        let target = target_of(public, salt);
        let printed = self.ask(&format!("get {target} --salt '{salt}'"))?;
        Ok(printed
            .first()
            .and_then(|found| Some((found["seq"].as_i64()?, found["value"].as_str()?.to_owned()))))
    }
}

/// Where a mutable item lies (BEP 44): SHA-1 of the public key and the salt.
fn target_of(public: &str, salt: &str) -> String {
    let byte = |at| u8::from_str_radix(public.get(at..at + 2)?, 16).ok();
    let key: Vec<u8> = (0..public.len()).step_by(2).map_while(byte).collect();
    hex(&Sha1::digest([&key, salt.as_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_mutable_item_is_that_of_bep_44() {
        let public = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
        for (salt, target) in [
            ("", "4a533d47ec9c7d95b1ad75f576cffc641853b750"),
            ("foobar", "411eba73b6f087ca51a3795d9c8c938d365e32c1"),
        ] {
            assert_eq!(target_of(public, salt), target);
        }
    }
}
