//! `crtmgr show`: what is in a file, without judging it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dhtnet_cli::Failure;
use dhtnet_identity::Capability;
use dhtnet_identity::capability::TEXT_PREFIX;
use dhtnet_identity::certificate::{
    Certificate, CertificateName, GroupName, MAX_PEM_LEN, RENEWAL_WARNING, Request, RevocationList,
};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::desk::{Desk, cannot, identity};
use crate::{identities, moment};

/// Tells everything in the file that is known here.
pub(crate) fn run(path: &Path, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let text = read(path)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        cannot(format_args!("show {}", path.display()), error)
    };
    let mut parts = Vec::new();
    if text.contains("PRIVATE KEY-----") {
        let key = identities::read_key(path, desk)?;
        parts.push(json!({ "kind": "key", "id": key.key.id().to_string(),
                           "passphrase": key.passphrase.is_some() }));
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        let chain = Certificate::chain_from_pem(&text).map_err(|error| failed(&error))?;
        for certificate in &chain {
            warn_of_end(certificate, desk);
            parts.push(certificate_json(certificate));
        }
    }
    if text.contains("CERTIFICATE REQUEST-----") {
        let request = Request::from_pem(&text).map_err(|error| failed(&error))?;
        let name = request.name().map(CertificateName::as_str);
        parts.push(json!({ "kind": "request", "name": name, "id": request.device().to_string() }));
    }
    if text.contains("-----BEGIN X509 CRL-----") {
        let list = RevocationList::from_pem(&text).map_err(|error| failed(&error))?;
        parts.push(list_json(&list));
    }
    if text.trim_start().starts_with(TEXT_PREFIX) {
        let capability = text.parse().map_err(|error| failed(&error))?;
        parts.push(capability_json(&capability));
    }
    if parts.is_empty() {
        return Err(identity(format!(
            "cannot show {}: it holds no certificate, request, revocation list, key or capability",
            path.display()
        )));
    }
    let text: Vec<String> = parts.iter().map(lines).collect();
    Ok(Answer::new(text.join("\n"), Value::Array(parts)))
}

/// The text of a regular file, up to the longest that is known.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let failed = |what: &str| identity(format!("cannot read {}: {what}", path.display()));
    let metadata = path
        .metadata()
        .map_err(|error| failed(&error.to_string()))?;
    // Asked by name first: opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(failed("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PEM_LEN as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error.to_string()))?;
    if bytes.len() > MAX_PEM_LEN {
        return Err(failed(&format!("it is longer than {MAX_PEM_LEN} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| {
        failed("it is no text (PEM is read; convert DER with: openssl x509 -inform DER)")
    })
}

/// A word 30 days before the end, or after it.
pub(crate) fn warn_of_end(certificate: &Certificate, desk: &Desk<'_>) {
    if !certificate.expires_within(RENEWAL_WARNING, desk.now) {
        return;
    }
    let name = certificate.name().map_or("?", CertificateName::as_str);
    let end = certificate.not_after();
    match desk.now > end {
        true => desk.talk.warn(format_args!(
            "the certificate of {name} expired at {}",
            moment::text(end)
        )),
        false => desk.talk.warn(format_args!(
            "the certificate of {name} ends in {} days; renew it with: crtmgr renew",
            moment::days_until(end, desk.now)
        )),
    }
}

/// A certificate for programs.
pub(crate) fn certificate_json(certificate: &Certificate) -> Value {
    let groups: Vec<&str> = certificate.groups().iter().map(GroupName::as_str).collect();
    json!({
        "kind": if certificate.is_authority() { "ca" } else { "certificate" },
        "name": certificate.name().map(CertificateName::as_str),
        "groups": groups,
        "id": certificate.key().to_string(),
        "issuer": certificate.issuer_name().map(CertificateName::as_str),
        "serial": certificate.serial().to_string(),
        "from": moment::text(certificate.not_before()),
        "until": moment::text(certificate.not_after()),
        "fingerprint": certificate.fingerprint().to_string(),
    })
}

fn list_json(list: &RevocationList) -> Value {
    let revoked: Vec<Value> = list
        .iter()
        .map(|entry| json!({ "serial": entry.serial.to_string(), "since": moment::text(entry.since) }))
        .collect();
    json!({ "kind": "revocation list", "number": list.number(), "from": moment::text(list.issued()),
            "until": moment::text(list.until()), "revoked": revoked })
}

/// A capability for programs.
pub(crate) fn capability_json(capability: &Capability) -> Value {
    let permissions = capability.permissions().iter();
    json!({
        "kind": "capability",
        "serial": capability.id().to_string(),
        "issuer": capability.issuer().to_string(),
        "holder": capability.holder().to_string(),
        "allow": permissions.map(ToString::to_string).collect::<Vec<_>>(),
        "until": moment::text(capability.until()),
        "delegable": capability.delegable(),
        "links": capability.holders().count(),
    })
}

/// The same for people: the kind, then a line for each thing that is said.
fn lines(part: &Value) -> String {
    let kind = part["kind"].as_str().unwrap_or_default();
    let mut text = format!("{kind}\n");
    for (key, value) in part.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => continue,
            _ if key == "kind" => continue,
            Value::String(value) => value.clone(),
            Value::Array(list) if list.is_empty() => continue,
            Value::Array(list) => list.iter().map(item).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        text.push_str(&format!("  {key:11}  {value}\n"));
    }
    text
}

fn item(value: &Value) -> String {
    match (
        value.as_str(),
        value["serial"].as_str(),
        value["since"].as_str(),
    ) {
        (Some(text), _, _) => text.to_owned(),
        (_, Some(serial), Some(since)) => format!("{serial} since {since}"),
        _ => value.to_string(),
    }
}
