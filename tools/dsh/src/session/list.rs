//! The list of a peer's sessions: what it says, and `dsh --list`.

use std::time::{SystemTime, UNIX_EPOCH};

use dhtnet::{ChannelRequest, ConnectOptions, RecvHalf};
use dhtnet_cli::node::connect_failure;
use dhtnet_cli::{Failure, Peer};
use dhtnet_forward::Session;
use dhtnet_shell_wire::session::LIST_CHANNEL;
use dhtnet_shell_wire::session::attach::ListRequest;
use serde::{Deserialize, Serialize};

/// Longest list, in bytes: sixteen sessions with the longest commands and titles, escaped.
const MAX_LIST: usize = 256 * 1024;

/// One session in the list. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) begun: u64,
    pub(crate) attached: bool,
    pub(crate) viewers: usize,
    pub(crate) columns: u16,
    pub(crate) rows: u16,
    pub(crate) lines: u64,
    pub(crate) title: Option<String>,
    pub(crate) command: Option<String>,
}

/// How the list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Json,
}

/// Asks for the list, and gives the text for stdout.
pub(crate) async fn list(
    session: &Session,
    peer: &Peer,
    user: Option<String>,
    form: Form,
) -> Result<String, Failure> {
    let metadata = ListRequest { user }
        .encode()
        .map_err(|error| Failure::usage(error.to_string()))?;
    let request = ChannelRequest::stream(LIST_CHANNEL).metadata(metadata);
    let options = ConnectOptions::default().timeout(session.connect_limit);
    let channel = session
        .node
        .connect_with(&peer.address, request, options)
        .await
        .map_err(|error| {
            connect_failure(peer, session.node.id(), "the list of sessions", &error)
        })?;
    let (mut send, recv) = channel.split();
    send.finish();
    let text = read(recv).await;
    let listed = text
        .ok()
        .and_then(|text| serde_json::from_slice::<Vec<Listed>>(&text).ok())
        .ok_or_else(|| Failure::failed(format!("the list of {peer} cannot be understood")))?;
    match form {
        Form::Json => Ok(serde_json::to_string(&listed).unwrap_or_default() + "\n"),
        Form::Table => Ok(table(&listed, SystemTime::now())),
    }
}

async fn read(mut recv: RecvHalf) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    while let Some(chunk) = recv.read_chunk(MAX_LIST).await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_LIST {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    Ok(text)
}

fn table(listed: &[Listed], now: SystemTime) -> String {
    if listed.is_empty() {
        return String::new();
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut lines = vec![["NAME", "AGE", "ATTACHED", "SIZE", "LINES", "RUNS"].map(str::to_owned)];
    lines.extend(listed.iter().map(|session| {
        let attached = match (session.attached, session.viewers) {
            (true, 0) => "yes".to_owned(),
            (false, 0) => "no".to_owned(),
            (true, viewers) => format!("yes, {viewers} viewing"),
            (false, viewers) => format!("{viewers} viewing"),
        };
        let runs = session.title.as_ref().or(session.command.as_ref());
        [
            plain(&session.name),
            age(now.saturating_sub(session.begun)),
            attached,
            format!("{}x{}", session.columns, session.rows),
            session.lines.to_string(),
            plain(runs.map_or("a shell", String::as_str)),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&line[5]);
        text.push('\n');
    }
    text
}

/// A peer's text for a terminal: without control characters, and no longer than a line.
fn plain(text: &str) -> String {
    let shown = text.chars().filter(|character| !character.is_control());
    shown.take(60).collect()
}

fn age(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn listed(name: &str) -> Listed {
        Listed {
            name: name.to_owned(),
            begun: 1000,
            attached: false,
            viewers: 0,
            columns: 80,
            rows: 24,
            lines: 3,
            title: None,
            command: None,
        }
    }

    #[test]
    fn the_table_is_for_people_and_shows_no_control_characters() {
        let mut other = listed("build\x1b[31m");
        (other.attached, other.viewers) = (true, 2);
        other.title = Some("vim\x07".to_owned());
        let now = UNIX_EPOCH + Duration::from_secs(1000 + 7200);
        assert_eq!(
            table(&[listed("a"), other], now),
            "NAME       AGE  ATTACHED        SIZE   LINES  RUNS\n\
             a          2 h  no              80x24  3      a shell\n\
             build[31m  2 h  yes, 2 viewing  80x24  3      vim\n"
        );
        assert_eq!(table(&[], now), "");
    }
}
