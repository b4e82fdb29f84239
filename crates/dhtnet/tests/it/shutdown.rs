//! Ending in good order.

use dhtnet::{ChannelError, ChannelRequest, ConnectError, EndReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{address, open, pair, within};

#[tokio::test]
async fn what_was_flushed_is_read_whole_after_the_sender_is_gone() {
    let (client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let (mut ours, mut theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("test"),
    )
    .await;
    ours.write_all(&vec![9; 2_000_000]).await.unwrap();
    let (mut send, recv) = ours.split();
    send.finish();
    within(send.flushed()).await.unwrap();
    drop((send, recv));
    within(client.shutdown()).await;
    let mut all = Vec::new();
    within(theirs.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 2_000_000);
}

#[tokio::test]
async fn the_peer_of_a_channel_hears_that_the_node_is_gone() {
    let (client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let (ours, mut theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("test"),
    )
    .await;
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap_err()
    });
    within(client.shutdown()).await;
    let error = within(reading).await.unwrap();
    assert_eq!(
        ChannelError::from_io(&error),
        Some(&ChannelError::ConnectionLost(EndReason::Closed))
    );
    drop(ours);
}

#[tokio::test]
async fn a_node_that_is_shut_down_says_so() {
    let (client, server) = pair().await;
    within(client.shutdown()).await;
    let error = within(client.connect(&address(&server), ChannelRequest::stream("test")))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::ShuttingDown));
    assert!(client.listen("test").is_err());
}

#[tokio::test]
async fn a_listener_ends_with_its_node() {
    let (_client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let (incoming, ()) = tokio::join!(within(listener.accept()), within(server.shutdown()));
    assert!(incoming.is_none());
}
