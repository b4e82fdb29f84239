//! The first byte of a frame.

pub(super) const PUSH: u8 = 0x01;
pub(super) const PULL: u8 = 0x02;
pub(super) const SOURCE: u8 = 0x10;
pub(super) const DIRECTORY: u8 = 0x11;
pub(super) const LEAVE: u8 = 0x12;
pub(super) const FILE: u8 = 0x13;
pub(super) const LINK: u8 = 0x14;
pub(super) const MISSING: u8 = 0x15;
pub(super) const TOTAL: u8 = 0x16;
pub(super) const START: u8 = 0x20;
pub(super) const DATA: u8 = 0x21;
pub(super) const HOLE: u8 = 0x22;
pub(super) const FINISH: u8 = 0x23;
pub(super) const BROKEN: u8 = 0x24;
pub(super) const END: u8 = 0x25;
pub(super) const WANT: u8 = 0x30;
pub(super) const DONE: u8 = 0x31;
pub(super) const FAILED: u8 = 0x32;
pub(super) const WAITING: u8 = 0x33;
pub(super) const BYE: u8 = 0x34;
pub(super) const ABORT: u8 = 0x40;
