//! The real binary in a home of its own.

#![allow(clippy::unwrap_used)]

mod authority;
mod identities;
mod import;
mod policy;
mod setup;
mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A fresh home, not yet made.
struct Place(tempfile::TempDir);

/// What a run left behind.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// A path beside the home.
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A file that its owner alone may read.
    fn write_private(&self, name: &str, text: &str) -> String {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crtmgr"));
        command
            .args(words)
            .env_clear()
            .env("DHTNET_HOME", self.home())
            .env("HOME", self.0.path())
            .current_dir(self.0.path());
        command
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.ended(self.command(words))
    }

    /// With these lines on stdin.
    fn run_with(&self, words: &[&str], stdin: &str) -> Ended {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A tool that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        self.of(child.wait_with_output().unwrap())
    }

    fn ended(&self, mut command: Command) -> Ended {
        self.of(command.stdin(Stdio::null()).output().unwrap())
    }

    #[allow(clippy::needless_pass_by_value)] // It is used up.
    fn of(&self, output: std::process::Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr)
                .unwrap()
                .replace(self.0.path().to_str().unwrap(), "TMP"),
        }
    }

    /// Runs what has to succeed, and gives its stdout without the line end.
    #[track_caller]
    fn good(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
        ended.stdout.trim_end().to_owned()
    }

    /// Runs what has to fail with `code`, one line, and nothing on stdout; gives the line.
    #[track_caller]
    fn bad(&self, code: i32, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(code), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{words:?}");
        assert_eq!(
            ended.stderr.lines().count(),
            1,
            "{words:?}: {}",
            ended.stderr
        );
        ended.stderr.trim_end().to_owned()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.good(&[words, &["--json"]].concat())).unwrap()
    }
}

/// Whether a program is there; if not, says that `test` is skipped, past the test runner's capture
/// and to who counts them.
fn is_there(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return true;
    }
    let line = format!("SKIPPED: {test}: there is no {program} command\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    if let Some(log) = std::env::var_os("DHTNET_SKIP_LOG") {
        let file = fs::File::options().create(true).append(true).open(log);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
    false
}

