//! Users of this system.

use std::path::PathBuf;

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

/// The shell of who has none, as with login(1).
const USUAL_SHELL: &str = "/bin/sh";

/// The local file of users, and how much of it is looked at when nobody was named.
const USERS_FILE: &str = "/etc/passwd";
const MAX_USERS_FILE: u64 = 1024 * 1024;

/// Shells of users who cannot log in.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    /// The user that this process runs as. One that the system has no name for has its number as
    /// its name.
    pub(crate) fn own() -> Self {
        let uid = nix::unistd::geteuid();
        let known = User::from_uid(uid).ok().flatten().map(Self::from);
        known.unwrap_or_else(|| Self {
            name: uid.to_string(),
            uid: uid.as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            home: std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from),
            shell: USUAL_SHELL.into(),
        })
    }

    /// The user of this name, by all the sources of the system; that can take a while.
    pub(crate) fn named(name: &str) -> Option<Self> {
        User::from_name(name).ok().flatten().map(Self::from)
    }

    /// Whether it is the superuser.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == Uid::from_raw(0).as_raw()
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        let shell = if user.shell.as_os_str().is_empty() {
            USUAL_SHELL.into()
        } else {
            user.shell
        };
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            shell,
        }
    }
}

/// The names in the local file of users who can log in.
pub(crate) fn local_names() -> Vec<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(USERS_FILE)
        .and_then(|file| file.take(MAX_USERS_FILE).read_to_string(&mut text));
    match read {
        Ok(_) => names_in(&text),
        Err(_) => Vec::new(),
    }
}

fn names_in(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, shell) = (fields.next()?, fields.nth(5)?);
        let program = shell.rsplit('/').next().unwrap_or(shell);
        (!NO_SHELLS.contains(&program)).then(|| name.to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_log_in_is_left_out() {
        let text = "root:x:0:0:root:/root:/bin/bash\n\
                    daemon:x:1:1::/:/usr/sbin/nologin\n\
                    ann:x:1000:1000:Ann,,,:/home/ann:\n\
                    sync:x:4:4::/:/bin/false\nbroken\n";
        assert_eq!(names_in(text), ["root", "ann"]);
    }

    #[test]
    fn this_process_has_an_account() {
        let own = Account::own();
        assert_eq!(own.uid, nix::unistd::geteuid().as_raw());
        assert!(!own.name.is_empty() && own.shell.is_absolute());
        assert_eq!(Account::named("no such user here"), None);
    }
}
