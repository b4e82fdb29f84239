//! Messages against the RFC's samples, at every length, and there and back; transactions on a
//! clock of their own.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::stun::{
    BindingError, BindingRequest, BindingResponse, ChangeRequest, DecodeError, EncodeError, Event,
    IceRole, IntegrityError, IntegrityKey, MAX_TRANSACTIONS, MAX_UNKNOWN_REPORTED, Message,
    Outgoing, Ownership, StartError, Timing, TransactionId, Transactions, code, is_stun, respond,
    respond_authenticated, verify,
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// The password of the samples.
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// Hexadecimal bytes of a file, without lines that start with `#`.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn samples() -> [Vec<u8>; 4] {
    [
        bytes_of(include_str!("../vectors/rfc5769-request.txt")),
        bytes_of(include_str!("../vectors/rfc5769-ipv4-response.txt")),
        bytes_of(include_str!("../vectors/rfc5769-ipv6-response.txt")),
        bytes_of(include_str!("../vectors/rfc5769-long-term-request.txt")),
    ]
}

fn key(password: &str) -> IntegrityKey {
    IntegrityKey::short_term(password).unwrap()
}

fn id(byte: u8) -> TransactionId {
    TransactionId::from_bytes([byte; 12])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn full_request() -> BindingRequest {
    BindingRequest {
        username: Some("callee:caller".into()),
        priority: Some(0x6e00_01ff),
        role: Some(IceRole::Controlling(0x0102_0304_0506_0708)),
        use_candidate: true,
        change: Some(ChangeRequest::AddressAndPort),
        ..BindingRequest::new(id(7))
    }
}

#[test]
fn the_sample_request_of_rfc_5769_is_read_and_verifies() {
    let [request, ..] = samples();
    let Message::Request(read) = Message::decode(&request).unwrap() else {
        panic!("a request")
    };
    let id = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];
    let expected = BindingRequest {
        username: Some("evtj:h6vY".into()),
        priority: Some(0x6e00_01ff),
        role: Some(IceRole::Controlled(0x932f_f9b1_5126_3b36)),
        ..BindingRequest::new(TransactionId::from_bytes(id))
    };
    assert_eq!(read, expected);
    assert_eq!(verify(&request, &key(PASSWORD)), Ok(()));
    assert_eq!(
        verify(&request, &key("another")),
        Err(IntegrityError::Mismatch)
    );
}

#[test]
fn the_sample_responses_of_rfc_5769_are_read_and_verify() {
    let [_, v4, v6, _] = samples();
    for (sample, mapped) in [
        (v4, "192.0.2.1:32853"),
        (v6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let Message::Response(read) = Message::decode(&sample).unwrap() else {
            panic!("a response")
        };
        assert_eq!(read.mapped, address(mapped));
        assert_eq!(verify(&sample, &key(PASSWORD)), Ok(()));
    }
}

#[test]
fn the_long_term_sample_is_read_without_its_realm_and_nonce() {
    let [.., long_term] = samples();
    let Message::Request(read) = Message::decode(&long_term).unwrap() else {
        panic!("a request")
    };
    assert_eq!(read.username.unwrap(), "マトリックス");
    assert!(read.unknown.is_empty());
}

#[test]
fn no_beginning_of_a_message_is_a_message() {
    let key = key(PASSWORD);
    for sample in samples() {
        assert!(is_stun(&sample));
        for len in 0..sample.len() {
            let cut = &sample[..len];
            assert!(!is_stun(cut), "{len}");
            assert_eq!(Message::decode(cut), Err(DecodeError::Frame));
            assert_eq!(verify(cut, &key), Err(IntegrityError::Malformed));
        }
        // The same with a header that fits the length: some are whole messages again, and those
        // have lost their integrity.
        let verifies = verify(&sample, &key).is_ok();
        for len in (20..sample.len()).step_by(4) {
            let mut cut = sample[..len].to_vec();
            cut[2..4].copy_from_slice(&((len - 20) as u16).to_be_bytes());
            let whole = verifies && len + 8 == sample.len();
            assert_eq!(verify(&cut, &key).is_ok(), whole, "{len}");
        }
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    let bytes = full_request().encode(Some(&key(PASSWORD))).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let fingerprint = at >= bytes.len() - 8;
            let verified = verify(&changed, &key(PASSWORD)).is_ok();
            assert!(!verified || fingerprint, "{at} {bit}");
            if at >= bytes.len() - 4 {
                assert_eq!(Message::decode(&changed), Err(DecodeError::Fingerprint));
            }
        }
    }
}

