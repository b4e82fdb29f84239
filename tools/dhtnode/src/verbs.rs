//! The commands that are done once, in the prompt as on the command line.

mod items;
mod lookups;
mod values;

use dhtnet_cli::{ExitCode, Failure, Talk};

use crate::flags::Verb;
use crate::output::Halt;
use crate::reports::Stored;
use crate::session::{How, Session};
use crate::{crawl, doctor, keys};

/// Whether a verb needs no node, only the user's files; if so it is done here.
pub(crate) fn run_alone(verb: &Verb, how: &How, talk: &Talk) -> Option<Result<(), Halt>> {
    match verb {
        Verb::Genkey { name } => Some(keys::generate(name, &how.output)),
        Verb::Sign(flags) => Some(
            how.value(&flags.value)
                .map_err(Halt::from)
                .and_then(|value| keys::sign(flags, &value, &how.output, talk)),
        ),
        _ => None,
    }
}

/// Carries out one verb within its time limit.
pub(crate) async fn run(verb: &Verb, session: &Session, how: &How) -> Result<(), Halt> {
    match verb {
        // These have no end of their own, or one that they see to.
        Verb::Listen { key, wanted } => values::listen(session, how, key.0, wanted.as_ref()).await,
        Verb::Crawl(flags) => crawl::crawl(session, how, flags).await,
        Verb::Doctor(flags) => {
            let place = (&session.entry, &session.place);
            doctor::doctor(flags, place, how, &session.talk).await
        }
        _ => match tokio::time::timeout(how.limit, within_limit(verb, session, how)).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new(
                ExitCode::Unreachable,
                format!("not done within {} s", how.limit.as_secs_f64()),
            )
            .advise("try again, or a longer -w")
            .into()),
        },
    }
}

async fn within_limit(verb: &Verb, session: &Session, how: &How) -> Result<(), Halt> {
    match verb {
        Verb::Get(flags) => items::get(session, how, flags).await,
        Verb::Put(flags) if flags.at.is_some() => values::put(session, how, flags).await,
        Verb::Put(flags) => items::put(session, how, flags).await,
        Verb::Remove(flags) => values::remove(session, how, flags).await,
        Verb::Ping { address } => lookups::ping(session, how, address).await,
        Verb::FindNode { id } => lookups::find_node(session, how, id.0).await,
        Verb::Closest { id } => lookups::closest(session, how, id.0).await,
        Verb::GetPeers { hash } => lookups::get_peers(session, how, hash.0).await,
        Verb::Announce(flags) => lookups::announce(session, how, flags).await,
        Verb::Sample { address, target } => {
            lookups::sample(session, how, address, target.map(|key| key.0)).await
        }
        Verb::Stats => lookups::stats(session, how).await,
        Verb::Nodes => lookups::nodes(session, how).await,
        Verb::Genkey { .. } | Verb::Sign(_) => {
            run_alone(verb, how, &session.talk).unwrap_or(Ok(()))
        }
        Verb::Listen { .. } | Verb::Crawl(_) | Verb::Doctor(_) => Ok(()), // Carried out by `run`.
    }
}

/// Refusals that are named one by one.
const NAMED_REFUSALS: usize = 3;

