//! Who a device is, how users name it, and what it may do.
//!
//! A device **is** its Ed25519 key. This crate makes and keeps that key, writes the public half
//! in a form that people can pass on, and answers the one question that guards everything else:
//! may this peer do that? It is a library of plain values: no sockets, no clock, no tasks, no
//! global randomness. What it needs of these comes as an argument (`now`, a generator); the only
//! outside thing it touches is the files it is told to read and write.
//!
//! | module | what it holds |
//! |---|---|
//! | [`device_id`] | the public key, checked; its 56-character text form with checksum and version |
//! | [`device_key`] | the secret key: signatures, the Noise static key, derived secrets, PKCS#8 |
//! | [`sealed`] | bytes encrypted to a device by its id alone |
//! | [`relay_password`] | the password of a device at a relay, agreed on by their keys |
//! | [`noise`] | the primitives and static keys of Noise, shared with the transport |
//! | [`key_file`] | the file of that key: mode 0600, created atomically, never overwritten |
//! | [`peer_address`] | how users name a peer: id, `id@ip:port,…`, or alias |
//! | [`contacts`] | the contact book `contacts.toml` that resolves aliases |
//! | [`target`] | what a peer may ask to be connected with, and patterns that allow it |
//! | [`certificate`] | X.509: CAs, device certificates, revocation lists, chains judged at a moment |
//! | [`capability`] | grants that travel with their holder, can be passed on and taken back |
//! | [`policy`] | grants, bans, `policy.toml`, and the evaluator that denies by default |
//! | [`atomic_file`] | writing files that are there whole or not at all |
//!
//! # In short
//! ```text
//! seed (32 random bytes)
//!  ├─ Ed25519 key (RFC 8032) ── public key ── device id:
//!  │                                base32(key ‖ SHA-256(label ‖ key ‖ version)[..2] ‖ version)
//!  ├─ the same key on Curve25519 (RFC 7748) ── Noise static key: knowing an id is enough to
//!  │                                            start an authenticated handshake
//!  └─ HKDF-SHA256(seed, label) ── secrets that must survive a restart
//! ```
//! A public key is taken only when it is canonical, of prime order and not weak, and signatures
//! are checked strictly, so one device has one id and one signature one spelling. Secrets are
//! wiped from memory and never shown by `Debug`. Each error names its fault and not the cause
//! below it, which is its `source()`: print the chain.
//!
//! # Left out
//! Watching files for changes, and carrying what a peer shows, is the caller's. Revocation lists
//! are not fetched, and there is no OCSP. Two programs that change one contact book at the same
//! moment: the last one wins.
//!
//! # Example
//! ```
//! use dhtnet_identity::contacts::Contacts;
//! use dhtnet_identity::policy::{Action, Grant, Policy, Subject};
//! use dhtnet_identity::{DeviceKey, PeerArgument, key_file};
//! use std::time::SystemTime;
//!
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! // Once, with 32 bytes of the system's randomness (or `DeviceKey::generate(&mut rng)`).
//! key_file::create(home.join("identity.pem"), &DeviceKey::from_seed(&[7; 32]))?;
//!
//! // At each start.
//! let key = key_file::load(home.join("identity.pem"))?;
//! println!("my id is {}", key.id());
//!
//! // A peer that a user named.
//! let peer = DeviceKey::from_seed(&[8; 32]).id();
//! let mut contacts = Contacts::load(home.join("contacts.toml"))?;
//! contacts.add("laptop".parse()?, format!("{peer}@192.0.2.7:4433").parse()?)?;
//! contacts.save(home.join("contacts.toml"))?;
//! let argument: PeerArgument = "laptop".parse()?;
//! assert_eq!(contacts.resolve(&argument)?.id, peer);
//!
//! // What it may do.
//! let policy = Policy::builder().grant(Subject::Peer(peer), Grant::action("dnc.pipe")).build();
//! let now = SystemTime::UNIX_EPOCH; // what the caller's clock says
//! assert!(policy.evaluate(&peer, &Action::new("dnc.pipe"), now).is_allowed());
//! assert!(!policy.evaluate(&peer, &Action::new("dsh.shell"), now).is_allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod atomic_file;
mod bytes;
pub mod capability;
pub mod certificate;
pub mod contacts;
pub mod device_id;
pub mod device_key;
pub mod key_file;
pub mod noise;
pub mod peer_address;
pub mod policy;
pub mod relay_password;
pub mod sealed;
mod suggestion;
pub mod target;
mod text_file;

pub use capability::Capability;
pub use certificate::Certificate;
pub use contacts::Contacts;
pub use device_id::{DeviceId, ParseDeviceIdError, ShortId};
pub use device_key::DeviceKey;
pub use peer_address::{Alias, PeerAddress, PeerArgument};
pub use policy::Policy;
