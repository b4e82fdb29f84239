//! Listening: what is pushed, how soon, and what is not believed.

use std::time::Duration;

use dhtnet_dht_core::krpc::{Method, Records};
use dhtnet_dht_core::node::Scope;
use dhtnet_dht_core::value::{Draft, Filter, UnixTime, Value, ValueId};
use dhtnet_dht_core::{Event, Id, OperationId};
use dhtnet_identity::DeviceKey;

use crate::net::{Net, WALL, address, ms, secs};
use crate::packets::query;

fn target() -> Id {
    Id::hash_of(b"a place")
}

fn key() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn value(net: &Net, id: u64, seq: u64, ttl: u64) -> Value {
    let wall = UnixTime((WALL + (net.now - net.start)).as_secs());
    let draft = Draft::new(target(), ValueId(id), vec![b'x'; 300]).with_ttl(secs(ttl));
    draft.signed(wall, &key(), seq).unwrap().value
}

/// A network in which node 3 listens.
fn listening(count: usize) -> (Net, OperationId) {
    let mut net = Net::new(count);
    net.run(secs(30));
    let id = net.with(3, |node, now| node.listen(now, target(), Filter::default()));
    assert!(net.finish(3, id).acknowledged >= 1);
    (net, id)
}

fn put(net: &mut Net, value: &Value) {
    net.with(1, |node, now| {
        node.put_value(now, target(), value, Scope::Network)
    });
}

fn hears(net: &mut Net, event: &Event) -> bool {
    net.run_for(secs(1), |net| net.events(3).contains(event))
}

#[test]
fn what_is_new_edited_removed_and_expired_is_heard_within_a_second() {
    for count in [4, 30] {
        let (mut net, id) = listening(count);
        let first = value(&net, 1, 1, 600);
        put(&mut net, &first);
        assert!(hears(&mut net, &Event::Value(id, first.clone())));
        let edited = value(&net, 1, 2, 600);
        put(&mut net, &edited);
        assert!(hears(&mut net, &Event::Value(id, edited.clone())));
        let removal = edited.removed_by(&key(), &target()).unwrap();
        put(&mut net, &removal);
        assert!(hears(&mut net, &Event::Gone(id, first.key())));
        let short = value(&net, 2, 1, 20);
        put(&mut net, &short);
        assert!(hears(&mut net, &Event::Value(id, short.clone())));
        net.run(secs(18));
        assert!(!net.events(3).contains(&Event::Gone(id, short.key())));
        net.run(secs(2));
        assert!(net.events(3).contains(&Event::Gone(id, short.key())));
        let told = net.events_of(3, id);
        let values = told
            .iter()
            .filter(|event| matches!(event, Event::Value(..)));
        assert_eq!(values.count(), 3, "each change once: {told:?}");
    }
}

#[test]
fn more_than_fits_into_a_packet_is_heard_whole_even_at_once() {
    let (mut net, id) = listening(12);
    let values: Vec<_> = (0..40).map(|n| value(&net, n, 1, 600)).collect();
    values.iter().for_each(|value| put(&mut net, value));
    net.run(secs(2));
    let told = net.events_of(3, id);
    let missing = values
        .iter()
        .filter(|value| !told.contains(&Event::Value(id, (*value).clone())));
    assert_eq!(missing.count(), 0);
}

#[test]
fn pushes_are_repeated_where_datagrams_are_lost() {
    let (mut net, id) = listening(20);
    net.loss = 20;
    for n in 0..30 {
        let value = value(&net, n, 1, 600);
        put(&mut net, &value);
        assert!(hears(&mut net, &Event::Value(id, value)), "{n}");
    }
}

#[test]
fn a_listener_that_died_is_forgotten() {
    let (mut net, _) = listening(4);
    let listeners = |net: &mut Net| {
        (0..3)
            .map(|n| net.node(n).stored().listeners)
            .sum::<usize>()
    };
    assert_eq!(listeners(&mut net), 3);
    net.kill(3);
    let value = value(&net, 1, 1, 600);
    put(&mut net, &value);
    net.run(secs(30));
    assert_eq!(listeners(&mut net), 0);
}

#[test]
fn a_cancelled_subscription_ends_everywhere_at_once() {
    let (mut net, id) = listening(4);
    net.with(3, |node, now| node.cancel(now, id));
    net.run(ms(100));
    assert!((0..3).all(|n| net.node(n).stored().listeners == 0));
    let value = value(&net, 1, 1, 600);
    put(&mut net, &value);
    net.run(secs(5));
    assert!(!net.events(3).contains(&Event::Value(id, value)));
}

