//! Several channels over one connection: a request with metadata, a decline, datagrams, priorities.
//! Both devices live in this one program.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use bytes::Bytes;
use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{
    ChannelRequest, ConnectError, DeclineCode, DeclineReason, DeviceKey, Node, PeerAddress,
    Priority,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (asker, server) = (
        DeviceKey::from_seed(&[1; 32]),
        DeviceKey::from_seed(&[2; 32]),
    );
    let policy = Policy::builder()
        .grant(Subject::Peer(asker.id()), Grant::everything())
        .build();
    let server = Node::builder(server)
        .bind("127.0.0.1:0".parse()?)
        .policy(policy)
        .build()
        .await?;
    let client = Node::builder(asker)
        .bind("127.0.0.1:0".parse()?)
        .build()
        .await?;
    tokio::spawn(greet(server.clone()));
    tokio::spawn(count(server.clone()));
    tokio::task::yield_now().await;
    let peer = PeerAddress {
        id: server.id(),
        hints: server.local_addresses(),
    };

    // A stream channel with metadata; it goes before bulk.
    let request = ChannelRequest::stream("greet")
        .metadata("Ada")
        .priority(Priority::Interactive);
    let mut channel = client.connect(&peer, request).await?;
    let mut greeting = String::new();
    channel.read_to_string(&mut greeting).await?;
    println!("{greeting}");

    // The same without a name is declined, with a reason.
    let error = client
        .connect(&peer, ChannelRequest::stream("greet"))
        .await
        .err();
    if let Some(ConnectError::Declined { reason, .. }) = error {
        println!("{reason}");
    }

    // Datagrams: unordered, may be lost, bounded in size.
    let packets = client
        .connect(&peer, ChannelRequest::datagrams("count"))
        .await?;
    packets.send_datagram(Bytes::from_static(b"four")).await?;
    if let Some(reply) = packets.recv_datagram().await? {
        println!("the datagram had {} bytes", reply[0]);
    }
    for connection in client.connections() {
        println!(
            "{} channels over one connection, {:?}",
            connection.channels, connection.rtt
        );
    }
    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}

async fn greet(node: Node) -> anyhow::Result<()> {
    let mut listener = node.listen("greet")?;
    while let Some(incoming) = listener.accept().await {
        let name = incoming.request().metadata.clone();
        if name.is_empty() {
            incoming.decline(DeclineReason::new(
                DeclineCode::BadRequest,
                "whom shall I greet?",
            ));
            continue;
        }
        let mut channel = incoming.accept();
        channel.write_all(b"hello ").await?;
        channel.write_all(&name).await?;
        channel.shutdown().await?;
        let (mut send, _recv) = channel.split();
        send.flushed().await?;
    }
    Ok(())
}

async fn count(node: Node) -> anyhow::Result<()> {
    let mut listener = node.listen("count")?;
    while let Some(incoming) = listener.accept().await {
        let channel = incoming.accept();
        while let Some(datagram) = channel.recv_datagram().await? {
            channel
                .send_datagram(Bytes::from(vec![datagram.len() as u8]))
                .await?;
        }
    }
    Ok(())
}
