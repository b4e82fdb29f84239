//! What the client and the server of `dsh` say to each other, to and from bytes.
//!
//! ```text
//! dsh PEER            channel "dsh.shell", metadata = a Request; its bytes are stdin and stdout
//! dsh PEER COMMAND    channel "dsh.command", the same with a command line
//!                     channel "dsh.control", opened by the server on the same connection, metadata =
//!                     the request's token: frames of ToServer and ToClient
//! dsh -S NAME PEER    channel "dsh.session", metadata = an Attach: frames of ToSession and ToViewer
//! dsh --list PEER     channel "dsh.sessions", metadata = a ListRequest; the answer is JSON
//! dsh cp              channel "dsh.cp", metadata = who; its bytes are those of dhtnet-copy
//! ```
//!
//! The forms are described in docs/wire-format/shell.md and sessions.md. Nothing here has a socket, a
//! clock, a task or a thread: a decoder is given bytes that a peer chose, and gives a value or an
//! error, with no allocation beyond a named bound.
//!
//! ```
//! use dhtnet_shell_wire::request::Request;
//!
//! let request = Request {
//!     token: [7; 16],
//!     user: None,
//!     command: Some("uname -a".to_owned()),
//!     terminal: None,
//!     environment: Vec::new(),
//! };
//! let bytes = request.encode().unwrap();
//! assert_eq!(Request::decode(request.channel(), &bytes).unwrap(), request);
//! ```
//!
//! Left out: the payload of shells and commands, which is bytes as they are, the JSON of the list, and
//! what any of it leads to.

pub mod control;
pub mod copy;
pub mod frame;
pub mod request;
pub mod session;
pub mod user;
