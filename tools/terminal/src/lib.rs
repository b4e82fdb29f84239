//! A terminal's screen as a model, without a terminal.
//!
//! A named session of `dsh` goes on while nobody looks. What its programs write is fed to a
//! [`Screen`]; who attaches later gets from [`Screen::restore`] the bytes that bring a terminal to
//! the same state, with the lines that have scrolled away. The client has a model too:
//! with it [`Predictor`] shows typed characters before the far side has echoed them.
//!
//! Nothing here has a socket, a clock, a task or a thread; time is an argument.
//!
//! ```
//! use dhtnet_terminal::Screen;
//!
//! let mut session = Screen::new(80, 24);
//! session.feed(b"$ make\r\n\x1b[32mok\x1b[m\r\n$ ");
//!
//! let mut terminal = Screen::new(80, 24);
//! terminal.feed(&session.restore(0));
//! assert_eq!(terminal.state(), session.state());
//! assert_eq!(terminal.cursor(), (2, 2));
//! ```
//!
//! # What is restored
//!
//! Both screens with 256 and 24-bit colours, all attributes, wide characters and combining marks;
//! the scrollback; cursor and saved cursor; margins, tab stops, character sets; modes of drawing,
//! keyboard, mouse and paste; the title; and the beginning of a sequence that is not finished.
//!
//! Left out: targets of links (OSC 8; their text stays), images, changed palettes, blinking, and
//! more of the stacks of titles and keyboard modes than their tops.
//!
//! # What is bounded
//!
//! | what | bound |
//! |---|---|
//! | lines above a screen; their bytes | [`MAX_SCROLLBACK_LINES`]; [`MAX_SCROLLBACK_BYTES`] |
//! | columns; rows | [`MAX_COLUMNS`]; [`MAX_ROWS`] |
//! | bytes of one string sequence that are looked at | [`MAX_STRING`] |
//! | marks on a character; titles pushed; keyboard modes pushed | 8; 8; 8 |
//! | characters predicted | [`MAX_PREDICTIONS`](predict::MAX_PREDICTIONS) |

mod boundary;
mod history;
mod machine;
pub mod predict;
mod row;
mod screen;
mod style;

pub use history::{MAX_BYTES as MAX_SCROLLBACK_BYTES, MAX_LINES as MAX_SCROLLBACK_LINES};
pub use predict::{LineMode, Prediction, Predictor};
pub use row::DrawnRow;
pub use screen::{CursorState, MAX_COLUMNS, MAX_ROWS, MAX_STRING, SOFT_RESET, Screen, ScreenState};
