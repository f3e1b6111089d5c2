//! How often each token of one row was drawn, beside how often it was to be expected.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{Attribute, Cell, Color};
use logits::{RowError, Sampler, Token};

use super::draws::Drawing;
use crate::classes::Classes;
use crate::table::table;
use crate::{style, text};

const BAR_WIDTH: usize = 24;

/// The tokens that were drawn, and those that might have been.
#[derive(Default)]
pub struct Counts {
    of: BTreeMap<usize, Count>,
    draws: usize,
    problem: Option<RowError>,
    has_probabilities: bool,
}

#[derive(Default, Clone, Copy)]
struct Count {
    drawn: usize,
    /// Unless it was not drawn.
    rank: Option<usize>,
    /// Of what is drawn from.
    probability: f64,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self {
            drawn: self.drawn + other.drawn,
            rank: None,
            probability: self.probability + other.probability,
        }
    }
}

impl Counts {
    pub fn add(&mut self, token: Result<Token, RowError>) {
        match token {
            Ok(token) => {
                let count = self.of.entry(token.id as usize).or_default();
                count.drawn += 1;
                count.rank = Some(token.rank);
                self.draws += 1;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Takes the probabilities of all tokens that may be drawn, by samplers with their shares of the draws.
    pub fn expect(
        &mut self,
        drawing: &Drawing<'_>,
        row: usize,
        logits: &[f32],
        samplers: &[(f64, Sampler)],
    ) -> Result<()> {
        for (share, sampler) in samplers {
            if let Ok(left) = drawing.workers.engine().survivors(logits, sampler, &drawing.draw(row, 0))? {
                for candidate in left {
                    let count = self.of.entry(candidate.class).or_default();
                    count.probability += share * candidate.log_probability.exp();
                }
            }
        }
        self.has_probabilities = true;
        Ok(())
    }

    pub fn write(&self, out: &mut impl Write, classes: &Classes, top: usize) -> io::Result<()> {
        if let Some(problem) = self.problem {
            return writeln!(out, "{}", style::styled(style::ALARM, &problem.to_string()));
        }
        let mut counts: Vec<(usize, Count)> = self.of.iter().map(|(&token, &count)| (token, count)).collect();
        counts.sort_by(|(_, a), (_, b)| b.drawn.cmp(&a.drawn).then(b.probability.total_cmp(&a.probability)));
        let (shown, others) = counts.split_at(top.min(counts.len()));

        let titles = ["token", "", "", "drawn", "expected", "share", "probability", "rank"];
        let mut table = table(&self.known(titles), str::is_empty);
        for &(token, count) in shown {
            let rank = count.rank.map(|rank| rank.to_string()).unwrap_or_default();
            let mut cells = self.cells(token.to_string(), classes.quoted(token), count, rank);
            cells[1] = cells[1].clone().add_attribute(Attribute::Bold);
            cells[2] = cells[2].clone().fg(Color::DarkGreen);
            table.add_row(cells);
        }
        if !others.is_empty() {
            let sum = others.iter().fold(Count::default(), |sum, (_, count)| sum.and(*count));
            let cells = self.cells(String::new(), format!("{} others", others.len()), sum, String::new());
            table.add_row(cells.into_iter().map(|cell| cell.add_attribute(Attribute::Dim)));
        }
        writeln!(out, "{}", table.trim_fmt())
    }

    /// Without the columns that are of probabilities where there are none.
    fn known<T>(&self, columns: [T; 8]) -> Vec<T> {
        let is_known = |index: usize| self.has_probabilities || ![4, 6].contains(&index);
        columns.into_iter().enumerate().filter(|(index, _)| is_known(*index)).map(|(_, it)| it).collect()
    }

    fn cells(&self, token: String, name: String, count: Count, rank: String) -> Vec<Cell> {
        let draws = self.draws as f64;
        let share = count.drawn as f64 / draws;
        self.known([
            Cell::new(token),
            Cell::new(name),
            Cell::new(text::bar(share, BAR_WIDTH)),
            Cell::new(count.drawn),
            Cell::new(format!("{:.1}", count.probability * draws)),
            Cell::new(text::percent(share)),
            Cell::new(text::percent(count.probability)),
            Cell::new(rank),
        ])
    }
}
