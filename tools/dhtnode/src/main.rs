//! `dhtnode`: the DHT by hand.

fn main() {
    dhtnet_cli::process::start_async("dhtnode", dhtnode::run)
}
