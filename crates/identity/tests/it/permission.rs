//! Permissions: their text, what they cover, and which of them lies in which.

use dhtnet_identity::policy::permission::{CommandPattern, KNOWN_ACTIONS, MAX_PERMISSION_LEN};
use dhtnet_identity::policy::{Action, OwnedAction, ParsePermissionError, Permission};
use proptest::prelude::*;

use crate::{cases, chain};

fn permission(text: &str) -> Permission {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn covers(text: &str, action: &str) -> bool {
    permission(text).covers(&Action::parse(action).unwrap())
}

#[test]
fn permissions_round_trip_through_their_text() {
    for text in [
        "*",
        "dsh.*",
        "app.files.*",
        "dnc.pipe",
        "dnc.target *",
        "dnc.target 127.0.0.1:22",
        "dnc.target 10.0.0.0/8:*",
        "dnc.target [fd00::/8]:443",
        "dnc.target unix:/run/app.sock",
        "dnc.target udp:192.0.2.53:53",
        "dnc.bind 127.0.0.1:8080",
        "dsh.shell",
        "dsh.command uptime -p",
        "dsh.command git-upload-pack *",
        "dsh.command *",
        "dsh.user alice",
        "dsh.forward localhost:5432",
        "dsh.cp",
        "dvpn.join",
        "dvpn.join home",
        "dvpn.route 10.1.0.0/16",
        "dvpn.route fd12::/32",
        "dvpn.exit",
        "chat",
        "chat room one",
    ] {
        assert_eq!(permission(text).to_string(), text);
        assert_eq!(permission(text), permission(text));
    }
    assert_eq!(permission("dvpn.join *").to_string(), "dvpn.join");
    assert_eq!(
        permission("dnc.target [::ffff:10.0.0.1]:22").to_string(),
        "dnc.target 10.0.0.1:22"
    );
    assert_eq!(
        permission("dvpn.route 10.0.0.1").to_string(),
        "dvpn.route 10.0.0.1/32"
    );
}

#[test]
fn each_form_covers_what_it_says_and_no_more() {
    for (rule, action, wanted) in [
        ("*", "dnc.target 127.0.0.1:22", true),
        ("*", "chat", true),
        ("dsh.*", "dsh.shell", true),
        ("dsh.*", "dsh.command rm -rf /", true),
        ("dsh.*", "dnc.pipe", false),
        ("app.*", "application", false),
        ("app.*", "app.x", true),
        ("dnc.pipe", "dnc.pipe", true),
        ("dnc.target *", "dnc.target unix:/run/x", true),
        ("dnc.target *", "dnc.bind 127.0.0.1:80", false),
        ("dnc.target 10.0.0.0/8:22", "dnc.target 10.1.2.3:22", true),
        ("dnc.target 10.0.0.0/8:22", "dnc.target 10.1.2.3:23", false),
        ("dnc.target 10.0.0.0/8:22", "dnc.target 11.0.0.1:22", false),
        (
            "dnc.target 10.0.0.0/8:22",
            "dnc.target ten.example:22",
            false,
        ),
        (
            "dnc.target udp:10.0.0.0/8:*",
            "dnc.target udp:10.0.0.1:53",
            true,
        ),
        (
            "dnc.target udp:10.0.0.0/8:*",
            "dnc.target 10.0.0.1:53",
            false,
        ),
        ("dnc.bind 127.0.0.1:*", "dnc.bind 127.0.0.1:8080", true),
        ("dnc.bind 127.0.0.1:*", "dnc.bind 0.0.0.0:8080", false),
        ("dsh.user alice", "dsh.user alice", true),
        ("dsh.user alice", "dsh.user root", false),
        ("dsh.user *", "dsh.user root", true),
        ("dvpn.join", "dvpn.join home", true),
        ("dvpn.join home", "dvpn.join home", true),
        ("dvpn.join home", "dvpn.join work", false),
        ("dvpn.join home", "dvpn.join", false),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 10.1.0.0/16", true),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 10.1.2.3", true),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 0.0.0.0/0", false),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 11.0.0.0/8", false),
        ("dvpn.route 0.0.0.0/0", "dvpn.route ::/0", false),
        ("dvpn.route ::/0", "dvpn.route fd00::/8", true),
        ("chat", "chat", true),
        ("chat", "chat room", true),
        ("chat room", "chat room", true),
        ("chat room", "chat", false),
        ("chat", "chats", false),
    ] {
        assert_eq!(covers(rule, action), wanted, "{rule} / {action}");
    }
}

