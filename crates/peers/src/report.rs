//! Every cell with its ratio to the fastest peer.

use std::fmt;
use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use timing::{Cell, Layout, Operation};

use crate::peers::{Candidate, Role};

/// One candidate in one cell.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub operation: Operation,
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub layout: Layout,
    pub name: &'static str,
    pub ns_per_element: f64,
    #[serde(skip)]
    role: Role,
}

impl Line {
    pub fn new(operation: Operation, cell: &Cell, candidate: &Candidate, ns_per_element: f64) -> Self {
        let Cell { shape, threads, layout } = *cell;
        let (rows, cols) = (shape.rows, shape.cols);
        let (name, role) = (candidate.name(), candidate.role());
        Self { operation, rows, cols, threads, layout, name, ns_per_element, role }
    }

    fn is_of(&self, cell: &Self) -> bool {
        let key = |line: &Self| (line.operation, line.rows, line.cols, line.threads, line.layout);
        key(self) == key(cell)
    }
}

#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
}

/// A cell summed up.
pub struct Contest {
    pub operation: Operation,
    pub shape: String,
    pub threads: usize,
    pub layout: Layout,
    /// Nanoseconds an element, the median over the runs.
    pub logits: f64,
    /// Peers and yardsticks likewise.
    pub others: Vec<(&'static str, f64)>,
    pub fastest_peer: &'static str,
    /// The time of the fastest peer over that of logits.
    pub ratio: f64,
}

impl Report {
    pub fn add(&mut self, lines: Vec<Line>) {
        self.lines.extend(lines);
    }

    pub fn write_csv(&self, to: impl Write) -> Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        for line in &self.lines {
            writer.serialize(line)?;
        }
        Ok(writer.flush()?)
    }

    pub fn contests(&self) -> Vec<Contest> {
        let mut firsts: Vec<&Line> = Vec::new();
        for line in &self.lines {
            if !firsts.iter().any(|first| first.is_of(line)) {
                firsts.push(line);
            }
        }
        firsts.into_iter().filter_map(|first| self.contest(first)).collect()
    }

    /// None where there is no peer.
    fn contest(&self, cell: &Line) -> Option<Contest> {
        let mut others: Vec<(&'static str, Role)> = Vec::new();
        for line in self.lines.iter().filter(|line| line.is_of(cell)) {
            if !others.contains(&(line.name, line.role)) {
                others.push((line.name, line.role));
            }
        }
        let time = |name| {
            let runs = self.lines.iter().filter(|line| line.is_of(cell) && line.name == name);
            let mut times: Vec<f64> = runs.map(|line| line.ns_per_element).collect();
            times.sort_unstable_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let logits = time("logits");
        let peers =
            others.iter().filter(|(_, role)| *role == Role::Peer).map(|&(name, _)| (name, time(name)));
        let (fastest_peer, fastest) = peers.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Contest {
            operation: cell.operation,
            shape: format!("{}x{}", cell.rows, cell.cols),
            threads: cell.threads,
            layout: cell.layout,
            logits,
            others: others
                .iter()
                .filter(|(_, role)| *role != Role::Logits)
                .map(|&(name, _)| (name, time(name)))
                .collect(),
            fastest_peer,
            ratio: fastest / logits,
        })
    }
}

pub fn geometric_mean(ratios: impl Iterator<Item = f64> + Clone) -> f64 {
    (ratios.clone().map(f64::ln).sum::<f64>() / ratios.count() as f64).exp()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contests = self.contests();
        for operation in Operation::ALL {
            let contests: Vec<&Contest> =
                contests.iter().filter(|contest| contest.operation == operation).collect();
            if contests.is_empty() {
                continue;
            }
            let mut names: Vec<&str> = Vec::new();
            for contest in &contests {
                for (name, _) in &contest.others {
                    if !names.contains(name) {
                        names.push(name);
                    }
                }
            }
            let mut table = Table::new();
            table.load_style(presets::ASCII_MARKDOWN);
            let head = [operation.name(), "threads", "layout", "logits"];
            table.set_header(head.iter().chain(&names).chain(&["fastest peer", "ratio"]).copied());
            for contest in &contests {
                let layout = match contest.layout {
                    Layout::OutOfPlace => "apart",
                    Layout::InPlace => "in place",
                    Layout::Misaligned => "apart, one off",
                };
                let mut row = vec![
                    contest.shape.clone(),
                    contest.threads.to_string(),
                    layout.to_owned(),
                    format!("{:.3}", contest.logits),
                ];
                row.extend(names.iter().map(|name| {
                    let found = contest.others.iter().find(|(other, _)| other == name);
                    found.map_or(String::new(), |(_, time)| format!("{time:.3}"))
                }));
                row.extend([contest.fastest_peer.to_owned(), format!("{:.2}", contest.ratio)]);
                table.add_row(row);
            }
            for (index, column) in table.column_iter_mut().enumerate() {
                let text = index == 2 || index == names.len() + 4;
                column.set_cell_alignment(if text { CellAlignment::Left } else { CellAlignment::Right });
            }
            writeln!(f, "{table}")?;
            let ratios = contests.iter().map(|contest| contest.ratio);
            let least = contests.iter().min_by(|a, b| a.ratio.total_cmp(&b.ratio)).expect("some");
            writeln!(
                f,
                "{}: geometric mean {:.2} over {} cells, least {:.2} ({}, {} threads, against {})\n",
                operation.name(),
                geometric_mean(ratios),
                contests.len(),
                least.ratio,
                least.shape,
                least.threads,
                least.fastest_peer,
            )?;
        }
        Ok(())
    }
}
