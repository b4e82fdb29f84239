//! What a question is answered with, from bytes to bytes.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{DOMAIN, Names};

/// How long an answer may be kept, seconds: peers come and go.
const TTL: u32 = 30;

/// Largest answer over UDP to who does not say that it takes more, bytes (RFC 1035, section 4.2.1).
pub(super) const PLAIN_UDP: usize = 512;

/// What to do with a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Hand the question on to these.
    Forward(Vec<IpAddr>),
    /// Say nothing: it is no question.
    Silence,
}

/// The answer to `bytes`, over UDP or over TCP (`limit`: the most that may be sent back to who does
/// not ask for more).
pub(super) fn answer(names: &Names, bytes: &[u8], limit: usize) -> Answer {
    let Ok(question) = Message::from_vec(bytes) else {
        return Answer::Silence;
    };
    if question.metadata.message_type != MessageType::Query {
        return Answer::Silence;
    }
    let [query] = question.queries.as_slice() else {
        return reply(&question, ResponseCode::FormErr, Vec::new(), limit);
    };
    if question.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
        return reply(&question, ResponseCode::NotImp, Vec::new(), limit);
    }
    let asked = query.name().to_lowercase().to_ascii();
    let asked = asked.trim_end_matches('.');
    if let Some(address) = reverse(query)
        && let Some(name) = names.by_address.get(&address)
    {
        let records = match query.query_type() {
            RecordType::PTR | RecordType::ANY => domain_name(name)
                .into_iter()
                .map(|name| RData::PTR(PTR(name)))
                .collect(),
            _ => Vec::new(),
        };
        return reply(&question, ResponseCode::NoError, records, limit);
    }
    let inside = asked.strip_suffix(DOMAIN);
    match inside.and_then(|before| before.strip_suffix('.').or(before.is_empty().then_some(""))) {
        Some(name) => local(names, &question, (query, name), limit),
        None => match names.resolvers(asked) {
            [] => reply(&question, ResponseCode::Refused, Vec::new(), limit),
            resolvers => Answer::Forward(resolvers.to_vec()),
        },
    }
}

