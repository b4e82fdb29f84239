//! How users name peers: addresses with hints, aliases, and telling them apart.

use std::net::{IpAddr, SocketAddr};

use dhtnet_identity::peer_address::{
    MAX_ALIAS_LEN, MAX_HINTS, ParseAliasError, ParsePeerAddressError, ParsePeerArgumentError,
};
use dhtnet_identity::{Alias, ParseDeviceIdError, PeerAddress, PeerArgument};
use proptest::prelude::*;

use crate::{cases, id};

fn hints(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("192.0.2.1:{n}")).collect()
}

#[test]
fn an_id_with_or_without_hints_is_an_address() {
    let id = id(7);
    let plain: PeerAddress = id.to_string().parse().unwrap();
    assert_eq!(plain, PeerAddress::from(id));
    assert_eq!(plain.to_string(), id.to_string());

    let text = format!("{id}@192.0.2.7:4433,[2001:db8::7]:4433,[fe80::1%3]:9");
    let address: PeerAddress = text.parse().unwrap();
    assert_eq!(address.hints.len(), 3);
    assert_eq!(address.hints[0], "192.0.2.7:4433".parse().unwrap());
    assert_eq!(address.to_string(), text);
}

#[test]
fn hints_are_kept_in_order_without_repetition_or_mapping() {
    let text = format!(
        "{}@192.0.2.9:1,192.0.2.7:1,[::ffff:192.0.2.9]:1,192.0.2.9:2",
        id(7)
    );
    let address: PeerAddress = text.parse().unwrap();
    let written: Vec<_> = address.hints.iter().map(SocketAddr::to_string).collect();
    assert_eq!(written, ["192.0.2.9:1", "192.0.2.7:1", "192.0.2.9:2"]);
}

#[test]
fn hints_may_be_as_many_as_their_bound_and_no_more() {
    let text = |count| format!("{}@{}", id(7), hints(count).join(","));
    let most: PeerAddress = text(MAX_HINTS).parse().unwrap();
    assert_eq!(most.hints.len(), MAX_HINTS);
    let error = text(MAX_HINTS + 1).parse::<PeerAddress>().unwrap_err();
    assert_eq!(error, ParsePeerAddressError::TooManyHints);
    // Repeated hints cost nothing.
    let repeated = format!("{},{}", text(MAX_HINTS), hints(MAX_HINTS).join(","));
    assert_eq!(repeated.parse::<PeerAddress>().unwrap(), most);
}

#[test]
fn hints_at_which_no_peer_can_be_are_refused() {
    for hint in [
        "192.0.2.7:0",
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
    ] {
        let error = format!("{}@{hint}", id(7))
            .parse::<PeerAddress>()
            .unwrap_err();
        let wanted = ParsePeerAddressError::UnusableHint {
            hint: hint.parse().unwrap(),
        };
        assert_eq!(error, wanted, "{hint}");
    }
    for hint in [
        "",
        "host:1",
        "192.0.2.7",
        "192.0.2.7:",
        "::1:1",
        "192.0.2.7:1 ",
        "1.2.3.4:65536",
    ] {
        let error = format!("{}@{hint}", id(7))
            .parse::<PeerAddress>()
            .unwrap_err();
        assert!(
            matches!(error, ParsePeerAddressError::Hint { .. }),
            "{hint}: {error}"
        );
    }
}

