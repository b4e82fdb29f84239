//! crtmgr
fn main() {}
