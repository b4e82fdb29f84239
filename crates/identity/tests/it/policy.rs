//! The evaluator: denial by default, scopes, expiry, and the rule that decided.

use std::time::{Duration, SystemTime};

use dhtnet_identity::Policy;
use dhtnet_identity::policy::{
    Action, Decision, Finding, Grant, Outcome, OwnedAction, Subject, Verdict,
};
use dhtnet_identity::target::TargetPattern;
use proptest::prelude::*;

use crate::{cases, id};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn after(seconds: u64) -> SystemTime {
    NOW + Duration::from_secs(seconds)
}

fn patterns(texts: &[&str]) -> Vec<TargetPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn of_peer(grant: Grant) -> Policy {
    Policy::builder().grant(Subject::Peer(id(1)), grant).build()
}

fn denied() -> Decision {
    Policy::deny_all().admits(&id(1))
}

#[test]
fn nobody_may_do_anything_by_default() {
    for policy in [
        Policy::deny_all(),
        Policy::default(),
        Policy::builder().build(),
    ] {
        assert_eq!(policy, Policy::deny_all());
        for decision in [
            policy.admits(&id(1)),
            policy.admits_at(&id(1), NOW),
            policy.evaluate(&id(1), &Action::new("dnc.pipe"), NOW),
        ] {
            assert!(!decision.is_allowed());
            assert_eq!((decision.verdict, decision.rule), (Verdict::Deny, None));
        }
    }
}

#[test]
fn a_grant_to_a_peer_is_for_that_peer_alone() {
    let policy = of_peer(Grant::everything().named("--allow one"));
    for action in [
        Action::new("dnc.pipe"),
        Action::with("dnc.target", "127.0.0.1:22"),
    ] {
        let decision = policy.evaluate(&id(1), &action, NOW);
        assert!(decision.is_allowed());
        assert_eq!(decision.rule.as_deref(), Some("--allow one"));
        assert_eq!(policy.evaluate(&id(2), &action, NOW), denied());
    }
    assert!(policy.admits(&id(1)).is_allowed());
    assert!(!policy.admits(&id(2)).is_allowed());
    assert!(!policy.admits_at(&id(2), NOW).is_allowed());
}

#[test]
fn a_grant_to_anyone_is_for_every_peer() {
    let policy = Policy::builder()
        .grant(Subject::Anyone, Grant::action("dnc.pipe"))
        .build();
    for n in 1..5 {
        assert!(
            policy
                .evaluate(&id(n), &Action::new("dnc.pipe"), NOW)
                .is_allowed()
        );
        assert!(
            !policy
                .evaluate(&id(n), &Action::new("dsh.shell"), NOW)
                .is_allowed()
        );
        assert!(policy.admits_at(&id(n), NOW).is_allowed());
    }
}

#[test]
fn an_action_is_matched_by_its_whole_name_and_any_parameter() {
    let policy = of_peer(Grant::action("dnc.target"));
    let allowed = |action: Action<'_>| policy.evaluate(&id(1), &action, NOW).is_allowed();
    assert!(allowed(Action::new("dnc.target")));
    assert!(allowed(Action::with("dnc.target", "anything")));
    for name in [
        "dnc",
        "dnc.",
        "dnc.targets",
        "DNC.target",
        "",
        "dnc.target ",
    ] {
        assert!(!allowed(Action::new(name)), "{name:?}");
    }
    let policy = of_peer(Grant::action("echo"));
    assert!(
        policy
            .evaluate(&id(1), &Action::channel("echo"), NOW)
            .is_allowed()
    );
}

#[test]
fn targets_are_allowed_by_their_patterns() {
    let policy = of_peer(Grant::targets(
        "dnc.target",
        patterns(&["127.0.0.1:22", "10.0.0.0/8:*"]),
    ));
    let allowed = |action: Action<'_>| policy.evaluate(&id(1), &action, NOW).is_allowed();
    for text in ["127.0.0.1:22", "[::ffff:127.0.0.1]:22", "10.1.2.3:80"] {
        assert!(allowed(Action::with("dnc.target", text)), "{text}");
        assert!(!allowed(Action::with("dnc.bind", text)), "{text}");
    }
    for text in [
        "127.0.0.1:23",
        "localhost:22",
        "udp:10.1.2.3:80",
        "",
        "10.0.0.0/8:80",
        "x",
    ] {
        assert!(!allowed(Action::with("dnc.target", text)), "{text}");
    }
    assert!(
        !allowed(Action::new("dnc.target")),
        "a missing parameter is no target"
    );
    let nothing = of_peer(Grant::targets("dnc.target", Vec::new()));
    let action = Action::with("dnc.target", "127.0.0.1:22");
    assert!(!nothing.evaluate(&id(1), &action, NOW).is_allowed());
}

