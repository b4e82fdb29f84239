//! The plan, moved through time by hand.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use super::*;

const V4: [Method; 3] = [Method::Upnp, Method::NatPmp, Method::Pcp];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn lease(lifetime: Option<u64>, epoch: Option<u32>) -> Lease {
    Lease {
        external: SocketAddr::from(([11, 0, 113, 101], 7000)),
        lifetime: lifetime.map(seconds),
        epoch,
    }
}

fn all_due(plan: &mut Plan, now: Instant) -> Vec<(Method, Step)> {
    std::iter::from_fn(|| plan.poll(now)).collect()
}

/// A plan whose PCP mapping was granted now, the others standing by.
fn mapped_by_pcp(now: Instant, granted: Lease) -> Plan {
    let mut plan = Plan::new(V4, now);
    assert_eq!(all_due(&mut plan, now).len(), 3);
    plan.on_mapped(Method::Pcp, granted, now);
    plan.on_found(Method::NatPmp, now);
    plan.on_found(Method::Upnp, now);
    assert_eq!(all_due(&mut plan, now + GRACE), []);
    plan
}

#[test]
fn all_protocols_are_asked_at_once_and_each_only_once() {
    let now = Instant::now();
    let mut plan = Plan::new(V4, now);
    let asked = all_due(&mut plan, now);
    let expected = [
        (Method::Pcp, Step::Map),
        (Method::NatPmp, Step::Probe),
        (Method::Upnp, Step::Probe),
    ];
    assert_eq!(asked, expected);
    assert_eq!(plan.poll_timeout(), None);
    assert_eq!(plan.poll(now + seconds(60)), None);
}

#[test]
fn a_router_that_speaks_everything_gives_one_mapping() {
    let now = Instant::now();
    let plan = mapped_by_pcp(now, lease(Some(7_200), Some(9)));
    let mapped: Vec<Method> = plan.mapped().map(|(method, ..)| method).collect();
    assert_eq!(mapped, [Method::Pcp]);
}

#[test]
fn the_better_of_two_that_answer_is_mapped_after_a_moment() {
    let now = Instant::now();
    let mut plan = Plan::new(V4, now);
    all_due(&mut plan, now);
    plan.on_failed(Method::Pcp, Failed::Refused, now);
    plan.on_found(Method::Upnp, now);
    plan.on_found(Method::NatPmp, now);
    assert_eq!(all_due(&mut plan, now), []);
    assert_eq!(plan.poll_timeout(), Some(now + GRACE));
    let asked = all_due(&mut plan, now + GRACE);
    assert_eq!(asked, [(Method::NatPmp, Step::Map)]);
    // It says no after all: the other has its turn at once.
    plan.on_failed(Method::NatPmp, Failed::Refused, now + GRACE);
    let asked = all_due(&mut plan, now + GRACE);
    assert_eq!(asked, [(Method::Upnp, Step::Probe)]);
}

#[test]
fn a_silent_better_protocol_holds_nobody_up() {
    let now = Instant::now();
    let mut plan = Plan::new(V4, now);
    all_due(&mut plan, now);
    plan.on_found(Method::Upnp, now);
    let asked = all_due(&mut plan, now + GRACE);
    assert_eq!(asked, [(Method::Upnp, Step::Map)]);
}

#[test]
fn families_do_not_wait_for_each_other() {
    let now = Instant::now();
    let mut plan = Plan::new([Method::Pcp, Method::Pinhole], now);
    all_due(&mut plan, now);
    plan.on_mapped(Method::Pcp, lease(Some(7_200), None), now);
    plan.on_found(Method::Pinhole, now);
    let asked = all_due(&mut plan, now + GRACE);
    assert_eq!(asked, [(Method::Pinhole, Step::Map)]);
}

#[test]
fn a_mapping_is_renewed_at_half_of_a_short_lifetime_and_often_in_a_long_one() {
    let now = Instant::now();
    for (lifetime, next) in [
        (Some(120), seconds(60)),
        (Some(7_200), CHECK),
        (None, CHECK),
        (Some(1), MIN_CHECK),
    ] {
        let held = Held::new(lease(lifetime, None), now);
        assert_eq!(held.next, now + next, "{lifetime:?}");
    }
    let mut plan = mapped_by_pcp(now, lease(Some(120), None));
    assert_eq!(plan.poll_timeout(), Some(now + seconds(60)));
    assert_eq!(
        all_due(&mut plan, now + seconds(60)),
        [(Method::Pcp, Step::Renew)]
    );
}

