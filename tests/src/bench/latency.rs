//! Small requests through a forward: round-trip time.

use super::report::{Baseline, Column, Table, quantile};
use super::stage::Stage;
use super::{BenchError, Options, pump, start_forwards};

/// Requests before the clock counts.
const WARM_UP: usize = 100;

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "latency",
        format!(
            "{} requests of 64 bytes, each answered by 64 bytes.",
            options.requests
        ),
        vec![
            Column::new("p50, µs", Baseline::Row("ssh aes128-gcm"), 0),
            Column::new("p99, µs", Baseline::Row("ssh aes128-gcm"), 0),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let forwards = start_forwards(&stage, &mut table);
    for _ in 0..options.rounds {
        for forward in &forwards {
            let name = forward.peer.to_string();
            let warmed = pump::echo(&stage.near, forward.entry, WARM_UP);
            let run = warmed.and_then(|_| pump::echo(&stage.near, forward.entry, options.requests));
            match run {
                Ok(samples) => {
                    for (column, share) in [0.5, 0.99].into_iter().enumerate() {
                        if let Some(value) = quantile(&samples, share) {
                            table.add(&name, column, value);
                        }
                    }
                }
                Err(error) => table.note(format!("{name}: a request failed: {error}")),
            }
        }
    }
    Ok(table)
}
