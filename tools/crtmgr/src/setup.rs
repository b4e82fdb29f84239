//! `crtmgr setup`: a few questions, and everything is written that a device needs.
//!
//! Nothing that is there is overwritten, so it can be run again. What the flags say is not asked.

mod configuration;
mod dialogue;
mod ssh_block;

use std::fs::File;

use dhtnet_cli::Failure;
use dhtnet_cli::own_identity::load_contacts;
use dhtnet_identity::target::TargetPattern;
use dhtnet_identity::{Alias, DeviceId, PeerAddress};
use serde_json::json;

use crate::answer::Answer;
use crate::contact_book;
use crate::desk::Desk;
use crate::flags::{Named, Role, SetupClient, SetupServer, SshChoice};
use configuration::Served;
use dialogue::Dialogue;

/// What ssh takes for a name of one of our devices.
const SSH_SUFFIX: &str = ".dn";
/// The ssh server of the machine itself.
const SSH_TARGET: &str = "127.0.0.1:22";

/// Runs the dialogue of one role.
pub(crate) fn run(role: Option<&Role>, stdin: File, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let mut dialogue = Dialogue::new(stdin, desk.talk);
    match role {
        Some(Role::Client(flags)) => client(flags, &mut dialogue, desk),
        Some(Role::Server(flags)) => server(flags, &mut dialogue, desk),
        None => {
            let asked = dialogue.choose(
                "Is this device a client that connects, or a server that others reach?",
                &["client", "server"],
            )?;
            match asked {
                "client" => client(&SetupClient::default(), &mut dialogue, desk),
                _ => server(&SetupServer::default(), &mut dialogue, desk),
            }
        }
    }
}

fn client(
    flags: &SetupClient,
    dialogue: &mut Dialogue<'_>,
    desk: &Desk<'_>,
) -> Result<Answer, Failure> {
    let own = desk.flags.load_or_create_key(desk.home, desk.talk)?.id();
    let ssh = match flags.ssh {
        Some(choice) => choice == SshChoice::Yes,
        None => dialogue.confirm("Shall ssh reach hosts *.dn through dnc?")?,
    };
    let server = match &flags.server {
        Some(named) => Some(named.clone()),
        None => ask_server(dialogue, ssh)?,
    };
    let server = server
        .map(|named| if ssh { for_ssh(named) } else { Ok(named) })
        .transpose()?;
    if let Some(named) = &server {
        keep(std::slice::from_ref(named), desk)?;
    }
    let ssh_file = match ssh {
        true => Some(ssh_block::write(desk)?),
        false => None,
    };
    desk.talk.note(format_args!(
        "on the other device, let this one in with: crtmgr setup server --client NAME={own}"
    ));
    if let Some(named) = &server {
        desk.talk.note(match ssh {
            true => format!("then, here: ssh USER@{}", named.name),
            false => format!("then, here: dnc {} {SSH_TARGET}", named.name),
        });
    }
    let json = json!({ "id": own.to_string(), "ssh": ssh_file,
                       "server": server.map(|named| named.name.to_string()) });
    Ok(Answer::new(format!("{own}\n"), json))
}

fn ask_server(dialogue: &mut Dialogue<'_>, ssh: bool) -> Result<Option<Named>, Failure> {
    let question = "Id of the device to connect to (crtmgr id tells it there; empty: none yet)";
    let Some(address) = dialogue.optional::<PeerAddress>(question)? else {
        return Ok(None);
    };
    let default = if ssh { "server.dn" } else { "server" };
    let name = dialogue.with_default::<Alias>("What is it called here?", default)?;
    Ok(Some(Named { name, address }))
}

/// ssh passes the name on as it is, so the contact bears the suffix.
fn for_ssh(named: Named) -> Result<Named, Failure> {
    let name = named.name.to_string();
    if name.ends_with(SSH_SUFFIX) {
        return Ok(named);
    }
    let name = format!("{name}{SSH_SUFFIX}");
    let name = name
        .parse()
        .map_err(|error| Failure::usage(format!("the name {name} cannot be used: {error}")))?;
    Ok(Named { name, ..named })
}

fn server(
    flags: &SetupServer,
    dialogue: &mut Dialogue<'_>,
    desk: &Desk<'_>,
) -> Result<Answer, Failure> {
    let own = desk.flags.load_or_create_key(desk.home, desk.talk)?.id();
    let clients = match flags.client.is_empty() {
        true => ask_clients(dialogue)?,
        false => flags.client.clone(),
    };
    let targets =
        match flags.target.is_empty() {
            true => vec![dialogue.with_default::<TargetPattern>(
                "What may they reach here? (HOST:PORT)",
                SSH_TARGET,
            )?],
            false => flags.target.clone(),
        };
    keep(&clients, desk)?;
    let names: Vec<String> = clients.iter().map(|one| one.name.to_string()).collect();
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let written = configuration::write(&names, &targets, desk)?;
    if !written.admits {
        desk.talk
            .note("nobody may connect yet; run this again with the id of a client");
    }
    let command = match written.served {
        Served::Configured => "dnc -l".to_owned(),
        Served::ToBeNamed => listening_command(&targets),
    };
    desk.talk.note(format_args!("start it with: {command}"));
    desk.talk.note(format_args!(
        "on the other device: crtmgr setup client --server {}",
        introduction(&own)
    ));
    let json = json!({ "id": own.to_string(), "clients": names, "targets": targets,
                       "configuration": desk.home.configuration_file(), "command": command });
    Ok(Answer::new(format!("{own}\n"), json))
}

fn ask_clients(dialogue: &mut Dialogue<'_>) -> Result<Vec<Named>, Failure> {
    let mut clients: Vec<Named> = Vec::new();
    while let Some(address) =
        dialogue.optional::<PeerAddress>("Id of a device that may connect (empty: no more)")?
    {
        let default = format!("client{}", clients.len() + 1);
        let name = dialogue.with_default::<Alias>("What is it called here?", &default)?;
        clients.push(Named { name, address });
    }
    Ok(clients)
}

fn listening_command(targets: &[String]) -> String {
    let targets = targets
        .iter()
        .map(|target| format!(" --allow-target '{target}'"));
    format!("dnc -l{}", targets.collect::<String>())
}

fn introduction(own: &DeviceId) -> String {
    format!("NAME={own}")
}

/// Adds contacts: all of them, or none.
fn keep(named: &[Named], desk: &Desk<'_>) -> Result<(), Failure> {
    let _lock = contact_book::lock(desk.home)?;
    let mut contacts = load_contacts(desk.home)?;
    for one in named {
        contact_book::add(&mut contacts, &one.name, &one.address)?;
    }
    contact_book::save(&contacts, desk.home)
}
