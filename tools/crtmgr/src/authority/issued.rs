//! The certificates that a CA made: one file each, by its serial number.

use std::fs;
use std::io;
use std::path::PathBuf;

use dhtnet_cli::Failure;
use dhtnet_identity::certificate::RevocationList;
use dhtnet_identity::certificate::{Certificate, CertificateName, GroupName, RENEWAL_WARNING};
use serde_json::{Value, json};

use super::{Place, revoke};
use crate::answer::Answer;
use crate::desk::{Desk, cannot};
use crate::{moment, show};

const FOLDER: &str = "issued";

/// Keeps a copy of what was made, and tells where.
pub(super) fn record(place: &Place, certificate: &Certificate) -> Result<PathBuf, Failure> {
    let path = place
        .folder
        .join(FOLDER)
        .join(format!("{}.crt", certificate.serial()));
    certificate
        .create_file(&path)
        .map_err(|error| cannot("record the certificate", &error))?;
    Ok(path)
}

/// All that were made, the oldest first.
pub(super) fn all(place: &Place) -> Result<Vec<Certificate>, Failure> {
    let folder = place.folder.join(FOLDER);
    let failed =
        |error: io::Error| Failure::failed(format!("cannot read {}: {error}", folder.display()));
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            // A record that cannot be read may be the one to revoke: nothing is passed over.
            let certificate = Certificate::load(&path)
                .map_err(|error| cannot("read what the CA made", &error))?;
            found.push(certificate);
        }
    }
    found.sort_by_key(|one| (one.not_before(), one.serial().clone()));
    Ok(found)
}

/// `crtmgr ca list`.
pub(super) fn list(place: &Place, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let own = Certificate::load(&place.files.certificate).map_err(|error| {
        cannot("use the CA", &error)
            .advise("make one with: crtmgr ca init; or name its folder with --ca-dir")
    })?;
    let revoked = revoke::read_list(place)?;
    if let Some(list) = &revoked {
        warn_of_end("the revocation list", list.until(), desk);
    }
    warn_of_end("the CA", own.not_after(), desk);
    let issued = all(place)?;
    if issued.is_empty() {
        desk.talk
            .note("nothing was made yet; make a certificate with: crtmgr ca sign ID --name NAME");
    }
    let rows: Vec<Row<'_>> = issued
        .iter()
        .map(|certificate| Row {
            state: state(certificate, revoked.as_ref(), desk),
            certificate,
        })
        .collect();
    let width = rows.iter().map(|row| row.name().chars().count()).max();
    let text = rows
        .iter()
        .map(|row| row.line(width.unwrap_or(0)))
        .collect::<String>();
    let json: Vec<Value> = rows.iter().map(Row::json).collect();
    let revoked = revoked.map(|list| {
        let serials: Vec<String> = list.iter().map(|entry| entry.serial.to_string()).collect();
        json!({ "number": list.number(), "until": moment::text(list.until()), "serials": serials })
    });
    let json =
        json!({ "ca": show::certificate_json(&own), "certificates": json, "revoked": revoked });
    Ok(Answer::new(text, json))
}

fn warn_of_end(what: &str, end: std::time::SystemTime, desk: &Desk<'_>) {
    if desk.now > end {
        desk.talk
            .warn(format_args!("{what} ended at {}", moment::text(end)));
    } else if desk.now + RENEWAL_WARNING > end {
        let days = moment::days_until(end, desk.now);
        desk.talk.warn(format_args!("{what} ends in {days} days"));
    }
}

struct Row<'a> {
    state: &'static str,
    certificate: &'a Certificate,
}

fn state(
    certificate: &Certificate,
    list: Option<&RevocationList>,
    desk: &Desk<'_>,
) -> &'static str {
    let is_revoked = list.is_some_and(|list| list.revoked_since(certificate.serial()).is_some());
    match is_revoked {
        true => "revoked",
        false if desk.now > certificate.not_after() => "expired",
        false if certificate.expires_within(RENEWAL_WARNING, desk.now) => "ending",
        false => "valid",
    }
}

impl Row<'_> {
    fn name(&self) -> &str {
        self.certificate.name().map_or("?", CertificateName::as_str)
    }

    fn line(&self, width: usize) -> String {
        let groups: Vec<&str> = self
            .certificate
            .groups()
            .iter()
            .map(GroupName::as_str)
            .collect();
        format!(
            "{:7}  {}  {:width$}  {}  {}  {}\n",
            self.state,
            moment::text(self.certificate.not_after()),
            self.name(),
            self.certificate.serial(),
            self.certificate.key(),
            groups.join(", ")
        )
        .trim_end()
        .to_owned()
            + "\n"
    }

    fn json(&self) -> Value {
        let mut json = show::certificate_json(self.certificate);
        json["state"] = json!(self.state);
        json
    }
}
