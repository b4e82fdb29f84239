//! The project's tools on a host: one home, one identity.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lab::{Command, Host, Process, ProcessError};

/// Folder with the tools to test; default: where the running executable was built.
pub const BIN_DIR: &str = "DHTNET_BIN_DIR";

/// How long a tool may take to get ready or to do something local.
pub const START_LIMIT: Duration = Duration::from_secs(15);

static HOMES: AtomicU64 = AtomicU64::new(0);

/// Why the tools or a device are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A tool was not built.
    #[error("find {}: build the tools first (cargo build -p dnc -p crtmgr) or set {BIN_DIR}", .0.display())]
    NotBuilt(PathBuf),
    /// `crtmgr` did not make or print an identity.
    #[error("make an identity for {name}: {what}")]
    Identity {
        /// Host name.
        name: String,
        /// What it said instead.
        what: String,
    },
    /// A tool did not get ready.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or a process cannot be made.
    #[error("start a tool: {0}")]
    Io(#[from] io::Error),
}

/// Where the built tools are.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Finds `dnc` and `crtmgr`.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`] naming the first one missing.
    pub fn find() -> Result<Self, DeviceError> {
        let folder = match std::env::var_os(BIN_DIR) {
            Some(folder) => PathBuf::from(folder),
            None => built_beside(&std::env::current_exe()?),
        };
        for tool in ["dnc", "crtmgr"] {
            let path = folder.join(tool);
            if !path.is_file() {
                return Err(DeviceError::NotBuilt(path));
            }
        }
        Ok(Self {
            folder: folder.canonicalize()?,
        })
    }

    /// Path of one tool.
    pub fn path(&self, tool: &str) -> PathBuf {
        self.folder.join(tool)
    }
}

fn built_beside(executable: &Path) -> PathBuf {
    let folder = executable.parent().unwrap_or(Path::new("."));
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder).to_owned(),
        _ => folder.to_owned(),
    }
}

/// A host with an identity.
#[derive(Debug)]
pub struct Device {
    host: Host,
    tools: Tools,
    home: PathBuf,
    id: String,
}

impl Device {
    /// Makes a home in the lab's folder and an identity in it.
    ///
    /// # Errors
    /// When `crtmgr init` or `crtmgr id` fails.
    pub fn new(host: Host, tools: &Tools) -> Result<Self, DeviceError> {
        let serial = HOMES.fetch_add(1, Ordering::Relaxed);
        let home = host.folder().join(format!("home-{serial}-{}", host.name()));
        let mut device = Self {
            host,
            tools: tools.clone(),
            home,
            id: String::new(),
        };
        let init = device.crtmgr().arg("init").start()?.finish(START_LIMIT)?;
        let id = device.crtmgr().arg("id").start()?.finish(START_LIMIT)?;
        if init.code() != Some(0) || id.code() != Some(0) {
            return Err(DeviceError::Identity {
                name: device.host.name().to_owned(),
                what: format!("{}{}", init.stderr, id.stderr),
            });
        }
        id.text().trim().clone_into(&mut device.id);
        Ok(device)
    }

    /// The device id, as `crtmgr id` prints it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The host alone.
    pub fn into_host(self) -> Host {
        self.host
    }

    /// `$DHTNET_HOME` of its tools.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `dnc` with this device's home.
    pub fn dnc(&self) -> Command {
        self.tool("dnc")
    }

    /// `dsh` with this device's home.
    pub fn dsh(&self) -> Command {
        self.tool("dsh")
    }

    /// Path of `dsh`, for programs that start it themselves.
    pub fn dsh_path(&self) -> PathBuf {
        self.tools.path("dsh")
    }

    /// `crtmgr` with this device's home.
    pub fn crtmgr(&self) -> Command {
        self.tool("crtmgr")
    }

    /// Path of `dnc`, for programs that start it themselves.
    pub fn dnc_path(&self) -> PathBuf {
        self.tools.path("dnc")
    }

    /// Any program with this device's home, and nothing of the tester's own, in its environment.
    pub fn with_home(&self, command: Command) -> Command {
        in_home(command, &self.home)
    }

    fn tool(&self, tool: &str) -> Command {
        self.with_home(self.host.command(self.tools.path(tool)))
    }

    /// Starts a listening `dnc` or `dsh` and waits until it names the command that reaches it.
    ///
    /// # Errors
    /// [`DeviceError::Process`] when it ends or stays silent instead.
    pub fn listen(&self, command: Command) -> Result<Process, DeviceError> {
        let mut process = command.start()?;
        process.await_line("the command that reaches it", START_LIMIT, |line| {
            let is_command = line.contains("dnc ") || line.contains("dsh ");
            (is_command && line.contains(&self.id)).then_some(())
        })?;
        Ok(process)
    }
}

/// What a tool logs (`-vv`) when its device can be found by its id alone.
pub const FOUND: &str = "presence record stored";

/// Waits until the device of a process that logs it can be found by its id alone.
///
/// # Errors
/// [`ProcessError::NotSaid`] at the limit, or when the process ended without it.
pub fn await_found(listener: &mut Process, limit: Duration) -> Result<(), ProcessError> {
    listener.await_line("that it can be found", limit, |line| {
        line.contains(FOUND).then_some(())
    })
}

/// The flags with which `dsh -l` serves the user that the tests run as, root too.
pub fn as_oneself() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["--user", "root"]
    } else {
        &[]
    }
}

/// `command` with `home` as its home, and nothing of the tester's own in its environment.
pub fn in_home(mut command: Command, home: &Path) -> Command {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["DHTNET_", "XDG_", "RUST_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command = command.env_remove(&name);
        }
    }
    command
        .env("DHTNET_HOME", home)
        .env("HOME", home)
        .env("DHTNET_BOOTSTRAP", "none")
}
