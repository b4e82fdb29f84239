//! From the start of a client process to the first byte of an answer from behind the server.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::report::{Baseline, Column, Table};
use super::stage::{PUMP_PORT, Peer, Stage, address_of, dnc_server, socat};
use super::{BenchError, Options, pump};
use crate::device::Device;
use crate::lab::{Command, Process};
use crate::ssh::SshServer;

/// Starts of each peer in one round.
const STARTS: usize = 5;

/// A server that is up, and how its client is started.
enum Ready {
    Socat(#[expect(dead_code, reason = "kept alive")] Process),
    Ssh(SshServer),
    Dnc {
        near: Box<Device>,
        peer: String,
        _server: Process,
    },
}

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "first-byte",
        "Client start to the first byte of a target's answer; listener up, address known.",
        vec![Column::new("ms", Baseline::None, 1)],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let mut ready = Vec::new();
    for peer in [Peer::Socat, Peer::SshAes, Peer::Dnc] {
        match start_server(&stage, peer) {
            Ok(server) => ready.push((peer, server)),
            Err(error) => table.note(error.to_string()),
        }
    }
    for _ in 0..options.rounds * STARTS {
        let started = Instant::now();
        let mut stream = pump::connect(&stage.near, stage.direct(), b'H')?;
        stream.read_exact(&mut [0])?;
        table.add(
            &Peer::Raw.to_string(),
            0,
            started.elapsed().as_secs_f64() * 1e3,
        );
        for (peer, server) in &ready {
            match time_to_answer(client(&stage, server)?) {
                Ok(time) => table.add(&peer.to_string(), 0, time.as_secs_f64() * 1e3),
                Err(error) => table.note(format!("{peer}: {error}")),
            }
        }
    }
    Ok(table)
}

fn start_server(stage: &Stage, peer: Peer) -> Result<Ready, BenchError> {
    Ok(match peer {
        Peer::Dnc => {
            let (near, far) = stage.devices()?;
            let server = dnc_server(&near, &far)?;
            Ready::Dnc {
                near: Box::new(near),
                peer: address_of(&far),
                _server: server,
            }
        }
        Peer::SshAes | Peer::SshChacha => Ready::Ssh(stage.ssh_server(peer)?),
        Peer::Raw | Peer::Socat => Ready::Socat(stage.socat_server()?),
    })
}

fn client(stage: &Stage, server: &Ready) -> Result<Command, BenchError> {
    let target = format!("127.0.0.1:{PUMP_PORT}");
    Ok(match server {
        Ready::Socat(_) => socat(&stage.near)?.args(["-", &stage.socat_target()]),
        Ready::Ssh(server) => {
            server
                .client(&stage.near)
                .args(["-W", &target, &stage.far.ipv4().to_string()])
        }
        Ready::Dnc { near, peer, .. } => near.dnc().args(["--no-mdns", peer, &target]),
    })
}

fn time_to_answer(command: Command) -> io::Result<Duration> {
    let command = command.stdin_pipe().stdout_pipe();
    let started = Instant::now();
    let mut process = command.start()?;
    let (Some(mut stdin), Some(mut stdout)) = (process.take_stdin(), process.take_stdout()) else {
        return Err(io::Error::other("no pipes"));
    };
    io::Write::write_all(&mut stdin, b"H")?;
    match stdout.read_exact(&mut [0]) {
        Ok(()) => Ok(started.elapsed()),
        Err(_) => Err(io::Error::other(format!(
            "no answer; it said: {}",
            process.stderr().trim()
        ))),
    }
}
