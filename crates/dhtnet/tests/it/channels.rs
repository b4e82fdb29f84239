//! What travels through a channel.

use bytes::Bytes;
use dhtnet::identity::policy::Policy;
use dhtnet::{ChannelError, ChannelRequest, ConnectError, ConnectOptions, Node, Priority};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{LIMIT, allow, key, loopback, node, open, pair, within};

#[tokio::test]
async fn a_reply_after_the_end_of_the_question_arrives_whole() {
    let (client, server) = pair().await;
    let mut listener = server.listen("ask").unwrap();
    let (mut ours, mut theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("ask"),
    )
    .await;

    let answering = tokio::spawn(async move {
        let mut question = Vec::new();
        theirs.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"q");
        let reply = vec![7; 3_000_000];
        theirs.write_all(&reply).await.unwrap();
        theirs.shutdown().await.unwrap();
        let (mut send, _recv) = theirs.split();
        send.flushed().await.unwrap();
    });
    ours.write_all(b"q").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut reply = Vec::new();
    within(ours.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply, vec![7; 3_000_000]);
    within(answering).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_written_without_copying_arrive_in_order_both_ways_at_once() {
    const BLOCKS: u32 = 200;
    let (client, server) = pair().await;
    let mut listener = server.listen("bulk").unwrap();
    let (ours, theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("bulk"),
    )
    .await;

    let mut tasks = Vec::new();
    for channel in [ours, theirs] {
        let (mut send, mut recv) = channel.split();
        tasks.push(tokio::spawn(async move {
            for n in 0..BLOCKS {
                send.write_chunk(Bytes::from(n.to_be_bytes().repeat(8_192)))
                    .await
                    .unwrap();
            }
            send.finish();
            send.flushed().await.unwrap();
        }));
        tasks.push(tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
                all.extend_from_slice(&chunk);
            }
            let expected: Vec<u8> = (0..BLOCKS)
                .flat_map(|n| n.to_be_bytes().repeat(8_192))
                .collect();
            assert!(all == expected, "{} of {} bytes", all.len(), expected.len());
        }));
    }
    for task in tasks {
        within(task).await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_half_is_an_error_for_the_reader_and_not_an_end() {
    let (client, server) = pair().await;
    let mut listener = server.listen("cut").unwrap();
    let (ours, theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("cut"),
    )
    .await;
    let (mut send, recv) = ours.split();
    send.write_all(b"half of it").await.unwrap();
    drop(send);
    let (_, mut their_recv) = theirs.split();
    let mut all = Vec::new();
    let error = within(their_recv.read_to_end(&mut all)).await.unwrap_err();
    assert_eq!(ChannelError::from_io(&error), Some(&ChannelError::Reset(0)));
    drop(recv);
}

#[tokio::test]
async fn a_writer_hears_that_the_reader_stopped() {
    let (client, server) = pair().await;
    let mut listener = server.listen("stop").unwrap();
    let (ours, theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("stop"),
    )
    .await;
    let (mut send, _recv) = ours.split();
    let (_their_send, mut their_recv) = theirs.split();
    their_recv.stop(42);
    assert_eq!(within(send.stopped()).await.unwrap(), Some(42));
    let error = send.write_all(b"more").await.unwrap_err();
    assert_eq!(
        ChannelError::from_io(&error),
        Some(&ChannelError::Stopped(42))
    );
}

#[tokio::test]
async fn datagrams_keep_their_bounds() {
    let (client, server) = pair().await;
    let mut listener = server.listen("packets").unwrap();
    let (ours, theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::datagrams("packets"),
    )
    .await;
    for size in [1usize, 100, 1_000] {
        ours.send_datagram(Bytes::from(vec![size as u8; size]))
            .await
            .unwrap();
        let got = within(theirs.recv_datagram()).await.unwrap().unwrap();
        assert_eq!(got, vec![size as u8; size]);
    }
    let error = ours
        .send_datagram(Bytes::from(vec![0; 70_000]))
        .await
        .unwrap_err();
    assert!(matches!(
        ChannelError::from_io(&error),
        Some(ChannelError::DatagramTooLarge { max }) if *max >= 1_000
    ));
}

#[tokio::test]
async fn a_batch_of_datagrams_arrives_whole_and_without_the_one_that_is_too_large() {
    let (client, server) = pair().await;
    let mut listener = server.listen("packets").unwrap();
    let request = ChannelRequest::datagrams("packets");
    let (ours, theirs) = open(&client, &server, &mut listener, request).await;
    let max = ours.max_datagram_size().unwrap();
    let mut batch = ours.datagram_batch().unwrap();
    for size in [1, 100, max, max + 1, 1_000] {
        batch.push(size, |memory| {
            memory.extend_from_slice(&vec![size as u8; size]);
        });
    }
    let error = ours.try_send_datagrams(&mut batch).unwrap_err();
    assert!(matches!(
        ChannelError::from_io(&error),
        Some(ChannelError::DatagramTooLarge { max: told }) if *told >= max
    ));
    assert_eq!(batch.len(), 1);
    within(ours.send_datagrams(&mut batch)).await.unwrap();
    assert!(batch.is_empty());
    let mut got = Vec::new();
    while got.len() < 4 {
        let room = 4 - got.len();
        assert!(within(theirs.recv_datagrams(&mut got, room)).await.unwrap() > 0);
    }
    for (datagram, size) in got.iter().zip([1, 100, max, 1_000]) {
        assert_eq!(*datagram, vec![size as u8; size]);
    }
    drop(ours);
    assert!(within(theirs.recv_datagrams(&mut got, 1)).await.is_err());
    // A stream has none.
    let mut listener = server.listen("bytes").unwrap();
    let (ours, _theirs) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("bytes"),
    )
    .await;
    assert!(ours.datagram_batch().is_err());
    assert_eq!(ours.max_datagram_size(), None);
}

