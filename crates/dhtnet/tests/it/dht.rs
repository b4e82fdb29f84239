//! DHT nodes and devices that find each other by them, through real sockets.

use std::time::Duration;

use dhtnet::dht::item::{ItemSigner, MutableItem};
use dhtnet::dht::value::{Draft, Filter, UnixTime, ValueId};
use dhtnet::dht::{
    AnnouncePort, Bootstrap, Dht, DhtError, DhtSettings, Id, Publication, ValueEvent,
};
use dhtnet::identity::policy::Policy;
use dhtnet::{ChannelRequest, DeviceKey, Node, PeerAddress};
use futures_util::StreamExt;

use crate::pair::{allow, key, loopback, within};

/// `count` nodes; all know the first.
pub(crate) async fn network(count: usize) -> Vec<Dht> {
    let first = Dht::builder().bind(loopback()).build().await.unwrap();
    let bootstrap = Bootstrap::Address(first.local_addresses()[0]);
    let mut all = vec![first];
    for _ in 1..count {
        let builder = Dht::builder().bind(loopback());
        all.push(
            builder
                .bootstrap([bootstrap.clone()])
                .build()
                .await
                .unwrap(),
        );
    }
    for dht in &all {
        dht.ready().await.unwrap();
    }
    all
}

fn wall() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.unwrap().as_secs())
}

#[tokio::test]
async fn items_and_peers_are_found_by_every_node() {
    let all = network(12).await;
    let stored = all[3].put_immutable(b"5:hello").await.unwrap();
    assert_eq!((stored.acknowledged, stored.refused.len()), (8, 0));
    let signer = ItemSigner::from_seed(&[1; 32]);
    let item = MutableItem::sign(&signer, b"s", 1, b"i1e").unwrap();
    assert_eq!(
        all[4]
            .put_mutable(item.clone(), None)
            .await
            .unwrap()
            .acknowledged,
        8
    );
    let hash = Id::hash_of(b"x");
    all[5]
        .announce(hash, AnnouncePort::Number(77))
        .await
        .unwrap();
    for dht in &all {
        assert_eq!(
            dht.get_immutable(stored.target).await.unwrap().unwrap(),
            b"5:hello"
        );
        let found = dht.get_mutable(&signer.key(), b"s").await.unwrap();
        assert_eq!(found, Some(item.clone()));
        let peers: Vec<_> = dht.get_peers(hash).await.unwrap().collect().await;
        assert_eq!(peers, ["127.0.0.1:77".parse().unwrap()]);
    }
}

#[tokio::test]
async fn a_listener_hears_of_a_value_and_of_its_end() {
    let all = network(6).await;
    let key = Id::hash_of(b"a place");
    let mut heard = all[1].listen(key, Filter::default()).await.unwrap();
    assert!(matches!(heard.next().await, Some(ValueEvent::Listening(5))));
    let draft = Draft::new(key, ValueId(9), b"news".to_vec()).with_ttl(Duration::from_secs(2));
    let made = draft.unsigned(wall()).unwrap();
    let stored = all[4].put_prepared(key, made.clone()).await.unwrap();
    assert_eq!((stored.acknowledged, stored.refused.len()), (5, 0));
    let event = within(heard.next()).await;
    assert_eq!(event, Some(ValueEvent::New(made.value.clone())));
    let event = within(heard.next()).await;
    assert_eq!(event, Some(ValueEvent::Gone(made.value.key())));
}

#[tokio::test]
async fn a_value_of_64_kib_comes_back_whole() {
    let all = network(10).await;
    let key = Id::hash_of(b"a large thing");
    let body: Vec<u8> = (0..65_536_u32).map(|at| (at * 7 / 3) as u8).collect();
    let owner = DeviceKey::from_seed(&[8; 32]);
    let made = Draft::new(key, ValueId(1), body.clone());
    let made = made.signed(wall(), &owner, 1).unwrap();
    // As a task, which programs make of it.
    let from = all[2].clone();
    let storing = tokio::spawn(async move { from.put_prepared(key, made).await });
    let stored = storing.await.unwrap().unwrap();
    assert_eq!((stored.acknowledged, stored.refused.len()), (8, 0));
    let mut values = all[7].values(key, Filter::default()).await.unwrap();
    let value = values.next().await.unwrap();
    assert_eq!(all[7].body(&value).await.unwrap(), body);
}

#[tokio::test]
async fn networks_of_other_names_do_not_mix() {
    let public = network(2).await;
    let bootstrap = Bootstrap::Address(public[0].local_addresses()[0]);
    let builder = Dht::builder().bind(loopback()).network("other");
    let foreign = builder.bootstrap([bootstrap]).build().await.unwrap();
    let error = foreign.ready().await.unwrap_err();
    assert!(
        matches!(error, DhtError::NobodyAnswered { asked: 1, .. }),
        "{error}"
    );
    assert!(public[0].stats().counters.foreign > 0);
    assert!(foreign.nodes().is_empty());
}

#[tokio::test]
async fn what_was_published_is_published_again_after_a_restart() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let dir = tempfile::tempdir().unwrap();
    let settings = || DhtSettings::default().state_file(dir.path().join("dht.state"));
    let first = Dht::builder()
        .bind(loopback())
        .settings(settings().bootstrap([bootstrap]));
    let first = first.build().await.unwrap();
    let stored = first
        .publish(Publication::Immutable(b"4:keep".to_vec()))
        .await
        .unwrap();
    assert_eq!(stored.acknowledged, 3);
    // As if killed: nothing is said, nothing saved any more.
    drop(first);
    // No bootstrap node: the saved ones are enough.
    let again = Dht::builder()
        .bind(loopback())
        .settings(settings())
        .build()
        .await
        .unwrap();
    let kept: Vec<_> = again
        .publications()
        .into_iter()
        .map(|(_, one)| one)
        .collect();
    assert_eq!(kept, [Publication::Immutable(b"4:keep".to_vec())]);
    again.shutdown().await;
    assert!(matches!(
        again.put_immutable(b"1:x").await,
        Err(DhtError::Closed)
    ));
}

#[tokio::test]
async fn devices_find_each_other_by_id_alone() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let node = |seed, policy| {
        let settings = DhtSettings::default().bootstrap([bootstrap.clone()]);
        let builder = Node::builder(key(seed)).bind(loopback()).mdns(false);
        builder.dht(settings).policy(policy).build()
    };
    let client = node(1, Policy::deny_all()).await.unwrap();
    let server = node(2, allow(client.id())).await.unwrap();
    let mut listener = server.listen("echo").unwrap();
    let peer = PeerAddress::from(server.id());
    let connect = client.connect(&peer, ChannelRequest::stream("echo"));
    let (opened, _accepted) = tokio::join!(within(connect), async {
        within(listener.accept()).await.unwrap().accept()
    });
    assert_eq!(opened.unwrap().peer(), server.id());
}

#[tokio::test]
async fn a_listening_node_that_is_dropped_leaves_no_task_behind() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let settings = DhtSettings::default().bootstrap([bootstrap]);
    let builder = Node::builder(key(1)).bind(loopback()).mdns(false);
    let node = builder.dht(settings).build().await.unwrap();
    let listener = node.listen("test").unwrap();
    within(node.dht().unwrap().ready()).await.unwrap();
    assert!(tasks() > before);
    drop((listener, node));
    within(async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
