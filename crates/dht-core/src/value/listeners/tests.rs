//! Subscriptions, their bounds, and what a listener is told.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::net::Ipv4Addr;

use super::*;
use crate::value::query::Filter;
use crate::value::record::{ValueId, ValueType};

fn key(target: u8, host: u32, id: u64) -> ListenerKey {
    ListenerKey {
        target: Id::from_bytes([target; 20]),
        address: (Ipv4Addr::from(host), 4000).into(),
        id,
    }
}

fn subject(id: u64) -> Subject {
    Subject {
        key: value_key(id),
        kind: ValueType(0),
        seq: None,
    }
}

fn value_key(id: u64) -> ValueKey {
    ValueKey {
        id: ValueId(id),
        owner: None,
    }
}

/// Listeners, each for everything.
fn listening(now: Instant, keys: &[ListenerKey]) -> Listeners {
    let mut listeners = Listeners::default();
    for key in keys {
        let ttl = listeners.listen(now, *key, ValueQuery::ALL);
        assert_eq!(ttl, Ok(LISTEN_TTL));
    }
    listeners
}

fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_change_is_pushed_once_to_each_listener_of_its_key() {
    let now = start();
    let v6 = ListenerKey {
        address: "[ffff::1]:1".parse().unwrap(),
        ..key(1, 9, 9)
    };
    let mut listeners = listening(now, &[key(1, 1, 1), key(1, 2, 1), v6, key(2, 1, 1)]);
    listeners.on_change(now, &Id::from_bytes([1; 20]), &subject(7));
    let told: Vec<Push> = std::iter::from_fn(|| listeners.poll_push()).collect();
    let to: Vec<ListenerKey> = told.iter().map(|push| push.to).collect();
    assert_eq!(to, [key(1, 1, 1), key(1, 2, 1), v6]);
    assert!(told.iter().all(|push| push.changed == [value_key(7)]));
}

#[test]
fn changes_wait_while_a_push_is_on_its_way_and_a_value_counts_once() {
    let now = start();
    let to = key(1, 1, 1);
    let mut listeners = listening(now, &[to]);
    listeners.on_change(now, &to.target, &subject(1));
    assert_eq!(listeners.poll_push().unwrap().changed, [value_key(1)]);
    for id in [2, 3, 2] {
        listeners.on_change(now, &to.target, &subject(id));
    }
    assert_eq!(listeners.poll_push(), None);
    listeners.on_pushed(&to, PushOutcome::Answered);
    let next = listeners.poll_push().unwrap();
    assert_eq!(next.changed, [value_key(2), value_key(3)]);
    listeners.on_pushed(&to, PushOutcome::Answered);
    assert_eq!(listeners.poll_push(), None);
}

#[test]
fn one_change_too_many_tells_the_listener_to_get_everything_anew() {
    let now = start();
    let to = key(1, 1, 1);
    let mut listeners = listening(now, &[to]);
    for id in 0..MAX_PENDING as u64 {
        listeners.on_change(now, &to.target, &subject(id));
    }
    let full = listeners.poll_push().unwrap();
    assert_eq!(full.changed.len(), MAX_PENDING);
    for id in 0..=MAX_PENDING as u64 {
        listeners.on_change(now, &to.target, &subject(id));
    }
    listeners.on_pushed(&to, PushOutcome::Answered);
    assert_eq!(listeners.poll_push().unwrap().changed, []);
    // Told; from here on changes count again.
    listeners.on_change(now, &to.target, &subject(1));
    listeners.on_pushed(&to, PushOutcome::Answered);
    assert_eq!(listeners.poll_push().unwrap().changed, [value_key(1)]);
}

#[test]
fn a_filter_keeps_other_changes_away() {
    let now = start();
    let to = key(1, 1, 1);
    let mut listeners = Listeners::default();
    let query = ValueQuery {
        filter: Filter {
            id: Some(ValueId(5)),
            ..Filter::default()
        },
        ..ValueQuery::ALL
    };
    listeners.listen(now, to, query).unwrap();
    listeners.on_change(now, &to.target, &subject(4));
    assert_eq!(listeners.poll_push(), None);
    listeners.on_change(now, &to.target, &subject(5));
    let push = listeners.poll_push().unwrap();
    assert_eq!((push.query, push.changed), (query, vec![value_key(5)]));
}

#[test]
fn a_subscription_ends_when_it_is_cancelled_lost_or_not_renewed() {
    let now = start();
    let to = key(1, 1, 1);
    for end in 0..4 {
        let mut listeners = listening(now, &[to]);
        listeners.on_change(now, &to.target, &subject(1));
        match end {
            0 => assert!(listeners.cancel(&to)),
            1 => listeners.on_pushed(&to, PushOutcome::Lost),
            2 => {
                assert_eq!(listeners.next_expiry(), Some(now + LISTEN_TTL));
                listeners.expire(now + LISTEN_TTL - Duration::from_nanos(1));
                assert_eq!(listeners.len(), 1);
                listeners.expire(now + LISTEN_TTL);
            }
            _ => {
                listeners.poll_push().unwrap();
                assert!(listeners.cancel(&to));
                listeners.on_pushed(&to, PushOutcome::Answered);
            }
        }
        assert_eq!(listeners.poll_push(), None);
        assert_eq!(listeners.next_expiry(), None);
        assert_eq!((listeners.len(), listeners.per_source.len()), (0, 0));
        assert!(listeners.ready.is_empty());
        assert!(!listeners.cancel(&to));
    }
}

