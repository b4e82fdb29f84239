//! This host itself: files, limits, the clock.

use std::time::Duration;

use dhtnet_nat_traversal::punch::{FURTHER_SOCKETS, OPEN_SOCKETS};

use crate::dht::presence;
use crate::doctor::facts::{ClockFacts, Descriptors, HomeFacts, IdentityFacts};
use crate::doctor::finding::{Finding, Topic};

/// Open files that a connection by key needs: sockets, streams, the state file, and a few more.
const FILES_NEEDED: u64 = 64;

/// Open files that punching through the worst NAT needs as well: a socket for each of 640 ports.
const FILES_WANTED: u64 = FILES_NEEDED + (OPEN_SOCKETS + FURTHER_SOCKETS) as u64;

/// Clocks may differ this far: an offer is good for 60 seconds.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A record may be older than its refreshing by this: it took time to store it.
const SLACK: Duration = Duration::from_secs(120);

/// This program was not there before: 2026-11-01, in seconds of Unix time.
const WRITTEN: Duration = Duration::from_secs(1_793_491_200);

/// A clock that shows a time after this is wrong as well: 50 years later.
const TOO_LATE: Duration = Duration::from_secs(1_793_491_200 + 50 * 365 * 86_400);

const SET_CLOCK: &str = "set the clock, and let the system keep it: timedatectl set-ntp true";

pub(super) fn home(home: &HomeFacts) -> Finding {
    let topic = Topic::Home;
    let directory = &home.directory;
    if let Some(why) = &home.unusable {
        return Finding::broken(
            topic,
            format!("{directory} cannot be used: {why}"),
            "make it writable for this user, or set DHTNET_HOME to a directory that is",
        );
    }
    match &home.identity {
        IdentityFacts::Missing => Finding::ok(
            topic,
            format!("{directory} can be used; no identity yet, the first connection makes one"),
        ),
        IdentityFacts::Usable(id) => Finding::ok(
            topic,
            format!("{directory} can be used; this device is {id}"),
        ),
        IdentityFacts::Exposed(remedy) => Finding::broken(
            topic,
            format!("the identity in {directory} can be read by others, and is refused"),
            format!("if nobody did, run: {remedy}"),
        ),
        IdentityFacts::Unusable(why) => Finding::broken(
            topic,
            format!("the identity in {directory} cannot be used: {why}"),
            "restore the file from a backup, or move it away to get a new identity",
        ),
    }
}

pub(super) fn descriptors(found: &Descriptors) -> Finding {
    let topic = Topic::Descriptors;
    let raise =
        "raise the hard limit of open files: ulimit -Hn 4096, or LimitNOFILE= of the service";
    match found.hard {
        None => Finding::ok(topic, "no limit of open files"),
        Some(hard) if hard >= FILES_WANTED => {
            Finding::ok(topic, format!("up to {hard} open files"))
        }
        Some(hard) if hard >= FILES_NEEDED => Finding::weak(
            topic,
            format!(
                "{hard} open files at most; a NAT with another port for each peer takes \
                 {FILES_WANTED}"
            ),
            raise,
        ),
        Some(hard) => Finding::broken(
            topic,
            format!("{hard} open files at most; {FILES_NEEDED} are needed"),
            raise,
        ),
    }
}

/// There is no time in the DHT's messages. What tells it are presence records, signed by contacts
/// with the time of their clocks: one from the future shows that one of two clocks is wrong, and
/// two of them whose. One that is fresh agrees. An old one says nothing: its owner may be off.
pub(super) fn clock(clock: &ClockFacts) -> Finding {
    let topic = Topic::Clock;
    if clock.now < WRITTEN || clock.now >= TOO_LATE {
        let which = if clock.now < WRITTEN {
            "in the past"
        } else {
            "in the far future"
        };
        return Finding::broken(topic, format!("it shows a time {which}"), SET_CLOCK);
    }
    let ahead: Vec<_> = (clock.witnesses.iter())
        .filter(|(_, signed)| *signed > clock.now + TOLERANCE)
        .collect();
    let least = ahead.iter().map(|(_, signed)| *signed - clock.now).min();
    match (ahead.as_slice(), least) {
        ([(name, _)], Some(by)) => Finding::weak(
            topic,
            format!(
                "{} behind the clock of {name}, or that one is ahead",
                span(by)
            ),
            format!(
                "compare both clocks; calls between the two fail. If this one is wrong, {SET_CLOCK}"
            ),
        ),
        ([_, _, ..], Some(by)) => Finding::broken(
            topic,
            format!(
                "at least {} behind the clocks of {} contacts",
                span(by),
                ahead.len()
            ),
            SET_CLOCK,
        ),
        _ => agreeing(clock),
    }
}

fn agreeing(clock: &ClockFacts) -> Finding {
    let topic = Topic::Clock;
    let limit = presence::REFRESH + SLACK;
    let fresh = clock.witnesses.iter();
    let fresh = fresh.filter(|(_, signed)| clock.now.saturating_sub(*signed) <= limit);
    match fresh.count() {
        0 if clock.is_kept => Finding::ok(topic, "the system keeps it by a time server"),
        0 => Finding::unknown(
            topic,
            match (clock.asked, clock.witnesses.len()) {
                (0, _) => "it shows a possible time; there is no contact to compare it with",
                (_, 0) => "it shows a possible time; no contact is in the DHT to compare it with",
                _ => {
                    "the contacts' records are old: they are off, or this clock is ahead of theirs"
                }
            },
            "compare it with another clock: calls fail when they differ by more than a minute",
        ),
        count => Finding::ok(
            topic,
            format!(
                "not behind those of {} that signed lately, and at most {} ahead",
                super::count(count, "contact"),
                span(limit)
            ),
        ),
    }
}

/// A time as people say it.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
