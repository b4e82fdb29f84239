//! Rules, bans, capabilities and tests.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::authorities::{self, Authorities};
use super::fault::{ParsePolicyError, PolicyFault};
use super::place::{Fault, Lines};
use super::table::{Table, Value, texts};
use super::{MAX_GRANTED, ReadNamed, SCHEMA_VERSION, Surroundings};
use crate::certificate::CertificateName;
use crate::device_id::DeviceId;
use crate::peer_address::{Alias, PeerArgument, shorten};
use crate::policy::{
    Grant, OwnedAction, Permission, Policy, PolicyBuilder, PolicyTest, Subject, Verdict,
};

const VERSION: &str = "version";
const CA: &str = "ca";
const RULE: &str = "rule";
const BAN: &str = "ban";
const CAPABILITIES: &str = "capabilities";
const TEST: &str = "test";

const NAME: &str = "name";
const WHO: &str = "who";
const ALLOW: &str = "allow";
const UNTIL: &str = "until";
const ACCEPT: &str = "accept";
const ISSUERS: &str = "issuers";
const REVOKED: &str = "revoked";
const PEER: &str = "peer";
const MEMBER_OF: &str = "member-of";
const ACTION: &str = "action";
const AT: &str = "at";
const EXPECT: &str = "expect";

const ANYONE: &str = "anyone";
const OF_CA: &str = "ca:";
const OF_GROUP: &str = "group:";

pub(super) fn parse(
    text: &str,
    surroundings: &Surroundings<'_>,
    read: ReadNamed<'_, '_>,
) -> Result<Policy, ParsePolicyError> {
    let lines = Lines::of(text);
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().to_owned();
        Fault::at_byte(at, PolicyFault::Syntax { message }).resolve(&lines)
    })?;
    let reading = Reading {
        lines: &lines,
        surroundings,
        authorities: Authorities::default(),
        builder: Policy::builder(),
        names: BTreeMap::new(),
        granted: BTreeMap::new(),
    };
    reading
        .read(root.get_ref(), read)
        .map_err(|fault| fault.resolve(&lines))
}

/// A file that is being read.
struct Reading<'a> {
    lines: &'a Lines,
    surroundings: &'a Surroundings<'a>,
    authorities: Authorities,
    builder: PolicyBuilder,
    /// Names of rules and bans, with their lines.
    names: BTreeMap<String, usize>,
    /// What was granted, with its line.
    granted: BTreeMap<(Subject, Permission), usize>,
}

