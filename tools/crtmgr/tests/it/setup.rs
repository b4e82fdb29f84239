//! `crtmgr setup`: by questions and by flags.

use std::fs;
use std::process::Command;

use crate::{Place, is_there, mode};

#[test]
fn a_server_is_set_up_by_answers_and_again_without_harm() {
    let place = Place::new();
    let client = Place::new().good(&["id"]);
    let answers = format!("{client}\nlaptop\n\n\n");
    let ended = place.run_with(&["setup", "server"], &answers);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.trim(), place.good(&["id"]));
    assert!(
        ended
            .stderr
            .lines()
            .any(|line| line == "crtmgr: start it with: dnc -l"),
        "{}",
        ended.stderr
    );
    assert_eq!(place.good(&["peer", "list"]), format!("laptop  {client}"));
    let config = fs::read_to_string(place.home().join("config.toml")).unwrap();
    assert_eq!(
        config,
        "# Who may connect: contacts and ids.\nallow = [\"laptop\"]\n\n[dnc]\n\
         # What dnc -l serves to them, and nothing else. A pipe instead: dnc -l --pipe\n\
         allow-target = [\"127.0.0.1:22\"]\n"
    );
    let again = place.run_with(&["setup", "server"], &answers);
    assert_eq!(
        (again.code, &again.stdout),
        (Some(0), &ended.stdout),
        "{}",
        again.stderr
    );
    assert_eq!(
        fs::read_to_string(place.home().join("config.toml")).unwrap(),
        config
    );
}

#[test]
fn a_configuration_that_is_there_is_not_changed_and_the_line_is_told() {
    let place = Place::new();
    fs::create_dir(place.home()).unwrap();
    fs::write(
        place.home().join("config.toml"),
        "# mine\nallow = \"phone\"\n",
    )
    .unwrap();
    let client = Place::new().good(&["id"]);
    let client = format!("laptop={client}");
    let ended = place.run(&[
        "setup",
        "server",
        "--client",
        &client,
        "--target",
        "127.0.0.1:80",
    ]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.ends_with(
            "crtmgr: TMP/home/config.toml is there already and is not overwritten; put this line \
             at its top: allow = [\"phone\", \"laptop\"]\n"
        ),
        "{}",
        ended.stderr
    );
    assert_eq!(
        fs::read_to_string(place.home().join("config.toml")).unwrap(),
        "# mine\nallow = \"phone\"\n"
    );
}

#[test]
fn a_client_gets_its_ssh_block_once_and_ssh_reads_it() {
    if !is_there("ssh", "a_client_gets_its_ssh_block_once_and_ssh_reads_it") {
        return;
    }
    let place = Place::new();
    let server = Place::new().good(&["id"]);
    fs::create_dir(place.path(".ssh")).unwrap();
    let config = place.write(".ssh/config", "Host old\n    Port 2222");
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let words = [
        "setup",
        "client",
        "--server",
        &format!("home={server}"),
        "--ssh",
        "yes",
    ];
    let ended = place.run(&words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.ends_with("then, here: ssh USER@home.dn\n"),
        "{}",
        ended.stderr
    );
    let expected = "Host old\n    Port 2222\n\nHost *.dn\n    ProxyCommand dnc %h 127.0.0.1:%p\n";
    assert_eq!(fs::read_to_string(&config).unwrap(), expected);
    assert_eq!(mode(&config), 0o640);
    place.good(&words);
    assert_eq!(fs::read_to_string(&config).unwrap(), expected, "once");
    assert_eq!(place.good(&["peer", "list"]), format!("home.dn  {server}"));
    let ssh = Command::new("ssh")
        .args(["-G", "-F", &config, "home.dn"])
        .output()
        .unwrap();
    let read = String::from_utf8(ssh.stdout).unwrap();
    assert!(read.contains("proxycommand dnc %h 127.0.0.1:%p"), "{read}");
}

#[test]
fn the_role_is_asked_and_a_client_may_name_no_server_yet() {
    let place = Place::new();
    let ended = place.run_with(&["-i"], "c\nno\n\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!std::path::Path::new(&place.path(".ssh")).exists());
    assert!(
        ended.stderr.contains("crtmgr setup server --client NAME="),
        "{}",
        ended.stderr
    );
}

#[test]
fn wrong_answers_are_asked_again_and_an_end_without_an_answer_is_a_usage_error() {
    let place = Place::new();
    let client = Place::new().good(&["id"]);
    let answers = format!("nonsense\n{client}\nNO NAME\nlaptop\n\nx\n127.0.0.1:80\n");
    let ended = place.run_with(&["setup", "server"], &answers);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let config = fs::read_to_string(place.home().join("config.toml")).unwrap();
    assert!(
        config.contains("allow-target = [\"127.0.0.1:80\"]"),
        "{config}"
    );
    // Other targets than those in the file have to be named.
    let client = format!("laptop={client}");
    let words = ["setup", "server", "--client", &client, "--target", "h:1"];
    let ended = place.run(&words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("start it with: dnc -l --allow-target 'h:1'"),
        "{}",
        ended.stderr
    );
    // Who may connect already still may.
    let again = place.run_with(&["setup", "server"], "\n127.0.0.1:80\n");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(!again.stderr.contains("nobody"), "{}", again.stderr);
    assert!(
        again.stderr.contains("start it with: dnc -l\n"),
        "{}",
        again.stderr
    );
    for answers in ["", "maybe\n", "a\nb\nd\ne\nf\nc\n"] {
        let ended = Place::new().run_with(&["setup"], answers);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{answers:?}"
        );
        assert!(
            ended.stderr.contains("see crtmgr setup --help"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn an_ssh_configuration_that_is_kept_elsewhere_stays_there() {
    let place = Place::new();
    fs::create_dir(place.path(".ssh")).unwrap();
    let kept = place.write("kept", "# mine\n");
    std::os::unix::fs::symlink(&kept, place.path(".ssh/config")).unwrap();
    place.run_with(&["setup", "client", "--ssh", "yes"], "");
    assert!(
        fs::read_to_string(&kept)
            .unwrap()
            .starts_with("# mine\n\nHost *.dn\n")
    );
    assert!(
        fs::symlink_metadata(place.path(".ssh/config"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn a_contact_of_that_name_is_not_given_away() {
    let place = Place::new();
    let (one, other) = (Place::new().good(&["id"]), Place::new().good(&["id"]));
    place.good(&[
        "setup",
        "server",
        "--client",
        &format!("laptop={one}"),
        "--target",
        "127.0.0.1:22",
    ]);
    let client = format!("laptop={other}");
    let ended = place.run(&[
        "setup",
        "server",
        "--client",
        &client,
        "--target",
        "127.0.0.1:22",
    ]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("the name laptop is taken by"),
        "{}",
        ended.stderr
    );
    assert_eq!(place.good(&["peer", "list"]), format!("laptop  {one}"));
}
