//! What real nodes send and is understood, and what a malformed query is told.

use dhtnet_dht_core::krpc::{
    Body, DecodeError, ErrorReply, MAX_TRANSACTION_LEN, Message, Method, NetworkTag, Query,
    Response,
};
use dhtnet_dht_core::{Family, Id, bencode};

const A: Id = Id::from_bytes(*b"abcdefghij0123456789");

fn query(packet: &str) -> Query<'_> {
    match Message::decode(packet.as_bytes()) {
        Ok(Message {
            body: Body::Query(query),
            ..
        }) => query,
        other => panic!("{packet}: {other:?}"),
    }
}

/// The answer to transaction `aa` with these fields after the id.
fn answer(fields: &str) -> Vec<u8> {
    format!("d1:rd2:id20:abcdefghij0123456789{fields}e1:t2:aa1:y1:re").into_bytes()
}

fn response(packet: &[u8]) -> Response<'_> {
    match Message::decode(packet) {
        Ok(Message {
            body: Body::Response(response),
            ..
        }) => response,
        other => panic!("{}: {other:?}", packet.escape_ascii()),
    }
}

/// The query of `method` with these arguments after the id.
fn asking(method: &str, arguments: &str) -> String {
    let len = method.len();
    format!("d1:ad2:id20:abcdefghij0123456789{arguments}e1:q{len}:{method}1:t2:aa1:y1:qe")
}

const TARGET: &str = "6:target20:mnopqrstuvwxyz123456";
const INFO_HASH: &str = "9:info_hash20:mnopqrstuvwxyz123456";
const TOKEN: &str = "5:token1:x";
const LISTENER: &str = "3:lid8:\0\0\0\0\0\0\0\x01";

