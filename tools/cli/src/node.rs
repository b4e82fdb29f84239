//! Opening a node as the flags say.
