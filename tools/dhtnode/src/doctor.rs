//! `doctor`: what works from here. The library looks and judges; here stands what the command line
//! and the user's files add, and how it is printed.

mod files;

use dhtnet::dht::Bootstrap;
use dhtnet::doctor::{Detail, Examination, Finding, Report, Status};
use dhtnet_cli::flags::Seed;
use dhtnet_cli::own_identity::load_contacts;
use dhtnet_cli::{Failure, Talk, services};
use serde_json::{Value, json};

use crate::blocklist;
use crate::flags::DoctorFlags;
use crate::output::Halt;
use crate::session::{Entry, How, Place};

/// Columns of the text: the longest status and the longest name of a topic.
const STATUS_WIDTH: usize = 7;
const TOPIC_WIDTH: usize = 12;

/// Looks at everything and prints what it found. It is a failure if no connection by key can work.
pub(crate) async fn doctor(
    flags: &DoctorFlags,
    place: (&Entry, &Place),
    how: &How,
    talk: &Talk,
) -> Result<(), Halt> {
    let report = examination(flags, place, how, talk)?.run().await;
    let report = report.map_err(|error| Failure::failed(error.to_string()))?;
    how.output.print(&text(&report), &as_json(&report))?;
    match report.findings.first() {
        Some(sum) if report.connection() == Status::Broken => {
            let failure = Failure::failed(format!("a connection by key {}", sum.found));
            let next = sum.next.clone().unwrap_or_default();
            Err(failure.advise(next).into())
        }
        _ => Ok(()),
    }
}

fn examination(
    flags: &DoctorFlags,
    (entry, place): (&Entry, &Place),
    how: &How,
    talk: &Talk,
) -> Result<Examination, Failure> {
    let dht = &entry.dht;
    let seeds = match &how.remote {
        Some(one) => vec![Seed::Host(one.to_string())],
        None => dht.seeds()?,
    };
    let bootstrap = seeds.into_iter().map(|seed| match seed {
        Seed::Mainline => Bootstrap::Mainline,
        Seed::Host(host) => match host.parse() {
            Ok(address) => Bootstrap::Address(address),
            Err(_) => Bootstrap::Host(host),
        },
    });
    let mut home = files::look(place);
    let contacts = match load_contacts(&place.home) {
        Ok(contacts) => contacts,
        Err(failure) => {
            home.unusable.get_or_insert(failure.to_string());
            dhtnet_identity::contacts::Contacts::default()
        }
    };
    let contacts = contacts
        .iter()
        .map(|(name, peer)| (name.to_string(), peer.id));
    let mut examination = Examination::new()
        .bind(dht.bind)
        .bootstrap(bootstrap)
        .contacts(contacts.collect::<Vec<_>>())
        .services(services::all())
        .home(home);
    if how.remote.is_none() {
        let state = match &dht.network {
            None => "dht.state".to_owned(),
            Some(name) => format!("dht-{name}.state"),
        };
        for file in [state, dht.cache_file_name()] {
            examination = examination.node_file(place.home.state().join(file));
        }
    }
    if let Some(name) = &dht.network {
        examination = examination.network(name.as_str());
    }
    if let Some(path) = &entry.blocklist {
        examination = examination.blocklist(blocklist::load(path, talk)?);
    }
    for server in &flags.stun {
        examination = examination.stun(server.as_str());
    }
    for server in flags.turn.servers()? {
        examination = examination.relay(server);
    }
    Ok(examination)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let (status, topic) = (finding.status.as_str(), finding.topic.as_str());
        text.push_str(&format!(
            "{status:STATUS_WIDTH$} {topic:TOPIC_WIDTH$} {}\n",
            finding.found
        ));
        if let Some(next) = &finding.next {
            let indent = STATUS_WIDTH + TOPIC_WIDTH + 2;
            text.push_str(&format!("{:indent$}next: {next}\n", ""));
        }
    }
    text
}

/// What programs may want to know of a finding without reading its text.
fn details(finding: &Finding) -> Value {
    let details = finding.details.iter().map(|(name, detail)| {
        let value = match detail {
            Detail::Number(number) => json!(number),
            Detail::Text(text) => json!(text),
            Detail::List(items) => json!(items),
            _ => Value::Null,
        };
        ((*name).to_owned(), value)
    });
    Value::Object(details.collect())
}

fn as_json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "name": finding.topic.as_str(),
            "status": finding.status.as_str(),
            "found": finding.found,
            "next": finding.next,
            "details": details(finding),
        })
    });
    json!({
        "connection": report.connection().as_str(),
        "findings": findings.collect::<Vec<_>>(),
        "milliseconds": u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}
