//! One function per decoder that reads bytes or text from a peer, a file or a command line.
//!
//! A target takes any bytes and checks more than the absence of a panic: what a decoder accepts
//! must come back the same when it is encoded and decoded again. [`TARGETS`] lists them all; each
//! has a libFuzzer binary in fuzz_targets/ and a folder of inputs in corpus/, which the tests
//! replay on the stable compiler (`cargo xtask test`).
//!
//! Searching: `cargo fuzz run NAME --features libfuzzer` in this folder's parent, with the nightly
//! compiler, or with `RUSTC_BOOTSTRAP=1` on stable. An input that failed goes into corpus/NAME.

mod channel_mux;
mod copy;
mod credentials;
mod dht_core;
mod forward;
mod hello;
mod identity;
mod nat_traversal;
mod secure_transport;
mod shell;
mod socks5;
mod vpn_core;

/// What a fuzz target is: it returns when all is well and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and of its corpus folder.
pub const TARGETS: &[(&str, Target)] = &[
    ("bencode", dht_core::bencode),
    ("blocklist", dht_core::blocklist),
    ("capability", credentials::capability),
    ("certificate", credentials::certificate),
    ("certificate_list", credentials::revocation_list),
    ("certificate_pem", credentials::pem),
    ("certificate_request", credentials::request),
    ("contacts", identity::contacts),
    ("copy_frame", copy::frame),
    ("device_id", identity::device_id),
    ("dht_node", dht_core::dht_node),
    ("forward_request", forward::request),
    ("handshake_frames", secure_transport::frames),
    ("handshake_message1", secure_transport::message1),
    ("handshake_message2", secure_transport::message2),
    ("hello", hello::hello),
    ("key_pem", identity::key_pem),
    ("krpc", dht_core::krpc),
    ("mutable_item", dht_core::mutable_item),
    ("mux_answer", channel_mux::answer),
    ("mux_control", channel_mux::control),
    ("mux_datagram", channel_mux::datagram),
    ("mux_request", channel_mux::request),
    ("nat_offer", nat_traversal::offer),
    ("nat_session", nat_traversal::nat_session),
    ("peer_address", identity::peer_address),
    ("peer_argument", identity::peer_argument),
    ("permission", credentials::permission),
    ("policy_file", credentials::policy_file),
    ("presented", credentials::presented),
    ("publication", dht_core::publication),
    ("quic_gate", secure_transport::gate),
    ("relay", nat_traversal::relay),
    ("saved_state", dht_core::saved_state),
    ("sealed", identity::sealed),
    ("shell_attach", shell::attach),
    ("shell_control", shell::control),
    ("shell_request", shell::request),
    ("shell_session", shell::session),
    ("socks5", socks5::messages),
    ("split_joiner", dht_core::split_joiner),
    ("stun_message", nat_traversal::stun_message),
    ("target", identity::target),
    ("target_pattern", identity::target_pattern),
    ("turn_client", nat_traversal::turn_client),
    ("value_fields", dht_core::value_fields),
    ("value_key", dht_core::value_key),
    ("value_query", dht_core::value_query),
    ("value_query_text", dht_core::value_query_text),
    ("value_record", dht_core::value_record),
    ("vpn_control", vpn_core::control),
    ("vpn_datagrams", vpn_core::datagrams),
    ("vpn_offloads", vpn_core::offloads),
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when the target found a broken promise.
pub fn run(name: &str, input: &[u8]) {
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        panic!("no fuzz target `{name}`");
    };
    target(input);
}

/// Text inputs: bytes that are not UTF-8 cannot reach a `FromStr`.
fn with_text(input: &[u8], check: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(input) {
        check(text);
    }
}
