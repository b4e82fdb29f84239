//! `crtmgr policy`: the policy file, tested and asked.

use std::path::PathBuf;

use dhtnet_cli::Failure;
use dhtnet_cli::failure::chain;
use dhtnet_cli::own_identity::load_contacts;
use dhtnet_identity::Policy;
use dhtnet_identity::policy::Presented;
use dhtnet_identity::policy::file::Surroundings;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::desk::{Desk, identity};
use crate::flags::{Explain, PolicyCommand};
use crate::{grant, moment, verify};

const FILE: &str = "policy.toml";

/// Runs one command on a policy.
pub(crate) fn run(command: &PolicyCommand, desk: &Desk<'_>) -> Result<Answer, Failure> {
    match command {
        PolicyCommand::Check { file } => check(file.as_ref(), desk),
        PolicyCommand::Explain(flags) => explain(flags, desk),
    }
}

fn load(named: Option<&PathBuf>, desk: &Desk<'_>) -> Result<(PathBuf, Policy), Failure> {
    let path = named
        .cloned()
        .unwrap_or_else(|| desk.home.config().join(FILE));
    let contacts = load_contacts(desk.home)?;
    let own = desk.flags.load_key(desk.home)?.map(|key| key.id());
    let surroundings = Surroundings {
        contacts: &contacts,
        own,
    };
    let loaded =
        Policy::load(&path, &surroundings).map_err(|error| Failure::usage(chain(&error)))?;
    Ok((path, loaded.policy))
}

fn check(file: Option<&PathBuf>, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let (path, policy) = load(file, desk)?;
    let count = policy.tests().len();
    let failures = policy.run_tests(desk.now);
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let json = json!({ "file": path, "tests": count, "failed": lines });
    let mut text: String = lines
        .iter()
        .map(|line| format!("failed: {line}\n"))
        .collect();
    text.push_str(&format!(
        "{}: {} of {count} tests passed\n",
        path.display(),
        count - failures.len()
    ));
    let mut answer = Answer::new(text, json);
    if !failures.is_empty() {
        let line = format!("{} of {count} tests of the policy failed", failures.len());
        answer.failure = Some(Failure::failed(line));
    }
    if count == 0 {
        desk.talk.note("the file has no [[test]] entries");
    }
    Ok(answer)
}

fn explain(flags: &Explain, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let (_, policy) = load(flags.policy.as_ref(), desk)?;
    let peer = desk.peer(&flags.peer)?;
    let now = match flags.at {
        None => desk.now,
        Some(at) => at
            .after(desk.now)
            .ok_or_else(|| Failure::usage("--at is beyond what a clock can say"))?,
    };
    let chains = flags
        .certificate
        .iter()
        .map(|path| verify::load_chain(path));
    let capabilities = flags.capability.iter().map(|text| grant::read(text));
    let shown = Presented::new(
        chains.collect::<Result<_, _>>()?,
        capabilities.collect::<Result<_, _>>()?,
    )
    .map_err(|error| identity(chain(&error)))?;
    let credentials = policy.examine(&peer, &shown, now);
    let rejected: Vec<String> = credentials
        .rejected()
        .iter()
        .map(|one| chain(one))
        .collect();
    let action = flags.action.as_action();
    let explanation = policy.explain(&credentials, &action, now);
    let findings: Vec<Value> = explanation
        .findings
        .iter()
        .map(|finding| json!({ "rule": finding.rule, "finding": finding.to_string() }))
        .collect();
    let json = json!({
        "peer": peer.to_string(),
        "action": action.to_string(),
        "at": moment::text(now),
        "verdict": explanation.decision.verdict.to_string(),
        "rule": explanation.decision.rule,
        "decision": explanation.decision.to_string(),
        "findings": findings,
        "rejected": rejected,
    });
    let mut text = format!("{explanation}\n");
    for line in &rejected {
        text.push_str(&format!("  shown, and not counted: {line}\n"));
    }
    Ok(Answer::new(text, json))
}
