//! Recordings of real programs, cut anywhere: what a second terminal shows is the same.

use dhtnet_terminal::Screen;

/// Terminals of 80 by 24; `tests/recordings/README.md` tells how they were made.
const RECORDINGS: [(&str, &[u8]); 4] = [
    ("vim", include_bytes!("../recordings/vim.out")),
    ("less", include_bytes!("../recordings/less.out")),
    ("top", include_bytes!("../recordings/top.out")),
    ("shell", include_bytes!("../recordings/shell.out")),
];

#[test]
fn a_recording_can_be_cut_anywhere_and_taken_up_again() {
    for (name, bytes) in RECORDINGS {
        let mut whole = Screen::new(80, 24);
        whole.feed(bytes);
        let step = (bytes.len() / 150).max(1);
        for cut in (0..bytes.len()).step_by(step) {
            let mut first = Screen::new(80, 24);
            first.feed(&bytes[..cut]);
            let mut second = Screen::new(80, 24);
            second.feed(&first.restore(0));
            assert_eq!(second.state(), first.state(), "{name} cut at {cut}");
            second.feed(&bytes[cut..]);
            let (mut second, mut whole) = (second.state(), whole.state());
            // The titles below the one in use are not restored.
            (second.title, whole.title) = (None, None);
            assert_eq!(second, whole, "{name} cut at {cut}");
        }
    }
}

#[test]
fn the_recordings_show_what_the_programs_showed() {
    for (name, bytes) in RECORDINGS {
        assert!(bytes.len() > 1000, "{name} is empty");
        let entered = bytes.windows(8).any(|window| window == b"\x1b[?1049h");
        assert_eq!(entered, ["vim", "less"].contains(&name), "{name}");
    }
}
