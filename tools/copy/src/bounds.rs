//! What a peer can make grow, and how far.

/// Bytes of one component of a path: NAME_MAX of Linux and of the file systems in use.
pub const MAX_NAME: usize = 255;

/// Bytes of a path below a root: PATH_MAX of Linux. Also the bound of the target of a link.
pub const MAX_PATH: usize = 4096;

/// Directories inside each other. Both sides hold one descriptor for each level, twice; 1,024 is
/// the usual limit of a process.
pub const MAX_DEPTH: usize = 256;

/// Sources of one copy: as many as fit on a command line that people type or a shell expands.
pub const MAX_SOURCES: usize = 4096;

/// Bytes of one block of a file: large enough that system calls cost nothing, small enough to stay
/// in the second-level cache between reading, hashing and sending.
pub const MAX_BLOCK: usize = 256 * 1024;

/// Bytes of a request: [`MAX_SOURCES`] of ordinary length.
pub const MAX_REQUEST: usize = 1 << 20;

/// Bytes of any other frame: two paths and the rest.
pub const MAX_FRAME: usize = 3 * MAX_PATH;

/// Bytes of a reason in words.
pub const MAX_REASON: usize = 512;

/// Entries that were announced and are not finished, in the receiver. About 2 MiB of names.
pub const MAX_IN_FLIGHT: usize = 4096;

/// Entries that a sender announces ahead: half of what a receiver takes. With 2,048 a link of
/// 200 ms carries 10,000 files a second. More than [`MAX_DEPTH`], since an open directory is one.
pub const WINDOW: usize = 2048;

/// Entries of one directory: its names are sorted in memory, about 250 MiB at worst.
pub const MAX_DIRECTORY: usize = 1_000_000;

/// Partial files that are verified and held open until their turn comes; further ones start anew.
pub const MAX_RESUMED: usize = 16;