#[test]
fn a_parameter_that_does_not_parse_is_not_covered() {
    let target = permission("dnc.target 10.0.0.0/8:22");
    let route = permission("dvpn.route 10.0.0.0/8");
    for parameter in ["", "x", "10.0.0.0/8:22", "10.0.0.1:22 ", "10.0.0.1/33"] {
        assert!(
            !target.covers(&Action::with("dnc.target", parameter)),
            "{parameter}"
        );
        assert!(
            !route.covers(&Action::with("dvpn.route", parameter)),
            "{parameter}"
        );
    }
    assert!(!target.covers(&Action::new("dnc.target")));
}

#[test]
fn a_command_is_allowed_letter_by_letter_or_with_plain_arguments() {
    let matches =
        |pattern: &str, line: &str| pattern.parse::<CommandPattern>().unwrap().matches(line);
    assert!(matches("uptime -p", "uptime -p"));
    for line in [
        "uptime",
        "uptime -p -s",
        "uptime -pp",
        " uptime -p",
        "UPTIME -p",
    ] {
        assert!(!matches("uptime -p", line), "{line}");
    }
    for line in [
        "git pull",
        "git pull origin",
        "git pull --depth=1 a@b:/c/d_e.git",
        "git pull ",
    ] {
        assert!(matches("git pull *", line), "{line}");
    }
    for line in [
        "git pullx",
        "git pull;id",
        "git pull ; id",
        "git pull $(id)",
        "git pull `id`",
        "git pull a|b",
        "git pull a&",
        "git pull >x",
        "git pull <x",
        "git pull 'x'",
        "git pull \"x\"",
        "git pull a\nid",
        "git pull *",
        "git pull ~",
        "git pull é",
        "git pull (x)",
        "git pull {a,b}",
        "git pull \\x",
        "git pull !x",
        "git pull #x",
    ] {
        assert!(!matches("git pull *", line), "{line}");
    }
}

#[test]
fn what_lies_in_what_is_known() {
    for (wide, narrow, wanted) in [
        ("*", "*", true),
        ("*", "dsh.*", true),
        ("*", "chat", true),
        ("dsh.*", "*", false),
        ("dsh.*", "dsh.*", true),
        ("dsh.*", "dsh.user *", true),
        ("app.*", "app.x.*", true),
        ("app.x.*", "app.*", false),
        ("dsh.*", "dnc.pipe", false),
        ("dsh.shell", "dsh.*", false),
        ("dnc.target *", "dnc.target 10.0.0.1:22", true),
        ("dnc.target 10.0.0.1:22", "dnc.target *", false),
        ("dnc.target 10.0.0.0/8:*", "dnc.target 10.1.0.0/16:22", true),
        (
            "dnc.target 10.1.0.0/16:22",
            "dnc.target 10.0.0.0/8:22",
            false,
        ),
        ("dnc.target 10.0.0.0/8:22", "dnc.target 10.0.0.0/8:*", false),
        (
            "dnc.target 10.0.0.0/8:22",
            "dnc.target udp:10.0.0.0/8:22",
            false,
        ),
        ("dnc.target a.example:*", "dnc.target A.example:22", true),
        ("dnc.target 10.0.0.0/8:*", "dnc.target a.example:22", false),
        ("dnc.target unix:/a", "dnc.target unix:/a", true),
        ("dnc.target unix:/a", "dnc.target unix:/a/b", false),
        ("dnc.target 10.0.0.0/8:*", "dnc.bind 10.0.0.0/8:*", false),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 10.0.0.0/8", true),
        ("dvpn.route 10.0.0.0/8", "dvpn.route 0.0.0.0/0", false),
        ("dsh.command a *", "dsh.command a b", true),
        ("dsh.command a *", "dsh.command a b *", true),
        ("dsh.command a *", "dsh.command a", true),
        ("dsh.command a", "dsh.command a *", false),
        ("dsh.command a *", "dsh.command a ;b *", false),
        ("dsh.user a", "dsh.user a", true),
        ("dsh.user a", "dsh.user b", false),
        ("chat", "chat room", true),
        ("chat room", "chat", false),
    ] {
        let found = permission(wide).includes(&permission(narrow));
        assert_eq!(found, wanted, "{wide} / {narrow}");
    }
}

