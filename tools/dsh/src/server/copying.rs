//! The server's side of `dsh cp`: a process of the session's user, whose streams are the channel's.
//!
//! It is this program again, as for a shell, so that whatever a peer makes it do is done with the
//! rights of that user, and ends with the process.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{Channel, DeclineCode, DeclineReason, Incoming, Listener};
use dhtnet_cli::Failure;
use dhtnet_forward::Session;
use dhtnet_forward::join::{Ending, join};
use dhtnet_forward::stream::{StreamSink, StreamSource};
use dhtnet_identity::policy::OwnedAction;
use dhtnet_shell_wire::copy::{self, COPY_CHANNEL};
use dhtnet_shell_wire::request::Request;
use rustix::pipe::fcntl_setpipe_size;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::spawn::{Begin, Child, Streams};
use super::{Host, who};
use crate::warden::end_session;

/// Bytes in a pipe to or from the process: four blocks, and as much as anybody may have (the default
/// of `/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;

/// How long a process may take to end when all is said.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What is kept of the process's own words, for the log.
const MAX_WORDS: u64 = 4096;

/// Waits for copies.
pub(super) fn listen(session: &Session) -> Result<Listener, Failure> {
    let listening = session.node.listen_as(COPY_CHANNEL, |asked| {
        copy::decode(&asked.metadata).map_err(bad_request)?;
        Ok(OwnedAction::new(COPY_CHANNEL))
    });
    listening.map_err(|error| Failure::failed(format!("cannot listen: {error}")))
}

fn bad_request(why: String) -> DeclineReason {
    DeclineReason::new(DeclineCode::BadRequest, why)
}

/// Serves one copy to its end.
pub(super) async fn serve_one(host: &Arc<Host>, incoming: Incoming) {
    let peer = host.session.name(incoming.peer());
    let talk = &host.session.talk;
    let (child, account) = match begin(host, &incoming).await {
        Ok(begun) => begun,
        Err(reason) => {
            talk.detail(format_args!("{peer} was declined: {}", reason.message()));
            return incoming.decline(reason);
        }
    };
    talk.detail(format_args!("{peer} copies as {account}"));
    match run(host, incoming.accept(), child).await {
        Ok(()) => talk.detail(format_args!("a copy of {peer} ended")),
        Err(error) => talk.detail(format_args!("a copy of {peer} was ended: {error}")),
    }
}

async fn begin(host: &Host, incoming: &Incoming) -> Result<(Child, String), DeclineReason> {
    let user = copy::decode(&incoming.request().metadata).map_err(bad_request)?;
    let peer = incoming.peer();
    let account = who::account(host, incoming, user.as_deref()).await?;
    let name = account.name.clone();
    let request = Request {
        token: Default::default(),
        user,
        command: None,
        terminal: None,
        environment: Vec::new(),
    };
    let begin = Begin {
        account,
        peer,
        request: &request,
        copy: true,
    };
    Ok((begin.spawn(host).await?, name))
}

/// Joins the channel to the process, and leaves nothing behind of one that is cut off.
async fn run(host: &Host, channel: Channel, child: Child) -> io::Result<()> {
    let Child {
        mut process,
        leader,
        streams,
    } = child;
    let Streams::Pipes {
        stdin,
        stdout,
        stderr,
    } = streams
    else {
        return Ok(()); // A copy has asked for no terminal.
    };
    // Smaller ones work as well, and cost speed.
    let _ = fcntl_setpipe_size(stdin.as_fd(), PIPE);
    let _ = fcntl_setpipe_size(stdout.as_fd(), PIPE);
    let mut closing = host.closing.clone();
    let (mut send, mut recv) = channel.split();
    let lost = send.lost();
    let carried = async {
        let (mut source, mut sink) = (StreamSource::new(stdout), StreamSink::new(stdin));
        let joined = join(&mut source, &mut sink, &mut send, &mut recv, Ending::Both).await;
        joined.map(drop).map_err(io::Error::other)
    };
    let mut words = String::new();
    let mut stderr = stderr.take(MAX_WORDS);
    let joined = tokio::select! {
        (joined, _) = async { tokio::join!(carried, stderr.read_to_string(&mut words)) } => joined,
        error = lost => Err(error.into()),
        _ = closing.changed() => Err(io::Error::other("the server ends")),
    };
    if !words.is_empty() {
        host.session.talk.detail(&words);
    }
    let ended = match joined {
        Ok(()) => timeout(END_LIMIT, process.wait()).await.is_ok(),
        Err(_) => false,
    };
    if !ended {
        end_session(leader).await;
        let _ = process.wait().await;
    }
    if let Ok(warden) = host.warden().await {
        warden.forget(leader).await;
    }
    joined
}

/// What the process does: one copy over its standard streams. Returns its exit status.
pub(crate) fn serve() -> i32 {
    let streams = || -> io::Result<_> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok((std::fs::File::from(input), std::fs::File::from(output)))
    };
    let Ok((input, output)) = streams() else {
        return 1;
    };
    match dhtnet_copy::serve(input, output) {
        Ok(_) => 0,
        // The client was told.
        Err(_) => 1,
    }
}
