//! Connect two devices by public key alone
