//! `--turn`: a TURN server and who asks there. The password is never part of it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;

use dhtnet::doctor::Transport;
use dhtnet_cli::Failure;
use dhtnet_cli::flags::HostPort;
use zeroize::Zeroizing;

/// The variable with the password.
const PASSWORD: &str = "DHTNET_TURN_PASSWORD";

/// Longest password that is read, in bytes.
const MAX_PASSWORD_LEN: u64 = 512;

/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// `turn:USER@HOST:PORT?transport=udp|tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnArgument {
    user: String,
    server: HostPort,
    transport: Transport,
}

impl FromStr for TurnArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("turn:") else {
            return Err(match text.starts_with("turns:") {
                true => "TLS is not tried here: write turn:USER@HOST:PORT?transport=tcp".to_owned(),
                false => "not turn:USER@HOST:PORT".to_owned(),
            });
        };
        let (rest, transport) = match rest.split_once('?') {
            None => (rest, Transport::Udp),
            Some((rest, "transport=udp")) => (rest, Transport::Udp),
            Some((rest, "transport=tcp")) => (rest, Transport::Tcp),
            Some((_, other)) => {
                return Err(format!(
                    "{other:?} is neither transport=udp nor transport=tcp"
                ));
            }
        };
        let (user, server) = rest
            .rsplit_once('@')
            .ok_or("the user is missing: turn:USER@HOST:PORT")?;
        if user.is_empty() || user.contains(':') {
            return Err(format!(
                "the user is missing, or is followed by a password: that belongs into \
                 --turn-password-file or {PASSWORD}"
            ));
        }
        Ok(Self {
            user: user.to_owned(),
            server: server.parse()?,
            transport,
        })
    }
}

impl TurnArgument {
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// `HOST:PORT`.
    pub(super) fn server(&self) -> &str {
        self.server.as_str()
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// The password: the first line of the file, or the variable.
    pub(super) fn password(&self, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
        let Some(file) = file else {
            let given = std::env::var(PASSWORD).map(Zeroizing::new);
            return given.map_err(|_| {
                Failure::usage(format!("the password of {} is missing", self.user))
                    .advise(format!("give --turn-password-file FILE, or set {PASSWORD}"))
            });
        };
        read_private(file)
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let failed = |error| Failure::usage(format!("cannot read the password in {shown}: {error}"));
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(
            Failure::usage(format!("others can read the password in {shown}"))
                .advise(format!("run: chmod 600 {shown}")),
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_PASSWORD_LEN + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || text.len() as u64 > MAX_PASSWORD_LEN {
        return Err(Failure::usage(format!(
            "the password in {shown} is empty or longer than {MAX_PASSWORD_LEN} bytes"
        )));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_server_with_its_user_is_read_and_a_password_is_refused() {
        let turn: TurnArgument = "turn:ada@relay.example:443?transport=tcp".parse().unwrap();
        assert_eq!((turn.user(), turn.server()), ("ada", "relay.example:443"));
        assert_eq!(turn.transport(), Transport::Tcp);
        let turn: TurnArgument = "turn:ada@[2001:db8::1]:3478".parse().unwrap();
        assert_eq!(turn.transport(), Transport::Udp);
        for wrong in [
            "",
            "relay:1",
            "turn:relay.example:1",
            "turn:@h:1",
            "turn:ada:secret@h:1",
            "turn:ada@h",
            "turn:ada@h:1?transport=sctp",
            "turns:ada@h:1",
        ] {
            assert!(wrong.parse::<TurnArgument>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_read_from_a_file_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(
            read_private(&file)
                .unwrap_err()
                .to_string()
                .contains("chmod 600")
        );
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*read_private(&file).unwrap(), "secret");
        std::fs::write(&file, "").unwrap();
        assert!(read_private(&file).is_err());
    }
}