#[test]
fn texts_that_are_no_permission_are_named() {
    let long = "x".repeat(MAX_PERMISSION_LEN + 1);
    let name = "x".repeat(256);
    for (text, wanted) in [
        (
            "",
            "an action is a name, or a name, one blank and a parameter",
        ),
        (
            " dnc.pipe",
            "an action is a name, or a name, one blank and a parameter",
        ),
        (
            "dsh.user  a",
            "an action is a name, or a name, one blank and a parameter",
        ),
        ("chat\nx", "an action has no control characters"),
        (&long, "an action has at most 1280 bytes"),
        (&name, "an action has at most 1280 bytes"),
        (
            "dn*",
            "in the name of an action \"*\" may stand after a dot only",
        ),
        (
            "*.pipe",
            "in the name of an action \"*\" may stand after a dot only",
        ),
        (
            ".*",
            "in the name of an action \"*\" may stand after a dot only",
        ),
        ("dsh.* x", "\"dsh.*\" has no parameter"),
        (
            "dnc.target",
            "\"dnc.target\" needs a parameter (dnc.target * stands for any)",
        ),
        ("dnc.pipe x", "\"dnc.pipe\" has no parameter"),
        (
            "dsh.shel",
            "there is no action \"dsh.shel\" (did you mean \"dsh.shell\"?)",
        ),
        ("dvpn.x.*", "there is no action \"dvpn.x.*\""),
        (
            "dnc.target 10.0.0.0/8",
            "the target is not one: the target has no port (HOST:PORT)",
        ),
        (
            "dnc.target 10.1.0.0/8:22",
            "the target is not one: \"10.1.0.0/8\" has bits beyond its prefix (did you mean \
             10.0.0.0/8?)",
        ),
        (
            "dvpn.route 10.0.0.0/33",
            "the network is not one: \"10.0.0.0/33\" is not a network (10.0.0.0/8, [fd00::/8])",
        ),
        ("dsh.user a b", "the parameter is not the name of a user"),
        ("dsh.user -x", "the parameter is not the name of a user"),
        ("dvpn.join a b", "the parameter is not a name"),
        (
            "dsh.command a * b",
            "the command is not one: in a command \"*\" may stand at the end only, after a blank \
             (further arguments)",
        ),
    ] {
        let error = text.parse::<Permission>().unwrap_err();
        assert_eq!(chain(&error), wanted, "{text}");
    }
}

#[test]
fn an_action_that_is_asked_for_is_no_pattern() {
    for text in [
        "dnc.target 127.0.0.1:22",
        "dsh.shell",
        "chat",
        "dsh.command a; b | c",
    ] {
        assert_eq!(text.parse::<OwnedAction>().unwrap().to_string(), text);
    }
    for text in ["*", "dsh.*"] {
        assert_eq!(Action::parse(text), Err(ParsePermissionError::Pattern));
    }
    for text in [
        "dnc.target *",
        "dnc.target 10.0.0.0/8:22",
        "dnc.target",
        "dsh.shel",
        "dnc.pipe x",
    ] {
        assert!(Action::parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_action_of_the_tools_is_described() {
    for known in KNOWN_ACTIONS {
        assert!(!known.meaning.is_empty());
        let any = format!("{} *", known.name);
        assert!(known.name.parse::<Permission>().is_ok() || any.parse::<Permission>().is_ok());
    }
}

/// Permissions and actions made of few parts, so that they meet.
fn permission_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        "(app|app\\.x|dsh)\\.\\*",
        "app\\.(x|y)(\\.z)?( (one|two))?",
        "dnc\\.(target|bind) (10\\.0\\.0\\.0/(8|16)|10\\.0\\.0\\.1|a\\.b):(\\*|22|80)",
        "dnc\\.target \\*",
        "dvpn\\.route (10\\.0\\.0\\.0/(8|16)|0\\.0\\.0\\.0/0|10\\.0\\.1\\.0/24)",
        "dsh\\.command (a|a b)( \\*)?",
    ]
}

fn action_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "app\\.(x|y)(\\.z)?( (one|two))?",
        "dnc\\.(target|bind) (10\\.0\\.0\\.1|10\\.1\\.0\\.1|a\\.b):(22|80)",
        "dvpn\\.route (10\\.0\\.0\\.0/(8|16)|10\\.0\\.1\\.0/24|10\\.0\\.0\\.1)",
        "dsh\\.command a( b( c)?|;b)?",
        Just("dsh.shell".to_owned()),
    ]
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn what_includes_another_covers_all_that_it_covers(
        wide in permission_text(), narrow in permission_text(), action in action_text(),
    ) {
        let (wide, narrow) = (permission(&wide), permission(&narrow));
        let action: OwnedAction = action.parse().unwrap();
        let action = action.as_action();
        if wide.includes(&narrow) && narrow.covers(&action) {
            prop_assert!(wide.covers(&action), "{} / {} / {}", wide, narrow, action);
        }
        prop_assert!(narrow.includes(&narrow));
    }

    #[test]
    fn any_text_is_a_permission_that_round_trips_or_a_named_fault(text in "\\PC{0,40}") {
        match text.parse::<Permission>() {
            Ok(read) => prop_assert_eq!(read.to_string().parse::<Permission>().unwrap(), read),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
