//! crtmgr