#[test]
fn a_renewal_that_is_refused_ends_the_mapping_and_the_next_protocol_steps_in() {
    let now = Instant::now();
    let mut plan = mapped_by_pcp(now, lease(Some(120), None));
    let later = now + seconds(60);
    all_due(&mut plan, later);
    plan.on_failed(Method::Pcp, Failed::Refused, later);
    assert_eq!(plan.mapped().count(), 0);
    let asked = all_due(&mut plan, later);
    assert_eq!(
        asked,
        [(Method::NatPmp, Step::Probe), (Method::Upnp, Step::Probe)]
    );
}

#[test]
fn a_router_that_falls_silent_loses_the_mapping_after_three_renewals() {
    let now = Instant::now();
    let mut plan = mapped_by_pcp(now, lease(Some(7_200), None));
    let mut later = now + CHECK;
    for round in 0..RENEW_TRIES {
        assert_eq!(all_due(&mut plan, later), [(Method::Pcp, Step::Renew)]);
        assert_eq!(plan.mapped().count(), 1, "{round}");
        plan.on_failed(Method::Pcp, Failed::Silent, later);
        later += RENEW_RETRY;
    }
    assert_eq!(plan.mapped().count(), 0);
}

#[test]
fn a_mapping_that_ran_out_is_none_even_while_it_is_renewed() {
    let now = Instant::now();
    let mut plan = mapped_by_pcp(now, lease(Some(120), None));
    all_due(&mut plan, now + seconds(60));
    assert_eq!(plan.poll_timeout(), Some(now + seconds(120)));
    all_due(&mut plan, now + seconds(120));
    assert_eq!(plan.mapped().count(), 0);
    plan.on_mapped(Method::Pcp, lease(Some(120), None), now + seconds(121));
    assert_eq!(plan.mapped().count(), 1);
}

#[test]
fn failures_are_followed_by_longer_and_longer_silence() {
    let now = Instant::now();
    let mut plan = Plan::new([Method::Upnp], now);
    let mut later = now;
    for wait in LADDER.iter().chain(&[LADDER[3]]) {
        assert_eq!(all_due(&mut plan, later), [(Method::Upnp, Step::Probe)]);
        plan.on_failed(Method::Upnp, Failed::Silent, later);
        assert_eq!(plan.poll_timeout(), Some(later + *wait));
        later += *wait;
    }
}

#[test]
fn a_changed_network_ends_the_silence_and_checks_what_is_there() {
    let now = Instant::now();
    let mut plan = mapped_by_pcp(now, lease(None, None));
    plan.check_all(now + seconds(1));
    assert_eq!(
        all_due(&mut plan, now + seconds(1)),
        [(Method::Pcp, Step::Renew)]
    );
    let mut plan = Plan::new([Method::Upnp], now);
    all_due(&mut plan, now);
    plan.on_failed(Method::Upnp, Failed::Silent, now);
    plan.check_all(now + seconds(1));
    assert_eq!(
        all_due(&mut plan, now + seconds(1)),
        [(Method::Upnp, Step::Probe)]
    );
}

#[test]
fn a_rebooted_router_is_noticed_by_its_epoch() {
    let (before, elapsed) = (Some(1_000), seconds(800));
    for (after, fell) in [(1_800, false), (1_698, false), (1_697, true), (5, true)] {
        assert_eq!(epoch_fell(before, Some(after), elapsed), fell, "{after}");
    }
    assert!(!epoch_fell(before, None, elapsed) && !epoch_fell(None, Some(0), elapsed));
    let now = Instant::now();
    let mut plan = Plan::new([Method::Pcp, Method::Pinhole], now);
    all_due(&mut plan, now);
    plan.on_mapped(Method::Pcp, lease(Some(120), Some(5_000)), now);
    plan.on_mapped(Method::Pinhole, lease(Some(7_200), None), now);
    let later = now + seconds(60);
    assert_eq!(all_due(&mut plan, later), [(Method::Pcp, Step::Renew)]);
    assert!(plan.on_mapped(Method::Pcp, lease(Some(120), Some(3)), later));
    assert_eq!(all_due(&mut plan, later), [(Method::Pinhole, Step::Renew)]);
}
