//! `dsh cp` between real processes: trees, deaths, full disks, users, refusals.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dhtnet_tests::device::as_oneself;
use dhtnet_tests::lab::{Command, Families, Finished, Process, skip};
use dhtnet_tests::payload::noise;
use dhtnet_tests::ssh::find;
use tempfile::TempDir;

use crate::pair::{LIMIT, Pair, assert_done, assert_failed, bulk_limit, pair};

/// Longest a copy may wait for the one that was killed: the peer notices its death after 30 s.
const AFTER_A_DEATH: Duration = Duration::from_secs(120);

/// Small files of a tree.
const MANY: usize = 10_000;

/// Bytes of a file that is cut in the middle.
const LARGE: usize = 192 << 20;

/// A folder of both sides, in memory where that can be, open to other users.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = memory.unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Pair {
    /// `dsh cp` on `a`; flags and paths follow.
    fn cp<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Command {
        self.dsh().arg("cp").args(words)
    }

    /// A path on `b`.
    fn there(&self, path: &str) -> String {
        format!("{}:{path}", self.address())
    }
}

fn finish(command: Command) -> Finished {
    let limit = bulk_limit(2 * LARGE as u64);
    command.start().unwrap().finish(limit).unwrap()
}

/// What is in a folder: contents, modes and times by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_owned();
            found.insert(name, (content, meta.mode(), meta.mtime()));
        }
    }
    found
}

fn number(finished: &Finished, key: &str) -> u64 {
    let summary: serde_json::Value = serde_json::from_str(&finished.text()).unwrap();
    summary[key].as_u64().unwrap()
}

/// Waits until a partial file has this size.
fn await_part(path: &Path, size: u64) {
    let deadline = Instant::now() + LIMIT;
    while fs::metadata(path).map_or(0, |meta| meta.len()) < size {
        assert!(Instant::now() < deadline, "no part in {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ten_thousand_files_go_there_and_back_and_nothing_goes_twice() {
    let name = "ten_thousand_files_go_there_and_back_and_nothing_goes_twice";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    let folder = Folder::new();
    for file in 0..MANY {
        let path = format!("from/{}/{}/{file}", file % 10, file % 100);
        folder.write(&path, &noise(file % 2000));
    }
    folder.write("from/a name\n\u{1b}[2J", b"odd");
    let (from, there) = (folder.text("from"), folder.text("there"));
    let push = || finish(pair.cp(["-rp", "--json", &from, &pair.there(&there)]));
    let first = push();
    assert_eq!(first.code(), Some(0), "{}", first.stderr);
    assert_eq!(number(&first, "files"), MANY as u64 + 1);
    assert_eq!(tree(&folder.path("from")), tree(&folder.path("there")));
    // The destination is there now, so that the second copy would go into it.
    let into = format!("{from}/.");
    let second = finish(pair.cp(["-rp", "--json", &into, &pair.there(&there)]));
    assert_eq!(second.code(), Some(0), "{}", second.stderr);
    assert_eq!(number(&second, "unchanged"), MANY as u64 + 1);
    assert_eq!(number(&second, "bytes"), 0);
    let back = finish(pair.cp(["-rp", &pair.there(&there), &folder.text("back")]));
    assert_done_quietly(&back);
    assert_eq!(tree(&folder.path("from")), tree(&folder.path("back")));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.finish(LIMIT).unwrap().code(), Some(143));
    pair.assert_no_process_left();
}

#[track_caller]
fn assert_done_quietly(finished: &Finished) {
    assert_done(finished);
    assert_eq!(finished.text(), "", "standard output is for what was asked");
}

#[test]
fn a_copy_whose_client_was_killed_goes_on_in_both_directions() {
    let name = "a_copy_whose_client_was_killed_goes_on_in_both_directions";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let folder = Folder::new();
    folder.write("from/large", &noise(LARGE));
    let from = folder.text("from/large");
    for to in ["pushed", "pulled"] {
        fs::create_dir(folder.path(to)).unwrap();
        let part = folder.path(&format!("{to}/.large.dsh-part"));
        let copy = || match to {
            "pushed" => pair.cp(["--json", &from, &pair.there(&folder.text(to))]),
            _ => pair.cp(["--json", &pair.there(&from), &folder.text(to)]),
        };
        let mut client = copy().start().unwrap();
        await_part(&part, 4 << 20);
        client.kill();
        assert!(!folder.path(to).join("large").exists());
        let kept = fs::metadata(&part).unwrap().len();
        let again = copy().start().unwrap().finish(AFTER_A_DEATH).unwrap();
        assert_eq!(again.code(), Some(0), "{}", again.stderr);
        assert!(fs::read(folder.path(to).join("large")).unwrap() == noise(LARGE));
        assert!(!part.exists(), "nothing is left");
        assert!(number(&again, "resumed") >= kept, "{}", again.text());
    }
}

#[test]
fn a_copy_whose_server_was_killed_goes_on() {
    let name = "a_copy_whose_server_was_killed_goes_on";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair.serve_shells(&[]);
    let folder = Folder::new();
    folder.write("large", &noise(LARGE));
    let part = folder.path(".copy.dsh-part");
    let to = pair.there(&folder.text("copy"));
    let copy = || pair.cp(["--json", &folder.text("large"), &to]);
    let client = copy().start().unwrap();
    await_part(&part, 4 << 20);
    server.kill();
    let cut = client.finish(AFTER_A_DEATH).unwrap();
    assert!(matches!(cut.code(), Some(1 | 3)), "{:?}", cut.status);
    assert!(cut.stderr.contains("goes on from here"), "{}", cut.stderr);
    let deadline = Instant::now() + LIMIT;
    while !pair.b.host().processes().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", pair.b.host().processes());
        std::thread::sleep(Duration::from_millis(20));
    }
    let kept = fs::metadata(&part).unwrap().len();
    assert!(kept >= 4 << 20);
    let _server = pair.serve_shells(&[]);
    let again = copy().start().unwrap().finish(AFTER_A_DEATH).unwrap();
    assert_eq!(again.code(), Some(0), "{}", again.stderr);
    assert_eq!(number(&again, "resumed"), kept);
    assert!(fs::read(folder.path("copy")).unwrap() == noise(LARGE));
}

