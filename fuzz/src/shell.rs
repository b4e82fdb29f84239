//! What `dsh` says: requests, the frames of the control channel, the frames of named sessions.

use bytes::BytesMut;
use dhtnet_shell_wire::control::{ToClient, ToServer};
use dhtnet_shell_wire::copy;
use dhtnet_shell_wire::frame::{Frame, MAX_BODY};
use dhtnet_shell_wire::request::{
    COMMAND_CHANNEL, MAX_REQUEST, MAX_VARIABLES, Request, SHELL_CHANNEL,
};
use dhtnet_shell_wire::session::attach::{Attach, ListRequest};
use dhtnet_shell_wire::session::{ToSession, ToViewer};
use dhtnet_shell_wire::user::is_user_name;

/// The metadata of a shell or a command. What is decoded keeps every rule and comes back the same.
pub(crate) fn request(input: &[u8]) {
    for channel in [SHELL_CHANNEL, COMMAND_CHANNEL] {
        if let Ok(request) = Request::decode(channel, input) {
            assert!(input.len() <= MAX_REQUEST);
            assert_eq!(request.channel(), channel);
            assert!(request.environment.len() <= MAX_VARIABLES);
            assert!(request.user.as_deref().is_none_or(is_user_name));
            // No longer than it came: every number is in its shortest form now.
            let bytes = request.encode().expect("it fitted before");
            assert!(bytes.len() <= input.len());
            assert_eq!(Request::decode(channel, &bytes), Ok(request));
        }
    }
}

/// The metadata of a named session, of the list of sessions, and of a copy.
pub(crate) fn attach(input: &[u8]) {
    if let Ok(attach) = Attach::decode(input) {
        assert!(attach.request.terminal.is_some());
        let bytes = attach.encode().expect("it fitted before");
        assert_eq!(Attach::decode(&bytes), Ok(attach));
    }
    if let Ok(list) = ListRequest::decode(input) {
        let bytes = list.encode().expect("it fitted before");
        assert_eq!(ListRequest::decode(&bytes), Ok(list));
    }
    if let Ok(user) = copy::decode(input) {
        assert_eq!(copy::encode(user.as_deref()), input);
    }
}

/// Frames as they come on a channel, cut anywhere.
fn frames(input: &[u8], check: impl Fn(&Frame)) {
    let mut whole = BytesMut::from(input);
    let mut taken = Vec::new();
    while let Some(frame) = Frame::take(&mut whole) {
        assert!(frame.body.len() <= MAX_BODY);
        taken.extend_from_slice(&frame.encode());
        check(&frame);
    }
    taken.extend_from_slice(&whole);
    assert_eq!(taken, input, "nothing is lost or made up");
}

/// The control channel of a shell, both ways.
pub(crate) fn control(input: &[u8]) {
    frames(input, |frame| {
        if let Ok(Some(said)) = ToServer::decode(frame) {
            assert_eq!(said.frame(), *frame);
        }
        if let Ok(Some(said)) = ToClient::decode(frame) {
            assert_eq!(ToClient::decode(&said.frame()), Ok(Some(said)));
        }
    });
}

/// A named session, both ways.
pub(crate) fn session(input: &[u8]) {
    frames(input, |frame| {
        if let Ok(Some(said)) = ToSession::decode(frame) {
            assert_eq!(said.frame(), *frame);
        }
        if let Ok(Some(said)) = ToViewer::decode(frame) {
            assert_eq!(ToViewer::decode(&said.frame()), Ok(Some(said)));
        }
    });
}