/// Runs openssl, which has to be there, and gives its success with all that it said.
fn openssl(words: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_prints_the_id_and_id_prints_it_again() {
    let place = Place::new();
    let init = place.run(&["init", "--name", "laptop"]);
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    let id = init.stdout.trim();
    assert_eq!(id.len(), 56);
    assert_eq!(
        init.stderr,
        format!(
            "crtmgr: made a new identity in TMP/home/identity.pem\n\
             crtmgr: others can name this device with: crtmgr peer add laptop {id}\n"
        )
    );
    let shown = place.run(&["id"]);
    assert_eq!(
        (shown.code, shown.stdout.as_str(), shown.stderr.as_str()),
        (Some(0), init.stdout.as_str(), "")
    );
    assert_eq!(
        place.run(&["peer", "list"]).stdout,
        format!("laptop  {id}\n")
    );
    assert_eq!(mode(place.home()), 0o700);
    assert_eq!(mode(place.home().join("identity.pem")), 0o600);
    assert_eq!(mode(place.home().join("contacts.toml")), 0o600);
}

#[test]
fn a_second_init_changes_nothing_and_exits_with_5() {
    let place = Place::new();
    let id = place.run(&["init"]).stdout;
    let again = place.run(&["init", "--name", "other"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(5), ""));
    assert_eq!(
        again.stderr,
        "crtmgr: cannot make the identity: \"TMP/home/identity.pem\" is there already and is not \
         overwritten; see its id with: crtmgr id; move the file away to get a new one\n"
    );
    assert_eq!(place.run(&["id"]).stdout, id);
    assert_eq!(place.run(&["peer", "list", "--json"]).stdout, "[]\n");
}

#[test]
fn the_first_use_of_id_makes_the_identity() {
    let place = Place::new();
    let made = place.run(&["id"]);
    assert_eq!(
        made.stderr,
        format!("crtmgr: made a new identity: {}", made.stdout)
    );
    assert_eq!(made.code, Some(0));
}

#[test]
fn garbage_in_the_key_file_is_exit_5_and_one_line() {
    let place = Place::new();
    fs::create_dir(place.home()).unwrap();
    let key = place.home().join("identity.pem");
    fs::write(&key, "hello").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = place.run(&["id"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""));
    assert!(
        ended
            .stderr
            .starts_with("crtmgr: cannot use the identity: "),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn contacts_are_added_listed_renamed_and_removed() {
    let (place, other) = (Place::new(), Place::new());
    let id = other.run(&["id"]).stdout.trim().to_owned();
    let address = format!("{id}@192.0.2.7:4433,[2001:db8::7]:4433");
    let added = place.run(&["peer", "add", "home", &address]);
    assert_eq!((added.code, added.stdout.as_str()), (Some(0), ""));
    assert_eq!(added.stderr, format!("crtmgr: home is {address}\n"));
    assert_eq!(place.run(&["peer", "add", "home", &address]).code, Some(0));
    assert_eq!(
        place.run(&["peer", "list", "--json"]).stdout,
        format!(
            "[{{\"hints\":[\"192.0.2.7:4433\",\"[2001:db8::7]:4433\"],\"id\":\"{id}\",\
             \"name\":\"home\"}}]\n"
        )
    );
    let taken = place.run(&["peer", "add", "home", &id]);
    assert_eq!(taken.code, Some(1));
    assert!(
        taken
            .stderr
            .contains("cannot add the contact: the name home is taken by")
    );
    assert_eq!(
        place.run(&["peer", "rename", "home", "office"]).code,
        Some(0)
    );
    let missing = place.run(&["peer", "rm", "ofice"]);
    assert_eq!(missing.code, Some(2));
    assert_eq!(
        missing.stderr,
        "crtmgr: no contact is called ofice (did you mean office?)\n"
    );
    assert_eq!(place.run(&["peer", "rm", "office"]).code, Some(0));
    let empty = place.run(&["peer", "list"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), ""));
}

#[test]
fn a_mistyped_id_is_named_for_what_it_is() {
    let place = Place::new();
    let id = place.run(&["id"]).stdout.trim().to_owned();
    let wrong = if id.starts_with('a') {
        id.replacen('a', "b", 1)
    } else {
        format!("a{}", &id[1..])
    };
    for (argument, fault) in [(wrong.as_str(), "checksum"), (&id[..55], "55"), ("", "")] {
        let ended = place.run(&["peer", "add", "x", argument]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn of_contacts_that_are_added_at_the_same_moment_none_is_lost() {
    let place = Place::new();
    place.run(&["init"]);
    let id = place.run(&["id"]).stdout.trim().to_owned();
    let adding: Vec<_> = (0..8)
        .map(|n| {
            let name = format!("friend{n}");
            let mut command = place.command(&["peer", "add", &name, &id]);
            command.stdin(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for mut one in adding {
        assert_eq!(one.wait().unwrap().code(), Some(0));
    }
    assert_eq!(place.run(&["peer", "list"]).stdout.lines().count(), 8);
}

#[test]
fn usage_and_configuration_mistakes_exit_with_2() {
    let place = Place::new();
    for words in [
        &["frobnicate"][..],
        &[],
        &["peer"],
        &["peer", "add", "help", "x"],
    ] {
        let ended = place.run(words);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{words:?}"
        );
        assert_eq!(
            ended.stderr.lines().count(),
            1,
            "{words:?}: {}",
            ended.stderr
        );
    }
    fs::create_dir(place.home()).unwrap();
    fs::write(place.home().join("config.toml"), "# mine\nbindd = \":1\"\n").unwrap();
    let ended = place.run(&["id"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.stderr,
        "crtmgr: TMP/home/config.toml:2: unknown key \"bindd\"; did you mean \"bind\"?\n"
    );
    assert!(!place.home().join("identity.pem").exists());
}

#[test]
fn help_version_completions_and_manual_go_to_stdout() {
    let place = Place::new();
    for (words, part) in [
        (&["--help"][..], "DHTNET_IDENTITY"),
        (&["-V"], "crtmgr 0."),
        (&["completions", "bash"], "_crtmgr"),
        (&["man"], ".TH crtmgr 1"),
    ] {
        let ended = place.run(words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains(part), "{words:?}: {}", ended.stdout);
    }
    assert!(!place.home().exists());
}
