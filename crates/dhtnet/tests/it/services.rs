//! Several programs of one device, found apart from each other.

use std::time::Duration;

use dhtnet::dht::{Bootstrap, DhtSettings};
use dhtnet::identity::policy::Policy;
use dhtnet::{
    ChannelRequest, ConnectError, ConnectOptions, Listener, Node, NodeBuilder, PeerAddress, Service,
};

use crate::dht::network;
use crate::pair::{allow, key, loopback, within};

fn service(name: &str) -> Service {
    Service::new(name).unwrap()
}

/// A node of device `seed` in the DHT that `bootstrap` belongs to.
fn builder(seed: u8, bootstrap: &Bootstrap) -> NodeBuilder {
    let settings = DhtSettings::default().bootstrap([bootstrap.clone()]);
    let builder = Node::builder(key(seed)).bind(loopback()).mdns(false);
    builder.dht(settings).policy(Policy::deny_all())
}

/// A program of device 2 that lets device 1 in.
async fn serve(bootstrap: &Bootstrap, name: &str) -> (Node, Listener) {
    let builder = builder(2, bootstrap).policy(allow(key(1).id()));
    let node = builder.service(service(name)).build().await.unwrap();
    let listener = node.listen("echo").unwrap();
    (node, listener)
}

/// Calls device 2 and says which of the two listeners was reached.
async fn reached(client: &Node, [a, b]: [&mut Listener; 2]) -> &'static str {
    let peer = PeerAddress::from(key(2).id());
    let connect = client.connect(&peer, ChannelRequest::stream("echo"));
    let accept = async {
        tokio::select! {
            one = a.accept() => ("a", one.unwrap().accept()),
            other = b.accept() => ("b", other.unwrap().accept()),
        }
    };
    let (opened, (name, _accepted)) = tokio::join!(within(connect), within(accept));
    opened.unwrap();
    name
}

#[tokio::test]
async fn two_programs_of_one_device_are_each_reached_by_who_looks_for_them() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let (_a, mut at_a) = serve(&bootstrap, "a").await;
    let (_b, mut at_b) = serve(&bootstrap, "b").await;
    for name in ["a", "b", "b", "a", "b", "a"] {
        let client = builder(1, &bootstrap).service(service(name));
        let client = client.build().await.unwrap();
        assert_eq!(reached(&client, [&mut at_a, &mut at_b]).await, name);
        client.shutdown().await;
    }
    // Who is content with any of several gets the one that is there.
    let client = builder(1, &bootstrap).look_for(["c", "b"].map(service));
    let client = client.build().await.unwrap();
    assert_eq!(reached(&client, [&mut at_a, &mut at_b]).await, "b");
}

#[tokio::test]
async fn an_address_leads_to_whatever_service_is_there() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let (a, mut at_a) = serve(&bootstrap, "a").await;
    let client = builder(1, &bootstrap).service(service("b"));
    let client = client.build().await.unwrap();
    let to = PeerAddress {
        id: a.id(),
        hints: a.local_addresses(),
    };
    let connect = client.connect(&to, ChannelRequest::stream("echo"));
    let (opened, _accepted) = tokio::join!(within(connect), async {
        within(at_a.accept()).await.unwrap().accept()
    });
    assert_eq!(opened.unwrap().peer(), a.id());
}

#[tokio::test]
async fn a_failure_names_the_other_services_that_are_there() {
    let all = network(3).await;
    let bootstrap = Bootstrap::Address(all[0].local_addresses()[0]);
    let (_b, mut at_b) = serve(&bootstrap, "b").await;
    // It can be found from now on.
    let finder = builder(1, &bootstrap).service(service("b"));
    let finder = finder.build().await.unwrap();
    let (_a, mut at_a) = serve(&bootstrap, "a").await;
    assert_eq!(reached(&finder, [&mut at_a, &mut at_b]).await, "b");

    let client = builder(1, &bootstrap).service(service("c"));
    let client = client.other_services(["b", "x", "c"].map(service));
    let client = client.build().await.unwrap();
    let peer = PeerAddress::from(key(2).id());
    let options = ConnectOptions::default().timeout(Duration::from_secs(5));
    let failed = client.connect_with(&peer, ChannelRequest::stream("echo"), options);
    let error = within(failed).await.unwrap_err();
    let ConnectError::NotFound { others, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*others, [service("b")], "{error}");
    assert!(error.to_string().contains("it is there as b"), "{error}");
}
