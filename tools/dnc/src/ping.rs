//! `dnc ping`: round trips to a peer, and the paths that they take.

mod tally;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use dhtnet::{ConnectionReport, Event, Events, PathEvent, PathKind};
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_forward::{Session, paths, probe};
use dhtnet_identity::PeerArgument;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use self::tally::{Tally, milliseconds};

/// An answer that takes longer counts as lost: longer than the connection needs to find another
/// path when one dies.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Pings on their way at once. The connection takes eight (`MAX_PINGS` of channel-mux).
const MAX_UNANSWERED: usize = 6;

/// How often the peer is knocked at between pings, so that the connection and the NATs' mappings
/// live: as often as a connection with channels says something by itself.
const KNOCK_INTERVAL: Duration = Duration::from_secs(5);

/// Pings a second at most are a hundred.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The flags of `dnc ping`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PingFlags {
    /// The peer to ping; any tool that listens there and lets this device in answers
    #[arg(value_name = "PEER")]
    pub(crate) peer: PeerArgument,

    /// End after this many [default: go on until Ctrl-C]
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Time between two pings, in seconds
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = parse_interval)]
    pub(crate) interval: Duration,

    /// End as soon as one is answered without a relay in between; fail if that has not come after -c pings or -w seconds
    #[arg(long)]
    pub(crate) until_direct: bool,

    /// One JSON object a line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `dnc ping` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PingPlan {
    pub(crate) peer: PeerArgument,
    pub(crate) count: Option<u64>,
    pub(crate) interval: Duration,
    /// Whether to end when the path is direct, and how long to wait for that.
    pub(crate) until_direct: Option<Option<Duration>>,
    pub(crate) json: bool,
}

/// Pings until the count, the signal, or the direct path.
pub(crate) async fn ping(
    session: Arc<Session>,
    plan: &PingPlan,
    stdout: File,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let peer = Arc::new(session.resolve(&plan.peer)?);
    let begun = Instant::now();
    let connection = tokio::select! {
        reached = probe::knock(&session, &peer) => reached?,
        code = shutdown.requested() => return Ok(code),
    };
    let events = session.node.events();
    let mut run = Run {
        knocking: tokio::spawn(keep_knocking(session.clone(), peer.clone())),
        session,
        peer,
        printer: Printer {
            stdout,
            json: plan.json,
        },
        tally: Tally::default(),
        pongs: JoinSet::new(),
    };
    run.printer
        .connected(&run.peer, connection.as_ref(), begun)?;
    run.until_the_end(plan, events, shutdown).await
}

/// Keeps the connection alive, and makes a new one when it was lost.
async fn keep_knocking(session: Arc<Session>, peer: Arc<Peer>) {
    loop {
        tokio::time::sleep(KNOCK_INTERVAL).await;
        // A peer that is not there now may be there the next time; the pings tell the user.
        let _ = probe::knock(&session, &peer).await;
    }
}

/// Why the pinging is over.
enum Over {
    Counted,
    Direct,
    TimedOut,
    Signal(ExitCode),
}

/// A run of pings under way.
struct Run {
    session: Arc<Session>,
    peer: Arc<Peer>,
    printer: Printer,
    tally: Tally,
    pongs: JoinSet<(u64, Option<Duration>)>,
    knocking: JoinHandle<()>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.knocking.abort();
    }
}

impl Run {
    async fn until_the_end(
        &mut self,
        plan: &PingPlan,
        events: Events,
        shutdown: &mut Shutdown,
    ) -> Result<ExitCode, Failure> {
        let over = self.go_on(plan, events, shutdown).await?;
        self.printer.summary(&self.peer, &self.tally)?;
        match over {
            Over::Direct => Ok(ExitCode::Done),
            Over::Signal(ExitCode::Terminated) => Ok(ExitCode::Terminated),
            Over::Signal(_) if self.tally.is_answered() => Ok(ExitCode::Done),
            Over::Signal(code) => Ok(code),
            Over::Counted | Over::TimedOut if plan.until_direct.is_some() => Err(self.not_direct()),
            Over::Counted | Over::TimedOut if self.tally.is_answered() => Ok(ExitCode::Done),
            Over::Counted | Over::TimedOut => Err(Failure::new(
                ExitCode::Unreachable,
                format!("no answer from {}", self.peer),
            )
            .advise("check that it is still running")),
        }
    }

