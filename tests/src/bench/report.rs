//! Results: samples of each peer and column, their medians, and how they are shown.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a column's figures are divided by to give the ratio beside them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Baseline {
    /// No ratio.
    None,
    /// The row of this name.
    Row(&'static str),
    /// A fixed figure, the capacity of a link for one.
    Fixed(f64),
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Heading, with the unit.
    pub name: String,
    /// What ratios are taken to.
    pub baseline: Baseline,
    /// Digits after the point.
    pub digits: usize,
}

impl Column {
    /// A column with its unit in the name.
    pub fn new(name: impl Into<String>, baseline: Baseline, digits: usize) -> Self {
        Self {
            name: name.into(),
            baseline,
            digits,
        }
    }
}

/// One table: a row for each peer, samples in each cell.
#[derive(Debug, Clone)]
pub struct Table {
    /// Name for `--only`.
    pub name: &'static str,
    /// What was done.
    pub title: String,
    columns: Vec<Column>,
    rows: Vec<(String, Vec<Vec<f64>>)>,
    notes: Vec<String>,
}

impl Table {
    /// An empty table.
    pub fn new(name: &'static str, title: impl Into<String>, columns: Vec<Column>) -> Self {
        Self {
            name,
            title: title.into(),
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a sample; rows keep the order of their first sample.
    pub fn add(&mut self, row: &str, column: usize, sample: f64) {
        let width = self.columns.len();
        let index = self
            .rows
            .iter()
            .position(|(name, _)| name == row)
            .unwrap_or_else(|| {
                self.rows.push((row.to_owned(), vec![Vec::new(); width]));
                self.rows.len() - 1
            });
        if let Some(cell) = self.rows[index].1.get_mut(column) {
            cell.push(sample);
        }
    }

    /// Says under the table that something is missing or odd, once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Median of a cell.
    pub fn median(&self, row: &str, column: usize) -> Option<f64> {
        let (_, cells) = self.rows.iter().find(|(name, _)| name == row)?;
        median(cells.get(column)?)
    }

    fn ratio(&self, cells: &[Vec<f64>], column: usize) -> Option<f64> {
        let own = median(&cells[column])?;
        let base = match self.columns[column].baseline {
            Baseline::None => return None,
            Baseline::Fixed(base) => base,
            Baseline::Row(name) => self.median(name, column)?,
        };
        (base != 0.0).then(|| own / base)
    }

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("### {}\n{}\n\n| |", self.name, self.title);
        for column in &self.columns {
            let _ = write!(out, " {} |", column.name);
        }
        out += "\n|---|";
        out += &"---|".repeat(self.columns.len());
        out.push('\n');
        for (name, cells) in &self.rows {
            let _ = write!(out, "| {name} |");
            for (index, column) in self.columns.iter().enumerate() {
                let _ = match (median(&cells[index]), self.ratio(cells, index)) {
                    (None, _) => write!(out, " – |"),
                    (Some(value), None) => write!(out, " {value:.*} |", column.digits),
                    (Some(value), Some(ratio)) => {
                        write!(out, " {value:.*} ({ratio:.2}×) |", column.digits)
                    }
                };
            }
            out.push('\n');
        }
        for note in &self.notes {
            let _ = write!(out, "\n- {note}");
        }
        if !self.notes.is_empty() {
            out.push('\n');
        }
        out
    }

    /// The table with every sample, for machines.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(name, cells)| {
                let cells: serde_json::Map<String, Value> = self
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| {
                        let value = json!({
                            "median": median(&cells[index]),
                            "ratio": self.ratio(cells, index),
                            "samples": cells[index],
                        });
                        (column.name.clone(), value)
                    })
                    .collect();
                json!({ "peer": name, "figures": cells })
            })
            .collect();
        json!({ "name": self.name, "title": self.title, "rows": rows, "notes": self.notes })
    }
}

/// The tables of `old`, in Markdown, those of the same name replaced and the other ones of `new`
/// after them.
pub fn replace_tables(old: &str, new: &[Table]) -> String {
    let old: Vec<(&str, &str)> = old
        .split("### ")
        .skip(1)
        .map(|table| (table.lines().next().unwrap_or_default(), table.trim_end()))
        .collect();
    let kept = old.iter().map(|(name, table)| {
        let measured = new.iter().find(|new| new.name == *name);
        measured.map_or_else(|| format!("### {table}\n"), Table::to_markdown)
    });
    let is_added = |new: &&Table| old.iter().all(|(name, _)| *name != new.name);
    let added = new.iter().filter(is_added).map(Table::to_markdown);
    kept.chain(added).collect::<Vec<_>>().join("\n")
}

/// Median; the mean of the middle two of an even number.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The sample below which `share` (0 to 1) of them lie.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn medians_and_quantiles_of_few_and_no_samples() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[], 0.5), None);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
    }

    #[test]
    fn a_table_shows_medians_with_ratios_to_its_baseline() {
        let columns = vec![
            Column::new("up, MiB/s", Baseline::Row("raw TCP"), 0),
            Column::new("RSS, MiB", Baseline::None, 1),
        ];
        let mut table = Table::new("forward", "One stream.", columns);
        table.add("raw TCP", 0, 1000.0);
        table.add("dnc", 0, 240.0);
        table.add("dnc", 0, 260.0);
        table.add("dnc", 1, 4.0);
        table.note("ssh skipped: not installed");
        table.note("ssh skipped: not installed");
        assert_eq!(
            table.to_markdown(),
            "### forward\nOne stream.\n\n| | up, MiB/s | RSS, MiB |\n|---|---|---|\n\
             | raw TCP | 1000 (1.00×) | – |\n| dnc | 250 (0.25×) | 4.0 |\n\
             \n- ssh skipped: not installed\n"
        );
        assert_eq!(
            table.to_json()["rows"][1]["figures"]["up, MiB/s"]["ratio"],
            0.25
        );
    }
    #[test]
    fn a_measured_table_replaces_its_old_form_and_leaves_the_others() {
        let table = |name, text: &str| {
            let columns = vec![Column::new("a", Baseline::None, 0)];
            let mut table = Table::new(name, text, columns);
            table.add("x", 0, 1.0);
            table
        };
        let old = [table("one", "Old."), table("two", "Old.")];
        let old = format!("\n{}", replace_tables("", &old));
        let new = [table("two", "New."), table("three", "New.")];
        let all = [
            table("one", "Old."),
            table("two", "New."),
            table("three", "New."),
        ];
        let expected = all.map(|table| table.to_markdown()).join("\n");
        assert_eq!(replace_tables(&old, &new), expected);
        assert_eq!(replace_tables(&expected, &[]), expected);
    }
}
