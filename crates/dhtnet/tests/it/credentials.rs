//! What a device shows counts where the policy asks for it, and is taken back again.

use std::time::{Duration, Instant, SystemTime};

use dhtnet::identity::capability::{Capability, Terms};
use dhtnet::identity::certificate::{Authority, Certificate, Order, Revocation};
use dhtnet::identity::policy::{Action, Grant, Policy, PolicyBuilder, Presented, Subject};
use dhtnet::{
    Channel, ChannelError, ChannelRequest, ConnectError, DeclineCode, EndReason, Event, Node,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{address, key, loopback, node, open, within};

const DAY: Duration = Duration::from_secs(86_400);

/// What is cut is cut within this time, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn authority(seed: u8) -> Authority {
    let name = "Home".parse().unwrap();
    let times = (SystemTime::now(), &mut rng(seed));
    Authority::create(key(seed), &name, 3650 * DAY, times).unwrap()
}

fn certificate(authority: &Authority, device: u8, lifetime: Duration) -> Certificate {
    let order = Order {
        device: key(device).id(),
        name: "laptop".parse().unwrap(),
        groups: vec!["admins".parse().unwrap()],
        lifetime,
    };
    let now = SystemTime::now();
    authority.issue(&order, now, &mut rng(device)).unwrap()
}

fn capability(issuer: u8, holder: u8, until: SystemTime) -> Capability {
    let terms = Terms {
        permissions: vec!["test".parse().unwrap()],
        until,
        delegable: 0,
    };
    Capability::grant(&key(issuer), key(holder).id(), &terms, &mut rng(issuer)).unwrap()
}

fn certificates(certificates: Vec<Certificate>) -> Presented {
    let chains = certificates.into_iter().map(|one| vec![one]).collect();
    Presented::new(chains, Vec::new()).unwrap()
}

async fn showing(seed: u8, credentials: Presented) -> Node {
    Node::builder(key(seed))
        .bind(loopback())
        .mdns(false)
        .credentials(credentials)
        .build()
        .await
        .unwrap()
}

/// Trusts the CA, and lets its members open `test` and its admins `admin`.
fn for_members(authority: &Authority) -> PolicyBuilder {
    let trusted = authority.trusted();
    let authority = trusted.fingerprint();
    let group = "admins".parse().unwrap();
    let policy = Policy::builder().authority(trusted).unwrap();
    policy
        .grant(Subject::Authority(authority), Grant::action("test"))
        .grant(
            Subject::Group { authority, group },
            Grant::action("admin").named("admins"),
        )
}

fn request() -> ChannelRequest {
    ChannelRequest::stream("test")
}

/// A channel `test` from `client` to `server`.
async fn connected(client: &Node, server: &Node) -> (Channel, Channel) {
    let mut listener = server.listen("test").unwrap();
    open(client, server, &mut listener, request()).await
}

