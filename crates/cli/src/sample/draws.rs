//! Tokens of many rows, some for each, drawn a position at a time.

use anyhow::{Error, Result, anyhow};
use indicatif::ProgressBar;
use logits::{Candidate, Draw, History, RowError, Rows, Sampler, Token};

use crate::array::Array;
use crate::progress;
use crate::workers::Workers;

/// How many tokens are kept until they are reported.
const KEPT: usize = 1 << 16;

/// What every row is drawn with.
#[derive(Clone, Copy)]
pub struct Drawing<'a> {
    pub workers: &'a Workers,
    pub sampler: &'a Sampler,
    pub history: &'a History,
    pub seed: u64,
    /// How many tokens for each row.
    pub draws: usize,
    /// How many of the most probable tokens are wanted with them.
    pub top: usize,
}

/// A token of a row.
pub struct Drawn<'a> {
    pub row: usize,
    /// Which of those of the row.
    pub position: usize,
    /// Of a row that none can be drawn of there is but one.
    pub token: Result<Token, RowError>,
    pub top: &'a [Candidate],
    /// Whether no other follows of its row.
    pub is_last: bool,
}

impl Drawing<'_> {
    /// What a token is drawn with. Rows are streams of random numbers, and so a row has its tokens wherever it stands in a block.
    pub fn draw(&self, row: usize, position: usize) -> Draw<'_> {
        Draw::counted(self.seed, row as u64, position as u64).history(self.history)
    }

    /// Draws for these rows of the array, and hands out all tokens of a row, row after row.
    pub fn all(
        &self,
        array: &mut Array,
        rows: std::ops::Range<usize>,
        bar: &ProgressBar,
        report: &mut dyn FnMut(&Drawn<'_>) -> Result<()>,
    ) -> Result<()> {
        let cols = array.cols();
        if cols == 0 || rows.is_empty() {
            return Ok(());
        }
        array.skip_rows(rows.start)?;
        let (mut block, mut row) = (Vec::new(), rows.start);
        while row < rows.end {
            array.read_rows(array.rows_per_block().min(rows.end - row), &mut block)?;
            for logits in block.chunks((KEPT / self.draws).max(1) * cols) {
                self.rows(row, logits, cols, bar, report)
                    .map_err(|error| error.context(array.name.clone()))?;
                row += logits.len() / cols;
            }
        }
        Ok(())
    }

    /// The same for rows whose tokens can be kept, or for one row.
    pub fn rows(
        &self,
        first_row: usize,
        logits: &[f32],
        cols: usize,
        bar: &ProgressBar,
        report: &mut dyn FnMut(&Drawn<'_>) -> Result<()>,
    ) -> Result<()> {
        let rows = Rows::new(logits, cols)?;
        let mut tokens = vec![Ok(Token::default()); rows.rows()];
        let mut top = vec![Candidate::default(); rows.rows() * self.top];
        let mut kept = Vec::new();
        let mut first = 0;
        while first < self.draws {
            let end = self.draws.min(first + KEPT);
            kept.clear();
            for position in first..end {
                // They are the same for all positions.
                let top = if position == 0 { &mut top[..] } else { &mut [] };
                self.one_each(first_row, rows, position, &mut tokens, top)?;
                kept.extend_from_slice(&tokens);
                progress::advance(bar, logits);
            }
            for index in 0..rows.rows() {
                for position in first..end {
                    let token = kept[(position - first) * rows.rows() + index];
                    if position == 0 || token.is_ok() {
                        let top = &top[index * self.top..][..self.top];
                        let is_last = position + 1 == self.draws || token.is_err();
                        report(&Drawn { row: first_row + index, position, token, top, is_last })?;
                    }
                }
            }
            first = end;
        }
        Ok(())
    }

    /// Draws a token for each row, given those before.
    fn one_each(
        &self,
        first_row: usize,
        rows: Rows<'_>,
        position: usize,
        tokens: &mut [Result<Token, RowError>],
        top: &mut [Candidate],
    ) -> Result<(), Error> {
        let draws: Vec<Draw<'_>> = tokens
            .iter()
            .enumerate()
            .map(|(index, last)| {
                self.draw(first_row + index, position).mu(last.ok().and_then(|token| token.mu))
            })
            .collect();
        let result = self.workers.run(|engine| engine.sample_with(rows, self.sampler, &draws, tokens, top));
        result.map_err(|error| anyhow!(error))
    }
}
