//! Items (BEP 44): get and put.

use std::net::SocketAddr;

use dhtnet_cli::{ExitCode, Failure};
use dhtnet_identity::DeviceId;
use serde_json::json;

use super::judge;
use crate::bencode;
use crate::dht::{Id, Storing, Values, sign_item, signed_item, target_of};
use crate::flags::{GetFlags, PutFlags};
use crate::keys;
use crate::output::Halt;
use crate::reports::{Content, Found, Stored};
use crate::session::{How, Lasting, Session};

/// Sequence number of an item that is stored for the first time.
const FIRST_SEQ: i64 = 1;

/// Prints what lies under a key: the item of BEP 44 and the values of the value layer.
pub(super) async fn get(session: &Session, how: &How, flags: &GetFlags) -> Result<(), Halt> {
    let via = session.asked(how).await?;
    let found = if flags.all {
        all(session, how, flags, via).await?
    } else {
        match first(session, flags, via).await? {
            Some(found) => {
                print(session, how, flags, &found)?;
                1
            }
            None => 0,
        }
    };
    if found == 0 {
        let what = format!("nothing was found under {}", key_of(flags)?);
        if via.is_none() && session.network.nodes().is_empty() {
            return Err(
                Failure::new(ExitCode::Unreachable, what + ": no other node is known")
                    .advise("enter by a node that you know: --bootstrap HOST:PORT")
                    .into(),
            );
        }
        return Err(Failure::new(ExitCode::Unreachable, what)
            .advise("check the key, and give --salt if the item has one; values expire")
            .into());
    }
    Ok(())
}

/// The key that is asked for.
fn key_of(flags: &GetFlags) -> Result<Id, Failure> {
    match (flags.key, flags.of) {
        (Some(key), _) => Ok(key.0),
        (None, Some(public)) => Ok(target_of(&public, &salt_of(flags)?)),
        (None, None) => Err(Failure::usage("a KEY is missing")),
    }
}

/// The salt that is given, or that of a device's service.
fn salt_of(flags: &GetFlags) -> Result<Vec<u8>, Failure> {
    let (Some(service), Some(public)) = (&flags.service, &flags.of) else {
        return Ok(flags.salt.clone().into_bytes());
    };
    let id = DeviceId::from_bytes(public)
        .map_err(|_| Failure::usage("--service needs --of with a device id"))?;
    Ok(service.presence_salt(&id))
}

/// The item of BEP 44; conditions are about values, so with them there is none.
async fn item(
    session: &Session,
    flags: &GetFlags,
    via: Option<SocketAddr>,
) -> Result<Option<Found>, Failure> {
    if flags.wanted.is_some() {
        return Ok(None);
    }
    let salt = salt_of(flags)?;
    session.network.item(key_of(flags)?, &salt, via).await
}

/// The values; a salt and a public key are an item's, so with them there are none.
async fn values(
    session: &Session,
    flags: &GetFlags,
    via: Option<SocketAddr>,
) -> Result<Option<Values>, Failure> {
    if !flags.salt.is_empty() || flags.of.is_some() {
        return Ok(None);
    }
    let wanted = flags.wanted.clone().unwrap_or_default();
    let values = session.network.values(key_of(flags)?, &wanted, via).await?;
    Ok(Some(values))
}