async fn refused(client: &Node, server: &Node) {
    let error = within(client.connect(&address(server), request())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

/// How the channel ends, which it has to do soon.
async fn end_of(mut channel: Channel) -> ChannelError {
    let begun = Instant::now();
    let error = within(channel.read_to_end(&mut Vec::new()))
        .await
        .unwrap_err();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    ChannelError::from_io(&error).unwrap().clone()
}

#[tokio::test]
async fn a_member_of_a_trusted_ca_is_let_in_and_others_are_not() {
    let (home, other) = (authority(90), authority(91));
    let server = node(2, for_members(&home).build()).await;
    let member = showing(1, certificates(vec![certificate(&home, 1, DAY)])).await;
    let (mut ours, mut theirs) = connected(&member, &server).await;
    ours.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    within(theirs.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"hello");

    refused(&node(3, Policy::deny_all()).await, &server).await;
    let foreign = certificates(vec![certificate(&other, 4, DAY)]);
    refused(&showing(4, foreign).await, &server).await;
    let stolen = certificates(vec![certificate(&home, 1, DAY)]);
    refused(&showing(5, stolen).await, &server).await;
}

#[tokio::test]
async fn nothing_is_shown_to_who_does_not_ask() {
    let home = authority(90);
    let mine = certificates(vec![certificate(&home, 1, DAY)]);
    let client = showing(1, mine).await;
    let allowed = Policy::builder().grant(Subject::Peer(client.id()), Grant::everything());
    let server = node(2, allowed.build()).await;
    let mut events = server.events();
    let _channels = connected(&client, &server).await;
    let shown = async {
        while let Some(event) = events.next().await {
            assert_ne!(event, Event::PolicyChanged, "something was shown");
        }
    };
    let asked = tokio::time::timeout(Duration::from_millis(300), shown).await;
    asked.unwrap_err();
}

#[tokio::test]
async fn a_peer_that_was_connected_before_anybody_asked_shows_its_credentials_then() {
    let home = authority(90);
    let client = showing(1, certificates(vec![certificate(&home, 1, DAY)])).await;
    let by_id = || Policy::builder().grant(Subject::Peer(key(1).id()), Grant::action("test"));
    let server = node(2, by_id().build()).await;
    let (mut ours, mut theirs) = connected(&client, &server).await;
    let mut events = server.events();
    // Nothing but the certificate allows it from now on.
    server.set_policy(for_members(&home).build());
    // Told at once for the policy, and once more when the certificate has been shown.
    let seen = async {
        let action = Action::new("test");
        while !server.decide(&client.id(), &action).is_allowed() {
            events.next().await.unwrap();
        }
    };
    within(seen).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    ours.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    within(theirs.read_exact(&mut heard)).await.unwrap();
    // The other way round: the one that called has the policy.
    client.set_policy(for_members(&home).build());
    ours.write_all(b"again").await.unwrap();
    within(theirs.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"again");
}

#[tokio::test]
async fn a_peer_that_has_nothing_to_show_is_cut_when_the_policy_wants_credentials() {
    let home = authority(90);
    for has_some in [false, true] {
        let shown = match has_some {
            true => certificates(vec![certificate(&authority(91), 1, DAY)]),
            false => Presented::default(),
        };
        let client = showing(1, shown).await;
        let by_id = Policy::builder().grant(Subject::Peer(key(1).id()), Grant::action("test"));
        let server = node(2, by_id.build()).await;
        let (ours, theirs) = connected(&client, &server).await;
        server.set_policy(for_members(&home).build());
        assert_eq!(
            end_of(ours).await,
            ChannelError::ConnectionLost(EndReason::Refused)
        );
        assert_eq!(
            end_of(theirs).await,
            ChannelError::ConnectionLost(EndReason::NoLongerAllowed)
        );
    }
}

/// Lets the client do these.
fn may(names: &[&str]) -> PolicyBuilder {
    names.iter().fold(Policy::builder(), |policy, name| {
        policy.grant(Subject::Peer(key(1).id()), Grant::action(*name))
    })
}

#[tokio::test]
async fn a_channel_ends_with_what_it_requires_also_when_nobody_reads_or_writes() {
    let client = node(1, Policy::deny_all()).await;
    let server = node(2, may(&["test", "more", "other"]).build()).await;
    let mut listener = server.listen("test").unwrap();
    let address = address(&server);
    let options = dhtnet::ConnectOptions::default().early(true);
    let asked = within(client.connect_with(&address, request(), options));
    let (ours, incoming) = tokio::join!(asked, async { within(listener.accept()).await.unwrap() });
    // What was only asked about is not required.
    assert!(incoming.would_allow(&Action::new("other")));
    assert!(!incoming.would_allow(&Action::new("most")));
    assert!(incoming.require(&Action::new("more")).is_allowed());
    assert!(!incoming.require(&Action::new("most")).is_allowed());
    let (send, _recv) = incoming.accept().split();
    let lost = send.lost();
    server.set_policy(may(&["test", "more"]).build());
    let another = tokio::time::timeout(Duration::from_millis(300), send.lost()).await;
    another.unwrap_err();
    server.set_policy(may(&["test"]).build());
    assert_eq!(
        within(lost).await,
        ChannelError::ConnectionLost(EndReason::NoLongerAllowed)
    );
    let ChannelError::Declined(reason) = end_of(ours.unwrap()).await else {
        panic!("it is told why")
    };
    assert_eq!(reason.code(), DeclineCode::Policy);
    // The peer may come again, for as long as nothing more is required.
    let _channel = open(&client, &server, &mut listener, request()).await;
}

#[tokio::test]
async fn what_a_peer_shows_adds_to_what_it_may_by_its_id() {
    let home = authority(90);
    let client = showing(1, certificates(vec![certificate(&home, 1, DAY)])).await;
    let policy = for_members(&home).grant(Subject::Peer(client.id()), Grant::action("own"));
    let server = node(2, policy.build()).await;
    let mut own = server.listen("own").unwrap();
    let asked = ChannelRequest::stream("own");
    let _channels = open(&client, &server, &mut own, asked).await;
    // The listener has the request, so what was shown with it is known.
    let decision = server.decide(&client.id(), &Action::new("admin"));
    assert_eq!(decision.rule.as_deref(), Some("admins"));
    let decision = server.decide(&client.id(), &Action::new("nothing"));
    assert!(!decision.is_allowed());
}

#[tokio::test]
async fn the_holder_of_a_capability_is_let_in_until_it_is_revoked() {
    let until = SystemTime::now() + DAY;
    let held = capability(2, 1, until);
    let mine = Presented::new(Vec::new(), vec![held.clone()]).unwrap();
    let client = showing(1, mine.clone()).await;
    let accepting = || Policy::builder().accept_capabilities_of(key(2).id());
    let server = node(2, accepting().build()).await;
    let (ours, _theirs) = connected(&client, &server).await;
    server.set_policy(accepting().revoke(held.id(), "revoked").build());
    assert_eq!(
        end_of(ours).await,
        ChannelError::ConnectionLost(EndReason::Refused)
    );
    refused(&client, &server).await;
    // It is of no use to anybody else.
    refused(&showing(3, mine).await, &server).await;
}

#[tokio::test]
async fn a_peer_that_was_called_shows_its_credentials_too() {
    let home = authority(90);
    let called = {
        let caller = key(1).id();
        let policy = Policy::builder().grant(Subject::Peer(caller), Grant::action("test"));
        Node::builder(key(2))
            .bind(loopback())
            .mdns(false)
            .credentials(certificates(vec![certificate(&home, 2, DAY)]))
            .policy(policy.build())
            .build()
            .await
            .unwrap()
    };
    let caller = node(1, for_members(&home).build()).await;
    let mut back = caller.listen("admin").unwrap();
    let (_ours, theirs) = connected(&caller, &called).await;
    // On the same connection, begun by the one whose policy is asked.
    let (send, _recv) = theirs.split();
    let asked = ChannelRequest::stream("admin");
    let (opened, _incoming) = tokio::join!(
        within(send.open_beside(&asked, dhtnet::ConnectOptions::default())),
        async { within(back.accept()).await.unwrap().accept() }
    );
    opened.unwrap();
}

#[tokio::test]
async fn a_revoked_certificate_ends_the_connection() {
    let home = authority(90);
    let mine = certificate(&home, 1, DAY);
    let client = showing(1, certificates(vec![mine.clone()])).await;
    let server = node(2, for_members(&home).build()).await;
    let (ours, theirs) = connected(&client, &server).await;
    let now = SystemTime::now();
    let revoked = Revocation {
        serial: mine.serial().clone(),
        since: now,
    };
    let list = home.revocation_list(&[revoked], 1, (now, DAY)).unwrap();
    let trusted = home.trusted().with_revocation_list(list).unwrap();
    let authority = trusted.fingerprint();
    let policy = Policy::builder().authority(trusted).unwrap();
    let policy = policy.grant(Subject::Authority(authority), Grant::action("test"));
    server.set_policy(policy.build());
    assert_eq!(
        end_of(ours).await,
        ChannelError::ConnectionLost(EndReason::Refused)
    );
    assert_eq!(
        end_of(theirs).await,
        ChannelError::ConnectionLost(EndReason::NoLongerAllowed)
    );
    refused(&client, &server).await;
}

#[tokio::test]
async fn a_channel_that_is_no_longer_allowed_ends_alone() {
    let client = node(1, Policy::deny_all()).await;
    let server = node(2, may(&["test", "other"]).build()).await;
    let mut listener = server.listen("other").unwrap();
    let (ours, theirs) = connected(&client, &server).await;
    let asked = ChannelRequest::stream("other");
    let (mut stays, mut there) = open(&client, &server, &mut listener, asked).await;
    server.set_policy(may(&["other"]).build());
    let ChannelError::Declined(reason) = end_of(ours).await else {
        panic!("it is told why")
    };
    assert_eq!(reason.code(), DeclineCode::Policy);
    assert_eq!(
        end_of(theirs).await,
        ChannelError::ConnectionLost(EndReason::NoLongerAllowed)
    );
    stays.write_all(b"on").await.unwrap();
    let mut heard = [0; 2];
    within(there.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"on");
}

#[tokio::test]
async fn a_rule_a_certificate_and_a_capability_that_end_end_connections_by_themselves() {
    let home = authority(90);
    for case in ["rule", "certificate", "capability"] {
        let soon = SystemTime::now() + Duration::from_secs(2);
        let (policy, shown) = match case {
            "rule" => {
                let grant = Grant::action("test").until(soon);
                let policy = Policy::builder().grant(Subject::Peer(key(1).id()), grant);
                (policy, Presented::default())
            }
            "certificate" => {
                let brief = certificate(&home, 1, Duration::from_secs(2));
                (for_members(&home), certificates(vec![brief]))
            }
            _ => {
                let held = vec![capability(2, 1, soon)];
                let policy = Policy::builder().accept_capabilities_of(key(2).id());
                (policy, Presented::new(Vec::new(), held).unwrap())
            }
        };
        let server = node(2, policy.build()).await;
        let client = showing(1, shown).await;
        let (ours, _theirs) = connected(&client, &server).await;
        assert_eq!(
            end_of(ours).await,
            ChannelError::ConnectionLost(EndReason::Refused),
            "{case}"
        );
    }
}

#[tokio::test]
async fn what_is_shown_later_counts_from_then_on() {
    let home = authority(90);
    let client = showing(1, certificates(vec![certificate(&home, 1, DAY)])).await;
    let accepting = for_members(&home).accept_capabilities_of(key(2).id());
    let server = node(2, accepting.build()).await;
    let _channels = connected(&client, &server).await;
    let mut events = server.events();
    let held = capability(2, 1, SystemTime::now() + DAY);
    client.set_credentials(&Presented::new(Vec::new(), vec![held]).unwrap());
    let seen = async { while events.next().await != Some(Event::PolicyChanged) {} };
    within(seen).await;
    // In the place of what was shown before.
    let decision = |action| server.decide(&client.id(), &Action::new(action));
    assert!(decision("test").is_allowed());
    assert!(!decision("admin").is_allowed());
}

#[tokio::test]
async fn the_channel_of_credentials_is_not_for_applications() {
    let node = node(1, Policy::deny_all()).await;
    assert!(node.listen("dhtnet.credentials").is_err());
    assert!(node.listen("dhtnet.credentials.wanted").is_err());
}
