//! The value layer: many values under a key, with types, owners, expiry and listeners.
//!
//! It is spoken between nodes that carry `dn` = 1 (docs/wire-format/values.md) and gives what
//! OpenDHT's put, get, listen, putSigned, putEncrypted and query give:
//!
//! | type | what it is |
//! |---|---|
//! | [`Value`] | one value under a key, as a record of at most [`MAX_RECORD_LEN`] bytes |
//! | [`Draft`] | a value to be made: unsigned, signed by its owner, or sealed to a recipient |
//! | [`split`] | bodies to [`MAX_BODY_LEN`] as immutable items that any node can hold |
//! | [`ValueQuery`] | which values, and which of their fields: `SELECT … WHERE …` |
//! | [`TypeRegistry`] | what may be stored and changed, type by type |
//!
//! A value under a key is known by its owner and its id, so that nobody can take another's place.
//! A value with an owner carries the owner's signature, which names the key it lies under, and a
//! sequence number: the owner alone can change it or leave a removal in its place. A value
//! without owner is never changed, only kept longer.

mod draft;
mod field_record;
mod listeners;
mod policy;
mod query;
mod record;
mod sealing;
mod signing;
mod source;
pub mod split;
mod store;
mod time;

pub use self::draft::{Draft, DraftError, MAX_SEALED_BODY_LEN, MAX_TTL, MIN_TTL, Prepared};
pub use self::field_record::FieldRecord;
pub(crate) use self::listeners::{ListenerKey, Listeners, PushOutcome};
pub use self::policy::{
    DEFAULT_TTL, Edit, EditPolicy, EditRule, Offer, Refusal, StorePolicy, TypePolicy, TypeRegistry,
};
pub use self::query::{Field, Filter, MAX_QUERY_LEN, ParseQueryError, Select, Subject, ValueQuery};
pub use self::record::{
    Body, DecodeError, MAX_BODY_LEN, MAX_RECORD_LEN, OwnerKey, Value, ValueId, ValueKey, ValueType,
};
pub use self::sealing::OpenValueError;
pub use self::signing::{NotOwnedError, SignatureError};
pub(crate) use self::store::{Arrival, PageRequest, Stored, ValueError, ValueLimits, ValueStore};
pub use self::time::UnixTime;
