//! `crtmgr policy` and `crtmgr grant`.

use std::fs;

use crate::Place;

fn with_policy(text: &str) -> (Place, String) {
    let place = Place::new();
    place.good(&["init"]);
    let peer = Place::new().good(&["id"]);
    place.good(&["peer", "add", "laptop", &peer]);
    fs::write(place.home().join("policy.toml"), text).unwrap();
    (place, peer)
}

const POLICY: &str = r#"version = 1
[[rule]]
name = "ssh"
who = ["laptop"]
allow = ["dnc.target 127.0.0.1:22"]
[[test]]
peer = "laptop"
action = "dnc.target 127.0.0.1:22"
expect = "allow"
[[test]]
name = "no shell"
peer = "laptop"
action = "dsh.shell"
expect = "deny"
"#;

#[test]
fn the_tests_of_a_policy_are_run_and_a_failing_one_is_exit_code_1() {
    let (place, _) = with_policy(POLICY);
    assert!(
        place
            .good(&["policy", "check"])
            .ends_with("policy.toml: 2 of 2 tests passed")
    );
    let wrong = POLICY.replace("expect = \"deny\"", "expect = \"allow\"");
    let path = place.write("wrong.toml", &wrong);
    let ended = place.run(&["policy", "check", &path]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stdout
            .starts_with("failed: test \"no shell\" (line 10): "),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .contains("expected allow, but it is denied: no rule allows it"),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stderr, "crtmgr: 1 of 2 tests of the policy failed\n");
}

#[test]
fn a_policy_that_is_not_in_order_is_exit_code_2_with_line_and_key() {
    let (place, _) = with_policy(POLICY);
    for (text, part) in [
        (
            "version = 1\n[[rule]]\nwho = [\"laptop\"]\nalow = [\"chat\"]\n",
            "line 4: unknown key \"alow\"",
        ),
        (
            "version = 1\n[[rule]]\nwho = [\"laptop\"]\nallow = [\"dnc.target 10.0.0.0/33:22\"]\n",
            "line 4, key \"allow\"",
        ),
        (
            "version = 1\n[[rule]]\nwho = [\"laptpo\"]\nallow = [\"chat\"]\n",
            "line 3, key \"who\"",
        ),
        ("version = 9\n", "line 1, key \"version\""),
        ("version = ", "line 1"),
    ] {
        let path = place.write("p.toml", text);
        let line = place.bad(2, &["policy", "check", &path]);
        assert!(line.contains(part), "{line}");
    }
    let line = place.bad(2, &["policy", "check", &place.path("missing.toml")]);
    assert!(line.contains("cannot be read: No such file"), "{line}");
}

#[test]
fn explain_names_the_rule_and_what_the_others_say() {
    let (place, peer) = with_policy(POLICY);
    let said = place.good(&["policy", "explain", "laptop", "dnc.target 127.0.0.1:22"]);
    assert!(
        said.starts_with("allowed by ") && said.contains("ssh"),
        "{said}"
    );
    let json = place.json(&["policy", "explain", &peer, "dsh.shell"]);
    assert_eq!(
        (json["verdict"].as_str(), &json["rule"]),
        (Some("deny"), &serde_json::Value::Null)
    );
    assert!(
        json["findings"][0]["finding"]
            .as_str()
            .unwrap()
            .contains("allows other actions")
    );
    let line = place.bad(2, &["policy", "explain", "laptop", "dsh.shel"]);
    assert!(line.contains("dsh.shell"), "a suggestion: {line}");
}

