//! Lists of operations against a model that is a plain list.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// One step: announce, or let time pass.
#[derive(Debug, Clone, Copy)]
enum Step {
    Announce {
        info_hash: u32,
        host: u8,
        port: u16,
        family: Family,
    },
    Wait {
        seconds: u32,
    },
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let step = prop_oneof![
        12 => (0..6_u32, 0..4_u8, 1..40_u16, family).prop_map(|(info_hash, host, port, family)| {
            Step::Announce { info_hash, host, port, family }
        }),
        2 => (1..1_500_u32).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Expire),
    ];
    proptest::collection::vec(step, 1..300)
}

/// When each peer of each info hash was heard.
type Model = BTreeMap<(u32, SocketAddr), u32>;

fn note(model: &mut Model, info_hash: u32, peer: SocketAddr, heard: u32) {
    model.retain(|_, &mut then| heard - then < PEER_LIFETIME);
    let same_host = |(hash, other): &(u32, SocketAddr)| {
        *hash == info_hash && other.ip() == peer.ip() && *other != peer
    };
    if !model.contains_key(&(info_hash, peer)) {
        let others = model.iter().filter(|(key, _)| same_host(key));
        if others.clone().count() >= MAX_PORTS_PER_SOURCE {
            let oldest = others.min_by_key(|(_, heard)| **heard);
            let oldest = *oldest.unwrap().0;
            model.remove(&oldest);
        }
    }
    model.insert((info_hash, peer), heard);
}

proptest! {
    #![proptest_config(Config {
        cases: 100,
        rng_seed: RngSeed::Fixed(5),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn the_store_does_what_a_plain_list_does(steps in steps()) {
        let (mut store, mut model) = (PeerStore::new(), Model::new());
        let (start, mut seconds) = (Instant::now(), 0_u32);
        for step in steps {
            // Each step has a second of its own, so that there is one oldest.
            seconds += 1;
            let now = start + Duration::from_secs(seconds.into());
            match step {
                Step::Announce { info_hash, host, port, family } => {
                    let peer = match family {
                        Family::V4 => v4(host.into(), port),
                        Family::V6 => v6(host.into(), port),
                    };
                    store.expire(now);
                    announce(&mut store, now, info_hash, peer).unwrap();
                    note(&mut model, info_hash, peer, seconds);
                }
                Step::Wait { seconds: passed } => seconds += passed,
                Step::Expire => store.expire(now),
            }
            check_accounts(&store);
        }
        let now = start + Duration::from_secs(seconds.into());
        for info_hash in 0..6 {
            for family in Family::ALL {
                let live = model.iter().filter(|((hash, peer), heard)| {
                    *hash == info_hash
                        && Family::of(peer) == family
                        && seconds - **heard < PEER_LIFETIME
                });
                let expected: Vec<_> = live.map(|((_, peer), _)| *peer).collect();
                prop_assert_eq!(all(&store, now, info_hash, family), expected);
            }
        }
    }
}
