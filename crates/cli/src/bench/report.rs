//! The measurements as a table, as CSV and as JSON.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell as TableCell, Color, Table};
use serde::Serialize;
use timing::{Cell, Layout, Operation};

use super::check::{Checked, Unit};
use super::machine::Machine;
use super::measure::Measurement;
use crate::output::csv_error;
use crate::style::{bold, dim};

/// All that a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    check: Vec<Checked>,
    measurements: Vec<Measurement>,
}

impl Report {
    pub fn new(check: Vec<Checked>) -> Self {
        Self { machine: Machine::here(), check, measurements: Vec::new() }
    }

    pub fn add(&mut self, measurements: Vec<Measurement>) {
        self.measurements.extend(measurements);
    }

    pub fn broken_promises(&self) -> usize {
        self.check.iter().filter(|checked| !checked.holds()).count()
    }

    /// The machine and the check, for people.
    pub fn write_head(&self, out: &mut dyn Write) -> io::Result<()> {
        let Machine { version, cpu, architecture, threads, .. } = &self.machine;
        let or_none =
            |text: &str| if text.is_empty() { "nothing in particular".into() } else { text.to_owned() };
        writeln!(
            out,
            "{}",
            bold(&format!("logits {version} on {cpu} ({architecture}, threads: {threads})"))
        )?;
        writeln!(out, "compiled for      {}", or_none(self.machine.compiled_target_features))?;
        writeln!(
            out,
            "instruction sets  {} (best: {})\n",
            self.machine.available.join(", "),
            self.machine.detected
        )?;
        let verdict = match self.broken_promises() {
            0 => "every kernel keeps its promise".into(),
            broken => format!("{broken} of {} kernels break their promise", self.check.len()),
        };
        writeln!(out, "{}", bold(&format!("Checked against the f64 definition: {verdict}")))?;
        writeln!(out, "{}\n", self.check_table().trim_fmt())
    }

    fn check_table(&self) -> Table {
        let mut table = table(["worst error", "softmax", "log-softmax", "logsumexp"]);
        for results in self.check.chunks(Operation::ALL.len()) {
            let mut cells = vec![TableCell::new(results[0].isa)];
            cells.extend(results.iter().map(|checked| {
                let text = match checked.unit {
                    Unit::Ulp => format!("{:.2} of {} ULP", checked.worst_error, checked.promised_error),
                    Unit::Absolute => {
                        format!("{:.1e} of {:.0e}", checked.worst_error, checked.promised_error)
                    }
                };
                let cell = TableCell::new(if checked.holds() { text } else { format!("{text}: BROKEN") });
                if checked.holds() { cell } else { cell.fg(Color::Red).add_attribute(Attribute::Bold) }
            }));
            table.add_row(cells);
        }
        table
    }

    /// One line a measurement, each with the machine and the check of its kernel.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        for measurement in &self.measurements {
            let checked = self.check.iter().find(|checked| {
                Some(checked.operation) == measurement.operation && checked.isa == measurement.subject
            });
            csv.serialize(Record::new(&self.machine, measurement, checked)).map_err(csv_error)?;
        }
        csv.flush()
    }

    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

/// A line of the CSV, which has no room for structure.
#[derive(Serialize)]
struct Record<'a> {
    rows: usize,
    cols: usize,
    threads: usize,
    layout: Layout,
    operation: Option<Operation>,
    subject: &'a str,
    ns_per_element: f64,
    gigabytes_per_second: f64,
    speedup_over_scalar_loop: Option<f64>,
    time_over_memcpy: f64,
    rounds: usize,
    iterations: usize,
    worst_error: Option<f64>,
    promised_error: Option<f64>,
    error_unit: Option<Unit>,
    version: &'a str,
    cpu: &'a str,
    architecture: &'a str,
    compiled_target_features: &'a str,
    available: String,
    detected: &'a str,
}

impl<'a> Record<'a> {
    fn new(machine: &'a Machine, measurement: &'a Measurement, checked: Option<&Checked>) -> Self {
        Self {
            rows: measurement.rows,
            cols: measurement.cols,
            threads: measurement.threads,
            layout: measurement.layout,
            operation: measurement.operation,
            subject: &measurement.subject,
            ns_per_element: measurement.ns_per_element,
            gigabytes_per_second: measurement.gigabytes_per_second,
            speedup_over_scalar_loop: measurement.speedup_over_scalar_loop,
            time_over_memcpy: measurement.time_over_memcpy,
            rounds: measurement.rounds,
            iterations: measurement.iterations,
            worst_error: checked.map(|checked| checked.worst_error),
            promised_error: checked.map(|checked| checked.promised_error),
            error_unit: checked.map(|checked| checked.unit),
            version: machine.version,
            cpu: &machine.cpu,
            architecture: machine.architecture,
            compiled_target_features: machine.compiled_target_features,
            available: machine.available.join(" "),
            detected: machine.detected,
        }
    }
}

/// The measurements of one cell, for people.
pub fn write_cell(out: &mut impl Write, cell: &Cell, measurements: &[Measurement]) -> io::Result<()> {
    let rounds = measurements.first().map_or(0, |measurement| measurement.rounds);
    writeln!(out, "{}{}", bold(&cell.to_string()), dim(&format!("  (medians of {rounds} rounds)")))?;
    let mut table =
        table(["operation", "subject", "ns/element", "GB/s", "times the scalar loop", "time / memcpy"]);
    let mut operation = None;
    for measurement in measurements {
        let fastest = measurements
            .iter()
            .filter(|other| other.operation == measurement.operation)
            .all(|other| measurement.ns_per_element <= other.ns_per_element);
        let first = operation.replace(measurement.operation) != Some(measurement.operation);
        let name = measurement.operation.filter(|_| first).map_or("", Operation::name);
        let speedup = measurement.speedup_over_scalar_loop.map(|speedup| format!("{speedup:.2}"));
        let cells = [
            measurement.subject.clone(),
            format!("{:.3}", measurement.ns_per_element),
            format!("{:.1}", measurement.gigabytes_per_second),
            speedup.unwrap_or_default(),
            format!("{:.2}", measurement.time_over_memcpy),
        ];
        let highlighted = |text: String| {
            let cell = TableCell::new(text);
            if fastest && measurement.operation.is_some() { cell.fg(Color::DarkGreen) } else { cell }
        };
        let name = TableCell::new(name).add_attribute(Attribute::Bold);
        table.add_row(std::iter::once(name).chain(cells.map(highlighted)));
    }
    writeln!(out, "{}\n", table.trim_fmt())?;
    out.flush()
}

fn table<const N: usize>(titles: [&str; N]) -> Table {
    crate::table::table(&titles, |title| ["operation", "subject", "worst error"].contains(&title))
}