/// Says on stderr how storing went; an error if nobody stored it.
fn judge(stored: &Stored, talk: &Talk) -> Result<(), Failure> {
    let mut others = Vec::new();
    if !stored.refused.is_empty() {
        let named: Vec<String> = stored
            .refused
            .iter()
            .take(NAMED_REFUSALS)
            .map(|refusal| format!("{}: {} {}", refusal.address, refusal.code, refusal.text))
            .collect();
        let more = if stored.refused.len() > named.len() {
            ", …"
        } else {
            ""
        };
        others.push(format!(
            "refused by {} ({}{more})",
            stored.refused.len(),
            named.join(", ")
        ));
    }
    if stored.silent > 0 {
        others.push(format!("no answer from {}", stored.silent));
    }
    let others = others.join(", ");
    if stored.acknowledged == 0 {
        let why = if others.is_empty() {
            "there is no node to ask"
        } else {
            &others
        };
        let place = if stored.is_kept_here {
            "on no other node"
        } else {
            "nowhere"
        };
        return Err(Failure::failed(format!("stored {place}: {why}")).advise(advice(stored)));
    }
    let count = match stored.acknowledged {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    if others.is_empty() {
        talk.note(format_args!("stored on {count}"));
    } else {
        talk.note(format_args!("stored on {count}; {others}"));
    }
    Ok(())
}

/// What to try when nobody stored it, by the most telling code (BEP 44).
fn advice(stored: &Stored) -> &'static str {
    if stored.refused.is_empty() && stored.silent == 0 {
        return "enter by a node that you know: --bootstrap HOST:PORT";
    }
    let has = |code| stored.refused.iter().any(|refusal| refusal.code == code);
    if has(301) {
        "somebody changed it: see its number with get --seq, and give that as --cas"
    } else if has(302) {
        "see its number with get --seq, and give a higher --seq"
    } else if has(205) || has(207) {
        "a value has at most 1000 bytes, a salt 64; longer values: put --at KEY"
    } else if has(204) {
        "those nodes do not speak this part of the protocol; ask others"
    } else if has(401) {
        "too much is stored from this address; wait until some of it expires"
    } else if has(402) {
        "sign it with the key that it was first signed with, or choose another --id"
    } else if has(403) {
        "check the clock of this host, or give another --ttl"
    } else {
        "try again, or see what works with: dhtnode doctor"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dhtnet_cli::talk::Captured;

    use super::*;
    use crate::dht::Id;
    use crate::reports::Refusal;

    fn judged(acknowledged: usize, codes: &[i64], silent: usize) -> Result<String, String> {
        let captured = Captured::default();
        let talk = Talk::new("dhtnode", Box::new(captured.clone()));
        let refused = codes
            .iter()
            .zip(1..)
            .map(|(&code, port)| Refusal {
                address: std::net::SocketAddr::from(([192, 0, 2, 1], port)),
                code,
                text: "no".to_owned(),
            })
            .collect();
        let stored = Stored {
            target: Id::hash_of(b"x"),
            acknowledged,
            refused,
            silent,
            is_kept_here: false,
        };
        match judge(&stored, &talk) {
            Ok(()) => Ok(captured.text()),
            Err(failure) => {
                assert_eq!(failure.code(), ExitCode::Failed);
                Err(failure.to_string())
            }
        }
    }

    #[test]
    fn one_acknowledgement_is_success_and_the_rest_is_told() {
        assert_eq!(judged(8, &[], 0).unwrap(), "dhtnode: stored on 8 nodes\n");
        assert_eq!(
            judged(1, &[302], 2).unwrap(),
            "dhtnode: stored on 1 node; refused by 1 (192.0.2.1:1: 302 no), no answer from 2\n"
        );
    }

    #[test]
    fn without_one_it_is_a_failure_that_names_the_refusals_and_what_to_try() {
        assert_eq!(
            judged(0, &[], 0).unwrap_err(),
            "stored nowhere: there is no node to ask; enter by a node that you know: \
             --bootstrap HOST:PORT"
        );
        assert_eq!(
            judged(0, &[201, 302, 201, 201], 1).unwrap_err(),
            "stored nowhere: refused by 4 (192.0.2.1:1: 201 no, 192.0.2.1:2: 302 no, \
             192.0.2.1:3: 201 no, …), no answer from 1; see its number with get --seq, and give a \
             higher --seq"
        );
        for (code, part) in [
            (301, "--cas"),
            (205, "put --at"),
            (204, "ask others"),
            (401, "expires"),
            (402, "--id"),
            (403, "clock"),
        ] {
            assert!(judged(0, &[code], 0).unwrap_err().contains(part), "{code}");
        }
    }
}
