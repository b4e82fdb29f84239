//! Sends a file, with the receiver's word that it is whole.
//!
//! ```text
//! cargo run --release --example send_file -- receive FILE      prints ID@ADDRESS
//! cargo run --release --example send_file -- ID@ADDRESS FILE
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Instant;

use bytes::BytesMut;
use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{ChannelRequest, DeviceKey, Node, PeerAddress, Priority};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

/// Bytes read from the file at once.
const BLOCK: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("receive"), Some(path)) => receive(&path).await,
        (Some(peer), Some(path)) => send(&peer.parse()?, &path).await,
        _ => anyhow::bail!("usage: send_file receive FILE | send_file ID@ADDRESS FILE"),
    }
}

async fn receive(path: &str) -> anyhow::Result<()> {
    let anyone = Policy::builder()
        .grant(Subject::Anyone, Grant::action("file"))
        .build();
    let node = Node::builder(fresh_key()?).policy(anyone).build().await?;
    let mut listener = node.listen("file")?;
    println!(
        "{}",
        PeerAddress {
            id: node.id(),
            hints: node.reachable_addresses()
        }
    );
    let Some(incoming) = listener.accept().await else {
        return Ok(());
    };
    let (mut send, mut recv) = incoming.accept().split();
    // A block is one packet's worth: gathered, or the disk would see a million small writes.
    let mut file = BufWriter::with_capacity(BLOCK, File::create(path).await?);
    let mut len = 0u64;
    while let Some(block) = recv.read_chunk(usize::MAX).await? {
        len += block.len() as u64;
        file.write_all(&block).await?;
    }
    file.flush().await?;
    file.get_ref().sync_all().await?;
    // The sender is told only what is on the disk.
    send.write_all(&len.to_be_bytes()).await?;
    send.finish();
    send.flushed().await?;
    node.shutdown().await;
    Ok(())
}

async fn send(peer: &PeerAddress, path: &str) -> anyhow::Result<()> {
    let mut file = File::open(path).await?;
    let node = Node::builder(fresh_key()?).build().await?;
    let request = ChannelRequest::stream("file").priority(Priority::Bulk);
    let (mut send, mut recv) = node.connect(peer, request).await?.split();
    let begun = Instant::now();
    let mut sent = 0u64;
    loop {
        let mut block = BytesMut::with_capacity(BLOCK);
        if file.read_buf(&mut block).await? == 0 {
            break;
        }
        sent += block.len() as u64;
        send.write_chunk(block.freeze()).await?;
    }
    send.finish();
    let stored = recv.read_u64().await?;
    anyhow::ensure!(stored == sent, "the receiver has {stored} of {sent} bytes");
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{sent} bytes in {seconds:.2} s: {:.0} MiB/s",
        sent as f64 / seconds / 1_048_576.0
    );
    node.shutdown().await;
    Ok(())
}

fn fresh_key() -> anyhow::Result<DeviceKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(DeviceKey::from_seed(&seed))
}
