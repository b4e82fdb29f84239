//! Device keys, device ids, contacts and policy.

pub mod device_id;
pub mod device_key;
pub mod peer_address;
pub mod policy;
pub mod target;

pub use device_id::{DeviceId, ParseDeviceIdError, ShortId};
pub use device_key::DeviceKey;
pub use peer_address::{Alias, PeerAddress, PeerArgument};