#[test]
fn bytes_of_messages_stay_the_same() {
    let key = key(PASSWORD);
    let response = BindingResponse {
        other: Some(address("192.0.2.2:3479")),
        origin: Some(address("192.0.2.1:3478")),
        ..BindingResponse::new(id(7), address("[2001:db8::1]:9"))
    };
    let error = BindingError {
        reason: "role conflict".into(),
        ..BindingError::new(id(7), code::ROLE_CONFLICT)
    };
    let expected = bytes_of(include_str!("../vectors/binding-messages.txt"));
    let mut found = BindingRequest::new(id(7)).encode(None).unwrap();
    found.extend(full_request().encode(Some(&key)).unwrap());
    found.extend(response.encode(Some(&key)));
    found.extend(error.encode(Some(&key)).unwrap());
    found.extend(Message::indication(id(7)));
    let shown: Vec<String> = found
        .chunks(16)
        .map(|line| format!("{line:02x?}"))
        .collect();
    assert!(found == expected, "{}", shown.join("\n"));
}

#[test]
fn messages_come_back_as_they_went() {
    let request = full_request();
    let bytes = request.encode(None).unwrap();
    assert_eq!(Message::decode(&bytes), Ok(Message::Request(request)));
    for change in [ChangeRequest::Port, ChangeRequest::Address] {
        let request = BindingRequest {
            change: Some(change),
            ..BindingRequest::new(id(1))
        };
        let bytes = request.encode(Some(&key("p"))).unwrap();
        assert_eq!(Message::decode(&bytes), Ok(Message::Request(request)));
    }
    let error = BindingError {
        reason: "no".into(),
        unknown: vec![3, 0x7fff],
        ..BindingError::new(id(2), code::UNKNOWN_ATTRIBUTE)
    };
    let bytes = error.encode(None).unwrap();
    assert_eq!(Message::decode(&bytes), Ok(Message::Error(error)));
    let bytes = Message::indication(id(3));
    assert_eq!(bytes.len(), 28);
    assert_eq!(Message::decode(&bytes), Ok(Message::Indication(id(3))));
}

#[test]
fn what_cannot_be_sent_is_said() {
    for username in [String::new(), "x".repeat(509), "a\tb".into()] {
        let request = BindingRequest {
            username: Some(username),
            ..BindingRequest::new(id(1))
        };
        assert_eq!(request.encode(None), Err(EncodeError::Username));
    }
    for code in [0, 299, 700, u16::MAX] {
        let error = BindingError::new(id(1), code);
        assert_eq!(error.encode(None), Err(EncodeError::Code(code)));
    }
    let longest = BindingRequest {
        username: Some("x".repeat(508)),
        ..BindingRequest::new(id(1))
    };
    assert!(Message::decode(&longest.encode(None).unwrap()).is_ok());
}

#[test]
fn reasons_of_strangers_are_short_and_printable() {
    let mut error = BindingError::new(id(1), code::SERVER_ERROR);
    error.reason = format!("\u{1b}[2J{}", "é".repeat(200));
    let Ok(Message::Error(read)) = Message::decode(&error.encode(None).unwrap()) else {
        panic!("an error")
    };
    assert_eq!(read.reason.chars().count(), 128);
    assert!(read.reason.starts_with("[2Jé"));
}

