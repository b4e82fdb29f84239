//! The DHT's state file and processes that are killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dhtnet::dht::{Bootstrap, Dht, DhtSettings, Publication};

use crate::pair::loopback;

/// Set in the process that is killed: the state file.
const STATE_FILE: &str = "DHTNET_TEST_KILLED_STATE";

/// How many processes are killed, each a little later than the one before.
const KILLS: u32 = 8;

fn publication(number: u32) -> Publication {
    Publication::Immutable(format!("i{number}e").into_bytes())
}

/// Publishes one thing after the other and says so, until somebody ends the process.
#[allow(clippy::print_stdout)] // The process that kills this one reads it.
async fn publish_without_end(path: &Path) {
    let first = Dht::builder().bind(loopback()).build().await.unwrap();
    let bootstrap = Bootstrap::Address(first.local_addresses()[0]);
    let settings = DhtSettings::default().state_file(path.to_owned());
    let dht = Dht::builder()
        .bind(loopback())
        .settings(settings.bootstrap([bootstrap]));
    let dht = dht.build().await.unwrap();
    for number in dht.publications().len() as u32.. {
        dht.publish(publication(number)).await.unwrap();
        println!("published {number}");
    }
}

/// Starts this test once more as a process of its own, and kills it when it has published
/// `count` things, `wait` later. Returns the last number that it reported.
fn kill_after(path: &Path, count: u32, wait: Duration) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads", "1"])
        .arg("dht_state::what_was_reported_as_published_survives_kill_9")
        .env(STATE_FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let (_, number) = line.split_once("published ")?;
        number.parse::<u32>().ok()
    };
    let mut last = 0;
    for _ in 0..count {
        last = lines.by_ref().find_map(number).expect("it goes on");
    }
    let end = Instant::now() + wait;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it reported up to the end is in the pipe.
    lines.filter_map(number).last().unwrap_or(last)
}

#[test]
fn what_was_reported_as_published_survives_kill_9() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(path) = std::env::var_os(STATE_FILE) {
        return runtime.block_on(publish_without_end(Path::new(&path)));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dht.state");
    let mut known = 0;
    for kill in 0..KILLS {
        let wait = Duration::from_micros(150 * u64::from(kill));
        let last = kill_after(&path, 3 + kill % 3, wait);
        let kept = runtime.block_on(async {
            let settings = DhtSettings::default().state_file(path.clone());
            let dht = Dht::builder().bind(loopback()).settings(settings);
            let dht = dht.build().await.unwrap();
            dht.publications()
        });
        let kept: Vec<Publication> = kept.into_iter().map(|(_, one)| one).collect();
        for number in 0..=last.max(known) {
            assert!(kept.contains(&publication(number)), "{number} after {kill}");
        }
        assert!(kept.len() as u32 >= known + 3, "each went on from the last");
        known = kept.len() as u32 - 1;
    }
}
