//! The table on a virtual clock, against the relay of nat-traversal.