#[test]
fn a_full_disk_is_one_line_and_leaves_room_for_the_rest() {
    let name = "a_full_disk_is_one_line_and_leaves_room_for_the_rest";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let Some(unshare) = find("unshare") else {
        return skip::report(name, "unshare is not installed");
    };
    let folder = Folder::new();
    fs::create_dir(folder.path("disk")).unwrap();
    folder.write("from/a large one", &noise(24 << 20));
    folder.write("from/b small", &noise(1 << 20));
    // A disk of the server's own, that is gone with it.
    let dsh = pair.b.dsh_path();
    let mount = format!(
        "mount -t tmpfs -o size=8m none '{}' && exec \"$0\" \"$@\"",
        folder.text("disk")
    );
    let command = pair
        .b
        .host()
        .command(unshare)
        .args(["-m", "sh", "-c", &mount]);
    let command = command
        .arg(dsh)
        .args(pair.dsh_listener_words())
        .args(as_oneself());
    let _server = pair.b.listen(pair.b.with_home(command)).unwrap();
    let disk = folder.text("disk");
    let copied = finish(pair.cp(["-r", &folder.text("from"), &pair.there(&disk)]));
    assert_eq!(copied.code(), Some(1), "{}", copied.stderr);
    let line = copied.stderr.lines().next().unwrap();
    assert!(
        line.ends_with("/a large one: no space left on device"),
        "{line}"
    );
    let what = "copied 1 file, 9.00 MiB; 1 failed";
    let last = copied.stderr.lines().last().unwrap();
    assert!(
        last.contains("copied 1 file") && last.contains("1 failed"),
        "{last} for {what}"
    );
    // What is on that disk only the peer can see.
    let list = pair
        .dsh()
        .args([&pair.address(), &format!("ls -A '{disk}/from'")]);
    let list = list.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(list.text().trim(), "b small", "no part takes the room");
}

