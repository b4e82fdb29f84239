//! Knobs of the kernel under `/proc/sys`.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SystemError;
use super::route::Family;

/// One knob that is set, and those that the kernel turns with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sysctl {
    /// Below `/proc/sys`, with slashes.
    pub(super) knob: String,
    pub(super) before: String,
    pub(super) after: String,
    /// Knobs that change as a side effect, with their values before.
    pub(super) others: Vec<(String, String)>,
}

impl Sysctl {
    /// What has to be done for `knob` to be `after`; `None` when it is so already.
    pub(super) fn plan(knob: &str, after: &str) -> Result<Option<Self>, SystemError> {
        let before = read(knob).map_err(|source| failed(knob, source))?;
        Ok((before != after).then(|| Self {
            knob: knob.to_owned(),
            before,
            after: after.to_owned(),
            others: Vec::new(),
        }))
    }

    /// Whether the knob is as it was set.
    pub(super) fn is_in_force(&self) -> bool {
        read(&self.knob).is_ok_and(|now| now == self.after)
    }

    pub(super) fn set(&self) -> Result<(), SystemError> {
        // Setting it once more may turn others that somebody has set since.
        if self.is_in_force() {
            return Ok(());
        }
        write(&self.knob, &self.after).map_err(|source| failed(&self.knob, source))
    }

    /// Puts the old values back, unless somebody else has set the knob since.
    pub(super) fn restore(&self) -> Result<(), SystemError> {
        match read(&self.knob) {
            // An interface that is gone took its knobs along.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(failed(&self.knob, source)),
            Ok(now) if now != self.after => return Ok(()),
            Ok(_) => {}
        }
        write(&self.knob, &self.before).map_err(|source| failed(&self.knob, source))?;
        for (knob, before) in &self.others {
            match read(knob) {
                Ok(now) if now != *before => {
                    write(knob, before).map_err(|source| failed(knob, source))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What has to be set for this machine to forward packets of a family.
///
/// For IPv6 the kernel forgets default routes learnt from routers when forwarding begins, unless
/// an interface is told to keep listening (`accept_ra` 2), so that comes first.
pub(super) fn forwarding(family: Family) -> Result<Vec<Sysctl>, SystemError> {
    let (main, conf, side_effects) = match family {
        Family::V4 => (
            "net/ipv4/ip_forward",
            "net/ipv4/conf",
            &["forwarding", "accept_redirects"][..],
        ),
        Family::V6 => (
            "net/ipv6/conf/all/forwarding",
            "net/ipv6/conf",
            &["forwarding"][..],
        ),
    };
    let Some(mut forward) = Sysctl::plan(main, "1")? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for interface in interfaces(conf) {
        if family == Family::V6 {
            let knob = format!("{conf}/{interface}/accept_ra");
            let listens = read(&knob).is_ok_and(|value| value == "1");
            if listens && !["all", "default"].contains(&interface.as_str()) {
                all.extend(Sysctl::plan(&knob, "2")?);
            }
        }
        for name in side_effects {
            let knob = format!("{conf}/{interface}/{name}");
            if knob != main
                && let Ok(before) = read(&knob)
            {
                forward.others.push((knob, before));
            }
        }
    }
    all.push(forward);
    Ok(all)
}

/// Whether packets are dropped that come from where answers would not go (`rp_filter` 1, RFC 3704):
/// the greater of the value for all and that of an interface counts.
pub(super) fn filters_strictly() -> bool {
    let value = |interface: &str| {
        let text = read(&format!("net/ipv4/conf/{interface}/rp_filter"));
        text.ok().and_then(|text| text.parse::<u8>().ok())
    };
    let all = value("all").unwrap_or(0);
    interfaces("net/ipv4/conf")
        .iter()
        .filter(|name| !["all", "default", "lo"].contains(&name.as_str()))
        .any(|name| all.max(value(name).unwrap_or(0)) == 1)
}

/// Sets a knob of our own interface, which goes with it; a kernel without the knob is no failure.
pub(super) fn set_of_interface(knob: &str, value: &str) {
    let _ = write(knob, value);
}

pub(super) fn exists(knob: &str) -> bool {
    path(knob).exists()
}

fn interfaces(conf: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path(conf)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn path(knob: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(knob)
}

fn read(knob: &str) -> io::Result<String> {
    fs::read_to_string(path(knob)).map(|text| text.trim().to_owned())
}

fn write(knob: &str, value: &str) -> io::Result<()> {
    fs::write(path(knob), value)
}

fn failed(knob: &str, source: io::Error) -> SystemError {
    SystemError::Sysctl {
        knob: knob.replace('/', "."),
        source,
    }
}
