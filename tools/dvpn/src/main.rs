//! `dvpn`: a VPN by key.

fn main() {
    dhtnet_cli::process::start_async("dvpn", dvpn::run)
}