#[test]
fn a_grant_holds_before_its_end_and_no_longer_at_it() {
    let policy = of_peer(
        Grant::action("dnc.pipe")
            .until(after(10))
            .named("until ten"),
    );
    let action = Action::new("dnc.pipe");
    for (seconds, allowed) in [(0, true), (9, true), (10, false), (11, false)] {
        let decision = policy.evaluate(&id(1), &action, after(seconds));
        assert_eq!(decision.is_allowed(), allowed, "{seconds} s");
        assert_eq!(decision.rule.as_deref(), Some("until ten"));
        assert_eq!(
            policy.admits_at(&id(1), after(seconds)).is_allowed(),
            allowed
        );
    }
    assert!(
        policy.admits(&id(1)).is_allowed(),
        "without a time the end is not seen"
    );
    let other = policy.evaluate(&id(1), &Action::new("other"), after(11));
    assert_eq!(
        other,
        denied(),
        "a grant that never covered the action is not named"
    );
}

#[test]
fn an_ended_grant_does_not_stand_before_a_live_one() {
    let policy = Policy::builder()
        .grant(
            Subject::Peer(id(1)),
            Grant::everything().until(NOW).named("ended"),
        )
        .grant(Subject::Anyone, Grant::everything().named("--anonymous"))
        .build();
    let decision = policy.evaluate(&id(1), &Action::new("dnc.pipe"), NOW);
    assert!(decision.is_allowed());
    assert_eq!(decision.rule.as_deref(), Some("--anonymous"));
    assert_eq!(
        policy.admits_at(&id(1), NOW).rule.as_deref(),
        Some("--anonymous")
    );
}

#[test]
fn the_peers_own_grants_are_named_first_in_their_order() {
    let policy = Policy::builder()
        .grant(Subject::Anyone, Grant::everything().named("anyone"))
        .grant(Subject::Peer(id(1)), Grant::action("a").named("first"))
        .grant(Subject::Peer(id(1)), Grant::everything().named("second"))
        .build();
    let rule = |name| {
        policy
            .evaluate(&id(1), &Action::new(name), NOW)
            .rule
            .unwrap()
    };
    assert_eq!(rule("a"), "first");
    assert_eq!(rule("b"), "second");
    let other = policy.evaluate(&id(2), &Action::new("a"), NOW);
    assert_eq!(other.rule.as_deref(), Some("anyone"));
}

#[test]
fn a_rule_without_a_name_describes_itself() {
    let short = id(1).short();
    let action = Action::with("dnc.target", "127.0.0.1:22");
    let targets = Grant::targets("dnc.target", patterns(&["127.0.0.1:22", "[fd00::/8]:*"]));
    for (grant, wanted) in [
        (Grant::everything(), format!("{short}… may do everything")),
        (
            Grant::action("dnc.target"),
            format!("{short}… may dnc.target *"),
        ),
        (
            targets,
            format!("{short}… may dnc.target 127.0.0.1:22, dnc.target [fd00::/8]:*"),
        ),
    ] {
        let decision = of_peer(grant).evaluate(&id(1), &action, NOW);
        assert_eq!(decision.rule, Some(wanted));
    }
    let policy = Policy::builder()
        .grant(Subject::Anyone, Grant::everything())
        .build();
    let decision = policy.evaluate(&id(1), &action, NOW);
    assert_eq!(decision.rule.as_deref(), Some("anyone may do everything"));
}

#[test]
fn decisions_read_well_in_a_log() {
    let ended = of_peer(Grant::everything().until(NOW).named("--allow x"));
    let action = Action::new("dnc.pipe");
    assert_eq!(denied().to_string(), "denied: no rule allows it");
    let decision = ended.evaluate(&id(1), &action, NOW);
    assert_eq!(decision.to_string(), "denied: --allow x has expired");
    assert_eq!(ended.admits(&id(1)).to_string(), "allowed by --allow x");
}

#[test]
fn an_action_of_a_peer_cannot_forge_a_line_of_the_log() {
    let action = Action::with("dnc.target", "x\n\x1b[2Jallowed");
    assert_eq!(action.to_string(), "dnc.target x\\n\\u{1b}[2Jallowed");
    let owned = OwnedAction::from(action);
    assert_eq!(owned.as_action(), action);
    assert_eq!(owned, OwnedAction::with("dnc.target", "x\n\x1b[2Jallowed"));
    assert_eq!(owned.to_string(), action.to_string());
    assert_eq!(OwnedAction::new("a").as_action(), Action::new("a"));
    assert_eq!(
        (action.name(), Action::new("a").parameter()),
        ("dnc.target", None)
    );
}