#[test]
fn old_servers_are_understood() {
    // MAPPED-ADDRESS, SOURCE-ADDRESS and CHANGED-ADDRESS (RFC 3489 section 11.2).
    let mut bytes = vec![1, 1, 0, 36, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([7; 12]);
    for kind in [1, 4, 5] {
        bytes.extend([0, kind, 0, 8, 0, 1, 0, 9, 192, 0, 2, kind]);
    }
    let expected = BindingResponse::new(id(7), address("192.0.2.1:9"));
    assert_eq!(Message::decode(&bytes), Ok(Message::Response(expected)));
}

#[test]
fn a_server_answers_with_the_address_it_sees() {
    let request = BindingRequest::new(id(9));
    for (source, len) in [("192.0.2.1:5", 40), ("[2001:db8::1]:5", 52)] {
        let answer = respond(&request, address(source));
        assert_eq!(answer.len(), len);
        let expected = BindingResponse::new(id(9), address(source));
        assert_eq!(Message::decode(&answer), Ok(Message::Response(expected)));
    }
    let mapped = respond(&request, address("[::ffff:192.0.2.1]:5"));
    assert_eq!(mapped, respond(&request, address("192.0.2.1:5")));
    let answer = respond_authenticated(&request, address("192.0.2.1:5"), &key(PASSWORD));
    assert_eq!(verify(&answer, &key(PASSWORD)), Ok(()));
}

#[test]
fn a_server_without_another_address_refuses_to_change_it() {
    let mut request = BindingRequest::new(id(9));
    request.change = Some(ChangeRequest::Port);
    let refusal = Message::decode(&respond(&request, address("192.0.2.1:5")));
    let mut expected = BindingError::new(id(9), code::UNKNOWN_ATTRIBUTE);
    expected.unknown = vec![3];
    assert_eq!(refusal, Ok(Message::Error(expected)));
}

#[test]
fn a_refusal_names_a_bounded_number_of_attributes() {
    for (unknown, named) in [
        (MAX_UNKNOWN_REPORTED, MAX_UNKNOWN_REPORTED),
        (MAX_UNKNOWN_REPORTED + 1, MAX_UNKNOWN_REPORTED),
    ] {
        let mut request = BindingRequest::new(id(9));
        request.unknown = (0x7000..).take(unknown).collect();
        let answer = respond(&request, address("192.0.2.1:5"));
        let Ok(Message::Error(refusal)) = Message::decode(&answer) else {
            panic!("a refusal")
        };
        assert_eq!(refusal.unknown.len(), named);
        assert!(answer.len() <= 52);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
        let _ = verify(&bytes, &key(PASSWORD));
        // The same behind a header that fits.
        bytes.truncate(bytes.len() & !3);
        let mut framed = vec![bytes.first().map_or(0, |byte| byte & 1), 1];
        framed.extend((bytes.len() as u16).to_be_bytes());
        framed.extend([0x21, 0x12, 0xa4, 0x42]);
        framed.extend([7; 12]);
        framed.extend(&bytes);
        prop_assert!(is_stun(&framed));
        let _ = Message::decode(&framed);
        let _ = verify(&framed, &key(PASSWORD));
    }

    #[test]
    fn mutations_of_a_message_do_not_panic(at in 0..140_usize, byte: u8) {
        let mut bytes = full_request().encode(Some(&key(PASSWORD))).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Message::decode(&bytes);
        let _ = verify(&bytes, &key(PASSWORD));
    }
}

fn server() -> SocketAddr {
    address("192.0.2.1:3478")
}

fn start(transactions: &mut Transactions, now: Instant, byte: u8) -> BindingRequest {
    let request = BindingRequest::new(id(byte));
    transactions.start(now, server(), &request, None).unwrap();
    request
}

#[test]
fn an_unanswered_request_is_sent_at_the_times_of_rfc_8489() {
    let begin = Instant::now();
    let mut transactions = Transactions::new();
    start(&mut transactions, begin, 1);
    let mut sent = Vec::new();
    let mut now = begin;
    let ended = loop {
        while let Some(transmit) = transactions.poll_transmit() {
            assert_eq!(transmit.destination, server());
            sent.push((now - begin).as_millis());
        }
        if let Some(event) = transactions.poll_event() {
            break event;
        }
        now = transactions.poll_timeout().unwrap();
        transactions.handle_timeout(now);
    };
    assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(ended, Event::TimedOut { id: id(1) });
    assert_eq!((now - begin).as_millis(), 39_500);
    assert_eq!(transactions.poll_timeout(), None);
    assert!(transactions.is_empty());
}

#[test]
fn an_answer_ends_a_transaction_once() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = start(&mut transactions, now, 1);
    let answer = respond(&request, address("203.0.113.5:40000"));
    let later = now + Duration::from_millis(30);
    let ours = transactions.handle_datagram(later, server(), &answer);
    assert_eq!(ours, Ownership::Ours);
    let expected = Event::Response {
        id: id(1),
        response: BindingResponse::new(id(1), address("203.0.113.5:40000")),
        round_trip: Some(Duration::from_millis(30)),
    };
    assert_eq!(transactions.poll_event(), Some(expected));
    let again = transactions.handle_datagram(later, server(), &answer);
    assert_eq!(again, Ownership::NotOurs);
    assert_eq!(transactions.poll_event(), None);
    assert_eq!(transactions.poll_timeout(), None);
}

