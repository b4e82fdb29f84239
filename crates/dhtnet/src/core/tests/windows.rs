//! Channels that nobody reads from beside others of the same connection.

use super::*;

/// Fills a channel from the first host, until neither its stream nor the connection takes more and
/// nothing is on its way. Returns the bytes that the second host holds.
fn fill(net: &mut Net, here: ConnectionKey, channel: mux::ChannelId) -> usize {
    let mut filled = 0;
    loop {
        let now = net.clock.now();
        let mut block = [Bytes::from(vec![7; 1 << 20])];
        let written = net
            .one
            .core
            .with_mux(here, |mux, link| mux.write(link, now, channel, &mut block));
        filled += written.unwrap().unwrap_or(0);
        let before = net.one.sent;
        net.run(Duration::from_millis(200));
        if net.one.sent == before {
            return filled;
        }
    }
}

fn open_and_accept(
    net: &mut Net,
    here: ConnectionKey,
    there: ConnectionKey,
) -> [mux::ChannelId; 2] {
    let ours = open(&mut net.one, net.clock.now(), here);
    net.run(Duration::from_millis(100));
    let (theirs, now) = (offered(&mut net.two), net.clock.now());
    net.two
        .core
        .with_mux(there, |mux, link| mux.accept(link, now, theirs).unwrap());
    net.run(Duration::from_millis(100));
    [ours, theirs]
}

#[test]
fn channels_that_nobody_reads_from_never_hold_back_the_others() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    let (first, stream) = TransportSettings::default().receive_windows();
    let stalled = first / stream + 4;
    let mut held = 0;
    for _ in 0..stalled {
        let [ours, _] = open_and_accept(&mut net, here, there);
        held += fill(&mut net, here, ours);
    }
    assert!(held as u64 > first, "{held} bytes are held");

    let [ours, theirs] = open_and_accept(&mut net, here, there);
    let now = net.clock.now();
    let mut key = [Bytes::from_static(b"a key")];
    net.one.core.with_mux(here, |mux, link| {
        mux.write(link, now, ours, &mut key).unwrap()
    });
    net.run(Duration::from_millis(100));
    let read = net
        .two
        .core
        .with_mux(there, |mux, link| mux.read(link, now, theirs, 64).unwrap());
    assert_eq!(read.unwrap().unwrap(), "a key");
}

#[test]
fn what_all_channels_together_make_a_host_hold_is_bounded() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    let most = usize::try_from(connection::MAX_CONNECTION_WINDOW).unwrap();
    let (_, stream) = TransportSettings::default().receive_windows();
    let more = most / usize::try_from(stream).unwrap() + 4;
    let channels: Vec<_> = (0..more)
        .map(|_| open_and_accept(&mut net, here, there))
        .collect();
    let mut held = 0;
    for [ours, _] in channels {
        held += fill(&mut net, here, ours);
    }
    // Requests, answers and the control stream count as well.
    assert!(held <= most && held > most - (64 << 10), "{held} bytes");
}
