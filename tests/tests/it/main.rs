//! End-to-end tests with the built tools, each on hosts of its own in network namespaces.
//!
//! `DHTNET_BIN_DIR` names the folder of the tools; default: where the tests were built.
//! `DHTNET_TEST_FULL=1` sends 1 GiB where 64 MiB are sent otherwise.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod crtmgr_passphrase;
mod crtmgr_setup;
mod dht_crowd;
mod dht_interop;
mod dht_listen;
mod dht_private;
mod dht_routed;
mod dht_scale;
mod dht_segment;
mod dht_state;
mod doctor;
mod dsh;
mod dsh_copy;
mod dsh_faults;
mod dsh_screen;
mod dsh_session;
mod dsh_terminal;
mod dsh_transport;
mod dsh_typing;
mod endings;
mod forwarding;
mod grid;
mod hole_punching;
mod journal;
mod lab_works;
mod nat_kinds;
mod output;
mod pair;
mod persistence;
mod policy_applications;
mod policy_live;
mod policy_matrix;
mod port_mapping;
mod probing;
mod refusals;
mod relay_announced;
mod relay_joined;
mod relay_restarted;
mod relay_server;
mod relayed;
mod restarts;
mod roaming;
mod services;
mod settings;
mod ssh;
mod transfer;
mod vpn;
mod vpn_garbage;
mod vpn_headers;
mod vpn_nested;
mod vpn_networks;
mod vpn_path;
mod vpn_size;
mod vpn_system;
