//! Rows over threads, one after the other on each, with places for what comes of them.

use crate::Engine;
use crate::ops::Candidate;
use crate::rows::{Rows, RowsMut};
use crate::simd::isa::Machine;
use crate::threads::Divide;

use super::scratch::{self, Scratch};

/// Does something with each row, for which there is a place in `out` and so many in `top`.
pub fn run<R: Batch, O: Send, F: Work<R::Row, O>>(
    engine: &Engine,
    rows: R,
    most: usize,
    out: &mut [O],
    top: &mut [Candidate],
    work: &F,
) {
    engine.divide(PerRow { first: 0, rows, most, out, top, work });
}

/// What is done with a row.
pub trait Work<R, O>: Fn(Machine, usize, R, &mut Scratch, &mut O, &mut [Candidate]) + Sync {}

impl<R, O, F: Fn(Machine, usize, R, &mut Scratch, &mut O, &mut [Candidate]) + Sync> Work<R, O> for F {}

/// Rows to read, or to write.
pub trait Batch: Send + Sized {
    type Row;

    fn shape(&self) -> (usize, usize);
    fn next(&mut self) -> Option<Self::Row>;
    fn cut(self, row: usize) -> (Self, Self);
}

macro_rules! batches {
    ($($rows:ident $row:ty),*) => {$(
        impl<'a> Batch for $rows<'a> {
            type Row = $row;

            fn shape(&self) -> (usize, usize) {
                (self.rows(), self.cols())
            }

            fn next(&mut self) -> Option<$row> {
                self.next_row()
            }

            fn cut(self, row: usize) -> (Self, Self) {
                self.split_at(row)
            }
        }
    )*};
}

batches!(Rows &'a [f32], RowsMut &'a mut [f32]);

struct PerRow<'o, R, O, F> {
    /// The first of the rows, in the whole batch.
    first: usize,
    rows: R,
    most: usize,
    out: &'o mut [O],
    top: &'o mut [Candidate],
    work: &'o F,
}

impl<R: Batch, O: Send, F: Work<R::Row, O>> Divide for PerRow<'_, R, O, F> {
    fn elements(&self) -> usize {
        let (rows, cols) = self.rows.shape();
        rows * cols
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.rows.shape().0 / 2;
        if half == 0 {
            return Err(self);
        }
        let Self { first, rows, most, out, top, work } = self;
        let (rows, out) = (rows.cut(half), out.split_at_mut(half));
        let top = top.split_at_mut(half * most);
        let second = Self { first: first + half, rows: rows.1, most, out: out.1, top: top.1, work };
        Ok((Self { first, rows: rows.0, most, out: out.0, top: top.0, work }, second))
    }

    fn run(mut self, machine: Machine) {
        let mut top = self.top;
        scratch::lend(|scratch| {
            for (i, out) in self.out.iter_mut().enumerate() {
                let row = self.rows.next().expect("a row for each place");
                let (candidates, rest) = top.split_at_mut(self.most);
                (self.work)(machine, self.first + i, row, scratch, out, candidates);
                top = rest;
            }
        });
    }
}
