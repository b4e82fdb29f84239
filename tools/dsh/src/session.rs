//! Named sessions: terminals on the server that go on while nobody is attached.
//!
//! ```text
//! dsh -S NAME PEER    channel "dsh.session", metadata = the name, whether to own or to view, what is
//!                     known of the session, and the request of an ordinary session to make it from;
//!                     frames both ways (docs/wire-format/sessions.md)
//! dsh --list PEER     channel "dsh.sessions": the answer is one JSON text
//! ```
//!
//! The server keeps a model of each session's screen (`dhtnet_terminal::Screen`), fed with all
//! that its programs write, whether anybody looks or not. Who attaches gets what restores it.

pub(crate) mod client;
pub(crate) mod list;
pub(crate) mod server;
