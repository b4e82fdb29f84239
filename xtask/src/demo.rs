//! `cargo xtask demo`: two fresh devices on this machine find each other by device id alone,
//! through a private DHT, and send each other a file of random bytes.
//!
//! Each device has its own home in a temporary folder and a socket on 127.0.0.1 with a port of the
//! system's choice. Nothing but the id is passed from one to the other, and mDNS is off: both know
//! one address of the DHT. One transfer each way, hashes compared at the end. Processes and files go away with the values that
//! own them: on success, on failure and on Ctrl-C.

mod device;
mod network;
mod transfer;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cargo::{cargo, target_dir};
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt};
use device::Device;
use network::Network;
use transfer::{Measured, Transfer};

/// The size of the file unless `--size` says otherwise.
pub(crate) const DEFAULT_SIZE_MIB: u64 = 256;

const MIB: u64 = 1024 * 1024;

/// Builds, runs both transfers, prints what was seen.
pub(crate) fn run(size_mib: u64, interrupt: &Interrupt) -> Outcome {
    println!(
        "building the tools, optimised (the profile `release` is a tenth faster and builds longer)"
    );
    let words = [
        "build",
        "--profile",
        "demo",
        "--quiet",
        "-p",
        "dnc",
        "-p",
        "crtmgr",
        "-p",
        "dhtnode",
    ];
    if !process::run(&mut cargo(&words), interrupt)?.success() {
        return Err(Failure::new("the build failed"));
    }
    let folder = TemporaryFolder::new()?;
    let binaries = target_dir().join("demo");
    let network = Network::start(&binaries, &folder.path.join("network"), interrupt)?;
    let server = Device::new(&binaries, folder.path.join("server"), &network, interrupt)?;
    let client = Device::new(&binaries, folder.path.join("client"), &network, interrupt)?;
    println!(
        "DHT       {} nodes, entered by {}",
        network::NODES,
        network.entrance
    );
    println!("listener  {}", server.id);
    println!("caller    {}", client.id);

    let file = folder.path.join("random");
    let sent = write_random(&file, size_mib * MIB, interrupt)?;
    println!("file      {size_mib} MiB of random bytes, SHA-256 {sent}");

    let received = folder.path.join("received");
    let transfer = Transfer {
        server: &server,
        client: &client,
        file: &file,
        received: &received,
    };
    let up = transfer.to_listener(interrupt)?;
    report("up", &up, size_mib, &sent, &received, interrupt)?;
    let down = transfer.to_caller(interrupt)?;
    report("down", &down, size_mib, &sent, &received, interrupt)?;
    println!("demo: both files arrived whole");
    Ok(())
}

/// Checks the hash, then prints the line of one direction; the received file is removed. The speed is
/// that of the transfer itself: from the first byte until both sides had ended.
fn report(
    direction: &str,
    measured: &Measured,
    size_mib: u64,
    sent: &str,
    received: &Path,
    interrupt: &Interrupt,
) -> Outcome {
    let hash = hash_file(received, interrupt)?;
    fs::remove_file(received).tried(|| format!("remove {}", received.display()))?;
    if hash != sent {
        return Err(Failure::new(format!(
            "{direction}: SHA-256 differs: sent {sent}, received {hash}"
        )));
    }
    let streaming = (measured.took - measured.first_byte).max(transfer::LOOK_INTERVAL);
    #[allow(clippy::cast_precision_loss, reason = "sizes stay far below 2^52")]
    let speed = size_mib as f64 / streaming.as_secs_f64();
    println!(
        "{direction:9} path {}; first byte after {} ms; all after {:.2} s; {speed:.0} MiB/s; hashes equal",
        measured.path,
        measured.first_byte.as_millis(),
        measured.took.as_secs_f64(),
    );
    Ok(())
}

/// Writes random bytes and gives their SHA-256 in hexadecimal.
fn write_random(path: &Path, size: u64, interrupt: &Interrupt) -> Outcome<String> {
    let source = File::open("/dev/urandom").tried(|| "open /dev/urandom".to_owned())?;
    let mut file = File::create(path).tried(|| format!("create {}", path.display()))?;
    hash_copy(source.take(size), &mut file, interrupt)
}

fn hash_file(path: &Path, interrupt: &Interrupt) -> Outcome<String> {
    let file = File::open(path).tried(|| format!("open {}", path.display()))?;
    hash_copy(file, &mut io::sink(), interrupt)
}

fn hash_copy(
    mut from: impl Read,
    to: &mut impl io::Write,
    interrupt: &Interrupt,
) -> Outcome<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 256 * 1024];
    loop {
        interrupt.check()?;
        let count = from.read(&mut block).tried(|| "read the file".to_owned())?;
        if count == 0 {
            break;
        }
        hash.update(&block[..count]);
        to.write_all(&block[..count])
            .tried(|| "write the file".to_owned())?;
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A folder of the demo's own that is removed with everything in it.
struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("dhtnet-demo-{}", std::process::id()));
        fs::create_dir(&path).tried(|| format!("create {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("xtask: could not remove {}: {error}", self.path.display());
        }
    }
}

/// How long one transfer of `size` bytes may take before it counts as hanging: a minute to find and
/// connect, and 1 MiB/s.
fn time_limit(size: u64) -> Duration {
    Duration::from_secs(60 + size / MIB)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_folder_is_gone_with_its_value() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path.clone();
        fs::write(path.join("file"), "content").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_hash_is_that_of_the_copied_bytes() {
        let mut copy = Vec::new();
        let hash = hash_copy(&b"abc"[..], &mut copy, &Interrupt::watch().unwrap()).unwrap();
        // FIPS 180-4, example of SHA-256.
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(copy, b"abc");
    }
}
