//! `crtmgr import`: an identity, a certificate of this device, a capability that it holds.

use std::path::{Path, PathBuf};

use dhtnet_cli::Failure;
use dhtnet_cli::credentials::CAPABILITY_ENDING;
use dhtnet_identity::capability::TEXT_PREFIX;
use dhtnet_identity::certificate::Certificate;
use dhtnet_identity::{Capability, atomic_file};
use serde_json::json;
use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::desk::{Desk, cannot, identity};
use crate::flags::Import;
use crate::{grant, identities, moment, show};

/// Certificates are no secret.
const CERTIFICATE_MODE: u32 = 0o644;
/// Nobody else can use a capability; who was given what is still nobody's business.
const CAPABILITY_MODE: u32 = 0o600;

/// Takes over what the file holds.
pub(crate) fn run(flags: &Import, desk: &Desk<'_>) -> Result<Answer, Failure> {
    if let Some(text) = flags.file.to_str().filter(|text| is_capability(text)) {
        return capability(text, desk);
    }
    let text = Zeroizing::new(show::read(&flags.file)?);
    match () {
        () if text.contains("PRIVATE KEY-----") => identities::import(flags, desk),
        () if text.contains("-----BEGIN CERTIFICATE-----") => certificate(&flags.file, desk),
        () if is_capability(&text) => capability(&text, desk),
        () => Err(identity(format!(
            "cannot import {}: it holds no key, certificate or capability",
            flags.file.display()
        ))),
    }
}

fn is_capability(text: &str) -> bool {
    text.trim_start().starts_with(TEXT_PREFIX)
}

fn certificate(path: &Path, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let chain = crate::verify::load_chain(path)?;
    let own = &chain[0];
    let id = desk.key()?.id();
    if own.key() != &id {
        return Err(identity(format!(
            "{} is not for this device, but for {}",
            path.display(),
            own.key()
        )));
    }
    show::warn_of_end(own, desk);
    let file = desk.home.certificate_file();
    let pem: String = chain.iter().map(Certificate::to_pem).collect();
    desk.home.prepare()?;
    keep_certificate(&file, own, &pem)?;
    desk.talk.note(format_args!(
        "{} is shown from now on to peers that ask for it",
        file.display()
    ));
    let json = json!({ "id": id.to_string(), "certificate": file,
                       "until": moment::text(own.not_after()) });
    Ok(Answer::new(format!("{}\n", file.display()), json))
}

/// Writes it, in the place of one that ends earlier.
fn keep_certificate(file: &Path, new: &Certificate, pem: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot write {}: {error}", file.display()))
    };
    if file.symlink_metadata().is_err() {
        return atomic_file::create_new(file, pem.as_bytes(), CERTIFICATE_MODE).map_err(failed);
    }
    let old = Certificate::load(file).map_err(|error| cannot("replace the certificate", &error))?;
    if old.not_after() >= new.not_after() && old != *new {
        return Err(Failure::failed(format!(
            "{} is there already and ends no earlier",
            file.display()
        ))
        .advise("move it away to use the other one"));
    }
    atomic_file::replace(file, pem.as_bytes(), CERTIFICATE_MODE).map_err(failed)
}

fn capability(text: &str, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let held = grant::read(text)?;
    let id = desk.key()?.id();
    if held.holder() != &id {
        return Err(identity(format!(
            "the capability is not for this device, but for {}",
            held.holder()
        )));
    }
    if held.until() <= desk.now {
        let end = moment::text(held.until());
        return Err(identity(format!("the capability has ended, at {end}")));
    }
    let file = keep_capability(&held, desk)?;
    desk.talk.note(format_args!(
        "{} is shown from now on to peers that ask for it, until {}",
        file.display(),
        moment::text(held.until())
    ));
    let mut json = show::capability_json(&held);
    json["file"] = json!(file);
    Ok(Answer::new(format!("{}\n", file.display()), json))
}

fn keep_capability(held: &Capability, desk: &Desk<'_>) -> Result<PathBuf, Failure> {
    let name = format!("{}.{CAPABILITY_ENDING}", held.id());
    let file = desk.home.capabilities_folder().join(name);
    desk.home.prepare()?;
    atomic_file::create_private_parent(&file)
        .and_then(|()| atomic_file::replace(&file, format!("{held}\n").as_bytes(), CAPABILITY_MODE))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    Ok(file)
}
