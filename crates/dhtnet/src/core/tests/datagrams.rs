//! Datagrams beside streams on one connection.

use super::*;

/// A channel of each kind that the second host has accepted: the stream's ends, the datagrams'.
type Channels = [(mux::ChannelId, mux::ChannelId); 2];

fn channels(net: &mut Net, here: ConnectionKey, there: ConnectionKey) -> Channels {
    let requests = [
        ChannelRequest::stream("bulk"),
        ChannelRequest::datagrams("packets"),
    ];
    requests.map(|request| {
        let now = net.clock.now();
        let opened = net
            .one
            .core
            .with_mux(here, |mux, link| mux.open(link, now, request));
        net.run(Duration::from_millis(100));
        let (to, now) = (offered(&mut net.two), net.clock.now());
        net.two
            .core
            .with_mux(there, |mux, link| mux.accept(link, now, to).unwrap());
        net.run(Duration::from_millis(100));
        (opened.unwrap().unwrap(), to)
    })
}

/// Writes as much on a stream as is taken.
fn fill(net: &mut Net, key: ConnectionKey, stream: mux::ChannelId) -> u64 {
    let now = net.clock.now();
    let written = net.one.core.with_mux(key, |mux, link| {
        let mut written = 0;
        let chunk = Bytes::from(vec![7; 16_384]);
        while let Ok(taken) = mux.write(link, now, stream, &mut [chunk.clone()]) {
            written += taken as u64;
        }
        written
    });
    written.unwrap()
}

fn read(net: &mut Net, key: ConnectionKey, stream: mux::ChannelId) -> u64 {
    let now = net.clock.now();
    let read = net.two.core.with_mux(key, |mux, link| {
        let mut read = 0;
        while let Ok(Some(bytes)) = mux.read(link, now, stream, usize::MAX) {
            read += bytes.len() as u64;
        }
        read
    });
    read.unwrap()
}

#[test]
fn a_datagram_does_not_wait_behind_a_stream_that_fills_the_line() {
    const RATE: u64 = 10_000_000;
    let line = LinkConfig::default().with_delay(Duration::from_millis(10));
    let mut net = Net::new(line.with_rate(RATE));
    let (here, there) = net.connect();
    let [(stream, stream_there), (packets, packets_there)] = channels(&mut net, here, there);
    let (mut written, mut received) = (0, 0);
    for _ in 0..400 {
        written += fill(&mut net, here, stream);
        net.run(Duration::from_millis(5));
        received += read(&mut net, there, stream_there);
    }
    let waiting = (written - received) * 8;
    assert!(waiting > RATE, "{waiting} bits wait, a second and more");
    let sent_at = net.clock.now();
    let sent = net.one.core.with_mux(here, |mux, link| {
        mux.send_datagram(link, sent_at, packets, b"now")
    });
    assert_eq!(sent.unwrap(), Ok(()));
    let arrived = loop {
        net.run(Duration::from_millis(5));
        let now = net.clock.now();
        let got = net.two.core.with_mux(there, |mux, link| {
            mux.recv_datagram(link, now, packets_there)
        });
        if let Some(Ok(Some(datagram))) = got {
            assert_eq!(datagram, b"now"[..]);
            break now;
        }
        assert!(now < sent_at + Duration::from_secs(2), "it waits");
        fill(&mut net, here, stream);
        read(&mut net, there, stream_there);
    };
    // What is on the line already goes before it: the round trip, and the queue that the congestion
    // controller keeps.
    let took = arrived - sent_at;
    assert!(took < Duration::from_millis(100), "{took:?}");
}
