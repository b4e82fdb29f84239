//! The server's side of named sessions: who may attach, and the two ends of one attachment.

mod live;
mod recent;
mod store;
mod viewer;

use std::sync::Arc;

use bytes::Bytes;
use dhtnet::{ChannelRequest, DeclineCode, DeclineReason, Incoming, RecvHalf, SendHalf};
use dhtnet_forward::give_up::GiveUp;
use dhtnet_identity::policy::{Action, OwnedAction};
use dhtnet_shell_wire::request::RequestError;
use dhtnet_shell_wire::session::ToSession;
use dhtnet_shell_wire::session::attach::{Attach, ListRequest, Part};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep, timeout};

use self::live::{Life, Order};
pub(crate) use self::store::Store;
use self::store::{Entry, Key};
use self::viewer::{Outbox, ViewerId};
use super::list::Listed;
use crate::frames::Frames;
use crate::server::spawn::Begin;
use crate::server::{COMMAND_ACTION, Host, SHELL_ACTION, require, who};
use crate::warden::end_session;

/// How long a client may take to take each of the last frames.
const LAST_FRAMES_LIMIT: Duration = Duration::from_secs(30);

/// Orders that wait for a session; who gives more waits.
const MAX_ORDERS: usize = 64;

/// The action that the policy is asked about for a request to attach.
pub(crate) fn attach_action(request: &ChannelRequest) -> Result<OwnedAction, DeclineReason> {
    let attach = decode(request)?;
    Ok(match attach.request.command {
        Some(command) => OwnedAction::with(COMMAND_ACTION, command),
        None => OwnedAction::new(SHELL_ACTION),
    })
}

/// The action for a list: who may have no shell has no sessions.
pub(crate) fn list_action(request: &ChannelRequest) -> Result<OwnedAction, DeclineReason> {
    ListRequest::decode(&request.metadata).map_err(bad)?;
    Ok(OwnedAction::new(SHELL_ACTION))
}

fn decode(request: &ChannelRequest) -> Result<Attach, DeclineReason> {
    Attach::decode(&request.metadata).map_err(bad)
}

fn bad(error: RequestError) -> DeclineReason {
    DeclineReason::new(DeclineCode::BadRequest, error.to_string())
}

/// Answers a request to attach, and stays until the client has left.
pub(crate) async fn serve_attach(host: Arc<Host>, incoming: Incoming) {
    let peer = incoming.peer();
    let Some(_permit) = host.enter_attached(peer) else {
        let why = "as many clients are attached as may be";
        return incoming.decline(DeclineReason::new(DeclineCode::Busy, why));
    };
    let name = host.session.name(peer);
    let talk = host.session.talk.clone();
    match attach(&host, &incoming).await {
        Ok((attach, entry)) => {
            talk.detail(format_args!("{name} attaches to session {}", attach.name));
            let (send, recv) = incoming.accept().split();
            stay(&entry, &attach, (send, recv)).await;
            talk.detail(format_args!("{name} left session {}", attach.name));
        }
        Err(reason) => {
            talk.detail(format_args!("{name} was declined: {}", reason.message()));
            incoming.decline(reason);
        }
    }
}

/// The session that is asked for, made if there is none.
async fn attach(host: &Arc<Host>, incoming: &Incoming) -> Result<(Attach, Entry), DeclineReason> {
    let attach = decode(incoming.request())?;
    let peer = incoming.peer();
    // A session is a terminal, whatever runs in it.
    require(incoming, &Action::new(SHELL_ACTION))?;
    let account = who::account(host, incoming, attach.request.user.as_deref()).await?;
    let key = Key {
        peer,
        user: account.name.clone(),
        name: attach.name.clone(),
    };
    // Two that ask for one name at the same moment get one session.
    let mut sessions = host.sessions.lock().await;
    if let Some(entry) = sessions.find(&key) {
        return Ok((attach, entry));
    }
    if attach.seen.is_some() {
        // Who comes back does not want another one.
        let message = format!("session {} has ended, or its server has", attach.name);
        return Err(DeclineReason::new(DeclineCode::TargetFailed, message));
    }
    if attach.part == Part::View {
        let message = format!("there is no session {} of {}", attach.name, account.name);
        return Err(DeclineReason::new(DeclineCode::TargetFailed, message));
    }
    sessions.check_room(&peer)?;
    let permit = host.enter(peer).ok_or_else(|| {
        DeclineReason::new(
            DeclineCode::Busy,
            "there are as many sessions as there may be",
        )
    })?;
    let begin = Begin {
        account,
        peer,
        request: &attach.request,
        copy: false,
    };
    let child = begin.spawn(host).await?;
    let (orders, received) = mpsc::channel(MAX_ORDERS);
    let leader = child.leader;
    let life = match Life::begin(&attach, child, host) {
        Ok(life) => life,
        Err(reason) => {
            drop(sessions);
            end_session(leader).await;
            host.forget(leader).await;
            return Err(reason);
        }
    };
    let entry = sessions.insert(key.clone(), (orders, life.facts()), &attach);
    drop(sessions);
    let host = host.clone();
    let started = host.clone();
    started.spawn(async move {
        let how = life.run(&host, received).await;
        host.sessions.lock().await.remove(&key);
        drop(permit);
        let talk = &host.session.talk;
        let peer = host.session.name(key.peer);
        talk.detail(format_args!("session {} of {peer} {how}", key.name));
    });
    Ok((attach, entry))
}

