//! A laboratory of real hosts, and what is measured in it.
//!
//! [`lab`] makes hosts out of Linux network namespaces, joins them by veth pairs, bridges and
//! emulated long links, and starts real programs inside. [`device`] puts the project's own tools
//! on such a host, each with a home of its own. [`dht_peers`] has foreign participants of the DHT
//! beside ours. [`home_router`] is a NAT with a real
//! port-mapping daemon, [`nat_router`] has NATs of every kind, [`grid`] tries each with each other;
//! [`turn_server`] is a real relay. [`mod@bench`] is the harness behind
//! `cargo xtask bench`. The end-to-end tests are in `tests/it`.
//!
//! Everything needs Linux and root. Where namespaces cannot be made, [`lab::Lab::new`] says so and
//! a test reports itself as skipped through [`lab::skip`]; it never passes silently.
//!
//! Nothing of the machine's own network is touched: every address, route and sysctl lives in a
//! namespace that ends with the lab, also after a panic or a kill.
//!
//! ```no_run
//! use std::time::Duration;
//! use dhtnet_tests::lab::{Families, Lab};
//!
//! let lab = Lab::new()?;
//! let a = lab.host("a")?;
//! let b = lab.host("b")?;
//! lab.cable(&a, &b, Families::Both)?;
//! let ping = a.command("ping").args(["-c", "1", &b.ipv4().to_string()]).start()?;
//! assert_eq!(ping.finish(Duration::from_secs(5))?.code(), Some(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod device;
#[cfg(target_os = "linux")]
pub mod dht_peers;
pub mod dht_scale;
#[cfg(target_os = "linux")]
pub mod grid;
#[cfg(target_os = "linux")]
pub mod home_router;
#[cfg(target_os = "linux")]
pub mod lab;
#[cfg(target_os = "linux")]
pub mod nat_router;
pub mod payload;
#[cfg(target_os = "linux")]
pub mod screen;
#[cfg(target_os = "linux")]
pub mod ssh;
#[cfg(target_os = "linux")]
pub mod turn_client;
#[cfg(target_os = "linux")]
pub mod turn_server;
