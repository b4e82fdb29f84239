//! `crtmgr ca` and `crtmgr renew`: a CA in a folder.
//!
//! `ca.key`, `ca.crt` and `ca.crl` as the library keeps them; beside them `issued/` with a copy of
//! every certificate that was made, by its serial number, so that a device can be revoked by its id.

mod issued;
mod revoke;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhtnet_cli::Failure;
use dhtnet_cli::own_identity::{load_contacts, new_key, resolve_peer};
use dhtnet_identity::certificate::{
    Authority, AuthorityFiles, Certificate, CertificateFileError, CertificateName, Order, Request,
};
use dhtnet_identity::device_key::KeyPemError;
use dhtnet_identity::key_file::KeyFileError;
use dhtnet_identity::peer_address::ParsePeerArgumentError;
use dhtnet_identity::{DeviceId, PeerArgument};
use serde_json::json;

use crate::answer::Answer;
use crate::desk::{Desk, cannot, generator, identity};
use crate::flags::{AuthorityCommand, InitAuthority, Renew, Sign};
use crate::{moment, show};

const DAY: Duration = Duration::from_secs(86_400);

/// Runs one command of `crtmgr ca`.
pub(crate) fn run(command: &AuthorityCommand, desk: &Desk<'_>) -> Result<Answer, Failure> {
    match command {
        AuthorityCommand::Init(flags) => init(flags, desk),
        AuthorityCommand::Sign(flags) => sign(flags, desk),
        AuthorityCommand::Revoke(flags) => revoke::run(flags, desk),
        AuthorityCommand::List(folder) => {
            issued::list(&Place::of(folder.ca_dir.as_ref(), desk), desk)
        }
    }
}

/// The folder of a CA.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) files: AuthorityFiles,
}

impl Place {
    fn of(named: Option<&PathBuf>, desk: &Desk<'_>) -> Self {
        let folder = named
            .cloned()
            .unwrap_or_else(|| desk.home.config().join("ca"));
        Self {
            files: AuthorityFiles::in_folder(&folder),
            folder,
        }
    }

    /// The CA with its key.
    fn open(&self, desk: &Desk<'_>) -> Result<Authority, Failure> {
        let loaded = match self.files.load(None) {
            Err(CertificateFileError::Key(KeyFileError::Garbage {
                source: KeyPemError::Encrypted,
                ..
            })) => {
                let word = desk.flags.passphrase_of(&self.files.key)?;
                self.files.load(Some(&word))
            }
            loaded => loaded,
        };
        loaded.map_err(|error| {
            let failure = cannot("use the CA", &error);
            match error {
                CertificateFileError::Key(KeyFileError::NotFound { .. }) => failure
                    .advise("make one with: crtmgr ca init; or name its folder with --ca-dir"),
                _ => failure,
            }
        })
    }

    /// Keeps other commands from changing this CA until it is dropped: of two revocations at the
    /// same moment none may be lost.
    fn lock(&self) -> Result<File, Failure> {
        let lock = || {
            let folder = File::open(&self.folder)?;
            folder.lock()?;
            Ok(folder)
        };
        lock().map_err(|error: std::io::Error| {
            Failure::failed(format!("cannot lock {}: {error}", self.folder.display()))
        })
    }
}

fn init(flags: &InitAuthority, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let place = Place::of(flags.output.as_ref(), desk);
    // Before anybody is asked for a passphrase.
    for path in [&place.files.key, &place.files.certificate] {
        if path.symlink_metadata().is_ok() {
            let error = CertificateFileError::Exists { path: path.clone() };
            return Err(cannot("make the CA", &error).advise("choose another folder with -o DIR"));
        }
    }
    let key = new_key()?;
    let name = match &flags.name {
        Some(name) => name.clone(),
        None => format!("CA {}", key.id().short())
            .parse()
            .map_err(|error| cannot("name the CA", &error))?,
    };
    let mut rng = generator()?;
    let authority = Authority::create(key, &name, DAY * flags.days, (desk.now, &mut rng))
        .map_err(|error| cannot("make the CA", &error))?;
    let word = match flags.passphrase {
        true => Some(desk.flags.new_passphrase()?),
        false => None,
    };
    place
        .files
        .create(&authority, word.as_ref(), &mut rng)
        .map_err(|error| cannot("make the CA", &error))?;
    let path = &place.files.certificate;
    desk.talk.note(format_args!(
        "made the CA {name} in {}",
        place.folder.display()
    ));
    desk.talk.note(format_args!(
        "keep {} to yourself; others verify with {}",
        place.files.key.display(),
        path.display()
    ));
    Ok(Answer::new(
        format!("{}\n", path.display()),
        json!({ "name": name.as_str(), "certificate": path, "key": place.files.key,
                "fingerprint": authority.certificate().fingerprint().to_string() }),
    ))
}

