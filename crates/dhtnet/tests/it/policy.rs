//! The policy is asked first, and can be changed while connections live.

use dhtnet::identity::policy::{Grant, OwnedAction, Policy, Subject};
use dhtnet::{ChannelError, ChannelRequest, ConnectError, DeclineCode, DeclineReason, EndReason};
use tokio::io::AsyncReadExt;

use crate::pair::{address, node, open, pair, within};

#[tokio::test]
async fn a_peer_that_is_no_longer_allowed_loses_its_connection() {
    let (client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let (mut ours, _theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("test"),
    )
    .await;
    server.set_policy(Policy::deny_all());
    let mut sink = Vec::new();
    let error = within(ours.read_to_end(&mut sink)).await.unwrap_err();
    assert_eq!(
        ChannelError::from_io(&error),
        Some(&ChannelError::ConnectionLost(EndReason::Refused))
    );
}

#[tokio::test]
async fn the_parameter_of_a_request_is_what_the_policy_judges() {
    let client = node(1, Policy::deny_all()).await;
    let grant = Grant::targets("dnc.target", vec!["127.0.0.1:22".parse().unwrap()]);
    let server = node(
        2,
        Policy::builder()
            .grant(Subject::Peer(client.id()), grant)
            .build(),
    )
    .await;
    let mut listener = server
        .listen_as("dnc.target", |request| {
            let target = std::str::from_utf8(&request.metadata)
                .map_err(|_| DeclineReason::from(DeclineCode::BadRequest))?;
            Ok(OwnedAction::with("dnc.target", target))
        })
        .unwrap();
    let ask =
        |target: &'static str| ChannelRequest::stream("dnc.target").metadata(target.as_bytes());

    let allowed = open(&client, &server, &mut listener, ask("127.0.0.1:22")).await;
    drop(allowed);
    let error = within(client.connect(&address(&server), ask("127.0.0.1:23")))
        .await
        .unwrap_err();
    let ConnectError::Declined { reason, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(reason.code(), DeclineCode::Policy);
}
