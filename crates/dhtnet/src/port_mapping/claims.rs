//! Which protocols the routers here speak, and what they say about the address outside, without
//! mapping anything.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ground::{Ground, GroundV4};
use super::plan::Failed;
use super::{igd, question};
use crate::doctor::{Claim, RouterAnswer, RouterFacts};
use crate::driver::Mark;
use crate::driver::doctor::asks_pcp;

/// Longest that is waited: UPnP routers answer at a random time within three seconds.
pub(crate) const LIMIT: Duration = Duration::from_millis(4_000);

/// Asks by all protocols at once, within [`LIMIT`]. Only IPv4 has NATs that are asked for ports.
pub(crate) async fn claims(bound: &[SocketAddr]) -> RouterFacts {
    let Some(ground) = Ground::now(bound, Mark::default()).v4 else {
        return RouterFacts::default();
    };
    // Boxed, for each is large.
    let (upnp, nat_pmp, pcp) = tokio::join!(
        limited("UPnP", Box::pin(by_upnp(ground))),
        limited("NAT-PMP", Box::pin(by_nat_pmp(ground))),
        limited("PCP", Box::pin(by_pcp(ground))),
    );
    RouterFacts {
        asked: true,
        answers: [upnp, nat_pmp, pcp].into_iter().flatten().collect(),
    }
}

async fn limited(
    protocol: &'static str,
    question: impl Future<Output = Option<Claim>>,
) -> Option<RouterAnswer> {
    let claim = tokio::time::timeout(LIMIT, question).await.ok().flatten()?;
    Some(RouterAnswer { protocol, claim })
}

async fn by_upnp(ground: GroundV4) -> Option<Claim> {
    let router = igd::search(*ground.internal.ip()).await.ok()?;
    Some(match igd::external(&router).await {
        Ok(external) => claimed(external),
        Err(_) => Claim::Refused,
    })
}

async fn by_nat_pmp(ground: GroundV4) -> Option<Claim> {
    match question::external_v4(ground).await {
        Ok(external) => Some(claimed(external.into())),
        Err(Failed::Refused) if ground.gateway.is_some() => Some(Claim::Refused),
        Err(_) => None,
    }
}

async fn by_pcp(ground: GroundV4) -> Option<Claim> {
    match asks_pcp(*ground.internal.ip(), ground.gateway?).await? {
        true => Some(Claim::Present),
        false => Some(Claim::Refused),
    }
}

/// A router without a connection says 0.0.0.0.
fn claimed(external: IpAddr) -> Claim {
    if external.is_unspecified() {
        Claim::Refused
    } else {
        Claim::External(external)
    }
}