/// The item, or the first value that can be read, whichever is known first.
async fn first(
    session: &Session,
    flags: &GetFlags,
    via: Option<SocketAddr>,
) -> Result<Option<Found>, Failure> {
    let value = async {
        let Some(mut values) = values(session, flags, via).await? else {
            return Ok(None);
        };
        let mut failed = None;
        while let Some(value) = values.next().await {
            match value {
                Ok(value) => return Ok(Some(Found::Value(value))),
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(None), Err)
    };
    let item = item(session, flags, via);
    tokio::pin!(value, item);
    // The one that is done without having found anything, or failed, leaves it to the other.
    let (early, late) = tokio::select! {
        found = &mut item => match found {
            Ok(Some(found)) => return Ok(Some(found)),
            early => (early, value.await),
        },
        found = &mut value => match found {
            Ok(Some(found)) => return Ok(Some(found)),
            early => (early, item.await),
        },
    };
    match (early, late) {
        (_, Ok(Some(found))) => Ok(Some(found)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
        _ => Ok(None),
    }
}

/// Prints the item and all values; how many there were.
async fn all(
    session: &Session,
    how: &How,
    flags: &GetFlags,
    via: Option<SocketAddr>,
) -> Result<usize, Halt> {
    let (item, values) = tokio::join!(item(session, flags, via), values(session, flags, via));
    let mut count = 0;
    let mut failed = None;
    match item {
        Ok(Some(found)) => {
            count += 1;
            print(session, how, flags, &found)?;
        }
        Ok(None) => {}
        Err(failure) => failed = Some(failure),
    }
    match values {
        Ok(Some(mut values)) => {
            while let Some(value) = values.next().await {
                match value {
                    Ok(value) => {
                        count += 1;
                        print(session, how, flags, &Found::Value(value))?;
                    }
                    Err(failure) => session.talk.warn(failure),
                }
            }
        }
        Ok(None) => {}
        Err(failure) => failed = failed.or(Some(failure)),
    }
    match failed {
        Some(failure) if count == 0 => Err(failure.into()),
        _ => Ok(count),
    }
}

fn print(session: &Session, how: &How, flags: &GetFlags, found: &Found) -> Result<(), Halt> {
    if let Found::Value(value) = found
        && matches!(value.content, Content::Sealed)
    {
        session.talk.warn(format_args!(
            "the value {} is encrypted for somebody else",
            crate::key::value_id(value.id)
        ));
        if how.output.form() == crate::output::Form::Text {
            return Ok(());
        }
    }
    let before = match found.seq().filter(|_| flags.seq) {
        Some(seq) => format!("{seq} "),
        None if flags.seq => "- ".to_owned(),
        None => String::new(),
    };
    how.output
        .print_value(&before, found.shown(), &found.json(key_of(flags)?))
}

/// Stores an item: named by its hash, or signed with `--key`.
pub(super) async fn put(session: &Session, how: &How, flags: &PutFlags) -> Result<(), Halt> {
    let value = how.value(&flags.value)?;
    let encoded = if flags.raw {
        value
    } else {
        bencode::encode_string(&value)
    };
    let signer = match &flags.key {
        Some(path) => Some(keys::load(path, &session.talk)?.signer()),
        None if flags.seq.is_some() => {
            return Err(Failure::usage("--seq needs --key FILE, or --at KEY with --sign").into());
        }
        None => None,
    };
    let storing = session
        .storing(how, Lasting::of_flag(flags.permanent))
        .await?;
    let Some(signer) = signer else {
        let stored = session.network.put_immutable(encoded, storing).await?;
        return told(session, how, &stored, stored.json());
    };
    let salt = flags.salt.as_deref().unwrap_or_default().as_bytes();
    let seq = match flags.seq {
        Some(seq) => seq,
        None => {
            // Judges the value before anybody is asked.
            let target = sign_item(&signer, salt, FIRST_SEQ, &encoded)?.target();
            let via = match storing {
                Storing::At(address) => Some(address),
                Storing::Once | Storing::Always => None,
            };
            match session.network.item(target, salt, via).await? {
                Some(Found::Mutable(item)) => next_seq(item.seq)?,
                _ => FIRST_SEQ,
            }
        }
    };
    let item = sign_item(&signer, salt, seq, &encoded)?;
    let fields = signed_item(&item).signature_fields();
    let stored = session
        .network
        .put_mutable(item, flags.cas, storing)
        .await?;
    let mut json = stored.json();
    for (name, field) in fields {
        json[name] = field;
    }
    told(session, how, &stored, json)
}

fn next_seq(stored: i64) -> Result<i64, Failure> {
    stored.checked_add(1).ok_or_else(|| {
        Failure::failed("the item has the highest number there is and cannot be changed any more")
            .advise("choose another --salt")
    })
}

/// Prints where it lies, if it lies anywhere.
pub(super) fn told(
    session: &Session,
    how: &How,
    stored: &Stored,
    json: serde_json::Value,
) -> Result<(), Halt> {
    let judged = judge(stored, &session.talk);
    let mut json = json;
    json["stored"] = json!(judged.is_ok());
    let text = match &judged {
        Ok(()) => format!("{}\n", stored.target),
        Err(_) => String::new(),
    };
    how.output.print(&text, &json)?;
    Ok(judged?)
}
