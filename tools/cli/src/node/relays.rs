//! The relays that the flags name, with their password.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dhtnet::{PathPreference, TurnServer};
use zeroize::Zeroizing;

use crate::Failure;
use crate::flags::{PathArgument, RelayFlags, TurnFlags};

/// Environment variable with the password itself.
const TURN_PASSWORD: &str = "DHTNET_TURN_PASSWORD";

/// Longest password, in bytes: no server takes more (RFC 8489 section 14.4 has 508 for names).
const MAX_PASSWORD_LEN: usize = 512;

/// Bytes of certificates that are read: the bundle of a whole system has 300 KB.
const MAX_CERTIFICATES_LEN: u64 = 1 << 20;

/// Permission bits of others than the owner.
const FOREIGN_BITS: u32 = 0o077;

impl RelayFlags {
    /// Which paths may be used.
    pub fn preference(&self) -> PathPreference {
        match self.path {
            PathArgument::Any => PathPreference::Any,
            PathArgument::Direct => PathPreference::Direct,
            PathArgument::Relay => PathPreference::Relay,
        }
    }
}

impl TurnFlags {
    /// The servers, with the password where there is a user.
    ///
    /// # Errors
    /// Exit code 2 if the password is missing or cannot be read.
    pub fn servers(&self) -> Result<Vec<TurnServer>, Failure> {
        let servers = self.turn.iter().map(|uri| uri.as_str().parse());
        let servers: Result<Vec<TurnServer>, _> = servers.collect();
        let mut servers = servers.map_err(|error| Failure::usage(format!("--turn: {error}")))?;
        if let Some(file) = &self.turn_ca_file {
            let pem = read_certificates(file)?;
            let trusting = servers.into_iter().map(|server| server.trust(&pem));
            let trusting: Result<Vec<TurnServer>, _> = trusting.collect();
            servers = trusting.map_err(|error| {
                Failure::usage(format!("--turn-ca-file {}: {error}", file.display()))
            })?;
        }
        let Some(lacking) = servers.iter().find(|server| server.lacks_password()) else {
            return Ok(servers);
        };
        let password = match &self.turn_password_file {
            Some(file) => read_password(file)?,
            None => match std::env::var(TURN_PASSWORD) {
                Ok(password) if !password.is_empty() => Zeroizing::new(password),
                _ => {
                    return Err(Failure::usage(format!(
                        "--turn {lacking}: the password of the user is missing"
                    ))
                    .advise(format!(
                        "give it with --turn-password-file FILE or in {TURN_PASSWORD}"
                    )));
                }
            },
        };
        let with_password = |server: TurnServer| {
            if server.lacks_password() {
                server.password(password.clone())
            } else {
                server
            }
        };
        Ok(servers.into_iter().map(with_password).collect())
    }
}

fn read_certificates(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("--turn-ca-file {}: {error}", path.display()))
    };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let mut limited = file.take(MAX_CERTIFICATES_LEN);
    limited.read_to_end(&mut pem).map_err(unreadable)?;
    Ok(pem)
}

/// The first line of a file that only its owner can read.
fn read_password(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let unreadable = |error| {
        Failure::usage(format!(
            "cannot read the relay's password in {shown}: {error}"
        ))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & FOREIGN_BITS != 0 {
        return Err(Failure::usage(format!(
            "others can read the relay's password in {shown} (mode {:04o})",
            mode & 0o7777
        ))
        .advise(format!("chmod 600 {shown}")));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSWORD_LEN + 2));
    let mut limited = (&mut file).take(MAX_PASSWORD_LEN as u64 + 2);
    limited.read_to_string(&mut text).map_err(unreadable)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_PASSWORD_LEN {
        return Err(Failure::usage(format!(
            "the relay's password in {shown} is empty or longer than {MAX_PASSWORD_LEN} bytes"
        ))
        .advise("write it alone into the first line"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn flags(file: Option<&Path>) -> TurnFlags {
        TurnFlags {
            turn: vec!["turn:alice@h".parse().unwrap(), "turn:k".parse().unwrap()],
            turn_password_file: file.map(Path::to_owned),
            turn_ca_file: None,
        }
    }

    #[test]
    fn the_password_is_the_first_line_of_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let failure = flags(Some(&file)).servers().unwrap_err().to_string();
        assert!(failure.contains("(mode 0640); chmod 600 "), "{failure}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let servers = flags(Some(&file)).servers().unwrap();
        assert!(servers.iter().all(|server| !server.lacks_password()));
        assert!(!format!("{servers:?}").contains("secret"));
        for (text, fits) in [
            ("", false),
            ("\nsecret", false),
            (&*"p".repeat(MAX_PASSWORD_LEN), true),
            (&*"p".repeat(MAX_PASSWORD_LEN + 1), false),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(flags(Some(&file)).servers().is_ok(), fits, "{}", text.len());
        }
    }

    #[test]
    fn a_missing_password_is_named_with_what_to_do() {
        let missing = Path::new("/nonexistent/password");
        let failure = flags(Some(missing)).servers().unwrap_err().to_string();
        assert!(failure.starts_with("cannot read the relay's password in /nonexistent"));
        let mut none = flags(None);
        none.turn.remove(0);
        assert!(none.servers().is_ok(), "no user, no password");
    }
}