#[test]
fn an_address_cut_at_any_length_is_never_another_peer() {
    let text = format!("{}@192.0.2.7:4433,[2001:db8::7]:4433", id(7));
    for len in 0..text.len() {
        match text[..len].parse::<PeerAddress>() {
            Ok(address) => assert_eq!(address.id, id(7)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn names_within_the_alphabet_and_bound_are_aliases() {
    let longest = "a-".repeat(MAX_ALIAS_LEN / 2) + "a";
    assert_eq!(longest.len(), MAX_ALIAS_LEN);
    for text in [
        "a",
        "7",
        "laptop",
        "my.host_name-2",
        "a".repeat(47).as_str(),
        longest.as_str(),
    ] {
        let alias: Alias = text.parse().unwrap();
        assert_eq!(alias.as_str(), text);
        assert_eq!(alias.to_string(), text);
        assert_eq!(text.parse(), Ok(PeerArgument::Alias(alias)));
    }
}

#[test]
fn other_names_are_refused_by_what_is_wrong_with_them() {
    let too_long = "a-".repeat(MAX_ALIAS_LEN / 2 + 1);
    let at = |position, character| ParseAliasError::Alphabet {
        position,
        character,
    };
    for (text, wanted) in [
        ("", ParseAliasError::Empty),
        (
            too_long.as_str(),
            ParseAliasError::Length {
                found: MAX_ALIAS_LEN + 1,
            },
        ),
        ("Laptop", at(1, 'L')),
        ("my laptop", at(3, ' ')),
        ("-l", at(1, '-')),
        (".hidden", at(1, '.')),
        ("über", at(1, 'ü')),
        ("a/b", at(2, '/')),
        ("a".repeat(48).as_str(), ParseAliasError::ResemblesId),
    ] {
        assert_eq!(text.parse::<Alias>(), Err(wanted), "{text}");
    }
}

#[test]
fn no_id_and_no_mistyped_id_is_an_alias() {
    let text = id(7).to_string();
    assert_eq!(text.parse::<Alias>(), Err(ParseAliasError::ResemblesId));
    assert_eq!(text.parse(), Ok(PeerArgument::Address(id(7).into())));
    assert_eq!(
        text.to_uppercase().parse(),
        Ok(PeerArgument::Address(id(7).into()))
    );
    let hex = data_encoding::HEXLOWER.encode(id(7).as_bytes());
    assert_eq!(hex.parse(), Ok(PeerArgument::Address(id(7).into())));
    for (typo, wanted) in [
        (
            text[1..].to_owned(),
            ParseDeviceIdError::Length { found: 55 },
        ),
        (
            text[..48].to_owned(),
            ParseDeviceIdError::Length { found: 48 },
        ),
        (format!("{text}a"), ParseDeviceIdError::Length { found: 57 }),
        (
            hex[1..].to_owned(),
            ParseDeviceIdError::Length { found: 63 },
        ),
        (
            format!("1{}", &text[1..]),
            ParseDeviceIdError::Alphabet {
                position: 1,
                character: '1',
            },
        ),
    ] {
        let wanted = ParsePeerArgumentError::Address(ParsePeerAddressError::Id(wanted));
        assert_eq!(typo.parse::<PeerArgument>(), Err(wanted), "{typo}");
        assert!(typo.parse::<Alias>().is_err(), "{typo}");
    }
}

prop_compose! {
    fn any_hint()(ip: IpAddr, port in 1_u16..) -> SocketAddr { SocketAddr::new(ip, port) }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn addresses_round_trip(number: u8, hints in prop::collection::vec(any_hint(), 0..=MAX_HINTS)) {
        let text = PeerAddress { id: id(number), hints }.to_string();
        if let Ok(address) = text.parse::<PeerAddress>() {
            prop_assert_eq!(address.to_string().parse(), Ok(address.clone()));
            prop_assert_eq!(address.to_string().parse(), Ok(PeerArgument::Address(address)));
        }
    }

    #[test]
    fn any_text_parses_or_fails_without_a_panic(text in "\\PC{0,80}|[a-z0-9._@:-]{0,80}") {
        if let Ok(argument) = text.parse::<PeerArgument>() {
            prop_assert_eq!(argument.to_string().parse(), Ok(argument));
        }
    }

    #[test]
    fn an_alias_is_never_an_id(text in "[a-z0-9._-]{1,63}|[a-z2-7]{40,63}") {
        if text.parse::<Alias>().is_ok() {
            prop_assert!(text.parse::<PeerAddress>().is_err());
        }
    }
}
