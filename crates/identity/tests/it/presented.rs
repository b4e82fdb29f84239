//! What a peer shows, how it is judged, and what the policy makes of it.

use std::time::{Duration, SystemTime};

use dhtnet_identity::Policy;
use dhtnet_identity::capability::{Capability, Terms};
use dhtnet_identity::certificate::{
    Authority, Certificate, Order, Revocation, TrustedAuthority, VerifyError,
};
use dhtnet_identity::policy::{
    Action, Admission, Cause, Credentials, Grant, MAX_AUTHORITIES, MAX_CHAINS,
    MAX_PRESENTED_CAPABILITIES, MAX_PRESENTED_LEN, Outcome, Presented, PresentedError, Rejected,
    Subject,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::mutation::mutate;
use crate::{chain, id, key};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn authority(number: u8, name: &str) -> Authority {
    let times = (now(), &mut rng(number));
    Authority::create(key(number), &name.parse().unwrap(), 3650 * DAY, times).unwrap()
}

fn certificate(authority: &Authority, number: u8, groups: &[&str]) -> Certificate {
    let order = Order {
        device: id(number),
        name: "laptop".parse().unwrap(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        lifetime: 30 * DAY,
    };
    authority.issue(&order, now(), &mut rng(number)).unwrap()
}

fn capability(issuer: u8, holder: u8, text: &str) -> Capability {
    let terms = Terms {
        permissions: vec![text.parse().unwrap()],
        until: now() + DAY,
        delegable: 1,
    };
    Capability::grant(&key(issuer), id(holder), &terms, &mut rng(issuer)).unwrap()
}

fn show(certificates: &[&Certificate], capabilities: &[&Capability]) -> Presented {
    let chains = certificates
        .iter()
        .map(|one| vec![(*one).clone()])
        .collect();
    let capabilities = capabilities.iter().map(|one| (*one).clone()).collect();
    Presented::new(chains, capabilities).unwrap()
}

/// A policy that grants `shell` to a CA and `admin` to a group of it.
fn policy_of(trusted: TrustedAuthority) -> Policy {
    let authority = trusted.fingerprint();
    let group = Subject::Group {
        authority,
        group: "admins".parse().unwrap(),
    };
    Policy::builder()
        .authority(trusted)
        .unwrap()
        .grant(
            Subject::Authority(authority),
            Grant::action("shell").named("ca"),
        )
        .grant(group, Grant::action("admin").named("group"))
        .build()
}

fn allowed(policy: &Policy, credentials: &Credentials, action: &str) -> bool {
    policy
        .decide(credentials, &Action::new(action), now())
        .is_allowed()
}

#[test]
fn members_of_a_ca_and_of_its_groups_get_what_these_have() {
    let home = authority(1, "Home");
    let policy = policy_of(home.trusted());
    let (plain, admin) = (
        certificate(&home, 2, &["other"]),
        certificate(&home, 3, &["admins"]),
    );
    let plain = policy.examine(&id(2), &show(&[&plain], &[]), now());
    let admin = policy.examine(&id(3), &show(&[&admin], &[]), now());
    assert!(allowed(&policy, &plain, "shell") && !allowed(&policy, &plain, "admin"));
    assert!(allowed(&policy, &admin, "shell") && allowed(&policy, &admin, "admin"));
    let decision = policy.decide(&admin, &Action::new("admin"), now());
    assert_eq!(
        (decision.cause, decision.rule.as_deref()),
        (Cause::Rule, Some("group"))
    );
    // Without the certificate it is a stranger.
    assert!(
        !policy
            .evaluate(&id(3), &Action::new("shell"), now())
            .is_allowed()
    );
    assert!(plain.rejected().is_empty());
}

#[test]
fn a_group_of_the_same_name_in_another_ca_is_another_group() {
    let (home, work) = (authority(1, "Home"), authority(4, "Work"));
    let policy = policy_of(home.trusted()).into_builder();
    let policy = policy.authority(work.trusted()).unwrap().build();
    let foreign = certificate(&work, 2, &["admins"]);
    let credentials = policy.examine(&id(2), &show(&[&foreign], &[]), now());
    assert!(
        credentials.rejected().is_empty(),
        "the other CA is trusted too"
    );
    assert!(!allowed(&policy, &credentials, "shell") && !allowed(&policy, &credentials, "admin"));
    // Who shows both belongs to both.
    let both = show(&[&foreign, &certificate(&home, 2, &["admins"])], &[]);
    let credentials = policy.examine(&id(2), &both, now());
    assert!(allowed(&policy, &credentials, "admin"));
}

#[test]
fn the_matrix_of_credentials_has_the_documented_verdicts() {
    let (home, other) = (authority(1, "Home"), authority(4, "Home"));
    let good = certificate(&home, 2, &["admins"]);
    let list = |revoked: &Certificate| {
        let entry = Revocation {
            serial: revoked.serial().clone(),
            since: now(),
        };
        home.revocation_list(&[entry], 1, (now(), DAY)).unwrap()
    };
    let plain = policy_of(home.trusted());
    let revoking = policy_of(home.trusted().with_revocation_list(list(&good)).unwrap());
    let banning = policy_of(home.trusted())
        .into_builder()
        .ban(id(2), "lost")
        .build();
    let foreign = certificate(&other, 2, &["admins"]);
    let itself = Authority::create(key(2), &"Home".parse().unwrap(), DAY, (now(), &mut rng(2)));
    let itself = itself.unwrap().certificate().clone();
    let later = now() + 31 * DAY;
    for (what, policy, shown, moment, wanted) in [
        ("same CA", &plain, &good, now(), true),
        ("other CA", &plain, &foreign, now(), false),
        ("self-signed", &plain, &itself, now(), false),
        ("revoked", &revoking, &good, now(), false),
        ("banned", &banning, &good, now(), false),
        ("expired", &plain, &good, later, false),
        ("not yet valid", &plain, &good, now() - DAY, false),
    ] {
        let credentials = policy.examine(&id(2), &show(&[shown], &[]), moment);
        let decision = policy.decide(&credentials, &Action::new("shell"), moment);
        assert_eq!(decision.is_allowed(), wanted, "{what}");
        assert_eq!(
            policy.admits_with(&credentials, moment).is_allowed(),
            wanted,
            "{what}"
        );
        let refused = !wanted && what != "banned";
        assert_eq!(credentials.rejected().len(), usize::from(refused), "{what}");
    }
    // Somebody else's certificate is nobody's.
    let credentials = plain.examine(&id(3), &show(&[&good], &[]), now());
    let fault = VerifyError::OtherDevice { found: id(2) };
    assert_eq!(credentials.rejected(), [Rejected::Chain(fault)]);
    assert!(!allowed(&plain, &credentials, "shell"));
}

#[test]
fn a_ban_beats_every_grant() {
    let home = authority(1, "Home");
    let policy = policy_of(home.trusted())
        .into_builder()
        .grant(Subject::Peer(id(2)), Grant::everything())
        .grant(Subject::Anyone, Grant::everything())
        .accept_capabilities_of(id(9))
        .ban(id(2), "ban \"lost\"")
        .build();
    let shown = show(
        &[&certificate(&home, 2, &["admins"])],
        &[&capability(9, 2, "*")],
    );
    let credentials = policy.examine(&id(2), &shown, now());
    let decision = policy.decide(&credentials, &Action::new("shell"), now());
    assert_eq!(decision.cause, Cause::Ban);
    assert_eq!(decision.to_string(), "denied by ban \"lost\"");
    for decision in [
        policy.admits(&id(2)),
        policy.admits_at(&id(2), now()),
        policy.admits_with(&credentials, now()),
    ] {
        assert_eq!(decision.cause, Cause::Ban);
    }
    assert_eq!(
        policy.admission(&id(2), now()),
        Admission::Refused(decision)
    );
    assert!(
        policy
            .evaluate(&id(3), &Action::new("x"), now())
            .is_allowed()
    );
}

#[test]
fn a_capability_counts_when_its_issuer_does_and_for_its_holder_alone() {
    let granted = capability(9, 2, "shell");
    let shown = show(&[], &[&granted]);
    let deaf = Policy::deny_all();
    let policy = Policy::builder().accept_capabilities_of(id(9)).build();
    let credentials = policy.examine(&id(2), &shown, now());
    assert!(!allowed(&deaf, &credentials, "shell"));
    let decision = policy.decide(&credentials, &Action::new("shell"), now());
    assert!(decision.is_allowed());
    let rule = format!("capability {} of {}…", granted.id(), id(9).short());
    assert_eq!(decision.rule, Some(rule.clone()));
    assert!(!allowed(&policy, &credentials, "admin"));
    let ended = policy.decide(&credentials, &Action::new("shell"), now() + DAY);
    assert_eq!((ended.cause, ended.rule), (Cause::Ended, Some(rule)));
    // A thief shows it in vain.
    let thief = policy.examine(&id(3), &shown, now());
    let rejected = Rejected::OtherHolder {
        id: granted.id(),
        holder: id(2),
    };
    assert_eq!(thief.rejected(), [rejected]);
    assert!(!allowed(&policy, &thief, "shell"));
}

#[test]
fn a_capability_can_be_taken_back_at_each_link() {
    let first = capability(9, 2, "shell");
    let terms = Terms {
        permissions: first.permissions().to_vec(),
        until: now() + DAY,
        delegable: 0,
    };
    let second = first.delegate(&key(2), id(3), &terms, &mut rng(3)).unwrap();
    let base = || Policy::builder().accept_capabilities_of(id(9));
    let verdict = |policy: Policy, shown: &Capability| {
        let credentials = policy.examine(shown.holder(), &show(&[], &[shown]), now());
        allowed(&policy, &credentials, "shell")
    };
    assert!(verdict(base().build(), &first) && verdict(base().build(), &second));
    let of_second = || base().revoke(second.id(), "line 3").build();
    assert!(verdict(of_second(), &first) && !verdict(of_second(), &second));
    let of_first = || base().revoke(first.id(), "line 3").build();
    assert!(!verdict(of_first(), &first) && !verdict(of_first(), &second));
    let without = |banned: u8| base().ban(id(banned), "lost").build();
    assert!(!verdict(without(2), &second), "who passed it on is out");
    assert!(!verdict(without(3), &second), "who holds it is out");
    assert!(!verdict(without(9), &second), "who issued it is out");
    assert!(verdict(without(3), &first));
}

#[test]
fn an_explanation_tells_what_each_rule_says() {
    let home = authority(1, "Home");
    let first = capability(9, 2, "shell");
    let policy = policy_of(home.trusted())
        .into_builder()
        .grant(Subject::Peer(id(2)), Grant::action("chat").named("own"))
        .grant(
            Subject::Peer(id(5)),
            Grant::action("chat").named("of another"),
        )
        .grant(
            Subject::Anyone,
            Grant::action("shell").until(now()).named("old"),
        )
        .accept_capabilities_of(id(9))
        .build();
    let shown = show(
        &[&certificate(&home, 2, &[])],
        &[&first, &capability(8, 2, "shell")],
    );
    let credentials = policy.examine(&id(2), &shown, now());
    let explained = policy.explain(&credentials, &Action::new("shell"), now());
    assert_eq!(
        explained.decision,
        policy.decide(&credentials, &Action::new("shell"), now())
    );
    let outcome = |rule: &str| {
        let found = explained
            .findings
            .iter()
            .find(|finding| finding.rule == rule);
        found.map(|finding| finding.outcome.clone())
    };
    let allowed = "chat".to_owned();
    assert_eq!(outcome("own"), Some(Outcome::OtherActions { allowed }));
    assert_eq!(outcome("ca"), Some(Outcome::Allows));
    assert_eq!(outcome("old"), Some(Outcome::Ended { end: now() }));
    assert!(matches!(
        outcome("group"),
        Some(Outcome::OtherSubject { .. })
    ));
    assert!(matches!(
        outcome("of another"),
        Some(Outcome::OtherSubject { .. })
    ));
    let outcomes = explained.findings.iter().map(|finding| &finding.outcome);
    assert_eq!(
        outcomes
            .filter(|outcome| **outcome == Outcome::Issuer)
            .count(),
        1
    );
    let text = explained.to_string();
    assert!(text.starts_with("allowed by ca\n  own: allows other actions (chat)\n  ca: allows it"));
    // The same without anybody there.
    let authority = home.trusted().fingerprint();
    let supposed = [Subject::Authority(authority)];
    let explained = policy.explain_supposed((id(2), &supposed), &Action::new("shell"), now());
    assert!(explained.decision.is_allowed());
    let explained = policy.explain_supposed((id(2), &[]), &Action::new("shell"), now());
    assert_eq!(explained.decision.cause, Cause::Ended);
}

#[test]
fn a_stranger_may_show_something_only_where_that_could_help() {
    let home = authority(1, "Home");
    let nobody = Policy::deny_all();
    assert!(matches!(
        nobody.admission(&id(2), now()),
        Admission::Refused(_)
    ));
    let by_key = Policy::builder()
        .grant(Subject::Peer(id(2)), Grant::everything())
        .build();
    assert!(matches!(
        by_key.admission(&id(2), now()),
        Admission::Admitted(_)
    ));
    assert!(matches!(
        by_key.admission(&id(3), now()),
        Admission::Refused(_)
    ));
    let by_ca = policy_of(home.trusted());
    assert_eq!(by_ca.admission(&id(2), now()), Admission::MayShow);
    let trust_alone = Policy::builder().authority(home.trusted()).unwrap().build();
    assert!(matches!(
        trust_alone.admission(&id(2), now()),
        Admission::Refused(_)
    ));
    let by_capability = Policy::builder().accept_capabilities_of(id(9)).build();
    assert_eq!(by_capability.admission(&id(2), now()), Admission::MayShow);
}

#[test]
fn it_is_known_when_a_decision_may_change() {
    let home = authority(1, "Home");
    let certificate = certificate(&home, 2, &[]);
    let policy = policy_of(home.trusted())
        .into_builder()
        .grant(
            Subject::Peer(id(2)),
            Grant::action("chat").until(now() + 3 * DAY),
        )
        .accept_capabilities_of(id(9))
        .build();
    let shown = show(&[&certificate], &[&capability(9, 2, "shell")]);
    let credentials = policy.examine(&id(2), &shown, now());
    let next = |moment| policy.next_change(&credentials, moment);
    assert_eq!(next(now()), Some(now() + DAY));
    assert_eq!(next(now() + DAY), Some(now() + 3 * DAY));
    let end = certificate.not_after() + Duration::from_secs(1);
    assert_eq!(next(now() + 3 * DAY), Some(end));
    assert!(
        policy
            .decide(&credentials, &Action::new("shell"), end - DAY)
            .is_allowed()
    );
    let just_before = end - Duration::from_nanos(1);
    assert!(
        policy
            .decide(&credentials, &Action::new("shell"), just_before)
            .is_allowed()
    );
    assert!(
        !policy
            .decide(&credentials, &Action::new("shell"), end)
            .is_allowed()
    );
    assert_eq!(next(end), None);
    assert_eq!(policy.next_change(&Credentials::none(id(4)), now()), None);
}

#[test]
fn trusted_cas_have_a_bound() {
    let mut builder = Policy::builder();
    for number in 0..MAX_AUTHORITIES as u8 {
        builder = builder
            .authority(authority(number, "Home").trusted())
            .unwrap();
    }
    let again = builder.clone().authority(authority(7, "Home").trusted());
    assert!(again.is_ok(), "one that is there takes its own place");
    assert!(builder.authority(authority(200, "Home").trusted()).is_err());
}

#[test]
fn what_is_shown_round_trips_and_has_bounds() {
    let home = authority(1, "Home");
    let (one, two) = (certificate(&home, 2, &["a"]), certificate(&home, 3, &["b"]));
    let granted = capability(9, 2, "shell");
    let chain_of_two = vec![one.clone(), home.certificate().clone()];
    let chains = vec![chain_of_two.clone(), vec![two]];
    let shown = Presented::new(chains, vec![granted.clone()]).unwrap();
    let bytes = shown.encode();
    assert_eq!(bytes[..3], [1, 2, 2]);
    assert_eq!(Presented::decode(&bytes), Ok(shown));
    let nothing = Presented::default();
    assert_eq!(nothing.encode(), [1, 0, 0]);
    assert_eq!(Presented::decode(&[1, 0, 0]), Ok(nothing));
    for len in 0..bytes.len() {
        assert!(Presented::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(
        Presented::decode(&[&bytes[..], &[0]].concat()),
        Err(PresentedError::Malformed)
    );
    assert_eq!(
        Presented::decode(&[9, 0, 0]),
        Err(PresentedError::Version { found: 9 })
    );
    // At each bound, and one past it.
    let new = |chains: Vec<Vec<Certificate>>, grants: usize| {
        Presented::new(chains, vec![granted.clone(); grants])
    };
    let single = vec![one.clone()];
    assert!(new(vec![single.clone(); MAX_CHAINS], MAX_PRESENTED_CAPABILITIES).is_ok());
    let too_many = Err(PresentedError::TooMany);
    assert_eq!(new(vec![single; MAX_CHAINS + 1], 0), too_many);
    assert_eq!(new(Vec::new(), MAX_PRESENTED_CAPABILITIES + 1), too_many);
    assert!(new(vec![vec![one.clone(); 3]], 0).is_ok());
    assert_eq!(new(vec![vec![one; 4]], 0), too_many);
    assert_eq!(new(vec![Vec::new()], 0), too_many);
    assert_eq!(Presented::decode(&[1, 5]), too_many);
    assert_eq!(Presented::decode(&[1, 1, 4]), too_many);
    assert_eq!(Presented::decode(&[1, 0, 17]), too_many);
    assert_eq!(
        Presented::decode(&[1, 1, 0, 0]),
        Err(PresentedError::Malformed)
    );
    let found = MAX_PRESENTED_LEN + 1;
    let long = Presented::decode(&vec![1; found]);
    assert_eq!(long, Err(PresentedError::TooLong { found }));
    // Wide capabilities in number are over it.
    let wide = Terms {
        permissions: (0..7)
            .map(|n| format!("app.{n} {}", "x".repeat(1000)).parse().unwrap())
            .collect(),
        until: now(),
        delegable: 0,
    };
    let wide = Capability::grant(&key(9), id(2), &wide, &mut rng(1)).unwrap();
    let fit = MAX_PRESENTED_LEN / (wide.as_bytes().len() + 2);
    assert!(Presented::new(Vec::new(), vec![wide.clone(); fit]).is_ok());
    let over = Presented::new(Vec::new(), vec![wide; fit + 1]);
    assert!(matches!(over, Err(PresentedError::TooLong { .. })));
}

#[test]
fn nothing_that_was_changed_gives_another_device_anything() {
    let home = authority(1, "Home");
    let policy = policy_of(home.trusted())
        .into_builder()
        .accept_capabilities_of(id(9))
        .build();
    let own = show(
        &[&certificate(&home, 2, &["admins"])],
        &[&capability(9, 2, "shell")],
    )
    .encode();
    let foreign = show(
        &[&certificate(&home, 3, &["admins"])],
        &[&capability(8, 3, "*")],
    )
    .encode();
    let mut rng = rng(5);
    for number in 0..5_000 {
        let changed = mutate(&mut rng, &own, &foreign);
        match Presented::decode(&changed) {
            Ok(shown) => {
                let credentials = policy.examine(&id(4), &shown, now());
                let decision = policy.admits_with(&credentials, now());
                assert!(!decision.is_allowed(), "change {number}: {changed:02x?}");
            }
            Err(error) => assert!(!chain(&error).is_empty()),
        }
    }
}