/// Each packet is a query whose fault is named.
fn assert_faults(cases: &[(&'static str, String)]) {
    for (key, packet) in cases {
        let refused = DecodeError::Query {
            transaction: b"aa",
            network: None,
            key,
        };
        assert_eq!(Message::decode(packet.as_bytes()), Err(refused), "{packet}");
    }
}

#[test]
fn a_query_without_its_frame_names_what_lacks_and_keeps_its_transaction() {
    let cases = [
        ("a", "d1:q4:ping1:t2:aa1:y1:qe"),
        ("a", "d1:ale1:q4:ping1:t2:aa1:y1:qe"),
        ("q", "d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe"),
        ("q", "d1:ad2:id20:abcdefghij0123456789e1:qi1e1:t2:aa1:y1:qe"),
        ("a.id", "d1:ade1:q4:ping1:t2:aa1:y1:qe"),
        (
            "a.id",
            "d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe",
        ),
        (
            "a.id",
            "d1:ad2:id21:abcdefghij01234567890e1:q4:ping1:t2:aa1:y1:qe",
        ),
        ("a.id", "d1:ad2:idi5ee1:q4:ping1:t2:aa1:y1:qe"),
        ("a.id", "d1:ade1:q4:vote1:t2:aa1:y1:qe"),
    ];
    assert_faults(&cases.map(|(key, packet)| (key, packet.to_owned())));
}

#[test]
fn a_query_that_lacks_an_argument_names_it() {
    assert_faults(&[
        ("a.target", asking("find_node", "")),
        ("a.target", asking("find_node", "6:target1:x")),
        ("a.target", asking("sample_infohashes", INFO_HASH)),
        ("a.target", asking("get", "")),
        ("a.info_hash", asking("get_peers", TARGET)),
    ]);
    let announce = |arguments: &str| asking("announce_peer", arguments);
    assert_faults(&[
        ("a.port", announce(&format!("{INFO_HASH}{TOKEN}"))),
        ("a.port", announce(&format!("{INFO_HASH}4:porti0e{TOKEN}"))),
        ("a.port", announce(&format!("{INFO_HASH}4:porti-1e{TOKEN}"))),
        (
            "a.port",
            announce(&format!("{INFO_HASH}4:porti65536e{TOKEN}")),
        ),
        (
            "a.port",
            announce(&format!("12:implied_porti0e{INFO_HASH}{TOKEN}")),
        ),
        ("a.token", announce(&format!("{INFO_HASH}4:porti1e"))),
        ("a.info_hash", announce(&format!("4:porti1e{TOKEN}"))),
    ]);
}

#[test]
fn a_put_that_lacks_an_argument_names_it() {
    let mutable = format!("1:k32:{}", "k".repeat(32));
    let signed = format!("{mutable}3:sig64:{}", "s".repeat(64));
    let put = |arguments: &str| asking("put", &format!("{arguments}{TOKEN}1:v0:"));
    assert_faults(&[
        ("a.token", asking("put", "1:v0:")),
        ("a.v", asking("put", TOKEN)),
        ("a.k", put("1:k1:x")),
        ("a.target", put(TARGET)),
        ("a.target", put("6:target1:x")),
        ("a.sig", put(&format!("{mutable}3:seqi1e"))),
        ("a.sig", put(&format!("{mutable}3:seqi1e3:sig1:x"))),
        ("a.seq", put(&signed)),
        ("a.seq", put(&format!("{signed}3:seqi9223372036854775808e"))),
    ]);
}

#[test]
fn a_query_of_the_value_layer_with_an_argument_of_the_wrong_kind_names_it() {
    assert_faults(&[
        ("a.w", asking("dn_get", &format!("{TARGET}1:wle"))),
        ("a.after", asking("dn_get", &format!("5:afteri1e{TARGET}"))),
        ("a.rec", asking("dn_put", &format!("{TARGET}{TOKEN}"))),
        (
            "a.rec",
            asking("dn_put", &format!("3:recl1:xe{TARGET}{TOKEN}")),
        ),
        ("a.token", asking("dn_put", &format!("3:rec1:x{TARGET}"))),
        ("a.lid", asking("dn_listen", &format!("{TARGET}{TOKEN}"))),
        (
            "a.lid",
            asking("dn_listen", &format!("3:lid7:1234567{TARGET}{TOKEN}")),
        ),
        (
            "a.lid",
            asking("dn_cancel", &format!("3:lidi1e{TARGET}{TOKEN}")),
        ),
        (
            "a.rec",
            asking("dn_push", &format!("{LISTENER}3:rec1:x{TARGET}")),
        ),
        (
            "a.rec",
            asking("dn_push", &format!("{LISTENER}3:recl1:xi1ee{TARGET}")),
        ),
        (
            "a.gone",
            asking("dn_push", &format!("4:goneli1ee{LISTENER}{TARGET}")),
        ),
    ]);
}

#[test]
fn a_malformed_query_keeps_its_network() {
    let packet = b"d1:ade3:net8:NETWORK!1:q4:ping1:t2:aa1:y1:qe";
    let refused = DecodeError::Query {
        transaction: b"aa",
        network: Some(NetworkTag(*b"NETWORK!")),
        key: "a.id",
    };
    assert_eq!(Message::decode(packet), Err(refused));
}

#[test]
fn an_answer_that_lacks_something_is_told_from_a_query() {
    for (key, packet) in [
        ("r", "d1:t2:aa1:y1:re"),
        ("r", "d1:r2:xx1:t2:aa1:y1:re"),
        ("r.id", "d1:rde1:t2:aa1:y1:re"),
        ("r.id", "d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re"),
        ("e", "d1:t2:aa1:y1:ee"),
        ("e", "d1:e3:bad1:t2:aa1:y1:ee"),
        ("e", "d1:ele1:t2:aa1:y1:ee"),
        ("e", "d1:el3:bade1:t2:aa1:y1:ee"),
    ] {
        let refused = DecodeError::Answer {
            transaction: b"aa",
            network: None,
            key,
        };
        assert_eq!(Message::decode(packet.as_bytes()), Err(refused), "{packet}");
    }
}

#[test]
fn without_a_transaction_or_a_kind_there_is_nothing_to_answer() {
    let long = "t".repeat(MAX_TRANSACTION_LEN + 1);
    let too_long = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t33:{long}1:y1:qe");
    for (key, packet) in [
        ("t", "de"),
        ("t", "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe"),
        (
            "t",
            "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:ti1e1:y1:qe",
        ),
        ("t", too_long.as_str()),
        ("y", "d1:t2:aae"),
        ("y", "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aae"),
        ("y", "d1:t2:aa1:y1:xe"),
        ("y", "d1:t2:aa1:y2:qqe"),
        ("y", "d1:t2:aa1:yi1ee"),
    ] {
        let refused = DecodeError::Envelope { key };
        assert_eq!(Message::decode(packet.as_bytes()), Err(refused), "{packet}");
    }
    let longest = too_long.replace("t33:t", "t32:");
    assert_eq!(
        Message::decode(longest.as_bytes())
            .unwrap()
            .transaction
            .len(),
        MAX_TRANSACTION_LEN
    );
}

#[test]
fn what_is_no_dictionary_is_no_message() {
    for (error, packet) in [
        (bencode::Error::Truncated, ""),
        (bencode::Error::WrongKind, "le"),
        (bencode::Error::WrongKind, "i1e"),
        (bencode::Error::WrongKind, "0:"),
        (bencode::Error::Unexpected(b'x'), "x"),
        (bencode::Error::Unexpected(0), "\0\x01\0\0"),
        (bencode::Error::WrongKind, "di1e0:e"),
        (bencode::Error::Unexpected(b'e'), "d1:te"),
    ] {
        let refused = DecodeError::Bencode(error);
        assert_eq!(Message::decode(packet.as_bytes()), Err(refused), "{packet}");
    }
}

#[test]
fn keys_that_are_unknown_unsorted_or_twice_change_nothing() {
    for packet in [
        "d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee",
        "d1:ad2:id20:abcdefghij01234567893:newld1:xi1eee4:seedi1ee1:q4:ping1:t2:aa1:y1:q1:zdee",
        "d1:ad2:id20:abcdefghij01234567892:id20:mnopqrstuvwxyz123456e1:q4:ping1:q3:get1:t2:aa1:y1:qe",
        "d1:ad2:id20:abcdefghij0123456789e1:ade1:q4:ping1:t2:aa1:vi1e1:y1:q3:netd1:a0:e2:dn1:1e",
        "d1:ad2:id20:abcdefghij0123456789e3:net7:NETWORK1:q4:ping1:t2:aa1:y1:q2:dni-1ee",
        "d2:ip6:abcdef1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    ] {
        let ping = Query {
            sender: A,
            want: dhtnet_dht_core::krpc::Want::default(),
            method: Method::Ping,
            padding: 0,
        };
        let message = Message::decode(packet.as_bytes()).unwrap();
        assert_eq!(message.body, Body::Query(ping), "{packet}");
        assert_eq!(message.transaction, b"aa");
        assert_eq!(
            (message.version, message.network, message.extension),
            (None, None, None)
        );
        assert!(message.external.is_none() && !message.read_only);
    }
}

#[test]
fn flags_are_any_number_but_zero() {
    for (flag, is_set) in [
        ("i1e", true),
        ("i-5e", true),
        ("i0e", false),
        ("1:1", false),
    ] {
        let ping = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:ro{flag}1:t2:aa1:y1:qe");
        let message = Message::decode(ping.as_bytes()).unwrap();
        assert_eq!(message.read_only, is_set, "{flag}");
        let arguments = format!("12:implied_port{flag}{INFO_HASH}4:porti7e{TOKEN}");
        let announce = asking("announce_peer", &arguments);
        let expected = Method::AnnouncePeer {
            info_hash: Id::from_bytes(*b"mnopqrstuvwxyz123456"),
            port: (!is_set).then_some(7),
            fallback_port: if is_set { 7 } else { 0 },
            token: b"x",
        };
        assert_eq!(query(&announce).method, expected, "{flag}");
    }
}

#[test]
fn an_implied_port_needs_no_other() {
    for port in ["", "4:porti0e", "4:porti70000e", "4:porti-1e", "4:port2:no"] {
        let arguments = format!("12:implied_porti2e{INFO_HASH}{port}{TOKEN}");
        let announce = asking("announce_peer", &arguments);
        let Method::AnnouncePeer {
            port: None,
            fallback_port: 0,
            ..
        } = query(&announce).method
        else {
            panic!("{announce}");
        };
    }
}

#[test]
fn wants_that_are_unknown_are_passed_over() {
    for (want, v4, v6) in [
        ("l2:n42:n6e", true, true),
        ("l2:n82:n6i4ele2:n6e", false, true),
        ("le", false, false),
        ("2:n4", false, false),
        ("d2:n40:e", false, false),
    ] {
        let packet = asking("ping", &format!("4:want{want}"));
        let wanted = query(&packet).want;
        assert_eq!((wanted.v4, wanted.v6), (v4, v6), "{want}");
    }
}

#[test]
fn fields_of_an_answer_that_make_no_sense_count_as_absent() {
    let bare = answer("");
    let bare = response(&bare);
    for fields in [
        "5:nodes25:aaaaaaaaaaaaaaaaaaaaaaaaa",
        "5:nodesle",
        "6:nodes626:aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "7:samples19:aaaaaaaaaaaaaaaaaaa",
        "8:intervali-1e",
        "8:interval1:5",
        "3:numi-1e",
        "3:ttli4294967296e",
        "3:seq1:1",
        "3:seqi9223372036854775808e",
        "5:tokeni1e",
        "6:values6:axje.u",
        "6:valuesl6:axje.ui1ee",
        "3:rec1:x",
        "3:recllee",
        "4:morei1e",
        "1:k32:kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        "4:what4:ever",
    ] {
        let packet = answer(fields);
        assert_eq!(response(&packet), bare, "{fields}");
    }
}

#[test]
fn an_interval_is_at_most_six_hours() {
    let packet = answer("8:intervali4000000000e");
    assert_eq!(response(&packet).interval, Some(21_600));
}

#[test]
fn peers_of_a_senseless_length_are_left_out() {
    let packet = answer("6:valuesl6:axje.u5:short0:6:idhtnm18:aaaaaaaaaaaaaaaaaae");
    let peers = response(&packet).peers.unwrap();
    assert_eq!(peers.strings().count(), 5);
    assert_eq!(peers.iter(Family::V4).count(), 2);
    assert_eq!(peers.iter(Family::V6).count(), 1);
}

#[test]
fn an_item_whose_signature_is_malformed_comes_without_it() {
    let key = "k".repeat(32);
    for signature in ["", "3:sig1:x", "3:sigi1e"] {
        let packet = answer(&format!("1:k32:{key}{signature}1:vi1e"));
        let item = response(&packet).item.unwrap();
        assert_eq!((item.value, item.signed), (&b"i1e"[..], None));
    }
}

#[test]
fn a_value_is_passed_on_as_it_came() {
    for value in ["i1e", "0:", "ld1:b0:1:a0:eli-5eee", "d1:b0:1:a0:e"] {
        let packet = asking("put", &format!("{TOKEN}1:v{value}"));
        let Method::Put(put) = query(&packet).method else {
            panic!("no put");
        };
        assert_eq!(put.value, value.as_bytes());
        assert!(put.mutable.is_none());
    }
}

#[test]
fn an_error_may_lack_its_text_or_say_more() {
    for (list, code, text) in [
        ("li201ee", 201, ""),
        ("li201e4:oopse", 201, "oops"),
        ("li201e4:oopsi5e3:youlee", 201, "oops"),
        ("l4:oopsi201ee", 201, "oops"),
        ("li201elee", 201, ""),
    ] {
        let packet = format!("d1:e{list}1:t2:aa1:y1:ee");
        let expected = Body::Error(ErrorReply {
            code,
            text: text.as_bytes(),
        });
        let message = Message::decode(packet.as_bytes()).unwrap();
        assert_eq!(message.body, expected, "{packet}");
    }
}

#[test]
fn an_address_of_another_length_is_passed_over() {
    for (ip, known) in [
        ("6:abcdef", true),
        ("18:abcdefghijklmnopqr", true),
        ("4:abcd", false),
        ("16:abcdefghijklmnop", false),
        ("i1e", false),
    ] {
        let packet = format!("d2:ip{ip}1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re");
        let message = Message::decode(packet.as_bytes()).unwrap();
        assert_eq!(message.external.is_some(), known, "{ip}");
    }
}

#[test]
fn a_push_may_carry_one_list_only() {
    let packet = asking("dn_push", &format!("{LISTENER}{TARGET}"));
    let Method::ValuePush { records, gone, .. } = query(&packet).method else {
        panic!("no push");
    };
    assert_eq!((records.iter().count(), gone.iter().count()), (0, 0));
}
