//! Noise IK as the handshake of QUIC, by public key alone

pub mod congestion;
