//! Targets and patterns: text forms, matching tables, bounds.

use std::path::PathBuf;

use dhtnet_identity::target::{
    MAX_HOST_LEN, MAX_TARGET_LEN, MAX_UNIX_PATH_LEN, ParseTargetError, Target, TargetPattern,
};
use proptest::prelude::*;

use crate::cases;

const MATCHES: &str = include_str!("../vectors/target_matches.txt");

#[test]
fn targets_have_one_spelling() {
    for (text, written) in [
        ("127.0.0.1:22", "127.0.0.1:22"),
        ("Example.COM:443", "example.com:443"),
        ("host_1:65535", "host_1:65535"),
        ("db.internal.:5432", "db.internal.:5432"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("[2001:DB8::A]:80", "[2001:db8::a]:80"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ("[::127.0.0.1]:80", "[::7f00:1]:80"),
        ("udp:192.0.2.53:53", "udp:192.0.2.53:53"),
        ("udp:[::1]:53", "udp:[::1]:53"),
        ("udp:name:53", "udp:name:53"),
        ("unix:/run/App.sock", "unix:/run/App.sock"),
        ("unix:80", ""),
        ("udp:53", ""),
    ] {
        match text.parse::<Target>() {
            Ok(target) => {
                assert_eq!(target.to_string(), written, "{text}");
                assert_eq!(written.parse(), Ok(target));
            }
            Err(error) => assert_eq!(written, "", "{text}: {error}"),
        }
    }
    let tcp = Target::Tcp {
        host: "::1".into(),
        port: 80,
    };
    assert_eq!("[::1]:80".parse(), Ok(tcp));
    assert_eq!("unix:/a".parse(), Ok(Target::Unix(PathBuf::from("/a"))));
}

#[test]
fn patterns_have_one_spelling() {
    for (text, written) in [
        ("HOST:*", "host:*"),
        ("[::FFFF:10.0.0.0]:*", "10.0.0.0:*"),
        ("10.0.0.0/8:22", "10.0.0.0/8:22"),
        ("0.0.0.0/0:*", "0.0.0.0/0:*"),
        ("192.0.2.1/32:22", "192.0.2.1/32:22"),
        ("[FD00::/8]:*", "[fd00::/8]:*"),
        ("[::/0]:80", "[::/0]:80"),
        ("[::1/128]:80", "[::1/128]:80"),
        ("[::ffff:10.0.0.0/104]:22", "10.0.0.0/8:22"),
        ("udp:10.0.0.0/8:53", "udp:10.0.0.0/8:53"),
        ("udp:[::1]:*", "udp:[::1]:*"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ] {
        let pattern: TargetPattern = text.parse().unwrap();
        assert_eq!(pattern.to_string(), written, "{text}");
        assert_eq!(written.parse(), Ok(pattern));
    }
}

#[test]
fn patterns_match_as_the_table_says() {
    let mut rows = 0;
    for line in MATCHES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let [pattern, answer, target] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("bad row {line}");
        };
        let parsed: TargetPattern = pattern.parse().unwrap();
        let matches = parsed.matches(&target.parse().unwrap());
        assert_eq!(matches, answer == "matches", "{line}");
        rows += 1;
    }
    assert!(rows > 50, "the table was read");
}

#[test]
fn a_target_put_together_by_hand_is_matched_like_a_parsed_one() {
    let pattern: TargetPattern = "127.0.0.1:22".parse().unwrap();
    for host in ["127.0.0.1", "::ffff:127.0.0.1"] {
        assert!(
            pattern.matches(&Target::Tcp {
                host: host.into(),
                port: 22
            }),
            "{host}"
        );
    }
    let pattern: TargetPattern = "example.com:22".parse().unwrap();
    assert!(pattern.matches(&Target::Tcp {
        host: "EXAMPLE.com".into(),
        port: 22
    }));
    let mapped: TargetPattern = Target::Tcp {
        host: "::ffff:10.0.0.1".into(),
        port: 1,
    }
    .into();
    assert!(mapped.matches(&"10.0.0.1:1".parse().unwrap()));
}

#[test]
fn hosts_that_resolvers_read_as_addresses_are_refused() {
    for host in [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "0x",
        "a.7",
    ] {
        let error = format!("{host}:22").parse::<Target>().unwrap_err();
        assert_eq!(error, ParseTargetError::Ipv4 { found: host.into() });
        assert!(format!("{host}:22").parse::<TargetPattern>().is_err());
    }
    for host in ["7.example", "0x7f.example", "1a", "0xg"] {
        assert!(format!("{host}:22").parse::<Target>().is_ok(), "{host}");
    }
}

#[test]
fn hosts_and_paths_may_be_as_long_as_their_bound_and_no_longer() {
    let label = "a".repeat(63);
    assert!(format!("{label}:1").parse::<Target>().is_ok());
    assert_eq!(
        format!("{label}a:1").parse::<Target>(),
        Err(ParseTargetError::HostLength)
    );

    let host = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
    assert_eq!(host.len(), MAX_HOST_LEN);
    let longest = format!("udp:{host}:65535");
    assert_eq!(longest.len(), MAX_TARGET_LEN);
    assert!(longest.parse::<Target>().is_ok());
    assert_eq!(
        format!("{host}.:1").parse::<Target>(),
        Err(ParseTargetError::HostLength)
    );
    assert_eq!(
        format!("udp:{host}a:65535").parse::<Target>(),
        Err(ParseTargetError::Length)
    );

    let path = format!("unix:/{}", "a".repeat(MAX_UNIX_PATH_LEN - 1));
    assert!(path.parse::<Target>().is_ok());
    let wanted = ParseTargetError::PathLength {
        found: MAX_UNIX_PATH_LEN + 1,
    };
    assert_eq!(format!("{path}a").parse::<Target>(), Err(wanted));
}

#[test]
fn a_scheme_in_capitals_is_the_scheme_and_no_host() {
    assert_eq!(
        "UDP:[::1]:53".parse::<Target>().unwrap().to_string(),
        "udp:[::1]:53"
    );
    assert_eq!(
        "Unix:/run/a".parse::<Target>().unwrap().to_string(),
        "unix:/run/a"
    );
    assert!("unIx:6".parse::<Target>().is_err());
    assert!("UDP:53".parse::<Target>().is_err());
}

#[test]
fn a_wildcard_is_a_pattern_and_no_target() {
    for text in [
        "host:*",
        "10.0.0.0/8:22",
        "[fd00::/8]:*",
        "udp:[fd00::/8]:53",
    ] {
        assert_eq!(
            text.parse::<Target>(),
            Err(ParseTargetError::Pattern),
            "{text}"
        );
    }
    for text in ["*:22", "*:*", "*.example.com:22"] {
        assert!(text.parse::<Target>().is_err(), "{text}");
        assert!(text.parse::<TargetPattern>().is_err(), "{text}");
    }
}

#[test]
fn a_text_cut_at_any_length_parses_or_fails_without_a_panic() {
    for text in [
        "udp:[2001:db8::7]:4433",
        "[fd00::/8]:*",
        "unix:/run/app.sock",
        "10.0.0.0/8:22",
    ] {
        for len in 0..text.len() {
            if let Ok(target) = text[..len].parse::<Target>() {
                assert_eq!(target.to_string().parse(), Ok(target));
            }
            if let Ok(pattern) = text[..len].parse::<TargetPattern>() {
                assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
        }
    }
}

/// Texts that often parse.
const TARGET_LIKE: &str = "(udp:|unix:)?(\
     [A-Za-z0-9_.-]{1,12}|[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(/[0-9]{1,2})?|\
     \\[[0-9a-f:]{2,12}(/[0-9]{1,3})?\\]|\
     \\[::ffff:[0-9]{1,3}\\.0\\.0\\.0(/[0-9]{1,3})?\\]|(/[a-z.]{1,4}){1,3}\
     )(:[0-9]{1,5}|:\\*)?";

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn what_parses_is_written_and_parsed_alike(text in TARGET_LIKE) {
        if let Ok(target) = text.parse::<Target>() {
            let written = target.to_string();
            prop_assert_eq!(written.parse::<Target>(), Ok(target.clone()));
            let exact: TargetPattern = written.parse().unwrap();
            prop_assert!(exact.matches(&target));
            prop_assert_eq!(exact, TargetPattern::from(target));
        }
        if let Ok(pattern) = text.parse::<TargetPattern>() {
            let written = pattern.to_string();
            prop_assert_eq!(written.parse::<TargetPattern>(), Ok(pattern));
        }
    }

    #[test]
    fn any_text_parses_or_fails_without_a_panic(text in "\\PC{0,40}") {
        let target = text.parse::<Target>();
        let pattern = text.parse::<TargetPattern>();
        prop_assert!(target.is_err() || pattern.is_ok(), "every target is a pattern");
    }

    #[test]
    fn a_network_matches_the_addresses_that_share_its_prefix(
        bits: u32, other: u32, len in 0_u8..=32,
    ) {
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        let network = std::net::Ipv4Addr::from(bits & mask);
        let pattern: TargetPattern = format!("{network}/{len}:22").parse().unwrap();
        for address in [bits, other] {
            let inside = address & mask == bits & mask;
            let literal = std::net::Ipv4Addr::from(address);
            let target: Target = format!("{literal}:22").parse().unwrap();
            prop_assert_eq!(pattern.matches(&target), inside);
            let mapped: Target = format!("[::ffff:{literal}]:22").parse().unwrap();
            prop_assert_eq!(pattern.matches(&mapped), inside);
        }
    }
}
