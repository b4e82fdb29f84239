//! The real binary on 127.0.0.1.
