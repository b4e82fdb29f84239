//! The crate `mainline` as a foreign peer, driven by lines of JSON.
//!
//! ```text
//! mainline-peer server|client ADDRESS:PORT [BOOTSTRAP:PORT]
//! mainline-peer cluster COUNT FIRST_PORT [BOOTSTRAP:PORT]
//! ```
//!
//! The first line written says that it is ready. Each line read is one request, answered by one
//! line; the list of requests is in tests/src/dht_peers/driver.rs.
// The blocking calls are deprecated for an async form that needs a runtime, and do the same.
#![allow(deprecated, reason = "the blocking calls need no runtime")]

mod cluster;
mod node;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::SocketAddrV4;
use std::process::ExitCode;

use mainline::Dht;
use serde_json::{Value, json};

pub(crate) type Outcome<T = Value> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["server", listen, bootstrap @ ..] => node::run(Role::Server, listen, bootstrap),
        ["client", listen, bootstrap @ ..] => node::run(Role::Client, listen, bootstrap),
        ["cluster", count, port, bootstrap @ ..] => cluster::run(count, port, bootstrap),
        _ => Err("usage: mainline-peer server|client|cluster …".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mainline-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a node answers queries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does. It answers those alone whose transaction id has four bytes.
    Server,
    /// It asks only, and says so (BEP 43).
    Client,
}

/// A node on one address.
pub(crate) fn start(role: Role, listen: SocketAddrV4, bootstrap: &[&str]) -> io::Result<Dht> {
    let mut builder = Dht::builder();
    builder.bind_address(*listen.ip());
    if role == Role::Server {
        builder.server_mode();
    }
    builder.public_ip(*listen.ip()).port(listen.port());
    match bootstrap {
        [] => builder.no_bootstrap(),
        seeds => builder.bootstrap(seeds),
    };
    builder.build()
}

/// Says `ready`, then answers each request of standard input until its end or `quit`.
pub(crate) fn converse(ready: &Value, answer: impl Fn(&str, &Value) -> Outcome) -> Outcome<()> {
    let mut output = io::stdout();
    writeln!(output, "{ready}")?;
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let verb = text(&request, "do")?;
        if verb == "quit" {
            break;
        }
        let said = answer(verb, &request).unwrap_or_else(|e| json!({ "error": e.to_string() }));
        writeln!(output, "{said}")?;
    }
    Ok(())
}

/// A field of a request that is text.
pub(crate) fn text<'a>(request: &'a Value, field: &str) -> Outcome<&'a str> {
    request[field]
        .as_str()
        .ok_or_else(|| format!("no {field} in the request").into())
}
