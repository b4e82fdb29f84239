//! Where a device keeps its files.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{ExitCode, Failure};

/// The directories of one device.
///
/// With `$DHTNET_HOME` everything is under it; otherwise the XDG base directories are used:
/// `$XDG_CONFIG_HOME` (default `~/.config`), `$XDG_STATE_HOME` (default `~/.local/state`),
/// `$XDG_RUNTIME_DIR` (default `run` in the state directory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
}

impl Home {
    /// The home that the environment names.
    ///
    /// # Errors
    /// Exit code 2 if neither `$DHTNET_HOME` nor a home directory of the user is known.
    pub fn from_environment() -> Result<Self, Failure> {
        Self::resolve(
            |name| std::env::var_os(name),
            std::env::home_dir().as_deref(),
        )
    }

    /// The same from a given environment and user's home directory.
    ///
    /// # Errors
    /// Exit code 2 if the home cannot be determined.
    pub fn resolve(
        variable: impl Fn(&str) -> Option<OsString>,
        user_home: Option<&Path>,
    ) -> Result<Self, Failure> {
        let set = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(home) = set("DHTNET_HOME") {
            return Ok(Self {
                state: home.join("state"),
                runtime: home.join("run"),
                config: home,
            });
        }
        // The XDG specification: relative paths are to be ignored.
        let xdg = |name: &str, below_home: &str| {
            set(name)
                .filter(|path| path.is_absolute())
                .or_else(|| user_home.map(|home| home.join(below_home)))
                .map(|path| path.join("dhtnet"))
        };
        let (Some(config), Some(state)) = (
            xdg("XDG_CONFIG_HOME", ".config"),
            xdg("XDG_STATE_HOME", ".local/state"),
        ) else {
            return Err(Failure::usage("no home directory is known for this user")
                .advise("set DHTNET_HOME to a directory"));
        };
        let runtime = set("XDG_RUNTIME_DIR")
            .filter(|path| path.is_absolute())
            .map_or_else(|| state.join("run"), |path| path.join("dhtnet"));
        Ok(Self {
            config,
            state,
            runtime,
        })
    }

    /// `config.toml`, identity and contacts.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What a device remembers between runs.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Control sockets.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The device key.
    pub fn identity_file(&self) -> PathBuf {
        self.config.join("identity.pem")
    }

    /// The contact book.
    pub fn contacts_file(&self) -> PathBuf {
        self.config.join("contacts.toml")
    }

    /// The configuration.
    pub fn configuration_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Who may do what.
    pub fn policy_file(&self) -> PathBuf {
        self.config.join("policy.toml")
    }

    /// The certificate that a CA made for this device, with those of CAs between.
    pub fn certificate_file(&self) -> PathBuf {
        self.config.join("device.crt")
    }

    /// The folder of the capabilities that this device holds, one in each file `*.cap`.
    pub fn capabilities_folder(&self) -> PathBuf {
        self.config.join("capabilities")
    }

    /// Makes the configuration directory (0700) if it is missing. An existing one is left as it is.
    ///
    /// # Errors
    /// Exit code 1 with the reason of the system.
    pub fn prepare(&self) -> Result<(), Failure> {
        make_private_directory(&self.config).map_err(|error| {
            Failure::new(
                ExitCode::Failed,
                format!(
                    "cannot make the directory {}: {error}",
                    self.config.display()
                ),
            )
            .advise("set DHTNET_HOME to a directory that can be written")
        })
    }
}

fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
impl Home {
    /// What `DHTNET_HOME` makes of this folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let set = |name: &str| (name == "DHTNET_HOME").then(|| folder.as_os_str().to_owned());
        Self::resolve(set, None).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn resolve(variables: &[(&str, &str)], home: Option<&str>) -> Result<Home, Failure> {
        let variables: Vec<(String, OsString)> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).into()))
            .collect();
        Home::resolve(
            move |name| {
                variables
                    .iter()
                    .find(|(k, _)| k == name)
                    .map(|(_, v)| v.clone())
            },
            home.map(Path::new),
        )
    }

    #[test]
    fn dhtnet_home_holds_everything() {
        let home = resolve(&[("DHTNET_HOME", "/h"), ("XDG_CONFIG_HOME", "/x")], None).unwrap();
        assert_eq!(home.identity_file(), Path::new("/h/identity.pem"));
        assert_eq!(home.contacts_file(), Path::new("/h/contacts.toml"));
        assert_eq!(home.configuration_file(), Path::new("/h/config.toml"));
        assert_eq!(home.state(), Path::new("/h/state"));
        assert_eq!(home.runtime(), Path::new("/h/run"));
    }

    #[test]
    fn xdg_directories_are_used_when_absolute() {
        let variables = [
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
        ];
        let home = resolve(&variables, Some("/home/u")).unwrap();
        assert_eq!(home.config(), Path::new("/c/dhtnet"));
        assert_eq!(home.state(), Path::new("/home/u/.local/state/dhtnet"));
        assert_eq!(home.runtime(), Path::new("/run/user/7/dhtnet"));
    }

    #[test]
    fn without_any_directory_the_failure_names_the_variable_to_set() {
        let failure = resolve(&[("DHTNET_HOME", "")], None).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(
            failure
                .to_string()
                .ends_with("set DHTNET_HOME to a directory")
        );
    }

    #[test]
    fn a_new_directory_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make_private_directory(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