    fn not_direct(&self) -> Failure {
        let way = self.connection().and_then(|connection| connection.path);
        let way = way.map_or_else(
            || "there is no connection".to_owned(),
            |path| format!("it is {}", paths::words(&path)),
        );
        Failure::failed(format!("the path to {} is not direct: {way}", self.peer))
            .advise("wait longer, or see what the NATs here allow: dhtnode doctor")
    }

    async fn go_on(
        &mut self,
        plan: &PingPlan,
        mut events: Events,
        shutdown: &mut Shutdown,
    ) -> Result<Over, Failure> {
        let wait = plan.until_direct.flatten();
        let deadline = wait.map(|limit| tokio::time::Instant::now() + limit);
        let mut ticks = interval(plan.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if plan.until_direct.is_some() && self.tally.is_answered() && self.is_direct() {
                return Ok(Over::Direct);
            }
            let all_sent = plan.count.is_some_and(|count| self.tally.sent() >= count);
            if all_sent && self.pongs.is_empty() {
                return Ok(Over::Counted);
            }
            tokio::select! {
                code = shutdown.requested() => return Ok(Over::Signal(code)),
                Some(pong) = self.pongs.join_next() => self.on_pong(pong)?,
                event = events.next() => self.on_event(event)?,
                _ = ticks.tick(), if !all_sent && self.pongs.len() < MAX_UNANSWERED => self.send(),
                () = expired(deadline) => return Ok(Over::TimedOut),
            }
        }
    }

    fn send(&mut self) {
        let (sequence, session) = (self.tally.send(), self.session.clone());
        let peer = self.peer.address.id;
        self.pongs.spawn(async move {
            let answered = timeout(ANSWER_LIMIT, session.node.ping(&peer)).await;
            (sequence, answered.ok().flatten())
        });
    }

    fn on_pong(
        &mut self,
        pong: Result<(u64, Option<Duration>), tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        let (sequence, rtt) =
            pong.map_err(|error| Failure::failed(format!("a ping ended early: {error}")))?;
        match rtt {
            Some(rtt) => {
                self.tally.receive(rtt);
                self.printer.pong(sequence, rtt, self.connection().as_ref())
            }
            None => self.printer.lost(sequence),
        }
    }

    fn on_event(&mut self, event: Option<Event>) -> Result<(), Failure> {
        let own = self.peer.address.id;
        match event {
            Some(Event::PathChanged { peer, change }) if peer == own => self.printer.path(&change),
            Some(Event::Connected { peer, .. }) if peer == own => {
                let words = "connected";
                self.printer.line(words, &json!({"event": words}))
            }
            Some(Event::Disconnected { peer, reason }) if peer == own => self.printer.line(
                &format!("disconnected: {reason}; trying again"),
                &json!({"event": "disconnected", "reason": reason.to_string()}),
            ),
            Some(_) => Ok(()),
            None => Err(Failure::failed("the node ended while pinging")),
        }
    }

    fn connection(&self) -> Option<ConnectionReport> {
        paths::connection_to(&self.session, &self.peer.address.id)
    }

    fn is_direct(&self) -> bool {
        let path = self.connection().and_then(|connection| connection.path);
        path.is_some_and(|path| path.kind != PathKind::Relayed)
    }
}