/// A grant as a test case: to whom (0 = anyone), what (0 = everything), until when.
type Case = (u8, u8, Option<u64>);

fn model_allows(grants: &[Case], peer: u8, action: u8, now: u64) -> bool {
    grants.iter().any(|(subject, scope, until)| {
        (*subject == 0 || *subject == peer)
            && (*scope == 0 || *scope == action)
            && until.is_none_or(|end| now < end)
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_evaluator_agrees_with_a_simple_model(
        grants in prop::collection::vec((0_u8..4, 0_u8..4, prop::option::of(0_u64..4)), 0..6),
        peer in 1_u8..5, action in 1_u8..5, now in 0_u64..5,
    ) {
        let mut builder = Policy::builder();
        for (subject, scope, until) in &grants {
            let subject = match subject { 0 => Subject::Anyone, n => Subject::Peer(id(*n)) };
            let grant = match scope { 0 => Grant::everything(), n => Grant::action(n.to_string()) };
            let grant = match until { None => grant, Some(end) => grant.until(after(*end)) };
            builder = builder.grant(subject, grant);
        }
        let policy = builder.build();
        let name = action.to_string();
        let decision = policy.evaluate(&id(peer), &Action::new(&name), after(now));
        prop_assert_eq!(decision.is_allowed(), model_allows(&grants, peer, action, now));
        if decision.is_allowed() {
            prop_assert!(policy.admits_at(&id(peer), after(now)).is_allowed());
            prop_assert!(policy.admits(&id(peer)).is_allowed());
        }
    }

    #[test]
    fn subjects_bans_and_explanations_agree_with_a_simple_model(
        grants in prop::collection::vec((0_u8..7, 0_u8..4, prop::option::of(0_u64..4)), 0..8),
        bans in prop::collection::vec(1_u8..4, 0..2),
        member_of in prop::collection::vec(3_u8..7, 0..3),
        peer in 1_u8..4, action in 1_u8..4, now in 0_u64..5,
    ) {
        let mut builder = Policy::builder();
        for (subject, scope, until) in &grants {
            let grant = match scope { 0 => Grant::everything(), n => Grant::action(n.to_string()) };
            let grant = match until { None => grant, Some(end) => grant.until(after(*end)) };
            builder = builder.grant(subject_of(*subject), grant);
        }
        for banned in &bans {
            builder = builder.ban(id(*banned), "ban");
        }
        let policy = builder.build();
        let members: Vec<_> = member_of.iter().map(|subject| subject_of(*subject)).collect();
        let name = action.to_string();
        let asked = Action::new(&name);
        let explained = policy.explain_supposed((id(peer), &members), &asked, after(now));
        // Who is in a group of a CA is in the CA.
        let belongs = |subject: u8| match subject {
            0 => true,
            1 | 2 => subject == peer,
            3 => member_of.iter().any(|one| matches!(one, 3 | 5)),
            4 => member_of.iter().any(|one| matches!(one, 4 | 6)),
            other => member_of.contains(&other),
        };
        let wanted = !bans.contains(&peer) && grants.iter().any(|(subject, scope, until)| {
            belongs(*subject)
                && (*scope == 0 || *scope == action)
                && until.is_none_or(|end| now < end)
        });
        prop_assert_eq!(explained.decision.is_allowed(), wanted);
        let allows = |finding: &Finding| finding.outcome == Outcome::Allows;
        let some_rule_allows = explained.findings.iter().any(allows);
        prop_assert_eq!(some_rule_allows && !bans.contains(&peer), wanted);
        prop_assert!(!explained.to_string().is_empty());
    }
}

/// 0: anyone; 1 and 2: devices; 3 and 4: CAs; 5 and 6: a group of the same name in each.
fn subject_of(number: u8) -> Subject {
    let ca = |digit: &str| digit.repeat(64).parse().unwrap();
    let group = |authority| Subject::Group {
        authority,
        group: "admins".parse().unwrap(),
    };
    match number {
        0 => Subject::Anyone,
        1 | 2 => Subject::Peer(id(number)),
        3 => Subject::Authority(ca("a")),
        4 => Subject::Authority(ca("b")),
        5 => group(ca("a")),
        _ => group(ca("b")),
    }
}
