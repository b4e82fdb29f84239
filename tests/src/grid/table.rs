//! The table for people.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Cell, PortMapping, Way};

/// A line of Markdown for each cell, under a heading for each of the two grids.
#[must_use]
pub fn markdown(cells: &[Cell]) -> String {
    let mut table = String::new();
    let parts = [
        (PortMapping::Off, "Nobody maps ports."),
        (
            PortMapping::On,
            "Both routers map ports, where there is one.",
        ),
    ];
    for (mapping, title) in parts {
        let lines = cells.iter().filter(|cell| cell.mapping == mapping);
        let lines: Vec<String> = lines.map(line).collect();
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(table, "{title}\n\n{HEAD}\n{}\n", lines.join("\n"));
    }
    table
}

const HEAD: &str = "\
| a | b | connected | direct | first byte, median | p95 | direct path, p95 | entries | while relayed | after giving up | after the end | left |
|---|---|---|---|---|---|---|--:|--:|--:|--:|--:|";

fn line(cell: &Cell) -> String {
    let [a, b] = cell.kinds.map(super::Kind::name);
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let seconds = |time: Option<Duration>| {
        time.map_or("–".to_owned(), |time| {
            format!("{:.2} s", time.as_secs_f64())
        })
    };
    let connected = if cell.lacks_a_relay() {
        "needs a relay".to_owned()
    } else {
        percent(cell.share(|trial| trial.is_whole))
    };
    let hoping = cell.trials.iter().filter_map(|trial| trial.hoping);
    let hoping = hoping.reduce(f64::max);
    let gave_up = cell
        .trials
        .iter()
        .filter_map(|trial| trial.after_giving_up)
        .max();
    format!(
        "| {a} | {b} | {connected} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        percent(cell.share(|trial| trial.way == Some(Way::Direct))),
        seconds(cell.quantile(50, |trial| trial.first_byte)),
        seconds(cell.quantile(95, |trial| trial.first_byte)),
        seconds(cell.quantile(95, |trial| trial.direct)),
        cell.most(|trial| trial.entries.into()),
        hoping.map_or("–".to_owned(), |packets| format!("{packets:.1}")),
        gave_up.map_or("–".to_owned(), |packets| packets.to_string()),
        cell.most(|trial| trial.after_exit),
        cell.most(|trial| trial.left.len() as u64),
    )
}