#[test]
fn a_certificate_and_a_capability_count_as_they_would_when_shown() {
    let (place, peer) = with_policy("version = 1\n");
    place.good(&["ca", "init", "--name", "Home"]);
    let cert = place.path("l.crt");
    place.good(&["ca", "sign", "laptop", "--group", "admins", "-o", &cert]);
    let text = "version = 1\n[[ca]]\nname = \"home\"\ncertificate = \"ca/ca.crt\"\n\
                [[rule]]\nwho = [\"group:home/admins\"]\nallow = [\"dsh.shell\"]\n";
    fs::write(place.home().join("policy.toml"), text).unwrap();
    let explain = |more: &[&str], action: &str| {
        place.json(&[&["policy", "explain", "laptop", action], more].concat())["verdict"].clone()
    };
    assert_eq!(explain(&[], "dsh.shell"), "deny");
    assert_eq!(explain(&["--certificate", &cert], "dsh.shell"), "allow");
    let cap = place.good(&[
        "grant",
        "laptop",
        "dnc.target 10.0.0.0/8:22",
        "--until",
        "1h",
    ]);
    let action = "dnc.target 10.1.2.3:22";
    assert_eq!(explain(&[], action), "deny");
    assert_eq!(explain(&["--capability", &cap], action), "allow");
    assert_eq!(
        explain(&["--capability", &cap, "--at", "2h"], action),
        "deny"
    );
    assert_eq!(
        explain(&["--capability", &cap], "dnc.target 11.0.0.1:22"),
        "deny"
    );
    // Somebody else's does not count, and it is said.
    let stranger = Place::new().good(&["id"]);
    let other = place.good(&["grant", &stranger, "dsh.shell", "--until", "1h"]);
    let json = place.json(&[
        "policy",
        "explain",
        &peer,
        "dsh.shell",
        "--capability",
        &other,
    ]);
    assert_eq!(json["verdict"], "deny");
    assert!(json["rejected"][0].as_str().unwrap().contains("is held by"));
}

#[test]
fn a_grant_is_passed_on_narrower_and_never_wider() {
    let (place, friend) = (Place::new(), Place::new());
    place.good(&["init"]);
    let holder = friend.good(&["id"]);
    let third = Place::new().good(&["id"]);
    let cap = place.good(&[
        "grant",
        &holder,
        "dnc.target 10.0.0.0/8:*",
        "--until",
        "1d",
        "--delegable",
        "1",
    ]);
    let file = friend.write("received.cap", &format!("{cap}\n"));
    assert_eq!(place.json(&["show", &file])[0]["delegable"], 1);
    let part = friend.good(&[
        "grant",
        &third,
        "dnc.target 10.1.0.0/16:22",
        "--until",
        "30d",
        "--from",
        &file,
    ]);
    let shown = friend.json(&["show", &friend.write("part.cap", &part)]);
    let first = friend.json(&["show", &file]);
    assert_eq!(
        (&shown[0]["until"], &shown[0]["links"]),
        (&first[0]["until"], &2.into()),
        "it ends with the first"
    );
    for (words, part) in [
        (["dsh.shell", "0"], "narrower"),
        (["dnc.target 10.1.0.0/16:22", "1"], "at most"),
    ] {
        let [action, delegable] = words;
        let line = friend.bad(
            2,
            &[
                "grant",
                &third,
                action,
                "--until",
                "1h",
                "--delegable",
                delegable,
                "--from",
                &file,
            ],
        );
        assert!(line.contains(part), "{line}");
    }
    let line = place.bad(
        2,
        &[
            "grant",
            &third,
            "dnc.target 10.1.0.0/16:22",
            "--until",
            "1h",
            "--from",
            &file,
        ],
    );
    assert!(line.contains("does not hold"), "{line}");
}

#[test]
fn wrong_grants_are_usage_errors_and_broken_capabilities_are_not_taken() {
    let place = Place::new();
    let id = place.good(&["init"]);
    for words in [
        &["grant", &id, "dsh.shel", "--until", "1h"][..],
        &["grant", &id, "dsh.shell", "--until", "2001-01-01"],
        &["grant", &id, "dsh.shell", "--until", "soon"],
        &["grant", &id, "dsh.shell"],
        &["grant", &id, "--until", "1h"],
        &[
            "grant",
            &id,
            "dsh.shell",
            "--until",
            "1h",
            "--delegable",
            "5",
        ],
        &["grant", "nobody", "dsh.shell", "--until", "1h"],
    ] {
        place.bad(2, words);
    }
    let cap = place.good(&[
        "grant",
        &id,
        "dsh.shell",
        "--until",
        "1h",
        "--delegable",
        "2",
    ]);
    for broken in [
        &cap[..cap.len() - 4],
        "cap1",
        "cap1A",
        "hello",
        &cap.replace("cap1A", "cap1B"),
    ] {
        place.bad(
            5,
            &["grant", &id, "dsh.shell", "--until", "1h", "--from", broken],
        );
    }
    assert!(
        Place::new()
            .bad(5, &["grant", &id, "chat", "--until", "1h"])
            .contains("crtmgr init")
    );
}
