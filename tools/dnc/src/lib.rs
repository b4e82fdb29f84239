//! dnc