fn sign(flags: &Sign, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let (device, known_as) = holder(&flags.device, desk)?;
    let name = flags.name.clone().or(known_as).ok_or_else(|| {
        Failure::usage("the certificate needs a name for the device").advise("give --name NAME")
    })?;
    let place = Place::of(flags.folder.ca_dir.as_ref(), desk);
    let authority = place.open(desk)?;
    let order = Order {
        device,
        name,
        groups: flags.group.clone(),
        lifetime: DAY * flags.days,
    };
    let certificate = authority
        .issue(&order, desk.now, &mut generator()?)
        .map_err(|error| cannot("make the certificate", &error))?;
    hand_out(&certificate, &place, desk, |certificate| {
        match &flags.output {
            Some(path) => certificate.create_file(path),
            None => Ok(()),
        }
    })?;
    Ok(made(&certificate, flags.output.as_deref()))
}

/// The device that a certificate is for, and what it is called already.
fn holder(text: &str, desk: &Desk<'_>) -> Result<(DeviceId, Option<CertificateName>), Failure> {
    // The bare key in hexadecimal, and what has the shape of an id.
    if let Ok(id) = text.parse::<DeviceId>() {
        return Ok((id, None));
    }
    match text.parse::<PeerArgument>() {
        Ok(PeerArgument::Alias(alias)) => {
            let contacts = load_contacts(desk.home)?;
            if let Ok(peer) = resolve_peer(&contacts, &PeerArgument::Alias(alias.clone())) {
                return Ok((peer.address.id, alias.to_string().parse().ok()));
            }
        }
        Ok(PeerArgument::Address(address)) => return Ok((address.id, None)),
        // A mistyped id is named for what it is.
        Err(error @ ParsePeerArgumentError::Address(_)) if !Path::new(text).exists() => {
            return Err(Failure::usage(error.to_string()));
        }
        Err(_) => {}
    }
    if !Path::new(text).exists() {
        return Err(Failure::usage(format!(
            "{text:?} is neither a device id nor a contact nor a file with a certificate request"
        )));
    }
    let request = Request::load(text).map_err(|error| cannot("use the request", &error))?;
    Ok((request.device(), request.name().cloned()))
}

/// Records a certificate, then lets `write` give it away. What is not recorded cannot be revoked
/// by its device, so nothing leaves before.
fn hand_out(
    certificate: &Certificate,
    place: &Place,
    desk: &Desk<'_>,
    write: impl FnOnce(&Certificate) -> Result<(), CertificateFileError>,
) -> Result<(), Failure> {
    let record = issued::record(place, certificate)?;
    write(certificate).map_err(|error| {
        // Nobody has it. If the record cannot be removed, it names one certificate too many.
        let _ = std::fs::remove_file(&record);
        cannot("write the certificate", &error)
    })?;
    let name = certificate.name().map_or("?", CertificateName::as_str);
    desk.talk.note(format_args!(
        "{name} has a certificate with the serial {} until {}",
        certificate.serial(),
        moment::text(certificate.not_after())
    ));
    Ok(())
}

/// A certificate that went to a file is named, another is printed.
fn made(certificate: &Certificate, path: Option<&Path>) -> Answer {
    let mut json = show::certificate_json(certificate);
    json["file"] = json!(path);
    if path.is_none() {
        json["pem"] = json!(certificate.to_pem());
    }
    let text = match path {
        Some(path) => format!("{}\n", path.display()),
        None => certificate.to_pem(),
    };
    Answer::new(text, json)
}

/// `crtmgr renew`.
pub(crate) fn renew(flags: &Renew, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let old = Certificate::load(&flags.certificate)
        .map_err(|error| cannot("renew the certificate", &error))?;
    let place = Place::of(flags.folder.ca_dir.as_ref(), desk);
    let authority = place.open(desk)?;
    // A revocation at the same moment comes before, and is seen, or after, and sees the new one.
    let _lock = place.lock()?;
    if let Some(list) = revoke::current_list(&place, &authority)?
        && list.revoked_since(old.serial()).is_some()
    {
        return Err(identity(format!(
            "cannot renew the certificate: the serial {} is revoked",
            old.serial()
        ))
        .advise("make a new one with: crtmgr ca sign"));
    }
    let new = authority
        .renew(&old, DAY * flags.days, (desk.now, &mut generator()?))
        .map_err(|error| cannot("renew the certificate", &error))?;
    hand_out(&new, &place, desk, |new| match &flags.output {
        Some(path) => new.create_file(path),
        None => new.replace_file(&flags.certificate),
    })?;
    let path = flags.output.as_deref().unwrap_or(&flags.certificate);
    Ok(made(&new, Some(path)))
}
