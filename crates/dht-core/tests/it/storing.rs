//! What an operation that stores says about it: acknowledgements, refusals, silence; and what is
//! stored again and again.

use std::net::SocketAddr;
use std::sync::Arc;

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::krpc::{Body, ErrorCode, ErrorReply, Message, Method, Response};
use dhtnet_dht_core::node::{AnnouncePort, Item, Outcome, Publication, Scope};
use dhtnet_dht_core::value::{
    Draft, Refusal, TypePolicy, TypeRegistry, UnixTime, Value, ValueId, ValueQuery, ValueType,
};
use dhtnet_dht_core::{Event, Family, Id, OperationId};
use dhtnet_identity::DeviceKey;

use crate::net::{Net, WALL, address, ms, secs, v4};
use crate::packets::{answer_with, encode};

fn item(seq: i64, value: &[u8]) -> MutableItem {
    MutableItem::sign(&ItemSigner::from_seed(&[3; 32]), b"salt", seq, value).unwrap()
}

fn codes(outcome: &Outcome) -> Vec<i64> {
    outcome.refused.iter().map(|refusal| refusal.code).collect()
}

fn put(net: &mut Net, item: MutableItem, cas: Option<i64>) -> Outcome {
    let put = net.with(4, |node, now| {
        node.put_mutable(now, item, cas, Scope::Network)
    });
    net.finish(4, put)
}

#[test]
fn every_acknowledgement_and_every_refusal_is_told() {
    let mut net = Net::new(20);
    net.run(secs(20));
    let first = put(&mut net, item(5, b"1:a"), None);
    assert_eq!(
        (first.acknowledged, codes(&first).len(), first.silent),
        (8, 0, 0)
    );
    // Lower, and the same with another value: 302. The wrong `cas`: 301.
    for (again, cas, code) in [
        (item(4, b"1:a"), None, 302),
        (item(5, b"1:b"), None, 302),
        (item(6, b"1:b"), Some(4), 301),
    ] {
        let outcome = put(&mut net, again, cas);
        assert_eq!((outcome.acknowledged, outcome.stored_here), (0, false));
        assert_eq!(codes(&outcome), [code; 8]);
    }
    // The same again is a refresh; the right `cas` an update.
    assert_eq!(put(&mut net, item(5, b"1:a"), None).acknowledged, 8);
    assert_eq!(put(&mut net, item(6, b"1:b"), Some(5)).acknowledged, 8);
    let target = item(6, b"1:b").target();
    let get = net.with(9, |node, now| {
        node.find_item(now, target, b"salt", Scope::Network)
    });
    net.finish(9, get);
    let found = Event::Item(get, Item::Mutable(item(6, b"1:b")));
    assert!(net.events_of(9, get).contains(&found));
}

#[test]
fn what_is_never_valid_is_refused_before_anybody_is_asked() {
    let mut net = Net::new(2);
    let long = [b"1001:".as_slice(), &[b'x'; 1001]].concat();
    net.with(0, |node, now| {
        assert!(node.put_immutable(now, &long, Scope::Network).is_err());
        assert!(node.put_immutable(now, b"5:four", Scope::Network).is_err());
        let publication = Publication::Immutable(long.clone());
        assert!(node.publish(now, publication).is_err());
    });
}

