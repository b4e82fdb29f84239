//! Lists as they are published, and as they must not be.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use proptest::prelude::*;

use super::*;

fn blocks(list: &Blocklist, address: &str) -> bool {
    list.contains(address.parse().unwrap())
}

fn problem(line: &str) -> BlocklistProblem {
    Blocklist::parse(line.as_bytes()).unwrap_err().problem
}

#[test]
fn a_list_in_every_form_is_read() {
    let text = b"\xef\xbb\xbf# a comment\r\n\r\n\
        Some company:1.2.3.4-1.2.3.9\r\n\
        na:me - caf\xe9:5.6.7.0-5.6.7.255\n\
        padded:010.000.000.001-010.000.000.002\n\
        9.9.9.9\n\
        single:8.8.8.8\n\
        192.0.2.0/24\n\
        v6:2001:db8:1::-2001:db8:1::ff\n\
        2001:db8:2::1-2001:db8:2::2\n\
        2001:db8:3::/48";
    let list = Blocklist::parse(text).unwrap();
    for blocked in [
        "1.2.3.4",
        "1.2.3.9",
        "5.6.7.8",
        "10.0.0.2",
        "9.9.9.9",
        "8.8.8.8",
        "192.0.2.255",
        "2001:db8:1::80",
        "2001:db8:2::2",
        "2001:db8:3:ffff::1",
        "::ffff:1.2.3.5",
    ] {
        assert!(blocks(&list, blocked), "{blocked}");
    }
    for free in [
        "1.2.3.3",
        "1.2.3.10",
        "10.0.0.3",
        "9.9.9.8",
        "192.0.3.0",
        "2001:db8:1::100",
        "2001:db8:2::",
        "2001:db8:4::",
        "::1.2.3.5",
    ] {
        assert!(!blocks(&list, free), "{free}");
    }
}

#[test]
fn an_error_names_the_line_and_what_to_change() {
    let error = Blocklist::parse(b"# one\n1.2.3.4-1.2.3.9\nnonsense\n").unwrap_err();
    assert_eq!(error.line, 3);
    assert_eq!(
        error.to_string(),
        "line 3: no address range; write `name:first-last`, `first-last`, `address/prefix` or \
         `address`"
    );
    assert_eq!(problem("a:1.2.3.9-1.2.3.4"), BlocklistProblem::Reversed);
    assert_eq!(
        problem("a:1.2.3.4-2001:db8::1"),
        BlocklistProblem::MixedFamilies
    );
    assert_eq!(problem("1.2.3.0/33"), BlocklistProblem::BadPrefix);
    assert_eq!(problem("2001:db8::/129"), BlocklistProblem::BadPrefix);
    assert_eq!(problem("1.2.3.0/"), BlocklistProblem::BadPrefix);
    assert_eq!(problem("1.2.3.4-"), BlocklistProblem::NoRange);
    assert_eq!(problem("-1.2.3.4"), BlocklistProblem::NoRange);
    assert_eq!(problem("1.2.3.256"), BlocklistProblem::NoRange);
    assert_eq!(problem("1.2.3.4.5"), BlocklistProblem::NoRange);
}

#[test]
fn of_two_ways_to_read_a_name_the_one_that_blocks_least_is_taken() {
    // `a:2001:db8::1` is an address, too.
    let list = Blocklist::parse(b"a:2001:db8::1-2001:db8::2").unwrap();
    assert!(blocks(&list, "2001:db8::2"));
    assert!(!blocks(&list, "1000::1"));
}

#[test]
fn ranges_that_touch_or_overlap_are_joined() {
    let list = Blocklist::parse(b"1.0.0.0-1.0.0.9\n1.0.0.10-1.0.0.20\n1.0.0.5\n1.0.0.22").unwrap();
    assert_eq!(list.len(), 2);
    assert!(!blocks(&list, "1.0.0.21"));
    let all = Blocklist::parse(b"0.0.0.0/0\n::/0\n255.255.255.255\n1.1.1.1").unwrap();
    assert_eq!(all.len(), 2);
    assert!(blocks(&all, "255.255.255.255"));
    assert!(blocks(&all, "ffff::1"));
}

#[test]
fn the_empty_list_blocks_nothing() {
    let list = Blocklist::parse(b"").unwrap();
    assert!(list.is_empty());
    assert_eq!(list, Blocklist::default());
    assert!(!blocks(&list, "1.1.1.1"));
}

proptest! {
    #[test]
    fn merged_ranges_block_what_any_line_blocks(
        ranges in proptest::collection::vec((0u32..500, 0u32..20), 0..30)
    ) {
        let text: String = ranges
            .iter()
            .map(|&(first, len)| {
                let (first, last) = (Ipv4Addr::from(first), Ipv4Addr::from(first + len));
                format!("x:{first}-{last}\n")
            })
            .collect();
        let list = Blocklist::parse(text.as_bytes()).unwrap();
        for address in 0..600u32 {
            let expected = ranges.iter().any(|&(first, len)| (first..=first + len).contains(&address));
            prop_assert_eq!(list.contains(Ipv4Addr::from(address).into()), expected);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text: Vec<u8>) {
        let read = Blocklist::parse(&text);
        prop_assert!(read.is_ok() || read.is_err_and(|error| error.line >= 1));
    }
}
