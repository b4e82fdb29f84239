//! Files and trees from one host to the other: `dsh cp` beside scp.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::report::{Baseline, Column, Table};
use super::shell::Dsh;
use super::stage::{Peer, Stage, address_of};
use super::{BenchError, Options, mib_per_second};
use crate::lab::Command;
use crate::payload::MIB;
use crate::ssh::SshServer;

/// Longest one copy may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Small files of a tree, and the bytes of each.
const FILES: usize = 10_000;
const FILE_LEN: usize = 1024;

const SCP: &str = "scp aes128-gcm";

/// Who copies.
enum Copier {
    /// scp over SFTP, as it is by default.
    Scp(SshServer),
    /// scp with its older protocol, which is faster where round trips are short.
    OldScp(SshServer),
    Dsh(Box<Dsh>),
}

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let size = options.size;
    let mut table = Table::new(
        "copy",
        format!(
            "One file of {} MiB each way, and {FILES} files of {FILE_LEN} bytes in 100 directories; \
             from memory to memory where there is /dev/shm, connection and all. Again: a second \
             copy of the tree, which scp makes anew.",
            size / MIB
        ),
        vec![
            Column::new("up, MiB/s", Baseline::Row(SCP), 0),
            Column::new("down, MiB/s", Baseline::Row(SCP), 0),
            Column::new("tree up, files/s", Baseline::Row(SCP), 0),
            Column::new("tree again, files/s", Baseline::Row(SCP), 0),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    make_sources(folder.path(), size)?;
    let mut copiers = Vec::new();
    for made in [
        stage.ssh_server(Peer::SshAes).map(Copier::Scp),
        stage.ssh_server(Peer::SshChacha).map(Copier::OldScp),
        Dsh::start(&stage).map(Copier::Dsh),
    ] {
        match made {
            Ok(copier) => copiers.push(copier),
            Err(error) => table.note(error.to_string()),
        }
    }
    for _ in 0..options.rounds {
        for copier in &copiers {
            for (column, figure) in copier.measure(&stage, &folder, size) {
                match figure {
                    Ok(figure) => table.add(copier.name(), column, figure),
                    Err(error) => table.note(format!("{}: {error}", copier.name())),
                }
            }
        }
    }
    Ok(table)
}

fn make_sources(folder: &Path, size: u64) -> io::Result<()> {
    let mut file = fs::File::create(folder.join("large"))?;
    super::pump::spout(&mut file, size, None)?;
    for number in 0..FILES {
        let inside = folder.join(format!("tree/{:02}", number % 100));
        if number < 100 {
            fs::create_dir_all(&inside)?;
        }
        let content = vec![number as u8; FILE_LEN];
        fs::write(inside.join(number.to_string()), content)?;
    }
    Ok(())
}

impl Copier {
    fn name(&self) -> &'static str {
        match self {
            Self::Scp(_) => SCP,
            Self::OldScp(_) => "scp -O aes128-gcm",
            Self::Dsh(_) => "dsh cp",
        }
    }

    /// The command, and what stands before a path of the far host.
    fn command(&self, stage: &Stage) -> (Command, String) {
        let far = stage.far.ipv4();
        match self {
            Self::Scp(server) => (cipher(server.copier(&stage.near)), format!("{far}:")),
            Self::OldScp(server) => (
                cipher(server.copier(&stage.near)).arg("-O"),
                format!("{far}:"),
            ),
            Self::Dsh(devices) => (
                devices.near.dsh().args(["cp", "--no-mdns"]),
                format!("{}:", address_of(&devices.far)),
            ),
        }
    }

    /// The figures by column.
    fn measure(
        &self,
        stage: &Stage,
        folder: &TempDir,
        size: u64,
    ) -> [(usize, Result<f64, BenchError>); 4] {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (large, tree, to) = (path("large"), path("tree"), path("to"));
        let _ = fs::remove_dir_all(&to);
        let made = fs::create_dir(&to).map_err(BenchError::from);
        let rate = |time: Duration| mib_per_second(size, time);
        let files = |time: Duration| FILES as f64 / time.as_secs_f64();
        let (_, far) = self.command(stage);
        let up = made.and_then(|()| self.copy(stage, &[&large, &format!("{far}{to}/up")]));
        let down = self.copy(stage, &[&format!("{far}{large}"), &format!("{to}/down")]);
        let of_tree = || self.copy(stage, &["-rp", &tree, &format!("{far}{to}")]);
        let (first, again) = (of_tree(), of_tree());
        let whole = [format!("{to}/up"), format!("{to}/down")].map(|copy| is_whole(&copy, size));
        let [up_is_whole, down_is_whole] = whole;
        let _ = fs::remove_dir_all(&to);
        [
            (0, up_is_whole.and(up).map(rate)),
            (1, down_is_whole.and(down).map(rate)),
            (2, first.map(files)),
            (3, again.map(files)),
        ]
    }

    fn copy(&self, stage: &Stage, words: &[&str]) -> Result<Duration, BenchError> {
        let command = self.command(stage).0.args(["-q"]).args(words);
        let begun = Instant::now();
        let finished = command.lifetime(LIMIT).start()?.finish(LIMIT)?;
        let took = begun.elapsed();
        if finished.code() == Some(0) {
            return Ok(took);
        }
        let what = format!("{:?}: {}", finished.status, finished.stderr.trim());
        Err(io::Error::other(what).into())
    }
}

fn cipher(command: Command) -> Command {
    command.args(["-c", Peer::SshAes.cipher()])
}

fn is_whole(copy: &str, size: u64) -> Result<(), BenchError> {
    match fs::metadata(copy)?.len() {
        len if len == size => Ok(()),
        len => Err(io::Error::other(format!("{len} of {size} bytes arrived")).into()),
    }
}
