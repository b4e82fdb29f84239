//! `dnc`: netcat by key.

fn main() {
    dhtnet_cli::process::start_async("dnc", dnc::run)
}
