//! `crtmgr`: keys and contacts of a device.

fn main() {
    dhtnet_cli::process::start("crtmgr", crtmgr::run)
}
