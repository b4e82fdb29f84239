//! `dsh`: a remote shell by key.

fn main() {
    dsh::become_session_if_asked();
    dhtnet_cli::process::start_async("dsh", dsh::run)
}
