//! What may be stored and changed, type by type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::draft::MAX_TTL;
use super::record::{MAX_BODY_LEN, Value, ValueType};
use crate::id::Id;

/// How long a value lives where nothing is said: OpenDHT's 10 minutes.
pub const DEFAULT_TTL: Duration = Duration::from_secs(10 * 60);

/// A value on its way into the store.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The key it is to lie under.
    pub target: &'a Id,
    /// The value; its signature has been checked if it has an owner.
    pub value: &'a Value,
    /// The address of the node that sent it, which need not be the one that made it.
    pub from: IpAddr,
}

/// A newer value of the same owner and id, on its way into the place of what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// What is stored.
    pub old: &'a Value,
    /// What is to take its place; [`Body::Removed`](super::Body::Removed) where it is removed.
    pub new: Offer<'a>,
}

/// Why a policy does not take a value; the text goes to the one who put it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub Cow<'static, str>);

/// Whether a value may be stored. It is called for new values and edits, after all other checks.
pub type StorePolicy = Box<dyn Fn(&Offer<'_>) -> Result<(), Refusal> + Send + Sync>;

/// Whether the owner may change a value in this way.
pub type EditRule = Box<dyn Fn(&Edit<'_>) -> Result<(), Refusal> + Send + Sync>;

/// Who may change a stored value, beyond what always holds: a value without owner is never
/// changed, one with an owner only by this owner with a higher sequence number.
#[derive(Default)]
pub enum EditPolicy {
    /// The owner.
    #[default]
    Owner,
    /// Nobody; the owner may remove it.
    Nobody,
    /// The owner, where the rule agrees.
    Rule(EditRule),
}

impl EditPolicy {
    pub(super) fn check(&self, edit: &Edit<'_>) -> Result<(), Refusal> {
        match self {
            Self::Owner => Ok(()),
            Self::Nobody if edit.new.value.is_removal() => Ok(()),
            Self::Nobody => Err(Refusal("values of this type are never changed".into())),
            Self::Rule(rule) => rule(edit),
        }
    }
}

impl fmt::Debug for EditPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "Owner",
            Self::Nobody => "Nobody",
            Self::Rule(_) => "Rule",
        })
    }
}

/// What a node does with values of one type.
pub struct TypePolicy {
    name: Cow<'static, str>,
    default_ttl: Duration,
    max_ttl: Duration,
    max_body: u32,
    store: Option<StorePolicy>,
    edit: EditPolicy,
}

impl TypePolicy {
    /// A type that takes everything: default TTL [`DEFAULT_TTL`], longest [`MAX_TTL`], bodies to
    /// [`MAX_BODY_LEN`], changed by the owner.
    #[must_use]
    pub const fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            default_ttl: DEFAULT_TTL,
            max_ttl: MAX_TTL,
            max_body: MAX_BODY_LEN as u32,
            store: None,
            edit: EditPolicy::Owner,
        }
    }

    /// How long a value lives where its maker says nothing. Default: [`DEFAULT_TTL`].
    #[must_use]
    pub fn with_default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// How long a node keeps it at most, whatever it says itself. Default and upper limit:
    /// [`MAX_TTL`].
    #[must_use]
    pub fn with_max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl.min(MAX_TTL);
        self
    }

    /// Bytes of the longest body. Default and upper limit: [`MAX_BODY_LEN`].
    #[must_use]
    pub fn with_max_body(mut self, bytes: u32) -> Self {
        self.max_body = bytes.min(MAX_BODY_LEN as u32);
        self
    }

    /// Asks `policy` before a value is stored. Default: all are.
    #[must_use]
    pub fn with_store_policy(mut self, policy: StorePolicy) -> Self {
        self.store = Some(policy);
        self
    }

    /// Who may change it. Default: its owner.
    #[must_use]
    pub fn with_edit_policy(mut self, policy: EditPolicy) -> Self {
        self.edit = policy;
        self
    }

    /// The name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a value lives where its maker says nothing.
    #[must_use]
    pub const fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    /// How long a node keeps it at most.
    #[must_use]
    pub const fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Bytes of the longest body.
    #[must_use]
    pub const fn max_body(&self) -> u32 {
        self.max_body
    }

    pub(super) const fn edit_policy(&self) -> &EditPolicy {
        &self.edit
    }

    pub(super) fn check(&self, offer: &Offer<'_>) -> Result<(), Refusal> {
        self.store.as_ref().map_or(Ok(()), |store| store(offer))
    }
}

impl fmt::Debug for TypePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypePolicy")
            .field("name", &self.name)
            .field("default_ttl", &self.default_ttl)
            .field("max_ttl", &self.max_ttl)
            .field("max_body", &self.max_body)
            .field("edit", &self.edit)
            .finish_non_exhaustive()
    }
}

static USER_DATA: TypePolicy = TypePolicy::new(Cow::Borrowed("user data"));

/// The types that a node knows. Every type that is not registered, type 0 ("user data") first of
/// all, has the policy that takes everything.
#[derive(Debug, Default)]
pub struct TypeRegistry {
    types: BTreeMap<ValueType, TypePolicy>,
}

impl TypeRegistry {
    /// No types of its own.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            types: BTreeMap::new(),
        }
    }

    /// Values of type `kind` are treated by `policy` from now on; what was said before is
    /// returned.
    pub fn register(&mut self, kind: ValueType, policy: TypePolicy) -> Option<TypePolicy> {
        self.types.insert(kind, policy)
    }

    /// The policy for `kind`.
    #[must_use]
    pub fn policy(&self, kind: ValueType) -> &TypePolicy {
        self.types.get(&kind).unwrap_or(&USER_DATA)
    }

    /// The type with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ValueType> {
        if name == USER_DATA.name() {
            return Some(ValueType(0));
        }
        let found = self.types.iter().find(|(_, policy)| policy.name() == name);
        found.map(|(kind, _)| *kind)
    }
}