#[tokio::test]
async fn a_node_keeps_as_many_datagrams_as_it_was_told_to() {
    for (queue, fits) in [(64 << 10, false), (2 << 20, true)] {
        let client = node(1, Policy::deny_all()).await;
        let server = Node::builder(key(2))
            .bind(loopback())
            .mdns(false)
            .policy(allow(client.id()))
            .datagram_queue(queue);
        let server = server.build().await.unwrap();
        let mut listener = server.listen("packets").unwrap();
        let request = ChannelRequest::datagrams("packets");
        let (ours, theirs) = open(&client, &server, &mut listener, request).await;
        let count = 300;
        let mut batch = ours.datagram_batch().unwrap();
        for _ in 0..count {
            batch.push(1_000, |memory| memory.extend_from_slice(&[7; 1_000]));
        }
        within(ours.send_datagrams(&mut batch)).await.unwrap();
        let mut got = Vec::new();
        if fits {
            while got.len() < count {
                within(theirs.recv_datagrams(&mut got, count))
                    .await
                    .unwrap();
            }
            continue;
        }
        for _ in 0..3 {
            within(client.ping(&server.id())).await.unwrap();
        }
        within(theirs.recv_datagrams(&mut got, count))
            .await
            .unwrap();
        assert!(got.len() <= queue / 1_000, "{} with {queue}", got.len());
    }
}

#[tokio::test]
async fn as_many_channels_as_a_node_was_told_to_are_open_and_one_more_waits() {
    let client = node(1, Policy::deny_all()).await;
    let server = Node::builder(key(2))
        .bind(loopback())
        .mdns(false)
        .policy(allow(client.id()))
        .max_channels(16);
    let server = server.build().await.unwrap();
    let mut listener = server.listen("bytes").unwrap();
    let request = || ChannelRequest::stream("bytes");
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(open(&client, &server, &mut listener, request()).await);
    }
    let mut more = Box::pin(open(&client, &server, &mut listener, request()));
    let pings = async {
        for _ in 0..3 {
            within(client.ping(&server.id())).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = &mut more => panic!("it is open"),
        () = pings => {}
    }
    // The peer is told of room when there is some for an eighth of all.
    held.truncate(8);
    more.await;
}

