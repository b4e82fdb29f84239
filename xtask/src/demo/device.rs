//! One device of the demo: a home of its own and the id in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::demo::network::Network;
use crate::demo::time_limit;
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{Interrupt, Process};

/// A fresh home with a new identity.
pub(super) struct Device {
    /// The device id, as `crtmgr id` prints it.
    pub(super) id: String,
    home: PathBuf,
    binaries: PathBuf,
    /// The name of the DHT, and the address by which it is entered.
    network: [String; 2],
}

impl Device {
    /// Makes the home and lets `crtmgr init` make the key.
    pub(super) fn new(
        binaries: &Path,
        home: PathBuf,
        network: &Network,
        interrupt: &Interrupt,
    ) -> Outcome<Self> {
        let mut device = Self {
            id: String::new(),
            home,
            binaries: binaries.to_owned(),
            network: [network.name.clone(), network.entrance.clone()],
        };
        device.crtmgr("init", interrupt)?;
        device.id = device.crtmgr("id", interrupt)?.trim().to_owned();
        if device.id.len() == 56 {
            Ok(device)
        } else {
            Err(Failure::new(format!(
                "`crtmgr id` printed `{}`, not a device id",
                device.id
            )))
        }
    }

    /// `dnc WORDS…` in this home, found and finding by the DHT alone.
    pub(super) fn dnc(&self, words: &[&str]) -> Command {
        let mut command = self.tool("dnc");
        command
            .args(["-v", "--bind", "127.0.0.1:0", "--no-mdns"])
            .args([
                "--network",
                &self.network[0],
                "--bootstrap",
                &self.network[1],
            ])
            .args(words);
        command
    }

    /// A file of this device for what a tool says on stderr.
    pub(super) fn stderr_file(&self) -> PathBuf {
        self.home.with_extension("stderr")
    }

    fn crtmgr(&self, word: &str, interrupt: &Interrupt) -> Outcome<String> {
        let stdout = self.home.with_extension("stdout");
        let mut command = self.tool("crtmgr");
        command.args(["-q", word]).stdin(Stdio::null());
        command.stdout(File::create(&stdout).tried(|| format!("create {}", stdout.display()))?);
        let status = Process::spawn(&mut command)?.wait(interrupt, Some(time_limit(0)))?;
        if !status.success() {
            return Err(Failure::new(format!("`crtmgr {word}` failed ({status})")));
        }
        std::fs::read_to_string(&stdout).tried(|| format!("read {}", stdout.display()))
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("DHTNET_") {
                command.env_remove(&variable);
            }
        }
        command.env("DHTNET_HOME", &self.home);
        command
    }
}