#[test]
fn a_repeated_request_tells_no_round_trip() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = start(&mut transactions, now, 1);
    transactions.handle_timeout(now + Duration::from_millis(500));
    let answer = respond(&request, server());
    transactions.handle_datagram(now + Duration::from_secs(1), server(), &answer);
    let Some(Event::Response { round_trip, .. }) = transactions.poll_event() else {
        panic!("an answer")
    };
    assert_eq!(round_trip, None);
}

#[test]
fn answers_count_from_the_asked_address_and_for_waiting_ids_only() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = start(&mut transactions, now, 1);
    let answer = respond(&request, server());
    let strange_port = address("192.0.2.1:3479");
    let strange_id = respond(&BindingRequest::new(id(2)), server());
    let echoed = request.encode(None).unwrap();
    for (from, datagram) in [
        (strange_port, &answer),
        (server(), &strange_id),
        (server(), &echoed),
        (server(), &answer[..19].to_vec()),
    ] {
        let owner = transactions.handle_datagram(now, from, datagram);
        assert_eq!(owner, Ownership::NotOurs);
    }
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions.poll_event(), None);
}

#[test]
fn an_answer_from_the_other_address_counts_when_it_was_asked_for() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = BindingRequest {
        change: Some(ChangeRequest::AddressAndPort),
        ..BindingRequest::new(id(1))
    };
    let other = address("192.0.2.2:3479");
    let outgoing = Outgoing {
        to: server(),
        answers_from: other,
        key: None,
        timing: Timing::default(),
    };
    transactions.start_with(now, outgoing, &request).unwrap();
    let answer = BindingResponse::new(id(1), server()).encode(None);
    for (from, owner) in [(server(), Ownership::NotOurs), (other, Ownership::Ours)] {
        assert_eq!(transactions.handle_datagram(now, from, &answer), owner);
    }
}

#[test]
fn forged_answers_leave_an_authenticated_request_waiting() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = BindingRequest::new(id(1));
    transactions
        .start(now, server(), &request, Some(key(PASSWORD)))
        .unwrap();
    let sent = transactions.poll_transmit().unwrap();
    assert_eq!(verify(&sent.payload, &key(PASSWORD)), Ok(()));
    let forged = respond_authenticated(&request, server(), &key("guess"));
    for datagram in [respond(&request, server()), forged] {
        let owner = transactions.handle_datagram(now, server(), &datagram);
        assert_eq!(owner, Ownership::NotOurs);
    }
    let answer = respond_authenticated(&request, server(), &key(PASSWORD));
    let owner = transactions.handle_datagram(now, server(), &answer);
    assert_eq!(owner, Ownership::Ours);
}

#[test]
fn transactions_are_taken_up_to_the_bound() {
    let now = Instant::now();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut transactions = Transactions::new();
    let mut start = |transactions: &mut Transactions| {
        let request = BindingRequest::new(TransactionId::random(&mut rng));
        let started = transactions.start(now, server(), &request, None);
        (request, started)
    };
    let mut first = None;
    for _ in 0..MAX_TRANSACTIONS {
        let (request, started) = start(&mut transactions);
        assert_eq!(started, Ok(()));
        first.get_or_insert(request);
    }
    assert_eq!(start(&mut transactions).1, Err(StartError::TooMany));
    transactions.cancel(first.unwrap().transaction_id);
    assert_eq!(start(&mut transactions).1, Ok(()));
    while transactions.poll_transmit().is_some() {}
    transactions.handle_timeout(now + Duration::from_secs(100));
    let resent = std::iter::from_fn(|| transactions.poll_transmit()).count();
    assert_eq!(resent, MAX_TRANSACTIONS, "a late clock makes no burst");
}

#[test]
fn an_id_is_used_once() {
    let now = Instant::now();
    let mut transactions = Transactions::new();
    let request = start(&mut transactions, now, 1);
    let again = transactions.start(now, server(), &request, None);
    assert_eq!(again, Err(StartError::Duplicate));
}