/// A node that answers by hand: `refuse` is the code for whatever stores.
fn fake(
    net: &mut Net,
    index: usize,
    from: SocketAddr,
    refuse: impl Fn(&Message<'_>) -> Option<i64>,
) {
    let sent = net.log.replace(Vec::new()).unwrap_or_default();
    for sent in sent
        .into_iter()
        .filter(|sent| sent.transmit.destination == from)
    {
        let message = Message::decode(&sent.transmit.payload).unwrap();
        let Body::Query(query) = message.body else {
            continue;
        };
        let reply = match refuse(&message) {
            Some(code) => encode(&Message {
                body: Body::Error(ErrorReply {
                    code,
                    text: b"no\n",
                }),
                read_only: false,
                ..message
            }),
            None => {
                let response = Response {
                    token: Some(b"token"),
                    ..Response::new(Id::hash_of(b"fake"))
                };
                let _ = query;
                answer_with(message.transaction, response, |reply| {
                    reply.extension = Some(1);
                })
            }
        };
        net.inject(from, index, &reply);
    }
}

/// Puts at a node made by hand that refuses with `code` what `refuses` says.
fn put_at_fake(code: i64, refuses: impl Fn(&Message<'_>) -> bool) -> Outcome {
    let mut net = Net::new(1);
    net.log = Some(Vec::new());
    let fake_at = address(900);
    let put = net.with(0, |node, now| {
        node.put_immutable(now, b"1:x", Scope::Node(fake_at))
            .unwrap()
    });
    for _ in 0..3 {
        fake(&mut net, 0, fake_at, |message| {
            refuses(message).then_some(code)
        });
    }
    net.finish(0, put)
}

#[test]
fn each_refusal_code_of_a_put_is_told_with_its_words() {
    let puts = |message: &Message<'_>| matches!(message.body, Body::Query(query) if query.method.name() == b"put");
    for code in [201, 202, 203, 204, 205, 206, 207, 301, 302, 401] {
        let outcome = put_at_fake(code, puts);
        assert_eq!((outcome.acknowledged, outcome.silent), (0, 0));
        assert_eq!(codes(&outcome), [code]);
        assert_eq!(
            outcome.refused[0].text, "no ",
            "nothing that moves a cursor"
        );
        assert_eq!(outcome.refused[0].address, address(900));
    }
}

#[test]
fn a_node_that_does_not_know_get_is_a_refusal_when_it_alone_is_asked() {
    let outcome = put_at_fake(204, |_| true);
    assert_eq!((outcome.acknowledged, codes(&outcome)), (0, vec![204]));
}

#[test]
fn a_node_that_is_silent_to_a_put_counts_as_silent() {
    let mut net = Net::new(1);
    net.log = Some(Vec::new());
    let put = net.with(0, |node, now| {
        node.put_immutable(now, b"1:x", Scope::Node(address(900)))
            .unwrap()
    });
    fake(&mut net, 0, address(900), |_| None);
    let outcome = net.finish(0, put);
    assert_eq!((outcome.acknowledged, outcome.silent), (0, 1));
    assert_eq!(codes(&outcome), [0; 0]);
}

#[test]
fn one_node_asked_alone_is_waited_for_even_if_it_is_slow() {
    let mut net = Net::new(2);
    net.run(secs(20));
    net.slow.insert(1, ms(200));
    let ping = net.with(0, |node, now| node.ping(now, address(1)));
    let outcome = net.finish(0, ping);
    assert_eq!(outcome.answers, 1);
    assert!(matches!(
        net.events_of(0, ping)[..],
        [Event::Pong(..), Event::Done(..)]
    ));
}

#[test]
fn a_value_refused_by_the_policy_of_its_type_is_a_refusal_with_its_reason_code() {
    let refuse = || {
        TypePolicy::new("never".into())
            .with_store_policy(Box::new(|_| Err(Refusal("not here".into()))))
    };
    let mut types = TypeRegistry::new();
    types.register(ValueType(9), refuse());
    let mut net = Net::with_config(12, v4().types(Arc::new(types)));
    net.run(secs(20));
    let target = Id::hash_of(b"a place");
    let draft = Draft::new(target, ValueId(1), b"x".to_vec()).with_kind(ValueType(9));
    let value = draft.unsigned(UnixTime(WALL.as_secs())).unwrap().value;
    let put = net.with(3, |node, now| {
        node.put_value(now, target, &value, Scope::Network)
    });
    let outcome = net.finish(3, put);
    assert_eq!((outcome.acknowledged, outcome.stored_here), (0, false));
    assert_eq!(codes(&outcome), [ErrorCode::PolicyRefused.code(); 8]);
}

#[test]
fn values_of_any_number_under_one_key_are_all_found() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let target = Id::hash_of(b"a busy place");
    let wall = UnixTime(WALL.as_secs() + 20);
    let count = 60;
    for id in 0..count {
        let body = vec![id as u8; if id % 2 == 0 { 700 } else { 30 }];
        let value = Draft::new(target, ValueId(id), body)
            .unsigned(wall)
            .unwrap()
            .value;
        let by = id as usize % 12;
        let put = net.with(by, |node, now| {
            node.put_value(now, target, &value, Scope::Network)
        });
        net.run(ms(50));
        let _ = put;
    }
    net.run(secs(5));
    for asker in [0, 7] {
        let get = net.with(asker, |node, now| {
            node.find_values(now, target, ValueQuery::ALL, Scope::Network)
        });
        let outcome = net.finish(asker, get);
        let events = net.events_of(asker, get);
        let values = events
            .iter()
            .filter(|event| matches!(event, Event::Value(..)));
        assert_eq!(values.count(), count as usize, "each once");
        assert!(outcome.elapsed < secs(5), "{:?}", outcome.elapsed);
    }
}

fn stores(net: &Net, index: usize) -> u64 {
    let counters = net.counters(index);
    // announce_peer, put, dn_put
    counters.queries_out[3] + counters.queries_out[5] + counters.queries_out[8]
}

fn permanent(target: Id, id: u64, key: &DeviceKey) -> Value {
    let draft = Draft::new(target, ValueId(id), b"stays".to_vec()).with_ttl(secs(6 * 3600));
    let wall = UnixTime(WALL.as_secs());
    draft.signed(wall, key, 1).unwrap().value
}

#[test]
fn what_is_published_is_stored_again_after_half_an_hour_and_told_once() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let target = Id::hash_of(b"a place");
    let value = permanent(target, 1, &DeviceKey::from_seed(&[1; 32]));
    let publication = Publication::Value(target, value);
    let id = net.with(2, |node, now| node.publish(now, publication).unwrap());
    assert_eq!(net.finish(2, id).acknowledged, 8);
    assert_eq!(stores(&net, 2), 8);
    net.run(secs(29 * 60));
    assert_eq!(stores(&net, 2), 8);
    net.run(secs(2 * 60));
    assert_eq!(stores(&net, 2), 16);
    let done = |event: &&Event| matches!(event, Event::Done(..));
    assert_eq!(net.events_of(2, id).iter().filter(done).count(), 1);
    net.with(2, |node, now| node.cancel(now, id));
    net.run(secs(60 * 60));
    assert_eq!(stores(&net, 2), 16);
}