#[test]
fn pushes_of_strangers_are_refused_and_what_is_said_to_be_gone_is_not_believed() {
    let (mut net, id) = listening(4);
    let value = value(&net, 1, 1, 600);
    put(&mut net, &value);
    net.run(secs(1));
    net.log = Some(Vec::new());
    let again = self::value(&net, 1, 2, 600);
    put(&mut net, &again);
    net.run(secs(1));
    let log = net.log.take().unwrap();
    let push = log.iter().find(|sent| {
        let payload = &sent.transmit.payload;
        sent.transmit.destination == address(3) && payload.windows(7).any(|at| at == b"dn_push")
    });
    let push = push.expect("a push").clone();
    let listener = match dhtnet_dht_core::krpc::Message::decode(&push.transmit.payload)
        .unwrap()
        .body
    {
        dhtnet_dht_core::krpc::Body::Query(query) => match query.method {
            Method::ValuePush { listener, .. } => listener,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let gone = value.key().encode();
    let gone = [gone.as_slice()];
    let forged = self::value(&net, 9, 1, 600).encode();
    let records = [forged.as_slice()];
    let lie = |listener| {
        query(
            Id::hash_of(b"liar"),
            Method::ValuePush {
                target: target(),
                listener,
                records: Records::from_slices(&records),
                gone: Records::from_slices(&gone),
            },
        )
    };
    let before = net.events_of(3, id).len();
    assert_eq!(
        net.error(address(66), 3, &lie(listener)),
        Some(203),
        "never asked"
    );
    assert_eq!(
        net.error(push.from, 3, &lie(listener ^ 1)),
        Some(203),
        "another name"
    );
    assert_eq!(net.events_of(3, id).len(), before);
    // Of a node that took the subscription the genuine value is news, the rest is not believed.
    assert_eq!(net.replies(push.from, 3, &lie(listener)).len(), 1);
    assert!(!net.events(3).contains(&Event::Gone(id, value.key())));
    assert_eq!(net.events_of(3, id).len(), before + 1);
}

/// Values that are put at the moment somebody begins to listen, and were not heard in this time.
fn unheard(net: &mut Net, rounds: u64, within: Duration) -> Vec<String> {
    let mut unheard = Vec::new();
    for round in 0..rounds {
        let target = Id::hash_of(&round.to_be_bytes());
        let listen = net.with(3, |node, now| node.listen(now, target, Filter::default()));
        net.run(ms(round % 40));
        let wall = UnixTime((WALL + (net.now - net.start)).as_secs());
        let draft = Draft::new(target, ValueId(round), vec![b'x'; 300]).with_ttl(secs(60));
        let value = draft.signed(wall, &key(), 1).unwrap().value;
        let put = net.with(1, |node, now| {
            node.put_value(now, target, &value, Scope::Network)
        });
        let told = Event::Value(listen, value);
        if !net.run_for(within, |net| net.events(3).contains(&told)) {
            let count = |of, id| net.outcome_of(of, id).map(|outcome| outcome.acknowledged);
            unheard.push(format!(
                "{round}: listened at {:?}, stored at {:?}",
                count(3, listen),
                count(1, put)
            ));
        }
        net.with(3, |node, now| node.cancel(now, listen));
        net.run(secs(1));
    }
    unheard
}

#[test]
fn what_is_put_while_somebody_begins_to_listen_is_heard_on_busy_machines() {
    for count in [4, 8, 30] {
        let mut net = Net::new(count);
        net.delay = ms(1);
        net.run(secs(60));
        net.busy = 40;
        let unheard = unheard(&mut net, 200, ms(500));
        assert!(unheard.is_empty(), "{count} nodes: {unheard:#?}");
    }
}

#[test]
fn what_comes_between_the_question_and_the_subscription_is_pushed() {
    let mut net = Net::new(4);
    net.run(secs(30));
    // Two answer at once, and the third is waited for: meanwhile one of the two is given a value.
    net.kill(2);
    let id = net.with(3, |node, now| node.listen(now, target(), Filter::default()));
    let value = value(&net, 1, 1, 600);
    net.with(1, |node, now| {
        node.put_value(now, target(), &value, Scope::Node(address(0)))
    });
    let lies_there = |net: &mut Net| net.node(0).stored().values == 1;
    while !lies_there(&mut net) {
        net.run(ms(1));
    }
    assert_eq!(
        net.node(0).stored().listeners,
        0,
        "it comes too late for a push"
    );
    let told = Event::Value(id, value);
    assert!(net.run_for(secs(1), |net| net.events(3).contains(&told)));
}

#[test]
fn a_push_that_overtakes_the_word_of_its_node_is_heard() {
    let mut net = Net::new(4);
    net.run(secs(30));
    let id = net.with(3, |node, now| node.listen(now, target(), Filter::default()));
    net.run(ms(5));
    let value = value(&net, 1, 1, 600);
    net.with(1, |node, now| {
        node.put_value(now, target(), &value, Scope::Node(address(0)))
    });
    while net.node(0).stored().listeners == 0 {
        net.run(ms(1));
    }
    net.lose_all_to(3);
    let told = Event::Value(id, value);
    let heard = net.run_for(ms(20), |net| net.events(3).contains(&told));
    assert!(heard, "before it is asked again");
}