#[test]
fn an_expired_subscription_is_not_pushed_to_even_before_it_is_forgotten() {
    let now = start();
    let to = key(1, 1, 1);
    let mut listeners = listening(now, &[to]);
    listeners.on_change(now + LISTEN_TTL, &to.target, &subject(1));
    assert_eq!(listeners.poll_push(), None);
}

#[test]
fn renewing_keeps_what_is_pending_and_lasts_from_now() {
    let now = start();
    let to = key(1, 1, 1);
    let mut listeners = listening(now, &[to]);
    listeners.on_change(now, &to.target, &subject(1));
    let later = now + LISTEN_TTL / 2;
    assert_eq!(listeners.listen(later, to, ValueQuery::ALL), Ok(LISTEN_TTL));
    assert_eq!(listeners.next_expiry(), Some(later + LISTEN_TTL));
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners.poll_push().unwrap().changed, [value_key(1)]);
}

#[test]
fn a_source_a_key_and_the_node_have_their_bounds() {
    let now = start();
    let mut listeners = Listeners::default();
    let mut listen = |key| listeners.listen(now, key, ValueQuery::ALL);
    for id in 0..u64::from(MAX_LISTENERS_PER_SOURCE) {
        assert!(listen(key(1, 1, id)).is_ok());
    }
    assert_eq!(listen(key(2, 1, 0)), Err(ListenError::Source));
    // Renewing needs no room.
    assert!(listen(key(1, 1, 0)).is_ok());

    let mut listeners = Listeners::default();
    for host in 0..MAX_LISTENERS_PER_KEY {
        listeners
            .listen(now, key(1, host, 0), ValueQuery::ALL)
            .unwrap();
    }
    let refused = listeners.listen(now, key(1, 1_000, 0), ValueQuery::ALL);
    assert_eq!(refused, Err(ListenError::Key));
    assert!(
        listeners
            .listen(now, key(2, 1_000, 0), ValueQuery::ALL)
            .is_ok()
    );

    let mut listeners = Listeners::default();
    for at in 0..MAX_LISTENERS as u32 {
        let to = key((at / 200) as u8, at, 0);
        listeners.listen(now, to, ValueQuery::ALL).unwrap();
    }
    let refused = listeners.listen(now, key(200, 5_000, 0), ValueQuery::ALL);
    assert_eq!(refused, Err(ListenError::Node));
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Server);
    assert!(listeners.cancel(&key(0, 0, 0)));
    let taken = listeners.listen(now, key(200, 5_000, 0), ValueQuery::ALL);
    assert_eq!(taken, Ok(LISTEN_TTL));
}

#[test]
fn one_host_cannot_take_all_places_of_a_key_or_of_the_node() {
    let now = start();
    let all = u64::from(MAX_LISTENERS_PER_SOURCE);
    let mut listeners = Listeners::default();
    for id in 0..all {
        let at = now + Duration::from_secs(id);
        listeners
            .listen(at, key(1, 1, id), ValueQuery::ALL)
            .unwrap();
    }
    let later = now + Duration::from_secs(all);
    listeners.on_change(later, &Id::from_bytes([1; 20]), &subject(1));
    let mut listen = |host, id| listeners.listen(later, key(1, host, id), ValueQuery::ALL);
    // Up to an equal share, at the cost of those that would have ended first.
    for id in 0..all / 2 {
        assert_eq!(listen(2, id), Ok(LISTEN_TTL));
    }
    assert_eq!(listen(2, all), Err(ListenError::Key));
    assert_eq!(listen(3, 0), Ok(LISTEN_TTL));
    assert_eq!(listeners.len(), MAX_LISTENERS_PER_KEY as usize);
    assert!(!listeners.cancel(&key(1, 1, 0)) && listeners.cancel(&key(1, 1, all - 1)));
    // Who was put out is not pushed to.
    let pushed = std::iter::from_fn(|| listeners.poll_push()).count() as u64;
    assert!(pushed < all / 2, "{pushed}");

    let mut listeners = Listeners::default();
    for host in 0..(MAX_LISTENERS as u64 / all) as u32 {
        for id in 0..all {
            let to = key((id % 100) as u8, host, id);
            listeners.listen(now, to, ValueQuery::ALL).unwrap();
        }
    }
    let taken = listeners.listen(now, key(200, 1_000, 0), ValueQuery::ALL);
    assert_eq!(taken, Ok(LISTEN_TTL));
    assert_eq!(listeners.len(), MAX_LISTENERS);
}

#[test]
fn a_node_without_listeners_has_nothing_allocated() {
    let listeners = Listeners::default();
    assert_eq!(listeners.ready.capacity(), 0);
    assert_eq!(listeners.next_expiry(), None);
}
