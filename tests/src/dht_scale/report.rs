//! What a scenario found out.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A figure with its name and unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it says.
    pub name: String,
    /// How much.
    pub value: f64,
    /// In what; empty for plain numbers.
    pub unit: &'static str,
}

/// The figures of one scenario. All but those of [`Report::of_this_machine`] follow from the
/// number of nodes and the seed alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which.
    pub scenario: &'static str,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// What all chances were drawn from.
    pub seed: u64,
    /// A number over all deliveries.
    pub fingerprint: u64,
    figures: Vec<Figure>,
    of_this_machine: Vec<Figure>,
}

impl Report {
    pub(super) fn new(scenario: &'static str, nodes: usize, seed: u64) -> Self {
        Self {
            scenario,
            nodes,
            seed,
            fingerprint: 0,
            figures: Vec::new(),
            of_this_machine: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    pub(super) fn add_local(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.of_this_machine.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    /// The median and the 95th percentile of `samples`.
    pub(super) fn add_spread(&mut self, name: &str, samples: &mut [f64], unit: &'static str) {
        samples.sort_by(f64::total_cmp);
        self.add(format!("{name}, p50"), percentile(samples, 50), unit);
        self.add(format!("{name}, p95"), percentile(samples, 95), unit);
    }

    /// Figures that repeat exactly.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Memory and time on the machine that ran it.
    #[must_use]
    pub fn of_this_machine(&self) -> &[Figure] {
        &self.of_this_machine
    }

    /// The value of the figure called `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        let figures = self.figures.iter().chain(&self.of_this_machine);
        figures
            .filter(|figure| figure.name == name)
            .map(|figure| figure.value)
            .next()
    }

    /// For `--json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let object = |figures: &[Figure]| {
            let pairs = figures.iter().map(|figure| {
                let name = match figure.unit {
                    "" => figure.name.clone(),
                    unit => format!("{} ({unit})", figure.name),
                };
                (name, json!(figure.value))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        json!({
            "scenario": self.scenario,
            "nodes": self.nodes,
            "seed": self.seed,
            "fingerprint": format!("{:016x}", self.fingerprint),
            "figures": object(&self.figures),
            "of_this_machine": object(&self.of_this_machine),
        })
    }
}

impl fmt::Display for Report {
    /// A table in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "### {}, {} nodes, seed {}",
            self.scenario, self.nodes, self.seed
        )?;
        writeln!(f, "\n| | |\n|---|--:|")?;
        for figure in self.figures.iter().chain(&self.of_this_machine) {
            writeln!(f, "| {} | {} |", figure.name, shown(figure))?;
        }
        writeln!(f, "| fingerprint | {:016x} |", self.fingerprint)
    }
}

/// Whole numbers as they are, others with what digits they deserve.
fn shown(figure: &Figure) -> String {
    let mut text = String::new();
    let value = figure.value;
    let digits = match value {
        _ if value.fract() == 0.0 => 0,
        _ if value.abs() >= 100.0 => 0,
        _ if value.abs() >= 10.0 => 1,
        _ => 2,
    };
    // Writing to a string does not fail.
    let _ = write!(text, "{value:.digits$}");
    if !figure.unit.is_empty() {
        let _ = write!(text, " {}", figure.unit);
    }
    text
}

/// The smallest sample that at least `percent` of the sorted samples do not exceed; zero of none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Milliseconds, for figures.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A share in percent; zero of nothing.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        _ => 100.0 * part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&samples, 50), 10.0);
        assert_eq!(percentile(&samples, 95), 19.0);
        assert_eq!(percentile(&samples, 100), 20.0);
        assert_eq!(percentile(&[7.0], 50), 7.0);
        assert_eq!(percentile(&[], 95), 0.0);
    }

    #[test]
    fn figures_are_found_and_shown_with_their_units() {
        let mut report = Report::new("lookups", 10, 1);
        report.add_spread("time of a lookup", &mut [3.0, 1.25, 2.0], "ms");
        report.add_local("memory", 1_234.5, "bytes");
        assert_eq!(report.value("time of a lookup, p50"), Some(2.0));
        assert_eq!(report.value("memory"), Some(1_234.5));
        assert_eq!(report.value("nothing"), None);
        let text = report.to_string();
        assert!(text.contains("| time of a lookup, p50 | 2 ms |"), "{text}");
        assert!(text.contains("| memory | 1234 bytes |"), "{text}");
        let json = report.to_json();
        assert_eq!(json["figures"]["time of a lookup, p95 (ms)"], 3.0);
        assert_eq!(json["fingerprint"], "0000000000000000");
    }
}
