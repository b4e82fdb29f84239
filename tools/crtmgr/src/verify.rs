//! `crtmgr verify`: a certificate judged now.

use std::path::Path;

use dhtnet_cli::Failure;
use dhtnet_cli::failure::chain as causes;
use dhtnet_identity::certificate::{
    Certificate, CertificateName, GroupName, RevocationList, TrustedAuthority,
};
use serde_json::json;

use crate::answer::Answer;
use crate::desk::{Desk, cannot, identity};
use crate::flags::Verify;
use crate::{moment, show};

/// Judges as a device would that trusts this CA and meets the holder of the certificate.
pub(crate) fn run(flags: &Verify, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let chain = load_chain(&flags.certificate)?;
    let trusted = Certificate::load(&flags.ca).map_err(|error| cannot("use the CA", &error))?;
    let trusted = TrustedAuthority::new(trusted)
        .map_err(|error| cannot(format_args!("trust {}", flags.ca.display()), &error))?;
    let trusted = match &flags.crl {
        None => trusted,
        Some(path) => {
            let list = RevocationList::load(path)
                .map_err(|error| cannot("use the revocation list", &error))?;
            trusted
                .with_revocation_list(list)
                .map_err(|error| cannot(format_args!("use {}", path.display()), &error))?
        }
    };
    let own = &chain[0];
    let verified = trusted
        .verify(&chain, own.key(), desk.now)
        .map_err(|error| {
            let file = flags.certificate.display();
            identity(format!("{file} is not good: {}", causes(&error)))
        })?;
    show::warn_of_end(own, desk);
    let name = verified.name().map(CertificateName::as_str);
    let issuer = verified.authority_name().map(CertificateName::as_str);
    let groups: Vec<&str> = verified.groups().iter().map(GroupName::as_str).collect();
    let until = moment::text(verified.valid_until());
    let in_groups = match groups.is_empty() {
        true => String::new(),
        false => format!(", in {}", groups.join(", ")),
    };
    let text = format!(
        "good: {} by {}{in_groups}, until {until}\n{}\n",
        name.unwrap_or("?"),
        issuer.unwrap_or("?"),
        verified.device()
    );
    let json = json!({ "id": verified.device().to_string(), "name": name, "groups": groups,
                       "issuer": issuer, "serial": verified.serial().to_string(),
                       "fingerprint": own.fingerprint().to_string(),
                       "authority": verified.authority().to_string(),
                       "until": until });
    Ok(Answer::new(text, json))
}

/// The certificates in a file: that of a device, and CAs between.
pub(crate) fn load_chain(path: &Path) -> Result<Vec<Certificate>, Failure> {
    Certificate::chain_from_pem(&show::read(path)?)
        .map_err(|error| cannot(format_args!("use {}", path.display()), &error))
}
