//! Which user a session is.
//!
//! A server that is not root can be its own user only. One that is root asks the policy about
//! `dsh.user`, and where nobody was named takes the user that the policy maps the peer to: root if
//! it may be that, else the only one that it may be.

use dhtnet::{DeclineCode, DeclineReason, DeviceId};
use dhtnet_identity::policy::Action;

use super::{Host, USER_ACTION};
use crate::account::{self, Account};

/// The account for a request.
pub(crate) async fn account(
    host: &Host,
    peer: &DeviceId,
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
            host.allows(peer, &Action::with(USER_ACTION, name))?;
            name.to_owned()
        }
        None => mapped(host, peer).await?,
    };
    if name == own.name {
        return Ok(own.clone());
    }
    let unknown = format!("there is no user {name}");
    let found = tokio::task::spawn_blocking(move || Account::named(&name)).await;
    found.ok().flatten().ok_or_else(|| failed(unknown))
}

/// Whom the policy maps a peer to that named nobody.
async fn mapped(host: &Host, peer: &DeviceId) -> Result<String, DeclineReason> {
    let may_be = |name: &str| host.allows(peer, &Action::with(USER_ACTION, name)).is_ok();
    if may_be(&host.own.name) {
        return Ok(host.own.name.clone());
    }
    let local = tokio::task::spawn_blocking(account::local_names).await;
    let mut users = local.unwrap_or_default();
    users.retain(|name| may_be(name));
    match users.as_slice() {
        [] => {
            let message = "dsh.user is not allowed for any user";
            Err(DeclineReason::new(DeclineCode::Policy, message))
        }
        [name] => Ok(name.clone()),
        _ => Err(failed(
            "several users are possible; name one: USER@PEER".to_owned(),
        )),
    }
}

fn failed(message: String) -> DeclineReason {
    DeclineReason::new(DeclineCode::TargetFailed, message)
}