/// What is said when nobody answered a question that was handed on.
pub(super) fn failed(bytes: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    match reply(&question, ResponseCode::ServFail, Vec::new(), PLAIN_UDP) {
        Answer::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

fn local(names: &Names, question: &Message, (query, name): (&Query, &str), limit: usize) -> Answer {
    let Some(addresses) = names.by_name.get(name) else {
        let code = match name.is_empty() {
            true => ResponseCode::NoError,
            false => ResponseCode::NXDomain,
        };
        return reply(question, code, Vec::new(), limit);
    };
    let records = addresses
        .iter()
        .filter_map(|address| match (address, query.query_type()) {
            (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => Some(RData::A(A(*v4))),
            (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(*v6))),
            _ => None,
        });
    reply(question, ResponseCode::NoError, records.collect(), limit)
}

fn reply(question: &Message, code: ResponseCode, records: Vec<RData>, limit: usize) -> Answer {
    let mut message = Message::error_msg(question.metadata.id, question.metadata.op_code, code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries.clone_from(&question.queries);
    message.edns.clone_from(&question.edns);
    let is_ours = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    message.metadata.authoritative = is_ours;
    if let Some(query) = question.queries.first() {
        let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
        message.answers = records.into_iter().map(record).collect();
        if is_ours && message.answers.is_empty() {
            // With it, resolvers know how long there will be none (RFC 2308).
            message.authorities.extend(authority());
        }
    }
    let limit = limit.max(question.max_payload().into());
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Answer::Reply(bytes),
        Ok(_) => message
            .truncate()
            .to_vec()
            .map_or(Answer::Silence, Answer::Reply),
        Err(_) => Answer::Silence,
    }
}

fn authority() -> Option<Record> {
    let zone = Name::from_ascii(format!("{DOMAIN}.")).ok()?;
    let contact = Name::from_ascii(format!("nobody.{DOMAIN}.")).ok()?;
    let soa = SOA::new(zone.clone(), contact, 1, 3600, 600, 86_400, TTL);
    Some(Record::from_rdata(zone, TTL, RData::SOA(soa)))
}

fn domain_name(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.{DOMAIN}.")).ok()
}

/// The address that a question of `in-addr.arpa` or `ip6.arpa` is about.
fn reverse(query: &Query) -> Option<IpAddr> {
    let network = query.name().parse_arpa_name().ok()?;
    let is_whole = network.prefix_len() == network.max_prefix_len();
    is_whole.then(|| network.addr())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;
    use crate::configuration::DnsSettings;

    fn names() -> Names {
        let mut names = Names::new(&DnsSettings::default(), vec!["9.9.9.9".parse().unwrap()]);
        names.add(
            "Anna",
            &["10.80.77.9".parse().unwrap(), "fd5a::9".parse().unwrap()],
        );
        names
    }

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn asked(name: &str, kind: RecordType) -> Message {
        match answer(&names(), &question(name, kind), PLAIN_UDP) {
            Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn data(message: &Message) -> Vec<String> {
        message
            .answers
            .iter()
            .map(|record| record.data.to_string())
            .collect()
    }

    #[test]
    fn a_peer_has_its_addresses_in_any_spelling() {
        let found = asked("anna.dn.", RecordType::A);
        assert_eq!(data(&found), ["10.80.77.9"]);
        assert_eq!(found.metadata.id, 77);
        assert!(found.metadata.authoritative && found.metadata.recursion_desired);
        assert_eq!(data(&asked("ANNA.Dn.", RecordType::AAAA)), ["fd5a::9"]);
        assert_eq!(data(&asked("anna.dn.", RecordType::ANY)).len(), 2);
        assert_eq!(
            data(&asked("9.77.80.10.in-addr.arpa.", RecordType::PTR)),
            ["anna.dn."]
        );
    }

    #[test]
    fn what_is_not_there_is_denied_with_a_time_for_which_that_holds() {
        let missing = asked("bob.dn.", RecordType::A);
        assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(missing.authorities.len(), 1);
        let nothing = asked("anna.dn.", RecordType::TXT);
        assert_eq!(nothing.metadata.response_code, ResponseCode::NoError);
        assert!(nothing.answers.is_empty() && nothing.authorities.len() == 1);
        let zone = asked("dn.", RecordType::A);
        assert_eq!(zone.metadata.response_code, ResponseCode::NoError);
    }

    #[test]
    fn other_names_are_handed_on_or_refused_where_nobody_is_there_to_ask() {
        let example = question("www.example.", RecordType::A);
        let nine: IpAddr = "9.9.9.9".parse().unwrap();
        assert_eq!(
            answer(&names(), &example, PLAIN_UDP),
            Answer::Forward(vec![nine])
        );
        let almost = question("xdn.", RecordType::A);
        assert_eq!(
            answer(&names(), &almost, PLAIN_UDP),
            Answer::Forward(vec![nine])
        );
        let foreign = question("1.1.168.192.in-addr.arpa.", RecordType::PTR);
        assert_eq!(
            answer(&names(), &foreign, PLAIN_UDP),
            Answer::Forward(vec![nine])
        );
        let Answer::Reply(bytes) = answer(&Names::default(), &example, PLAIN_UDP) else {
            panic!("not refused");
        };
        let refused = Message::from_vec(&bytes).unwrap();
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    }

    #[test]
    fn a_question_that_nobody_answers_fails_by_name() {
        let example = question("www.example.", RecordType::A);
        let failed = Message::from_vec(&failed(&example).unwrap()).unwrap();
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(failed.metadata.id, 77);
        assert_eq!(super::failed(b"junk"), None);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let mut names = Names::default();
        let many: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        names.add("many", &many);
        let bytes = question("many.dn.", RecordType::A);
        let Answer::Reply(short) = answer(&names, &bytes, PLAIN_UDP) else {
            panic!("no reply");
        };
        assert!(short.len() <= PLAIN_UDP);
        assert!(Message::from_vec(&short).unwrap().metadata.truncation);
        let Answer::Reply(long) = answer(&names, &bytes, usize::from(u16::MAX)) else {
            panic!("no reply");
        };
        assert_eq!(Message::from_vec(&long).unwrap().answers.len(), 100);
    }

    #[test]
    fn whatever_the_bytes_are_there_is_an_answer_or_silence() {
        let whole = question("anna.dn.", RecordType::A);
        for length in 0..whole.len() {
            let _ = answer(&names(), &whole[..length], PLAIN_UDP);
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = answer(&names(), &bytes, PLAIN_UDP);
        }
        let Answer::Reply(own) = answer(&names(), &whole, PLAIN_UDP) else {
            panic!("no reply");
        };
        assert_eq!(answer(&names(), &own, PLAIN_UDP), Answer::Silence);
    }
}
