//! Which user a session is.
//!
//! A server that is not root can be its own user only. One that is root asks the policy about
//! `dsh.user`, and where nobody was named takes the user that the policy maps the peer to: root if
//! it may be that, else the only one that it may be.

use dhtnet::{DeclineCode, DeclineReason, Incoming};
use dhtnet_identity::policy::Action;

use super::{Host, USER_ACTION, require};
use crate::account::{self, Account};

/// The account for a request, whose channel ends when the peer may no longer be this user.
pub(crate) async fn account(
    host: &Host,
    incoming: &Incoming,
    wanted: Option<&str>,
) -> Result<Account, DeclineReason> {
    let own = &host.own;
    if !own.is_root() {
        return match wanted {
            Some(name) if name != own.name => Err(failed(format!(
                "it runs as {} and cannot become {name}",
                own.name
            ))),
            _ => Ok(own.clone()),
        };
    }
    let name = match wanted {
        Some(name) => {
            // Asked first: who may not be a user does not learn whether there is one.
            require(incoming, &Action::with(USER_ACTION, name))?;
            name.to_owned()
        }
        None => mapped(host, incoming).await?,
    };
    if name == own.name {
        return Ok(own.clone());
    }
    let unknown = format!("there is no user {name}");
    let found = tokio::task::spawn_blocking(move || Account::named(&name)).await;
    found.ok().flatten().ok_or_else(|| failed(unknown))
}

/// Whom the policy maps a peer to that named nobody. Of all users only the one that is found, or
/// the own one if there is none, is a decision that is logged.
async fn mapped(host: &Host, incoming: &Incoming) -> Result<String, DeclineReason> {
    let may_be = |name: &str| incoming.would_allow(&Action::with(USER_ACTION, name));
    let own = &host.own.name;
    if may_be(own) {
        return require(incoming, &Action::with(USER_ACTION, own)).map(|()| own.clone());
    }
    let local = tokio::task::spawn_blocking(account::local_names).await;
    let mut users = local.unwrap_or_default();
    users.retain(|name| may_be(name));
    match users.as_slice() {
        [] => {
            // For the log; the peer is told what its owner can do about it.
            let _ = incoming.require(&Action::with(USER_ACTION, own));
            let message = "dsh.user is not allowed for any user: it runs as root, and nothing there \
                           says which user this device is (--user NAME, or dsh.user NAME in \
                           policy.toml)";
            Err(DeclineReason::new(DeclineCode::Policy, message))
        }
        [name] => require(incoming, &Action::with(USER_ACTION, name)).map(|()| name.clone()),
        _ => Err(failed(
            "several users are possible; name one: USER@PEER".to_owned(),
        )),
    }
}

fn failed(message: String) -> DeclineReason {
    DeclineReason::new(DeclineCode::TargetFailed, message)
}
