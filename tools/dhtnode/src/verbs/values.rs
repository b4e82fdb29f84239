//! The value layer: put under a key, listen, remove.

use dhtnet_cli::{ExitCode, Failure};
use serde_json::json;

use super::{items, judge};
use crate::dht::{Id, NewValue, Wanted};
use crate::flags::{PutFlags, RemoveFlags};
use crate::key::value_id;
use crate::keys::{self, FoundKey};
use crate::output::{Halt, value_word};
use crate::reports::{Change, Content, KeptValue};
use crate::session::{How, Lasting, Session};

/// Adds a value under the key of `--at`.
pub(super) async fn put(session: &Session, how: &How, flags: &PutFlags) -> Result<(), Halt> {
    let Some(key) = flags.at else {
        return Err(Failure::usage("--at KEY is missing").into());
    };
    let signer = match (&flags.key, flags.sign) {
        (Some(path), _) => Some(seed_key(keys::load(path, &session.talk)?)?),
        (None, true) => Some(session.place.own_key(&session.talk)?),
        (None, false) if flags.seq.is_some() => {
            return Err(Failure::usage("--seq needs --sign or --key FILE").into());
        }
        (None, false) => None,
    };
    let value = NewValue {
        bytes: how.value(&flags.value)?,
        kind: flags.kind,
        id: flags.id,
        ttl: flags.ttl,
        seq: flags.seq,
        signer,
        recipient: match &flags.encrypt_to {
            Some(peer) => Some(session.place.peer(peer)?),
            None => None,
        },
    };
    let storing = session
        .storing(how, Lasting::of_flag(flags.permanent))
        .await?;
    let (id, stored) = session.network.put_value(key.0, value, storing).await?;
    let mut json = stored.json();
    json["id"] = json!(value_id(id));
    if stored.acknowledged > 0 {
        session
            .talk
            .note(format_args!("its id is {}", value_id(id)));
    }
    items::told(session, how, &stored, json)
}

/// Takes a value back.
pub(super) async fn remove(session: &Session, how: &How, flags: &RemoveFlags) -> Result<(), Halt> {
    let owner = match &flags.signer {
        Some(path) => seed_key(keys::load(path, &session.talk)?)?,
        None => session.place.own_key(&session.talk)?,
    };
    if how.remote.is_some() {
        return Err(
            Failure::usage("a value is removed from all nodes that have it")
                .advise("leave --remote away")
                .into(),
        );
    }
    session.ready().await?;
    let key = flags.key.0;
    let Some(stored) = session.network.remove_value(key, flags.id, &owner).await? else {
        let what = format!(
            "no value {} of this key was found under {key}",
            value_id(flags.id)
        );
        return Err(Failure::new(ExitCode::Unreachable, what)
            .advise("see what is there: dhtnode get KEY --all --json")
            .into());
    };
    let mut json = stored.json();
    json["id"] = json!(value_id(flags.id));
    let judged = judge(&stored, &session.talk);
    how.output.print("", &json)?;
    Ok(judged?)
}

/// The value layer knows owners by their device id, which an old key has not.
fn seed_key(key: FoundKey) -> Result<dhtnet_identity::DeviceKey, Failure> {
    match key {
        FoundKey::Seed(key) => Ok(key),
        FoundKey::Expanded(_) => Err(Failure::usage("an old 64-byte key signs items only")
            .advise("leave --at away, or make a key with: dhtnode genkey NAME")),
    }
}

/// Prints what is under a key, and how that changes, until told to stop.
pub(super) async fn listen(
    session: &Session,
    how: &How,
    key: Id,
    wanted: Option<&Wanted>,
) -> Result<(), Halt> {
    if how.remote.is_some() {
        return Err(
            Failure::usage("listening is done at all nodes near the key")
                .advise("leave --remote away")
                .into(),
        );
    }
    match tokio::time::timeout(how.limit, session.ready()).await {
        Ok(Ok(())) => {}
        // Others may come.
        Ok(Err(failure)) => session.talk.warn(failure),
        Err(_) => session
            .talk
            .warn("no other node was found so far; still looking"),
    }
    let wanted = wanted.cloned().unwrap_or_default();
    let mut changes = session.network.listen(key, &wanted).await?;
    while let Some(change) = changes.next().await {
        match change {
            Ok(Change::Listening(nodes)) => session.talk.note(format_args!(
                "listening under {key} at {nodes} nodes; end with Ctrl-C"
            )),
            Ok(Change::New(value)) => {
                let mut json = value.json(key);
                json["event"] = json!("new");
                how.output.print(&new_line(&value), &json)?;
            }
            Ok(Change::Gone { owner, id }) => {
                let json = json!({
                    "event": "gone",
                    "key": key.to_string(),
                    "id": value_id(id),
                    "owner": owner,
                });
                how.output.print(&format!("- {}\n", value_id(id)), &json)?;
            }
            Err(failure) => session.talk.warn(failure),
        }
    }
    Err(Failure::failed("the subscription ended")
        .advise("start it again")
        .into())
}

fn new_line(value: &KeptValue) -> String {
    let shown = match &value.content {
        Content::Clear { bytes, .. } => value_word(bytes),
        Content::Sealed => "(encrypted for somebody else)".to_owned(),
    };
    format!("+ {} {shown}\n", value_id(value.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_one_line_whatever_the_value_holds() {
        let value = |content| KeptValue {
            id: 10,
            kind: 0,
            owner: None,
            seq: None,
            ttl: 0,
            content,
        };
        let clear = |bytes: &[u8]| Content::Clear {
            bytes: bytes.to_vec(),
            was_encrypted: false,
        };
        assert_eq!(
            new_line(&value(clear(b"two words"))),
            "+ 000000000000000a two words\n"
        );
        assert_eq!(
            new_line(&value(clear(b"a\nb"))),
            "+ 000000000000000a hex:610a62\n"
        );
        assert_eq!(
            new_line(&value(Content::Sealed)),
            "+ 000000000000000a (encrypted for somebody else)\n"
        );
    }
}