/// Passes frames between a client and its session until one of them is gone.
async fn stay(entry: &Entry, attach: &Attach, (mut send, recv): (SendHalf, RecvHalf)) {
    let id = ViewerId::new();
    let outbox = Arc::new(Outbox::default());
    let order = Order::Attach {
        id,
        attach: Box::new(attach.clone()),
        outbox: outbox.clone(),
    };
    if entry.orders.send(order).await.is_err() {
        // It ended just now.
        send.reset(GiveUp::Done.code());
        return;
    }
    {
        let hear = hear(entry, id, recv);
        let tell = tell(&outbox, &mut send);
        tokio::pin!(hear, tell);
        tokio::select! {
            () = &mut hear => {}
            () = &mut tell => {}
        }
    }
    let _ = entry.orders.send(Order::Leave(id)).await;
    let _ = timeout(LAST_FRAMES_LIMIT, send.flushed()).await;
}

/// What the client says becomes orders.
async fn hear(entry: &Entry, id: ViewerId, recv: RecvHalf) {
    let mut frames = Frames::new(recv);
    while let Ok(Some(frame)) = frames.next().await {
        let order = match ToSession::decode(&frame) {
            Ok(Some(ToSession::Input(bytes))) => {
                // What the program does not read is not taken from the client either.
                let Some(room) = entry.input_room(bytes.len()).await else {
                    return;
                };
                Order::Input { id, bytes, room }
            }
            Ok(Some(ToSession::Resize(size))) => Order::Resize { id, size },
            Ok(Some(ToSession::Taken(bytes))) => Order::Taken { id, bytes },
            Ok(None) => continue,
            Err(_) => return,
        };
        if entry.orders.send(order).await.is_err() {
            // What the session still says is told by the other direction.
            return std::future::pending().await;
        }
    }
}

/// What the session says goes to the client, until the session has said all. A client that takes
/// nothing any more is given up: it comes back by itself.
async fn tell(outbox: &Outbox, send: &mut SendHalf) {
    while let Some(frame) = outbox.next().await {
        let overdue = async {
            outbox.closed().await;
            sleep(LAST_FRAMES_LIMIT).await;
        };
        tokio::select! {
            written = send.write_chunk(frame) => if written.is_err() {
                return;
            },
            () = overdue => return send.reset(GiveUp::Unsaid.code()),
        }
    }
    match outbox.is_cut() {
        true => send.reset(GiveUp::Unsaid.code()),
        false => send.finish(),
    }
}

/// Answers a request for the list of a peer's sessions.
pub(crate) async fn serve_list(host: Arc<Host>, incoming: Incoming) {
    match list(&host, &incoming).await {
        Ok(listed) => {
            let text = serde_json::to_vec(&listed).unwrap_or_default();
            let (mut send, _recv) = incoming.accept().split();
            if send.write_chunk(Bytes::from(text)).await.is_ok() {
                send.finish();
                let _ = timeout(LAST_FRAMES_LIMIT, send.flushed()).await;
            }
        }
        Err(reason) => incoming.decline(reason),
    }
}

async fn list(host: &Host, incoming: &Incoming) -> Result<Vec<Listed>, DeclineReason> {
    let request = ListRequest::decode(&incoming.request().metadata).map_err(bad)?;
    let account = who::account(host, incoming, request.user.as_deref()).await?;
    let sessions = host.sessions.lock().await;
    Ok(sessions.listed(&incoming.peer(), &account.name))
}
