//! The smallest use: one device answers with what it hears, another asks.
//!
//! ```text
//! cargo run --example echo -- listen          prints ID@ADDRESS
//! cargo run --example echo -- ID@ADDRESS hello
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{ChannelRequest, DeviceKey, Node, PeerAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("listen"), None) => listen().await,
        (Some(peer), Some(text)) => ask(&peer.parse()?, &text).await,
        _ => anyhow::bail!("usage: echo listen | echo ID@ADDRESS TEXT"),
    }
}

async fn listen() -> anyhow::Result<()> {
    // An example greets everybody; a real program names the peers that it allows.
    let anyone = Policy::builder()
        .grant(Subject::Anyone, Grant::action("echo"))
        .build();
    let node = Node::builder(fresh_key()?).policy(anyone).build().await?;
    let mut listener = node.listen("echo")?;
    println!(
        "{}",
        PeerAddress {
            id: node.id(),
            hints: node.reachable_addresses()
        }
    );
    while let Some(incoming) = listener.accept().await {
        println!("{} says something", incoming.peer());
        tokio::spawn(async move {
            let (mut send, mut recv) = incoming.accept().split();
            while let Some(block) = recv.read_chunk(usize::MAX).await? {
                send.write_chunk(block).await?;
            }
            send.finish();
            send.flushed().await
        });
    }
    Ok(())
}

async fn ask(peer: &PeerAddress, text: &str) -> anyhow::Result<()> {
    let node = Node::builder(fresh_key()?).build().await?;
    let mut channel = node.connect(peer, ChannelRequest::stream("echo")).await?;
    channel.write_all(text.as_bytes()).await?;
    channel.shutdown().await?;
    let mut reply = String::new();
    channel.read_to_string(&mut reply).await?;
    println!("{reply}");
    node.shutdown().await;
    Ok(())
}

fn fresh_key() -> anyhow::Result<DeviceKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(DeviceKey::from_seed(&seed))
}
