//! The demo's private DHT: a few nodes in one process, known by one address.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome, Tried};
use crate::process::{Interrupt, Process};

/// Nodes of the network: a record has somewhere to lie when some are slow.
pub(super) const NODES: &str = "4";

/// How long the network may take to say where it is.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// A DHT of the demo's own; it ends with the value.
pub(super) struct Network {
    _process: Process,
    /// The address by which it is entered.
    pub(super) entrance: String,
    /// Its name.
    pub(super) name: String,
}

impl Network {
    /// Starts the nodes with `home` as their home.
    pub(super) fn start(binaries: &Path, home: &Path, interrupt: &Interrupt) -> Outcome<Self> {
        let name = format!("demo-{}", std::process::id());
        fs::create_dir(home).tried(|| format!("create {}", home.display()))?;
        let stdout = home.join("stdout");
        let stderr = home.join("stderr");
        let create =
            |path: &Path| File::create(path).tried(|| format!("create {}", path.display()));
        let mut command = Command::new(binaries.join("dhtnode"));
        command
            .env("DHTNET_HOME", home)
            .args(["run", "--json", "--cluster", NODES, "--network", &name])
            .args(["--bind", "127.0.0.1:0", "--bootstrap", "none"])
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?);
        let mut process = Process::spawn(&mut command)?;
        let start = Instant::now();
        loop {
            interrupt.check()?;
            let said = fs::read_to_string(&stdout).unwrap_or_default();
            if let Some(entrance) = entrance_in(&said) {
                return Ok(Self {
                    _process: process,
                    entrance,
                    name,
                });
            }
            let ended = process.try_status()?;
            if ended.is_some() || start.elapsed() > READY_LIMIT {
                let said = fs::read_to_string(&stderr).unwrap_or_default();
                let last = said.trim().lines().last().unwrap_or("nothing").to_owned();
                return Err(Failure::new(format!(
                    "the DHT nodes did not start; they said: {last}"
                )));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The address of the first node, in the line that says where it listens.
fn entrance_in(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("\"listening\""))?;
    let (_, after) = line.split_once("\"addresses\":[\"")?;
    let (address, _) = after.split_once('"')?;
    Some(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entrance_is_the_address_of_the_first_node() {
        let said = "{\"addresses\":[\"127.0.0.1:4001\"],\"event\":\"listening\",\"node\":1}\n\
                    {\"addresses\":[\"127.0.0.1:4002\"],\"event\":\"listening\",\"node\":2}\n";
        assert_eq!(entrance_in(said).as_deref(), Some("127.0.0.1:4001"));
        assert_eq!(entrance_in("{\"addresses\":[\"127.0"), None);
    }
}