async fn expired(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Lines on stdout: text or JSON.
struct Printer {
    stdout: File,
    json: bool,
}

impl Printer {
    fn line(&mut self, text: &str, object: &Value) -> Result<(), Failure> {
        let line = if self.json {
            format!("{object}\n")
        } else {
            format!("{text}\n")
        };
        self.stdout
            .write_all(line.as_bytes())
            .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
    }

    /// The path in use with its reason, and all others.
    fn connected(
        &mut self,
        peer: &Peer,
        connection: Option<&ConnectionReport>,
        begun: Instant,
    ) -> Result<(), Failure> {
        let took = milliseconds(begun.elapsed());
        let reason = connection.and_then(|connection| connection.path_reason);
        let reason = reason.map(|(reason, _)| reason.as_str());
        let all = connection.map_or(&[][..], |connection| connection.paths.as_slice());
        let mut text = format!("{peer} connected in {took:.0} ms");
        if let Some(path) = connection.and_then(|connection| connection.path) {
            text += &format!(" via {}", paths::words(&path));
        }
        if let Some(reason) = reason {
            text += &format!(": {reason}");
        }
        for path in all.iter().filter(|_| all.len() > 1) {
            let rtt = path.rtt.map(|rtt| format!(", {:.2} ms", milliseconds(rtt)));
            let in_use = if path.in_use { ", in use" } else { "" };
            let rtt = rtt.unwrap_or_default();
            text += &format!("\n  {}{rtt}{in_use}", paths::words(path));
        }
        let object = json!({
            "event": "connected",
            "peer": peer.address.id.to_string(),
            "milliseconds": took,
            "reason": reason,
            "paths": all.iter().map(paths::object).collect::<Vec<_>>(),
        });
        self.line(&text, &object)
    }

    fn pong(
        &mut self,
        sequence: u64,
        rtt: Duration,
        connection: Option<&ConnectionReport>,
    ) -> Result<(), Failure> {
        let path = connection.and_then(|connection| connection.path);
        let rtt = milliseconds(rtt);
        let way = path.map(|path| format!(" via {}", paths::words(&path)));
        let others = connection.map_or(0, |connection| connection.paths.len().saturating_sub(1));
        let others = match others {
            0 => String::new(),
            count => format!(" (+{count})"),
        };
        let object = json!({
            "event": "pong",
            "sequence": sequence,
            "milliseconds": rtt,
            "path": path.map(|path| path.kind.as_str()),
            "address": path.map(|path| path.remote),
            "paths": connection
                .map(|connection| connection.paths.iter().map(paths::object).collect::<Vec<_>>()),
        });
        let way = way.unwrap_or_default();
        self.line(&format!("{sequence}: {rtt:.2} ms{way}{others}"), &object)
    }

    fn lost(&mut self, sequence: u64) -> Result<(), Failure> {
        let object = json!({"event": "lost", "sequence": sequence});
        self.line(&format!("{sequence}: no answer"), &object)
    }

    fn path(&mut self, change: &PathEvent) -> Result<(), Failure> {
        match change {
            PathEvent::Changed { path, reason } => {
                let mut object = paths::object(path);
                object["event"] = "path".into();
                object["reason"] = reason.as_str().into();
                let text = format!("path: {}: {}", paths::words(path), reason.as_str());
                self.line(&text, &object)
            }
            PathEvent::Silent => self.line(
                "path: silent; looking for another",
                &json!({"event": "silent"}),
            ),
            PathEvent::Back => self.line("path: back", &json!({"event": "back"})),
            _ => Ok(()),
        }
    }

    fn summary(&mut self, peer: &Peer, tally: &Tally) -> Result<(), Failure> {
        self.line(&format!("{peer}: {tally}"), &tally.object())
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let (min, max) = (MIN_INTERVAL.as_secs_f32(), MAX_INTERVAL.as_secs());
        format!("not between {min} and {max} seconds")
    };
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|interval| (MIN_INTERVAL..=MAX_INTERVAL).contains(interval))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_between_ten_milliseconds_and_a_day() {
        assert_eq!(parse_interval("0.01"), Ok(MIN_INTERVAL));
        assert_eq!(parse_interval("86400"), Ok(MAX_INTERVAL));
        for wrong in ["0", "0.009", "86401", "-1", "inf", "NaN", "soon", ""] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
    }
}