#[test]
fn a_published_value_ends_with_its_time() {
    let mut net = Net::new(4);
    net.run(secs(20));
    let target = Id::hash_of(b"a place");
    let value = permanent(target, 1, &DeviceKey::from_seed(&[1; 32]));
    let publication = Publication::Value(target, value);
    net.with(2, |node, now| node.publish(now, publication).unwrap());
    net.run(secs(6 * 3600 + 600));
    assert_eq!(net.node(2).publications().count(), 0);
    assert_eq!(
        (0..4)
            .map(|index| net.node(index).stored().values)
            .sum::<usize>(),
        0
    );
}

#[test]
fn an_announcement_is_repeated_before_others_forget_it() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let hash = Id::hash_of(b"a torrent");
    let publication = Publication::Peer(hash, AnnouncePort::Implied);
    net.with(2, |node, now| node.publish(now, publication).unwrap());
    net.run(secs(3 * 3600));
    let find = net.with(5, |node, now| node.find_peers(now, hash, Scope::Network));
    net.finish(5, find);
    let told = Event::Peers(find, vec![address(2)]);
    assert!(net.events_of(5, find).contains(&told));
}

#[test]
fn what_nobody_took_is_tried_again_soon() {
    let mut net = Net::new(1);
    let publication = Publication::Immutable(b"1:x".to_vec());
    let id = net.with(0, |node, now| node.publish(now, publication).unwrap());
    assert_eq!(net.finish(0, id).acknowledged, 0);
    net.add(Arc::new(v4()));
    net.run(secs(70));
    assert_eq!(stores(&net, 0), 1);
    assert_eq!(net.node(1).stored().items, 1);
}

/// How many operations that store began in each second.
fn starts_by_second(net: &Net) -> Vec<usize> {
    let log = net.log.as_ref().unwrap();
    let mut seconds = Vec::new();
    let mut targets = Vec::<Id>::new();
    for sent in log {
        if let Body::Query(query) = Message::decode(&sent.transmit.payload).unwrap().body
            && let Method::ValuePut { target, .. } = query.method
            && !targets.contains(&target)
        {
            targets.push(target);
            let second = (sent.at - net.start).as_secs() as usize;
            seconds.resize(seconds.len().max(second + 1), 0);
            seconds[second] += 1;
        }
    }
    seconds
}

