//! Files that are there whole or not at all, whenever the machine stops.
//!
//! The bytes go to a temporary file in the same directory, which is synced and then takes its
//! name in one step; the directory is synced last. An interrupted write leaves at most a hidden
//! `.dhtnet-*.tmp` file, with the mode of the real one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Mode of directories made for private files.
const PRIVATE_DIR_MODE: u32 = 0o700;
/// Names tried for a temporary file before giving up. A name is taken only when a process with
/// the same number was interrupted earlier.
const MAX_TEMP_ATTEMPTS: u32 = 64;

/// Puts `bytes` at `path`, in place of what may be there. On Unix the file gets exactly `mode`,
/// whatever the umask; elsewhere `mode` is not used. A symbolic link is followed, so that a file
/// kept elsewhere stays there.
///
/// # Errors
/// That of the first step that failed; the old file is then untouched.
pub fn replace(path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = follow_link(path.as_ref())?;
    let temp = TempFile::write(&path, bytes, mode)?;
    fs::rename(&temp.path, &path)?;
    temp.forget();
    sync_dir(parent_of(&path))
}

/// Puts `bytes` at `path`, where nothing may be yet: not a file, not even a dangling link. On
/// Unix the file gets exactly `mode`, whatever the umask; elsewhere `mode` is not used.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when something is there, which is then untouched; else that
/// of the first step that failed.
pub fn create_new(path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    let temp = TempFile::write(path, bytes, mode)?;
    // A second name for a file never replaces another file; a rename would.
    match fs::hard_link(&temp.path, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => return claim_and_rename(temp, path),
    }
    drop(temp);
    sync_dir(parent_of(path))
}

/// Makes the missing directories above `path`, readable by the owner alone. Directories that are
/// there keep their mode.
///
/// # Errors
/// That of the directory that could not be made.
pub fn create_private_parent(path: impl AsRef<Path>) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, PRIVATE_DIR_MODE);
    #[cfg(not(unix))]
    let _ = PRIVATE_DIR_MODE;
    builder.create(parent_of(path.as_ref()))
}

/// For file systems without hard links (FAT, some network mounts): an empty file claims the name,
/// which fails if it is taken, and the rename replaces that file of ours.
fn claim_and_rename(temp: TempFile, path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?;
    if let Err(error) = fs::rename(&temp.path, path) {
        // The claim is ours and empty. If it cannot be removed, the error below still stands.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    temp.forget();
    sync_dir(parent_of(path))
}

/// A written and synced file, removed unless it is forgotten.
struct TempFile {
    path: PathBuf,
    kept: bool,
}

impl TempFile {
    fn write(beside: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        if beside.file_name().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path names no file",
            ));
        }
        let (path, mut file) = create_temp(parent_of(beside))?;
        let temp = Self { path, kept: false };
        set_mode(&file, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temp)
    }

    /// Leaves the file alone: it has its final name now.
    fn forget(mut self) {
        self.kept = true;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            // The caller has an error to report already, or a good file under its real name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a new file that only its owner can read.
fn create_temp(dir: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut attempt = 1;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".dhtnet-{}-{number}.tmp", process::id()));
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_TEMP_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn follow_link(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path),
        _ => Ok(path.to_owned()),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Directories cannot be opened as files there.
#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn claiming_a_name_works_without_hard_links_and_refuses_a_taken_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        claim_and_rename(TempFile::write(&path, b"first", 0o600).unwrap(), &path).unwrap();
        let second = TempFile::write(&path, b"second", 0o600).unwrap();
        let error = claim_and_rename(second, &path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
