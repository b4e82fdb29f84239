//! What is said of relays.

use super::*;

fn relayed(outcome: RelayOutcome) -> Facts {
    Facts {
        named_relays: vec![RelayFacts {
            server: "relay.example:3478".to_owned(),
            outcome,
        }],
        ..silent(&["11.0.9.9:6881", "11.0.9.8:6881"])
    }
}

#[test]
fn a_relay_is_judged_by_what_came_of_it() {
    assert_found(&sound(), Topic::Relay, (Unknown, "no TURN server"));
    let transport = RelayTransport::Udp;
    let failed = |error| RelayOutcome::Failed { transport, error };
    for (outcome, part) in [
        (
            failed(AllocationError::WrongCredentials),
            "user name or password",
        ),
        (failed(AllocationError::Silent), "does not answer"),
        (failed(AllocationError::Disconnected), "nobody listens"),
        (RelayOutcome::NoAddress("?".to_owned()), "is not found"),
        (RelayOutcome::NotConnected("?".to_owned()), "connected to"),
    ] {
        let facts = relayed(outcome);
        assert_found(&facts, Topic::Relay, (Broken, part));
        assert_found(&facts, Topic::Connection, (Broken, "nothing outside"));
    }
    let facts = relayed(RelayOutcome::Allocated {
        relayed: at("11.0.8.1:50000"),
        transport: RelayTransport::Tcp,
        took: Duration::from_millis(12),
    });
    assert_found(&facts, Topic::Relay, (Good, "over TCP in 12 ms"));
    assert_found(&facts, Topic::Relays, (Unknown, "not looked for"));
    assert_found(&facts, Topic::Connection, (Weak, "through the relay alone"));
}

#[test]
fn each_named_relay_has_its_finding_and_one_that_works_is_enough() {
    let mut facts = relayed(RelayOutcome::NoAddress("?".to_owned()));
    facts.named_relays.push(RelayFacts {
        server: "second.example:443".to_owned(),
        outcome: RelayOutcome::Answers,
    });
    let found = judge(&facts);
    let relays: Vec<&Finding> = found.iter().filter(|f| f.topic == Topic::Relay).collect();
    assert_eq!(relays.len(), 2);
    assert!(relays[1].found.starts_with("second.example:443 answers"));
    assert_eq!((found[0].topic, found[0].status), (Topic::Connection, Weak));
    assert!(found[0].found.contains("through the relay alone"));
}

#[test]
fn tcp_443_is_proved_by_a_connection_alone() {
    let mut facts = sound();
    assert_found(&facts, Topic::Tcp443, (Unknown, "nobody is known"));
    for (outcome, status, part) in [
        (TcpOutcome::Failed, Unknown, "none of 1 host"),
        (TcpOutcome::Refused, Unknown, "refused by 11.0.9.9"),
        (TcpOutcome::Connected, Good, "11.0.9.9 took"),
    ] {
        facts.tcp = vec![TcpTry {
            to: at("11.0.9.9:443"),
            outcome,
        }];
        assert_found(&facts, Topic::Tcp443, (status, part));
    }
}