impl Reading<'_> {
    fn read(mut self, root: &DeTable<'_>, read: ReadNamed<'_, '_>) -> Result<Policy, Fault> {
        let known = [VERSION, CA, RULE, BAN, CAPABILITIES, TEST];
        let root = Table::new(root, 0..0, &known)?;
        check_version(&root)?;
        for entry in root.entries(CA, authorities::KEYS)? {
            let means = (self.lines, &mut *read);
            self.builder = self.authorities.add(&entry, self.builder, means)?;
        }
        for entry in root.entries(RULE, &[NAME, WHO, ALLOW, UNTIL])? {
            self.add_rule(&entry)?;
        }
        for entry in root.entries(BAN, &[NAME, WHO])? {
            self.add_ban(&entry)?;
        }
        match root.find(CAPABILITIES) {
            Some(value) => {
                let known = [ACCEPT, ISSUERS, REVOKED];
                self.add_capabilities(&Table::of_value(value, CAPABILITIES, &known)?)?;
            }
            None => self.accept_own(),
        }
        for entry in root.entries(TEST, &[NAME, PEER, MEMBER_OF, ACTION, AT, EXPECT])? {
            self.add_test(&entry)?;
        }
        Ok(self.builder.build())
    }

    fn add_rule(&mut self, entry: &Table<'_>) -> Result<(), Fault> {
        let line = self.lines.at(entry.start());
        let named = self.name(entry, "rule")?;
        let subjects = entry.texts(WHO)?.into_iter().map(|(who, place)| {
            let subject = self.subject(who, (WHO, place))?;
            Ok((who, subject, place))
        });
        let subjects: Vec<_> = subjects.collect::<Result<_, Fault>>()?;
        let permissions = entry.texts(ALLOW)?.into_iter().map(|(text, place)| {
            let found = || shorten(text);
            text.parse::<Permission>().map_err(|source| {
                let found = found();
                PolicyFault::Permission { found, source }.in_key(ALLOW, place)
            })
        });
        let permissions: Vec<_> = permissions.collect::<Result<_, _>>()?;
        let until = entry.moment(UNTIL)?;
        if self.granted.len() + subjects.len() * permissions.len() > MAX_GRANTED {
            return Err(entry.fault(PolicyFault::TooManyGrants));
        }
        for (who, subject, place) in subjects {
            for permission in &permissions {
                let granted = (subject.clone(), permission.clone());
                if let Some(first) = self.granted.insert(granted, line) {
                    let fault = PolicyFault::GrantTwice {
                        who: shorten(who),
                        permission: permission.to_string(),
                        first,
                    };
                    return Err(fault.in_key(WHO, place));
                }
            }
            let grant = Grant::of(permissions.clone()).named(named.clone());
            let grant = match until {
                Some(end) => grant.until(end),
                None => grant,
            };
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.grant(subject, grant);
        }
        Ok(())
    }

    fn add_ban(&mut self, entry: &Table<'_>) -> Result<(), Fault> {
        let named = self.name(entry, "ban")?;
        for (who, place) in entry.texts(WHO)? {
            let peer = self.single(who, (WHO, place))?;
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.ban(peer, named.clone());
        }
        Ok(())
    }

    fn add_capabilities(&mut self, table: &Table<'_>) -> Result<(), Fault> {
        let accept = match table.find(ACCEPT) {
            None => true,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(accept) => *accept,
                _ => {
                    let wanted = "true or false";
                    return Err(PolicyFault::Type { wanted }.in_key(ACCEPT, value));
                }
            },
        };
        if accept {
            self.accept_own();
        }
        for (who, place) in optional_texts(table, ISSUERS)? {
            let issuer = self.single(who, (ISSUERS, place))?;
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.accept_capabilities_of(issuer);
        }
        for (serial, place) in optional_texts(table, REVOKED)? {
            let id = serial.parse().map_err(|source| {
                let found = shorten(serial);
                PolicyFault::Capability { found, source }.in_key(REVOKED, place)
            })?;
            let named = format!("line {}", self.lines.of_place(place));
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.revoke(id, named);
        }
        Ok(())
    }

    fn accept_own(&mut self) {
        if let Some(own) = self.surroundings.own {
            let builder = std::mem::take(&mut self.builder);
            self.builder = builder.accept_capabilities_of(own);
        }
    }

    fn add_test(&mut self, entry: &Table<'_>) -> Result<(), Fault> {
        let name = self.name(entry, "test")?;
        let (peer, place) = entry.text(PEER)?;
        let peer = self.single(peer, (PEER, place))?;
        let mut member_of = Vec::new();
        for (text, place) in optional_texts(entry, MEMBER_OF)? {
            match self.subject(text, (MEMBER_OF, place))? {
                Subject::Peer(_) | Subject::Anyone => {
                    return Err(PolicyFault::NotMembership.in_key(MEMBER_OF, place));
                }
                subject => member_of.push(subject),
            }
        }
        let (action, place) = entry.text(ACTION)?;
        let action = action.parse::<OwnedAction>().map_err(|source| {
            let found = shorten(action);
            PolicyFault::Permission { found, source }.in_key(ACTION, place)
        })?;
        let expected = match entry.text(EXPECT)? {
            ("allow", _) => Verdict::Allow,
            ("deny", _) => Verdict::Deny,
            (_, place) => return Err(PolicyFault::Expect.in_key(EXPECT, place)),
        };
        let test = PolicyTest {
            name,
            peer,
            member_of,
            action,
            at: entry.moment(AT)?,
            expected,
        };
        let builder = std::mem::take(&mut self.builder);
        self.builder = builder.test(test);
        Ok(())
    }

    /// How an entry is called in decisions: by its name, which no other has, and its line.
    fn name(&mut self, entry: &Table<'_>, kind: &str) -> Result<String, Fault> {
        let line = self.lines.at(entry.start());
        if entry.find(NAME).is_none() {
            return Ok(format!("the {kind} in line {line}"));
        }
        let (name, place) = entry.text(NAME)?;
        let checked = name.parse::<CertificateName>().map_err(PolicyFault::Name);
        checked.map_err(|fault| fault.in_key(NAME, place))?;
        if let Some(first) = self.names.insert(format!("{kind} {name}"), line) {
            let fault = PolicyFault::NameTwice {
                name: name.to_owned(),
                first,
            };
            return Err(fault.in_key(NAME, place));
        }
        Ok(format!("{kind} {name:?} (line {line})"))
    }

    fn subject(&self, text: &str, (key, place): (&str, Value<'_>)) -> Result<Subject, Fault> {
        let unknown = |name: &str| {
            let name = shorten(name);
            PolicyFault::Authority { name }.in_key(key, place)
        };
        if text == ANYONE {
            return Ok(Subject::Anyone);
        }
        if let Some(name) = text.strip_prefix(OF_CA) {
            let authority = self.authorities.find(name);
            return Ok(Subject::Authority(authority.ok_or_else(|| unknown(name))?));
        }
        if let Some(rest) = text.strip_prefix(OF_GROUP) {
            let Some((name, group)) = rest.split_once('/') else {
                return Err(PolicyFault::GroupWithoutAuthority.in_key(key, place));
            };
            let authority = self.authorities.find(name).ok_or_else(|| unknown(name))?;
            let group = group.parse().map_err(PolicyFault::Name);
            let group = group.map_err(|fault| fault.in_key(key, place))?;
            return Ok(Subject::Group { authority, group });
        }
        Ok(Subject::Peer(self.peer(text, (key, place))?))
    }

    /// A contact or an id, and nothing that stands for several.
    fn single(&self, text: &str, (key, place): (&str, Value<'_>)) -> Result<DeviceId, Fault> {
        if text == ANYONE || text.starts_with(OF_CA) || text.starts_with(OF_GROUP) {
            let found = shorten(text);
            return Err(PolicyFault::Several { found }.in_key(key, place));
        }
        self.peer(text, (key, place))
    }

    fn peer(&self, text: &str, (key, place): (&str, Value<'_>)) -> Result<DeviceId, Fault> {
        if let Ok(id) = text.parse::<DeviceId>() {
            return Ok(id);
        }
        let alias = text.parse::<Alias>().map_err(|source| {
            let found = shorten(text);
            PolicyFault::Who { found, source }.in_key(key, place)
        })?;
        let contacts = self.surroundings.contacts;
        let address = contacts.resolve(&PeerArgument::Alias(alias));
        let address = address.map_err(|source| PolicyFault::Contact(source).in_key(key, place))?;
        Ok(address.id)
    }
}

fn check_version(root: &Table<'_>) -> Result<(), Fault> {
    let value = root.require(VERSION)?;
    let found = match value.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        _ => Err(PolicyFault::Version.in_key(VERSION, value)),
    }
}

/// The texts of a list that may be left out.
fn optional_texts<'t>(
    table: &Table<'t>,
    key: &'static str,
) -> Result<Vec<(&'t str, &'t Spanned<DeValue<'t>>)>, Fault> {
    match table.find(key) {
        Some(value) => texts(key, value),
        None => Ok(Vec::new()),
    }
}
