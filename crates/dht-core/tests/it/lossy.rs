//! Operations where datagrams are lost.

use dhtnet_dht_core::node::Scope;

use crate::net::{Net, ms, secs};

/// Before a store message was repeated, most of these puts took longer: until the lost query was
/// forgotten.
const LONGEST: u64 = 2_400;

#[test]
fn a_put_where_one_datagram_in_twenty_is_lost_ends_quickly() {
    let mut net = Net::new(30);
    net.delay = ms(100);
    net.run(secs(120));
    net.loss = 5;
    let mut times = Vec::new();
    for n in 0..60 {
        let value = format!("2:{n:02}");
        let putter = n % 30;
        let put = net.with(putter, |node, now| {
            node.put_immutable(now, value.as_bytes(), Scope::Network)
                .unwrap()
        });
        let outcome = net.finish(putter, put);
        assert!(outcome.acknowledged >= 7, "{outcome:?}");
        times.push(outcome.elapsed);
    }
    times.sort_unstable();
    // A lookup of three steps and the stores take 800 ms without loss.
    assert!(times[times.len() / 2] <= ms(1_200), "{times:?}");
    assert!(times[times.len() - 1] <= ms(LONGEST), "{times:?}");
}