#[test]
fn announcing_again_after_a_restart_is_paced_and_no_storm() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let key = DeviceKey::from_seed(&[1; 32]);
    net.log = Some(Vec::new());
    net.with(2, |node, now| {
        for n in 0..100_u64 {
            let target = Id::hash_of(&n.to_be_bytes());
            node.resume(now, Publication::Value(target, permanent(target, n, &key)));
        }
    });
    net.run(secs(70));
    let starts = starts_by_second(&net);
    assert_eq!(starts.iter().sum::<usize>(), 100, "all of them");
    assert!(starts.iter().all(|count| *count <= 3), "{starts:?}");
    // As after a change of networks.
    net.log = Some(Vec::new());
    net.with(2, |node, now| node.republish_now(now));
    net.run(secs(70));
    let starts = starts_by_second(&net);
    assert_eq!(starts.iter().sum::<usize>(), 100, "all of them again");
    assert!(starts.iter().all(|count| *count <= 3), "{starts:?}");
}

#[test]
fn no_more_operations_than_the_bound_run_at_once_and_the_next_ends_at_once() {
    let mut net = Net::new(2);
    net.run(secs(5));
    net.kill(1);
    let ids: Vec<OperationId> = net.with(0, |node, now| {
        let one = |n: u64| node.find_node(now, Id::hash_of(&n.to_be_bytes()), Scope::Network);
        (0..dhtnet_dht_core::node::MAX_OPERATIONS as u64 + 1)
            .map(one)
            .collect()
    });
    let over = |net: &Net| {
        let is_over = |id: &&OperationId| net.outcome_of(0, **id).is_some();
        ids.iter().filter(is_over).count()
    };
    assert_eq!(over(&net), 1);
    let last = net.outcome_of(0, *ids.last().unwrap()).unwrap();
    assert_eq!((last.queries, last.closest.len()), (0, 0));
    net.run(secs(10));
    assert_eq!(over(&net), ids.len());
    // Later ones have room again.
    net.revive(1);
    net.run(secs(90));
    let again = net.with(0, |node, now| {
        node.find_node(now, Id::default(), Scope::Network)
    });
    assert_eq!(net.finish(0, again).closest.len(), 1);
    assert!(net.node(0).is_ready(Family::V4));
}

/// How many of `count` values, put at once and over, are stored by a node that answers late.
fn stored_late(count: u64) -> usize {
    let mut net = Net::new(4);
    net.run(secs(60));
    // Long after it was given up, and well before it is forgotten.
    net.slow.insert(3, ms(300));
    let wall = UnixTime((WALL + (net.now - net.start)).as_secs());
    let ids: Vec<OperationId> = net.with(1, |node, now| {
        let one = |n: u64| {
            let target = Id::hash_of(&n.to_be_bytes());
            let draft = Draft::new(target, ValueId(n), b"x".to_vec()).with_ttl(secs(600));
            let value = draft.unsigned(wall).unwrap().value;
            node.put_value(now, target, &value, Scope::Network)
        };
        (0..count).map(one).collect()
    });
    let all_over = |net: &Net| ids.iter().all(|id| net.outcome_of(1, *id).is_some());
    assert!(net.run_for(ms(250), all_over), "nobody waits for it");
    assert_eq!(net.node(3).stored().values, 0);
    // To withdraw what is over takes nothing back.
    net.with(1, |node, now| {
        ids.iter().for_each(|id| node.cancel(now, *id));
    });
    net.run(secs(10));
    net.node(3).stored().values
}

#[test]
fn a_node_that_answers_late_stores_too_after_as_many_operations_as_may_wait_for_it() {
    const MAX_LINGERING: usize = 64;
    assert_eq!(stored_late(1), 1);
    assert_eq!(stored_late(MAX_LINGERING as u64), MAX_LINGERING);
    assert_eq!(stored_late(MAX_LINGERING as u64 + 1), MAX_LINGERING);
}

#[test]
fn an_immutable_item_of_the_largest_size_travels_whole() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let value = [b"996:".as_slice(), &[b'x'; 996]].concat();
    let put = net.with(1, |node, now| {
        node.put_immutable(now, &value, Scope::Network).unwrap()
    });
    assert_eq!(net.finish(1, put).acknowledged, 8);
    let target = immutable_target(&value);
    for index in 0..12 {
        let get = net.with(index, |node, now| {
            node.find_item(now, target, b"", Scope::Network)
        });
        net.finish(index, get);
        let found = Event::Item(get, Item::Immutable(value.clone()));
        assert!(net.events_of(index, get).contains(&found), "{index}");
    }
}
