//! `crtmgr`: keys, certificates, contacts and policy of a device.

fn main() {
    dhtnet_cli::process::start("crtmgr", crtmgr::run)
}
