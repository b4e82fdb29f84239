//! The block in `~/.ssh/config` that leads hosts `*.dn` through dnc.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use dhtnet_cli::Failure;
use dhtnet_identity::atomic_file;

use crate::desk::Desk;

const BLOCK: &str = "Host *.dn\n    ProxyCommand dnc %h 127.0.0.1:%p\n";
/// ssh refuses a configuration that others may write.
const MODE: u32 = 0o600;

/// Adds the block at the end, unless there is one for these hosts. What is there stays.
pub(super) fn write(desk: &Desk<'_>) -> Result<PathBuf, Failure> {
    let home = std::env::home_dir()
        .filter(|home| !home.as_os_str().is_empty())
        .ok_or_else(|| Failure::failed("cannot find ~/.ssh: no home directory is known"))?;
    let path = home.join(".ssh").join("config");
    let failed =
        |error: io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let (before, mode) = match fs::read_to_string(&path) {
        Ok(text) => (text, path.metadata().map_err(failed)?.mode() & 0o7777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), MODE),
        Err(error) => return Err(failed(error)),
    };
    if has_block(&before) {
        let how = match before.contains(BLOCK) {
            true => "leads *.dn through dnc already",
            false => "has lines for *.dn already, and is left as it is",
        };
        desk.talk.note(format_args!("{} {how}", path.display()));
        return Ok(path);
    }
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let text = format!("{before}{gap}{BLOCK}");
    atomic_file::create_private_parent(&path)
        .and_then(|()| atomic_file::replace(&path, text.as_bytes(), mode))
        .map_err(failed)?;
    desk.talk.note(format_args!(
        "ssh finds hosts *.dn through dnc now ({})",
        path.display()
    ));
    Ok(path)
}

/// Whether a line `Host` names `*.dn`, in the ways that ssh_config(5) lets it be written.
fn has_block(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line
            .split(|c: char| c.is_whitespace() || c == '=')
            .filter(|word| !word.is_empty());
        let is_host = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("host"));
        is_host && words.any(|word| word.trim_matches('"') == "*.dn")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_seen_however_it_is_written() {
        for text in [BLOCK, "host=*.dn", "x\n\tHOST a *.dn b\n", "Host \"*.dn\""] {
            assert!(has_block(text), "{text}");
        }
        for text in [
            "",
            "# Host *.dn",
            "Host *.dns",
            "Hostname *.dn",
            "Match host *.dn",
        ] {
            assert!(!has_block(text), "{text}");
        }
    }
}
