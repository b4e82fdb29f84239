//! Where no datagram comes through, the DHT is reached through a relay by TCP, so that the device
//! finds others and is found.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::finder::{RelayFinder, found_target};
use super::{PathPreference, RelayTransport, Target};
use crate::dht::Dht;

/// The port that networks with nothing but the web let through.
const WEB_PORT: u16 = 443;

/// Relays that are tried at the same time by TCP.
const MAX_TRIED: usize = 6;

/// Another try, while no datagram comes through and no relay was found.
const RETRY: Duration = Duration::from_secs(10);

/// Looks after it until it is dropped.
pub(crate) struct Carrier(JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Carrier {
    /// Must be called inside a runtime.
    pub(crate) fn start(finder: Arc<RelayFinder>, dht: Dht) -> Self {
        Self(tokio::spawn(async move {
            while !finder.relays().is_closing() {
                finder.carry(&dht).await;
            }
        }))
    }
}

impl RelayFinder {
    /// Waits until datagrams count as blocked, and has a relay carry those of the DHT for as long
    /// as there is one.
    async fn carry(&self, dht: &Dht) {
        let relays = self.relays();
        relays.reach().blocked().await;
        tracing::info!("no datagram is answered here; looking for a relay by TCP");
        let Some(number) = self.obtain_by_tcp(dht).await else {
            tracing::info!("no relay answers by TCP either");
            tokio::time::sleep(RETRY).await;
            return;
        };
        relays.set_carrier(Some(number));
        dht.enter_again();
        self.until_ended(number).await;
        relays.set_carrier(None);
    }

    /// An allocation by TCP: at one of the configured servers, or where the DHT is entered.
    async fn obtain_by_tcp(&self, dht: &Dht) -> Option<u16> {
        let configured = self.targets_by_tcp().await;
        if let Some(number) = self.first_of(configured).await {
            return Some(number);
        }
        let entrances = dht
            .entrances()
            .into_iter()
            .filter(std::net::SocketAddr::is_ipv4);
        let targets = entrances.flat_map(|entrance| {
            let mut web = entrance;
            web.set_port(WEB_PORT);
            [web, entrance].map(|address| found_target(address, RelayTransport::Tcp))
        });
        self.first_of(targets.collect()).await
    }

    /// The first of these that gives an address; the others are let go.
    async fn first_of(&self, targets: Vec<Target>) -> Option<u16> {
        let tries = targets.into_iter().take(MAX_TRIED);
        let mut tries: FuturesUnordered<_> = tries
            .map(|target| async move {
                let name = target.name.clone();
                (name, self.try_target(target).await)
            })
            .collect();
        while let Some((name, tried)) = tries.next().await {
            match tried {
                Ok(number) => return Some(number),
                Err(error) => tracing::debug!(relay = %name, %error, "no relay by TCP"),
            }
        }
        None
    }

    /// Whether relays may be used at all.
    pub(crate) fn may_carry(&self) -> bool {
        self.preference() != PathPreference::Direct
    }
}
