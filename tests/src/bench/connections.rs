//! New connections through a forward, each with one request and its answer.

use super::report::{Baseline, Column, Table};
use super::stage::Stage;
use super::{BenchError, Options, pump, start_forwards};

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "connections",
        "New forwarded connections, each with a request of 64 bytes and its answer.",
        vec![
            Column::new("1 at a time, per s", Baseline::Row("raw TCP"), 0),
            Column::new("16 at once, per s", Baseline::Row("raw TCP"), 0),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let forwards = start_forwards(&stage, &mut table);
    for _ in 0..options.rounds {
        for forward in &forwards {
            let name = forward.peer.to_string();
            for (column, at_once) in [1, 16].into_iter().enumerate() {
                match pump::connections(&stage.near, forward.entry, at_once, options.span) {
                    Ok(rate) => table.add(&name, column, rate),
                    Err(error) => table.note(format!("{name}: a connection failed: {error}")),
                }
            }
        }
    }
    Ok(table)
}
