//! Nodes on the loopback interface, through real sockets.
#![allow(clippy::unwrap_used)]

mod channels;
mod connecting;
mod credentials;
mod dht;
mod dht_state;
mod pair;
mod policy;
mod relay_server;
mod services;
mod shutdown;