#[tokio::test]
async fn a_keystroke_is_taken_while_bulk_fills_the_window() {
    let (client, server) = pair().await;
    let mut listener = server.listen("mixed").unwrap();
    let (bulk, _unread) = open(
        &client,
        &server,
        &mut listener,
        ChannelRequest::stream("mixed"),
    )
    .await;
    let keys = ChannelRequest::stream("mixed").priority(Priority::Interactive);
    let (mut typed, mut shell) = open(&client, &server, &mut listener, keys).await;

    // Nobody reads the bulk: it fills every window on its way.
    let (mut send, _recv) = bulk.split();
    let filling = tokio::spawn(async move {
        let block = Bytes::from(vec![0; 1 << 20]);
        loop {
            if send.write_chunk(block.clone()).await.is_err() {
                return;
            }
        }
    });
    for n in 0..100u8 {
        within(typed.write_all(&[n])).await.unwrap();
        let mut echo = [0];
        within(shell.read_exact(&mut echo)).await.unwrap();
        assert_eq!(echo, [n]);
    }
    filling.abort();
}

#[tokio::test]
async fn a_slow_reader_holds_up_its_own_channel_only_and_no_more_than_a_window() {
    const WINDOW: u64 = 2 << 20;
    const OTHERS: u64 = 20 << 20;
    let (client, server) = pair().await;
    let mut listener = server.listen("bulk").unwrap();
    let ask = || ChannelRequest::stream("bulk");
    let (stalled, _unread) = open(&client, &server, &mut listener, ask()).await;
    let (mut stalled, _recv) = stalled.split();
    let filling = tokio::spawn(async move {
        let block = Bytes::from(vec![0; 1 << 16]);
        while stalled.write_chunk(block.clone()).await.is_ok() {}
    });

    // Ten times the stalled channel's window goes through beside it.
    let (ours, theirs) = open(&client, &server, &mut listener, ask()).await;
    let (mut send, _recv) = ours.split();
    let (_send, mut recv) = theirs.split();
    let writing = tokio::spawn(async move {
        let block = Bytes::from(vec![1; 1 << 16]);
        for _ in 0..OTHERS >> 16 {
            send.write_chunk(block.clone()).await.unwrap();
        }
        send.finish();
        send.flushed().await.unwrap();
    });
    let mut read = 0;
    while let Some(chunk) = within(recv.read_chunk(usize::MAX)).await.unwrap() {
        read += chunk.len() as u64;
    }
    within(writing).await.unwrap();
    assert_eq!(read, OTHERS);

    // The counters: nothing of the stalled channel was read, and its peer holds one window of it.
    let channels = server.channels();
    assert!(channels.iter().any(|channel| channel.received == 0));
    let connection = &server.connections()[0];
    assert!(connection.received_bytes < OTHERS + WINDOW + (OTHERS + WINDOW) / 10);
    filling.abort();
}

#[tokio::test]
async fn a_channel_beside_another_takes_its_connection_back_to_the_caller() {
    let (client, server) = pair().await;
    client.set_policy(allow(server.id()));
    let mut back = client.listen_unannounced("back").unwrap();
    let mut listener = server.listen("ask").unwrap();
    let request = ChannelRequest::stream("ask");
    let (_ours, theirs) = open(&client, &server, &mut listener, request).await;
    let (send, _recv) = theirs.split();
    let answering = tokio::spawn(async move {
        let incoming = back.accept().await.unwrap();
        let mut channel = incoming.accept();
        channel.write_all(b"hello").await.unwrap();
        channel.shutdown().await.unwrap();
        let mut nothing = Vec::new();
        channel.read_to_end(&mut nothing).await.unwrap();
        back
    });
    let options = ConnectOptions::default().timeout(LIMIT);
    let request = ChannelRequest::stream("back");
    let opened = within(send.open_beside(&request, options.clone())).await;
    let mut channel = opened.unwrap();
    channel.shutdown().await.unwrap();
    let mut said = String::new();
    within(channel.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "hello");
    let _back = within(answering).await.unwrap();
    assert_eq!(server.connections().len(), 1);

    let other = ChannelRequest::stream("other");
    let declined = within(send.open_beside(&other, options.clone())).await;
    assert!(matches!(declined, Err(ConnectError::Declined { .. })));
    client.shutdown().await;
    within(async {
        while !server.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let lost = within(send.open_beside(&request, options)).await;
    assert!(matches!(lost, Err(ConnectError::Lost { .. })), "{lost:?}");
}
