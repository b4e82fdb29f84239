//! What several nodes say, put together.

use dhtnet_dht_core::value::{
    Draft, Filter, Gain, GatherError, Gathered, MAX_GATHERED, UnixTime, ValueId,
};

use super::{NOW, draft, owner, records, signed, target};

fn everything() -> Gathered {
    Gathered::new(target(), Filter::default())
}

#[test]
fn the_newest_version_stays_from_whichever_node_it_comes() {
    let mut gathered = everything();
    let old = signed(b"old").value;
    let new = draft(b"new").signed(NOW, &owner(), 8).unwrap().value;
    let longer = new.renewed(&target(), UnixTime(1_800_099_999), Some(&owner()));
    let longer = longer.unwrap();
    let removal = new.removed_by(&owner(), &target()).unwrap();
    let back = draft(b"back").signed(NOW, &owner(), 10).unwrap().value;
    for (value, gain) in [
        (&old, Gain::New),
        (&old, Gain::None),
        (&new, Gain::Newer),
        (&old, Gain::None),
        (&longer, Gain::Longer),
        (&removal, Gain::Removed),
        (&longer, Gain::None),
    ] {
        assert_eq!(gathered.add(NOW, &value.encode()), Ok(gain));
    }
    assert_eq!(gathered.values().count(), 0);
    assert_eq!(gathered.value(&new.key()), None);
    assert_eq!(gathered.add(NOW, &back.encode()), Ok(Gain::New));
    assert_eq!(gathered.value(&new.key()), Some(&back));
}

#[test]
fn what_a_node_must_not_send_is_left_out() {
    let mut gathered = everything();
    let value = signed(b"text").value;
    let record = value.encode();
    assert!(matches!(
        gathered.add(NOW, b"de"),
        Err(GatherError::Record(_))
    ));
    let late = gathered.add(value.expiry(), &record);
    assert_eq!(late, Err(GatherError::Expired));
    let mut forged = record.clone();
    let at = forged.len() - 20;
    forged[at] ^= 1;
    let error = gathered.add(NOW, &forged);
    assert!(matches!(error, Err(GatherError::Signature(_))));
    let other = Filter {
        id: Some(ValueId(1)),
        ..Filter::default()
    };
    let error = Gathered::new(target(), other).add(NOW, &record);
    assert_eq!(error, Err(GatherError::NotAsked));
    assert_eq!(gathered.values().count(), 0);
}

#[test]
fn what_expires_is_told_but_for_removals() {
    let mut gathered = everything();
    for (_, value) in records() {
        let gain = gathered.add(NOW, &value.encode());
        // "removal" follows "signed"; "split" has the id and owner of both, and an older number.
        assert!(gain.is_ok());
    }
    let expiry = signed(b"text").value.expiry();
    assert_eq!(gathered.expire(NOW), []);
    let unsigned = draft(b"text").unsigned(NOW).unwrap().value;
    assert_eq!(gathered.expire(expiry), [unsigned.key()]);
}

#[test]
fn one_value_too_many_is_left_out_and_known_ones_still_change() {
    let mut gathered = everything();
    let made = |id| {
        Draft::new(target(), ValueId(id), vec![])
            .unsigned(NOW)
            .unwrap()
            .value
    };
    for id in 0..MAX_GATHERED as u64 {
        assert_eq!(gathered.add(NOW, &made(id).encode()), Ok(Gain::New));
    }
    let one_more = made(MAX_GATHERED as u64).encode();
    assert_eq!(gathered.add(NOW, &one_more), Err(GatherError::Full));
    let longer = made(0).renewed(&target(), UnixTime(1_800_099_999), None);
    let gain = gathered.add(NOW, &longer.unwrap().encode());
    assert_eq!(gain, Ok(Gain::Longer));
}
