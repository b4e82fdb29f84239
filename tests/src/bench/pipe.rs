//! Standard input of a client to standard output of a server.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::report::{Baseline, Column, Table};
use super::stage::{DNC_PORT, Peer, Stage, address_of, socat};
use super::{BenchError, Options, mib_per_second, pump};
use crate::lab::{Command, Process};

/// Longest one transfer may take.
const LIMIT: Duration = Duration::from_secs(120);
const PORT: u16 = 9300;

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "pipe",
        format!(
            "{} MiB from standard input to standard output; ssh into `cat`.",
            options.size >> 20
        ),
        vec![Column::new("MiB/s", Baseline::Row("socat"), 0)],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    for _ in 0..options.rounds {
        for peer in [Peer::Socat, Peer::SshAes, Peer::SshChacha, Peer::Dnc] {
            match transfer(&stage, peer, options.size) {
                Ok(time) => table.add(&peer.to_string(), 0, mib_per_second(options.size, time)),
                Err(error) => table.note(error.to_string()),
            }
        }
    }
    Ok(table)
}

fn transfer(stage: &Stage, peer: Peer, size: u64) -> Result<Duration, BenchError> {
    match peer {
        Peer::Raw | Peer::Socat => {
            let listen = format!("TCP-LISTEN:{PORT},reuseaddr");
            let server = socat(&stage.far)?
                .args(["-u", &listen, "-"])
                .stdout_pipe()
                .start()?;
            // socat says nothing when it is ready; its client tries again instead.
            let to = format!("TCP:{}:{PORT},retry=50,interval=0.1", stage.far.ipv4());
            pour(
                socat(&stage.near)?.args(["-u", "-", &to]),
                Some(server),
                size,
            )
        }
        Peer::SshAes | Peer::SshChacha => {
            let server = stage.ssh_server(peer)?;
            let client = server.client(&stage.near).args(["-c", peer.cipher()]);
            let client = client
                .arg(stage.far.ipv4().to_string())
                .arg("cat >/dev/null");
            pour(client, None, size)
        }
        Peer::Dnc => {
            let (near, far) = stage.devices()?;
            let command =
                far.dnc()
                    .args(["-l", "--no-mdns", "--bind", &format!("[::]:{DNC_PORT}")]);
            let server = far.listen(command.args(["--allow", near.id()]).stdout_pipe())?;
            pour(
                near.dnc().args(["--no-mdns", &address_of(&far)]),
                Some(server),
                size,
            )
        }
    }
}

/// Time from the first byte in to the last byte out; to the client's end where the output is on
/// the far side of ssh.
fn pour(client: Command, server: Option<Process>, size: u64) -> Result<Duration, BenchError> {
    let mut client = client.stdin_pipe().start()?;
    let Some(mut stdin) = client.take_stdin() else {
        return Err(io::Error::other("no pipe to the client").into());
    };
    // The first block waits for the connection; the clock starts behind it.
    pump::spout(&mut stdin, 1, None)?;
    let mut server = server;
    let mut stdout = server.as_mut().and_then(Process::take_stdout);
    if let Some(stdout) = &mut stdout {
        stdout.read_exact(&mut [0])?;
    } else {
        std::thread::sleep(Duration::from_secs(1));
    }
    let started = Instant::now();
    let writer = std::thread::spawn(move || pump::spout(&mut stdin, size, None));
    let arrived = match &mut stdout {
        Some(stdout) => pump::swallow(stdout, None)?,
        None => size,
    };
    let status = client.await_exit(LIMIT)?;
    let time = started.elapsed();
    let _ = writer.join();
    if !status.success() || arrived != size {
        let what = format!(
            "{arrived} of {size} bytes, {status}: {}",
            client.stderr().trim()
        );
        return Err(io::Error::other(what).into());
    }
    Ok(time)
}
