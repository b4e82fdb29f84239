//! A relay beside a DHT node, as the library gives it.

use std::time::{Duration, Instant};

use dhtnet::dht::{Bootstrap, Dht, DhtBuildError};
use dhtnet::relay_server::{Announcement, Limits, RelaySettings};
use futures_util::StreamExt;

use crate::pair::{key, loopback, within};

async fn node(entry: Option<&Dht>) -> Dht {
    let bootstrap = entry.map(|entry| Bootstrap::Address(entry.local_addresses()[0]));
    let builder = Dht::builder().bind(loopback()).bootstrap(bootstrap);
    builder.build().await.unwrap()
}

#[tokio::test]
async fn a_relay_that_somebody_vouches_for_is_announced_and_found() {
    let first = node(None).await;
    let entry = Bootstrap::Address(first.local_addresses()[0]);
    let settings = RelaySettings::new(key(9)).address([127, 0, 0, 1].into());
    let relay = Dht::builder()
        .bind(loopback())
        .bootstrap([entry])
        .relay(settings)
        .build()
        .await
        .unwrap();
    let seeker = node(Some(&first)).await;
    let announced = async {
        loop {
            match relay.relay_report().unwrap().announcement {
                Announcement::Stored { nodes } => return nodes,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert!(within(announced).await > 0);
    let found: Vec<_> = within(async { seeker.find_relays().await.unwrap().collect().await }).await;
    assert_eq!(found, relay.local_addresses());
    assert_eq!(seeker.relay_report(), None);
}

#[tokio::test]
async fn a_relay_reports_where_it_listens_and_ends_with_its_node() {
    let limits = Limits {
        clients: 1,
        ..Limits::default()
    };
    let settings = RelaySettings::new(key(9)).limits(limits);
    let relay = Dht::builder()
        .bind(loopback())
        .relay(settings)
        .build()
        .await
        .unwrap();
    let report = relay.relay_report().unwrap();
    let own = relay.local_addresses()[0];
    assert_eq!(report.udp, [own]);
    assert!(report.tcp.contains(&own), "{:?}", report.tcp);
    assert_eq!(report.announcement, Announcement::Waiting);
    assert_eq!(report.traffic.clients, 0);
    let stream = tokio::net::TcpStream::connect(own).await.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while relay.relay_report().unwrap().traffic.streams == 0 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.shutdown().await;
    drop(relay);
    let mut buffer = [0];
    within(async {
        stream.readable().await.unwrap();
        assert!(matches!(stream.try_read(&mut buffer), Ok(0) | Err(_)));
        while tokio::net::TcpStream::connect(own).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tcp_port_that_was_asked_for_and_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind(loopback()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = RelaySettings::new(key(9)).tcp_ports([port]);
    let built = Dht::builder()
        .bind(loopback())
        .relay(settings)
        .build()
        .await;
    match built {
        Err(DhtBuildError::RelayPort { address, .. }) => assert_eq!(address.port(), port),
        other => panic!("{other:?}"),
    }
}
