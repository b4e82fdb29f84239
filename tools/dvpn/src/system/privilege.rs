//! What the process must be able to do before it begins.

use std::fs;
use std::io;

use super::SystemError;

/// Bit of CAP_NET_ADMIN in the sets of capabilities (capabilities(7)).
const NET_ADMIN: u32 = 12;

/// Longest name of an interface, bytes (`IFNAMSIZ` is 16 with the zero).
pub(super) const MAX_INTERFACE_NAME: usize = 15;

/// The device that makes TUN interfaces.
const TUN_DEVICE: &str = "/dev/net/tun";

/// Checks that interfaces can be made and set up here.
///
/// # Errors
/// What is missing: the device, or the privilege.
pub fn check() -> Result<(), SystemError> {
    if let Err(source) = fs::File::options().read(true).write(true).open(TUN_DEVICE) {
        return Err(match source.kind() {
            io::ErrorKind::PermissionDenied => SystemError::NoPrivilege,
            _ => SystemError::NoTunDevice { source },
        });
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    match may_administer(&status) {
        true => Ok(()),
        false => Err(SystemError::NoPrivilege),
    }
}

/// Checks that an interface may be called `name`, and that none is.
///
/// # Errors
/// [`SystemError::BadName`], [`SystemError::InterfaceTaken`].
pub fn check_free(name: &str) -> Result<(), SystemError> {
    check_name(name)?;
    match super::interface_number(name) {
        Ok(_) => Err(SystemError::InterfaceTaken {
            name: name.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}

/// Whether `name` may name an interface, a file and a table alike.
pub(crate) fn check_name(name: &str) -> Result<(), SystemError> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if begins && name.len() <= MAX_INTERFACE_NAME && name.bytes().all(is_fine) {
        return Ok(());
    }
    Err(SystemError::BadName {
        name: name.to_owned(),
    })
}

fn may_administer(status: &str) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set >> NET_ADMIN & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_read_from_the_effective_set() {
        let status = |set: &str| format!("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{set}\n");
        assert!(may_administer(&status("000001ffffffffff")));
        assert!(may_administer(&status("0000000000001000")));
        assert!(!may_administer(&status("0000000000000000")));
        assert!(!may_administer(&status("000001ffffffefff")));
        assert!(!may_administer(""));
    }

    #[test]
    fn names_that_are_no_interface_file_and_table_at_once_are_refused() {
        for name in ["dvpn0", "home", "a", "vpn-2_b", "123456789012345"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "1234567890123456",
            "../x",
            "a b",
            "a/b",
            "-a",
            ".",
            "é",
            "a\"b",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