#[test]
fn a_copy_is_made_as_the_user_and_with_no_other_rights() {
    let name = "a_copy_is_made_as_the_user_and_with_no_other_rights";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some(nobody) = passwd.lines().find(|line| line.starts_with("nobody:")) else {
        return skip::report(name, "there is no user nobody");
    };
    let uid: u32 = nobody.split(':').nth(2).unwrap().parse().unwrap();
    let _server = pair.serve_shells(&["--user", "nobody"]);
    let folder = Folder::new();
    folder.write("from/file", b"content");
    for (name, mode) in [("open", 0o777), ("shut", 0o755)] {
        fs::create_dir(folder.path(name)).unwrap();
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path(name), mode).unwrap();
    }
    folder.write("secret", b"root's");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.path("secret"), private).unwrap();
    let from = folder.text("from/file");
    let there = |path: &str| format!("nobody@{}", pair.there(&folder.text(path)));
    let copied = finish(pair.cp(["-q", &from, &there("open")]));
    assert_done_quietly(&copied);
    assert_eq!(fs::metadata(folder.path("open/file")).unwrap().uid(), uid);
    let refused = finish(pair.cp(["-q", &from, &there("shut")]));
    assert_failed(&refused, 1, &["shut/file: permission denied"]);
    let refused = finish(pair.cp(["-q", &there("secret"), &folder.text("got")]));
    assert_failed(&refused, 1, &["secret: permission denied"]);
    assert!(!folder.path("got").exists());
}

#[test]
fn who_may_run_one_command_copies_nothing() {
    let name = "who_may_run_one_command_copies_nothing";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&["--allow-command", "uptime"]);
    let folder = Folder::new();
    folder.write("file", b"content");
    let to = pair.there(&folder.text("copy"));
    let refused = finish(pair.cp([&*folder.text("file"), &to]));
    assert_failed(&refused, 4, &["dsh.cp"]);
    let back = pair.there(&folder.text("file"));
    let refused = finish(pair.cp([&*back, &folder.text("copy")]));
    assert_failed(&refused, 4, &["dsh.cp"]);
    assert!(!folder.path("copy").exists());
}

#[test]
fn a_copy_that_cannot_be_is_one_line() {
    let name = "a_copy_that_cannot_be_is_one_line";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let folder = Folder::new();
    folder.write("file", b"content");
    folder.write("dir/other", b"content");
    let (file, dir) = (folder.text("file"), folder.text("dir"));
    let other = folder.text("dir/other");
    let there = |path: &str| pair.there(&folder.text(path));
    for (words, code, said) in [
        (
            vec![file.clone(), "copy".into()],
            2,
            "neither side is a peer's",
        ),
        (vec![there("file"), there("copy")], 2, "both a peer's"),
        (vec![dir.clone(), there("copy")], 1, "and -r was not given"),
        (
            vec![file.clone(), there("no/where")],
            1,
            "no such file or directory",
        ),
        (
            vec![file.clone(), other, there("file")],
            1,
            "not a directory",
        ),
        (
            vec![there("none"), file.clone()],
            1,
            "no such file or directory",
        ),
        (
            vec![there("file"), folder.text("no/where")],
            2,
            "no such file",
        ),
        (vec!["nobody:x".into(), file], 2, "nobody"),
    ] {
        let words = ["-q"].into_iter().chain(words.iter().map(String::as_str));
        assert_failed(&finish(pair.cp(words)), code, &[said]);
    }
    assert!(!folder.path("copy").exists());
}

#[test]
fn an_interrupt_says_that_the_copy_can_go_on() {
    let name = "an_interrupt_says_that_the_copy_can_go_on";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let folder = Folder::new();
    folder.write("large", &noise(LARGE));
    let from = pair.there(&folder.text("large"));
    let client: Process = pair.cp([&*from, &folder.text("copy")]).start().unwrap();
    await_part(&folder.path(".copy.dsh-part"), 1 << 20);
    client.signal(rustix::process::Signal::INT);
    let ended = client.finish(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(130), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("goes on from here"),
        "{}",
        ended.stderr
    );
    let again = finish(pair.cp(["--json", &from, &folder.text("copy")]));
    assert!(number(&again, "resumed") >= 1 << 20, "{}", again.text());
    assert!(fs::read(folder.path("copy")).unwrap() == noise(LARGE));
}
