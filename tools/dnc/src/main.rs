//! dnc
fn main() {}
