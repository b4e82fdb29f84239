//! `crtmgr ca revoke`: the revocation list.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use dhtnet_cli::Failure;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::certificate::{
    Authority, Certificate, DEFAULT_LIST_LIFETIME, Revocation, RevocationList, Serial, VerifyError,
};
use serde_json::json;

use super::{Place, issued};
use crate::answer::Answer;
use crate::desk::{Desk, cannot, identity};
use crate::flags::Revoke;
use crate::moment;

/// Adds to the list, or makes it anew, and writes it in one step.
pub(super) fn run(flags: &Revoke, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let place = Place::of(flags.folder.ca_dir.as_ref(), desk);
    let authority = place.open(desk)?;
    let _lock = place.lock()?;
    let made = issued::all(&place)?;
    let mut asked = Vec::new();
    for what in &flags.what {
        asked.extend(serials(what, &made, &authority, desk)?);
    }
    let before = current_list(&place, &authority)?;
    let mut revoked: BTreeMap<Serial, SystemTime> = before
        .iter()
        .flat_map(RevocationList::iter)
        .map(|entry| (entry.serial, entry.since))
        .collect();
    for serial in asked {
        let known = revoked.insert(serial.clone(), desk.now);
        match known {
            Some(since) => {
                revoked.insert(serial.clone(), since);
                desk.talk.note(format_args!(
                    "{serial} is revoked already, since {}",
                    moment::text(since)
                ));
            }
            None => desk
                .talk
                .note(format_args!("revoked {serial}{}", owner(&serial, &made))),
        }
    }
    let entries: Vec<Revocation> = revoked
        .into_iter()
        .map(|(serial, since)| Revocation { serial, since })
        .collect();
    let number = before
        .and_then(|list| list.number())
        .unwrap_or(0)
        .saturating_add(1);
    let list = authority
        .revocation_list(&entries, number, (desk.now, DEFAULT_LIST_LIFETIME))
        .map_err(|error| cannot("make the revocation list", &error))?;
    let path = &place.files.revocation_list;
    list.replace_file(path)
        .map_err(|error| cannot("write the revocation list", &error))?;
    desk.talk.note(format_args!(
        "it counts where {} is taken to, and until {}",
        path.display(),
        moment::text(list.until())
    ));
    let serials: Vec<String> = list.iter().map(|entry| entry.serial.to_string()).collect();
    Ok(Answer::new(
        format!("{}\n", path.display()),
        json!({ "file": path, "number": number, "until": moment::text(list.until()),
                "revoked": serials }),
    ))
}

/// The list of this CA that is there. One that is not by this CA is an error: its entries cannot be
/// believed, and must not be dropped.
pub(super) fn current_list(
    place: &Place,
    authority: &Authority,
) -> Result<Option<RevocationList>, Failure> {
    let list = read_list(place)?;
    if let Some(list) = &list {
        authority
            .trusted()
            .with_revocation_list(list.clone())
            .map_err(|error| cannot("use the revocation list", &error))?;
    }
    Ok(list)
}

/// The list in the folder, if there is one; who signed it is not checked.
pub(super) fn read_list(place: &Place) -> Result<Option<RevocationList>, Failure> {
    let path = &place.files.revocation_list;
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    RevocationList::load(path)
        .map(Some)
        .map_err(|error| cannot("use the revocation list", &error))
}

/// What a word on the command line stands for.
fn serials(
    text: &str,
    made: &[Certificate],
    authority: &Authority,
    desk: &Desk<'_>,
) -> Result<Vec<Serial>, Failure> {
    if Path::new(text).is_file() {
        return in_file(text, authority).map(|serial| vec![serial]);
    }
    if let Ok(serial) = text.parse::<Serial>()
        && made.iter().any(|one| *one.serial() == serial)
    {
        return Ok(vec![serial]);
    }
    let unknown = || {
        identity(format!("this CA has no record of {text:?}")).advise(
            "see crtmgr ca list; a certificate that was made elsewhere is revoked by its file",
        )
    };
    let peer: PeerArgument = text.parse().map_err(|_| unknown())?;
    let device = desk.peer(&peer).map_err(|_| unknown())?;
    let found: Vec<Serial> = made
        .iter()
        .filter(|one| *one.key() == device)
        .map(|one| one.serial().clone())
        .collect();
    if found.is_empty() {
        return Err(unknown());
    }
    Ok(found)
}

/// The serial in a certificate of this CA, whoever made it with its key. It is looked at when both
/// of them count: it may end after its CA.
fn in_file(path: &str, authority: &Authority) -> Result<Serial, Failure> {
    let certificate =
        Certificate::load(path).map_err(|error| cannot("revoke the certificate", &error))?;
    let issuer = authority.certificate();
    let moment = certificate.not_before().max(issuer.not_before());
    authority
        .trusted()
        .verify(
            std::slice::from_ref(&certificate),
            certificate.key(),
            moment,
        )
        .map_err(|error| match error {
            VerifyError::UnknownAuthority | VerifyError::Signature => {
                identity(format!("cannot revoke {path:?}: this CA did not make it"))
            }
            error => identity(format!("cannot revoke {path:?}: {error}")),
        })?;
    Ok(certificate.serial().clone())
}

fn owner(serial: &Serial, made: &[Certificate]) -> String {
    let holder = made.iter().find(|one| one.serial() == serial);
    holder
        .and_then(Certificate::name)
        .map(|name| format!(", which was that of {name}"))
        .unwrap_or_default()
}
