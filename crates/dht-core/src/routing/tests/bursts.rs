//! Many queries to one dead node at once.

use super::*;

#[test]
fn queries_that_were_under_way_together_fail_as_one() {
    let start = Instant::now();
    let mut table = filled(start, 1);
    let later = start + Duration::from_secs(100);
    for sent in [0, 0, 200, 900] {
        let sent = later + Duration::from_millis(sent);
        table.on_silence(sent + Duration::from_secs(2), &far(0), sent);
        assert_eq!(state(&table, later, far(0)), Some(NodeState::Questionable));
    }
    // Another after the burst has failed.
    let sent = later + Duration::from_secs(6);
    table.on_silence(sent + Duration::from_secs(2), &far(0), sent);
    assert_eq!(state(&table, later, far(0)), Some(NodeState::Bad));
}
