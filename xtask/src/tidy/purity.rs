//! No socket, clock, thread, task, environment or global randomness in the text of a protocol
//! crate and of the facade's core. (The `clippy.toml` of each proves the same on resolved names; this also sees macros,
//! features that are off, and other systems' code.)

use super::tree::{before_tests, is_test_file, without_comment};
use super::{Finding, Tree};

/// Where the rule holds: the protocol crates, and the facade's machines.
const CORES: &[&str] = &[
    "crates/identity/src/",
    "crates/secure-transport/src/",
    "crates/channel-mux/src/",
    "crates/dht-core/src/",
    "crates/nat-traversal/src/",
    "crates/vpn-core/src/",
    "crates/dhtnet/src/core.rs",
    "crates/dhtnet/src/core/",
    "crates/dhtnet/src/hello.rs",
    "crates/dhtnet/src/peers.rs",
];

/// The one place of the facade that may name sockets, and the words meant.
const DRIVER: &str = "crates/dhtnet/src/driver/";
const SOCKETS: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "socket2::",
    "quinn_udp::",
];

/// Words that have no place there, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("UdpSocket", "sockets belong to the driver"),
    ("TcpStream", "sockets belong to the driver"),
    ("TcpListener", "sockets belong to the driver"),
    ("UnixStream", "sockets belong to the driver"),
    ("UnixListener", "sockets belong to the driver"),
    ("UnixDatagram", "sockets belong to the driver"),
    ("Instant::now", "take `now` as an argument"),
    ("SystemTime::now", "take the wall time as an argument"),
    (".elapsed()", "it reads the clock; subtract from `now`"),
    ("std::thread", "the driver owns threads"),
    ("thread::spawn", "the driver owns threads"),
    ("thread::sleep", "nothing here waits"),
    ("thread_local!", "state has one owner"),
    ("tokio::", "the driver owns tasks"),
    ("std::env", "configuration is an argument"),
    ("std::process::", "only tools start or end processes"),
    ("thread_rng", "take a generator as an argument"),
    ("rand::rng(", "take a generator as an argument"),
    ("rand::random", "take a generator as an argument"),
    ("OsRng", "take a generator as an argument"),
    ("SysRng", "take a generator as an argument"),
    ("SystemRandom", "take a generator as an argument"),
    ("getrandom::", "take a generator as an argument"),
];

/// Looks through the shipped lines of the protocol crates.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        if is_test_file(path) {
            continue;
        }
        let beside_driver = path.starts_with("crates/dhtnet/src/") && !path.starts_with(DRIVER);
        for (line, code) in before_tests(text).filter(|_| beside_driver) {
            let code = without_comment(code);
            for word in SOCKETS.iter().filter(|word| code.contains(**word)) {
                let message = format!("`{word}` outside {DRIVER}");
                findings.push(Finding::new(path, line, message));
            }
        }
        if !CORES.iter().any(|core| path.starts_with(core)) {
            continue;
        }
        for (line, code) in before_tests(text).map(|(line, code)| (line, without_comment(code))) {
            for (word, instead) in FORBIDDEN.iter().filter(|(word, _)| code.contains(word)) {
                let message = format!("`{word}` in a protocol crate: {instead}");
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_a_core_is_found_with_its_line() {
        let tree = Tree::of(&[(
            "crates/channel-mux/src/lib.rs",
            "//! x\nlet t = Instant::now();\n",
        )]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "crates/channel-mux/src/lib.rs:2: `Instant::now` in a protocol crate: \
             take `now` as an argument"
        );
    }

    #[test]
    fn a_socket_of_the_facade_is_found_outside_the_driver() {
        let tree = Tree::of(&[
            (
                "crates/dhtnet/src/driver/sockets.rs",
                "use socket2::Socket;",
            ),
            ("crates/dhtnet/src/node.rs", "use socket2::Socket;"),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(found, ["crates/dhtnet/src/node.rs"]);
    }

    #[test]
    fn comments_tests_and_the_driver_are_free() {
        let tree = Tree::of(&[
            (
                "crates/identity/src/a.rs",
                "/// not `Instant::now`\n#[cfg(test)]\nmod tests {\nOsRng\n}",
            ),
            ("crates/identity/src/a/tests.rs", "std::env::temp_dir()"),
            (
                "crates/dhtnet/src/driver.rs",
                "Instant::now(); tokio::spawn",
            ),
        ]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn every_forbidden_word_is_found() {
        for (word, _) in FORBIDDEN {
            let tree = Tree::of(&[("crates/identity/src/a.rs", word)]);
            assert!(!check(&tree).is_empty(), "{word}");
        }
    }
}
