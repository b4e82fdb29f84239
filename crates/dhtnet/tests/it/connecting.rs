//! From an id to a connection: joined, raced, refused, given up.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{ChannelRequest, ConnectError, ConnectOptions, EndReason, Event, PeerAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{address, allow, key, node, open, pair, within};

fn request() -> ChannelRequest {
    ChannelRequest::stream("test")
}

fn short() -> ConnectOptions {
    ConnectOptions::default().timeout(Duration::from_millis(700))
}

#[tokio::test]
async fn fifty_connects_at_once_make_one_connection() {
    let (client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let serving = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(incoming) = listener.accept().await {
            held.push(incoming.accept());
        }
    });
    let to = address(&server);
    let mut connects = Vec::new();
    for _ in 0..50 {
        let (client, to) = (client.clone(), to.clone());
        connects.push(tokio::spawn(
            async move { client.connect(&to, request()).await },
        ));
    }
    let mut channels = Vec::new();
    for connect in connects {
        channels.push(within(connect).await.unwrap().unwrap());
    }
    assert_eq!(client.connections().len(), 1);
    assert_eq!(server.connections().len(), 1);
    let report = &client.connections()[0];
    assert_eq!((report.peer, report.initiated), (server.id(), true));
    assert_eq!(report.path.unwrap().remote, server.local_addresses()[0]);
    assert_eq!(client.channels().len(), 50);
    serving.abort();
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_end_with_one_connection() {
    let one = node(1, allow(key(2).id())).await;
    let two = node(2, allow(key(1).id())).await;
    let mut listen_one = one.listen("test").unwrap();
    let mut listen_two = two.listen("test").unwrap();
    let (to_one, to_two) = (address(&one), address(&two));
    let (a, b, c, d) = tokio::join!(
        within(one.connect(&to_two, request())),
        within(two.connect(&to_one, request())),
        async { within(listen_one.accept()).await.unwrap().accept() },
        async { within(listen_two.accept()).await.unwrap().accept() },
    );
    // Both channels work, on whichever connection they were opened.
    for (mut here, mut there) in [(a.unwrap(), d), (b.unwrap(), c)] {
        here.write_all(b"x").await.unwrap();
        let mut got = [0];
        within(there.read_exact(&mut got)).await.unwrap();
    }
    // With the channels gone the duplicate goes too, and both kept the same one.
    within(async {
        while one.connections().len() != 1 || two.connections().len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_ne!(
        one.connections()[0].initiated,
        two.connections()[0].initiated
    );
}

#[tokio::test]
async fn the_address_that_answers_wins_over_dead_ones() {
    let (client, server) = pair().await;
    let mut listener = server.listen("test").unwrap();
    let dead: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut hints = vec![dead; 1];
    hints.extend(server.local_addresses());
    let to = PeerAddress {
        id: server.id(),
        hints,
    };
    let (ours, _theirs) = tokio::join!(within(client.connect(&to, request())), async {
        within(listener.accept()).await.unwrap().accept()
    });
    let path = ours.unwrap().connection().unwrap().path.unwrap();
    assert_eq!(path.remote, server.local_addresses()[0]);
}

#[tokio::test]
async fn a_connect_to_oneself_is_refused_at_once() {
    let (client, _server) = pair().await;
    let error = within(client.connect(&address(&client), request()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::SelfConnect));
}

#[tokio::test]
async fn a_peer_that_nobody_knows_is_not_found() {
    let (client, _server) = pair().await;
    let to = PeerAddress {
        id: key(9).id(),
        hints: Vec::new(),
    };
    let error = within(client.connect_with(&to, request(), short()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_right_address_with_a_wrong_id_does_not_answer() {
    let (client, server) = pair().await;
    let to = PeerAddress {
        id: key(9).id(),
        hints: server.local_addresses(),
    };
    let error = within(client.connect_with(&to, request(), short()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert_eq!(server.connections().len(), 0);
}

#[tokio::test]
async fn every_waiter_of_a_failed_attempt_gets_its_answer() {
    let (client, server) = pair().await;
    let to = PeerAddress {
        id: key(9).id(),
        hints: server.local_addresses(),
    };
    let mut connects = Vec::new();
    for _ in 0..20 {
        let (client, to) = (client.clone(), to.clone());
        connects.push(tokio::spawn(async move {
            client.connect_with(&to, request(), short()).await
        }));
    }
    for connect in connects {
        assert!(within(connect).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_stranger_is_refused_and_the_refusal_is_told() {
    let client = node(1, Policy::deny_all()).await;
    let server = node(2, Policy::deny_all()).await;
    let mut events = server.events();
    let error = within(client.connect(&address(&server), request()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    let event = within(events.next()).await.unwrap();
    assert_eq!(
        event,
        Event::Refused {
            peer: client.id(),
            action: None
        }
    );
}

#[tokio::test]
async fn a_channel_that_nobody_listens_for_and_one_not_granted_are_declined() {
    let client = node(1, Policy::deny_all()).await;
    let grant = Grant::action("app.known");
    let policy = Policy::builder()
        .grant(Subject::Peer(client.id()), grant)
        .build();
    let server = node(2, policy).await;
    let _listener = server.listen("app.secret").unwrap();
    for (name, code) in [
        ("app.known", dhtnet::DeclineCode::NoListener),
        ("app.secret", dhtnet::DeclineCode::Policy),
    ] {
        let request = ChannelRequest::stream(name);
        let error = within(client.connect(&address(&server), request))
            .await
            .unwrap_err();
        let ConnectError::Declined { reason, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(reason.code(), code, "{name}");
    }
}

#[tokio::test]
async fn a_restarted_peer_is_noticed_and_reached_again() {
    let client = node(1, Policy::deny_all()).await;
    // The first process of the server is a runtime that is torn down without a word.
    let process = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let process = process.unwrap();
    let allowed = allow(client.id());
    let server = process.spawn(node(2, allowed.clone())).await.unwrap();
    let mut listener = server.listen("test").unwrap();
    let (mut ours, _theirs) = open(&client, &server, &mut listener, request()).await;
    let at = server.local_addresses()[0];
    process.shutdown_background();

    let again = within(async {
        loop {
            let again = dhtnet::Node::builder(key(2))
                .bind(at)
                .mdns(false)
                .policy(allowed.clone());
            match again.build().await {
                Ok(again) => return again,
                // The old socket closes when its runtime has wound down.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let mut listener = again.listen("test").unwrap();
    ours.write_all(b"are you there").await.unwrap();
    let error = within(async {
        let mut sink = Vec::new();
        ours.read_to_end(&mut sink).await.unwrap_err()
    })
    .await;
    let failure = dhtnet::ChannelError::from_io(&error).unwrap();
    assert_eq!(
        *failure,
        dhtnet::ChannelError::ConnectionLost(EndReason::PeerRestarted)
    );
    open(&client, &again, &mut listener, request()).await;
}
