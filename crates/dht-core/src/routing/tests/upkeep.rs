//! What is asked when, so that a table stays true.

use super::*;

#[test]
fn a_quiet_bucket_is_refreshed_after_15_minutes_and_one_at_a_time() {
    let start = Instant::now();
    let mut table = filled(start, 3);
    let mut rng = rng();
    assert!(table.refresh_due(start, &mut rng).is_some());
    let early = start + 15 * MINUTE - Duration::from_secs(1);
    assert_eq!(table.refresh_due(early, &mut rng), None);
    table.observe(early, far(1), PLAIN, ANSWERED);
    let now = start + 15 * MINUTE;
    let target = table.refresh_due(now, &mut rng).unwrap();
    assert!(
        target.common_prefix(&table.own_id()) >= 1,
        "the far bucket was touched"
    );
    assert_eq!(table.refresh_due(now, &mut rng), None);
    assert!(table.next_due(now) > now || table.questionable(now).is_some());
    let far_due = early + 15 * MINUTE;
    let targets = std::iter::from_fn(|| table.refresh_due(far_due, &mut rng));
    assert!(targets.count() <= 1);
}

#[test]
fn a_bucket_with_room_is_looked_into_once_and_a_full_one_is_not() {
    let start = Instant::now();
    let mut rng = rng();
    assert_eq!(filled(start, 8).refresh_due(start, &mut rng), None);
    let mut table = filled(start, 7);
    assert!(table.next_due(start) <= start);
    let target = table.refresh_due(start, &mut rng).unwrap();
    assert_eq!(target.common_prefix(&table.own_id()), 0);
    let mut now = start;
    while now < start + 14 * MINUTE {
        assert_eq!(table.refresh_due(now, &mut rng), None);
        now += MINUTE;
    }
}

#[test]
fn a_neighbour_that_asks_is_pinged_and_gets_a_place_by_answering() {
    let now = Instant::now();
    let mut table = table(now);
    for n in 0..8 {
        table.observe(now, far(n), PLAIN, ANSWERED);
    }
    let near = Contact::new(Id::from_bytes([1; 20]), address(90));
    let insertion = table.observe(now, near, PLAIN, Seen::Queried);
    assert_eq!(insertion, Insertion::Challenge(near));
    let insertion = table.observe(now, near, PLAIN, Seen::Queried);
    assert_eq!(insertion, Insertion::Known, "it is asked once");
    assert_eq!(table.observe(now, near, PLAIN, ANSWERED), Insertion::Added);
    assert!(table.contains(&near.address));
    assert_eq!(table.len(), 9);
}

#[test]
fn nodes_in_doubt_are_pinged_longest_unheard_first_and_paced() {
    let start = Instant::now();
    let mut table = filled(start, 8);
    let later = start + MINUTE;
    table.observe(later, far(3), PLAIN, ANSWERED);
    assert_eq!(table.questionable(later), None);
    let mut now = start + 16 * MINUTE - Duration::from_secs(30);
    let mut asked = Vec::new();
    while now < start + 16 * MINUTE + Duration::from_secs(30) {
        if let Some(contact) = table.questionable(now) {
            assert_eq!(table.questionable(now), None, "one in a moment");
            table.observe(now, contact, PLAIN, ANSWERED);
            asked.push(contact);
        }
        now += Duration::from_millis(500);
    }
    assert_eq!(asked.len(), table.len());
    assert_eq!(asked.last(), Some(&far(3)));
}

#[test]
fn a_node_that_failed_once_is_asked_again_soon() {
    let start = Instant::now();
    let mut table = filled(start, 2);
    assert!(table.refresh_due(start, &mut rng()).is_some());
    let now = start + MINUTE;
    assert_eq!(table.refresh_due(now, &mut rng()), None);
    table.on_failure(now, &far(1));
    assert_eq!(table.questionable(now), None);
    let due = table.next_due(now);
    assert!(due > now && due <= now + MINUTE);
    assert_eq!(table.questionable(due), Some(far(1)));
}
