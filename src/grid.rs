//! Where a batch is read and written: in place, from one into another, or into new memory.

use core::mem::MaybeUninit;

use crate::Error;
use crate::element::Element;
use crate::narrow::Narrow;
use crate::operation::TOGETHER;
use crate::rows::{RowSlots, Rows, RowsMut};
use crate::simd::Simd;
use crate::span::{Read, Write};

/// Rows for an operation that writes as many elements as it reads.
pub enum Grid<'a, E: Element> {
    InPlace(RowsMut<'a, E>),
    Apart(Rows<'a, E>, RowSlots<'a, E>),
}

impl<'a, E: Element> Grid<'a, E> {
    #[inline(always)]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Grid::InPlace(rows) => (rows.rows(), rows.cols()),
            Grid::Apart(from, _) => (from.rows(), from.cols()),
        }
    }

    pub fn split_at(self, row: usize) -> (Self, Self) {
        match self {
            Grid::InPlace(rows) => {
                let (first, second) = rows.split_at(row);
                (Grid::InPlace(first), Grid::InPlace(second))
            }
            Grid::Apart(from, to) => {
                let (from, to) = (from.split_at(row), to.split_at(row));
                (Grid::Apart(from.0, to.0), Grid::Apart(from.1, to.1))
            }
        }
    }

    /// Puts the first rows into their place beside each other.
    #[inline(always)]
    pub fn load<S: Simd>(&self, s: S, narrow: &mut Narrow) {
        match self {
            Grid::InPlace(rows) => load(s, narrow, rows.contiguous(TOGETHER), |row| rows.row(row)),
            Grid::Apart(from, _) => load(s, narrow, from.contiguous(TOGETHER), |row| from.row(row)),
        }
    }

    /// Writes the first rows and passes them.
    #[inline(always)]
    pub fn store<S: Simd>(&mut self, s: S, narrow: &Narrow) {
        let mut slots = match self {
            Grid::InPlace(rows) => rows.take(TOGETHER).into_slots(),
            Grid::Apart(from, to) => {
                from.take(TOGETHER);
                to.take(TOGETHER)
            }
        };
        if let Some(all) = slots.contiguous() {
            return narrow.store(s, 0, all);
        }
        for row in 0..TOGETHER {
            narrow.store(s, row, slots.row(row));
        }
    }

    #[inline(always)]
    pub fn next_row(&mut self) -> Option<Write<'a, E>> {
        Some(match self {
            Grid::InPlace(rows) => Write::in_place(rows.next_row()?).before(rows.elements()),
            Grid::Apart(from, to) => Write::apart(from.next_row()?, to.next_row()?).before(from.elements()),
        })
    }
}

/// Puts sixteen narrow rows into their place beside each other.
#[inline(always)]
pub fn load<'a, S: Simd, E: Element>(
    s: S,
    narrow: &mut Narrow,
    all: Option<&'a [E]>,
    row: impl Fn(usize) -> &'a [E],
) {
    if let Some(all) = all {
        return narrow.load(s, 0, Read::new(all));
    }
    for i in 0..TOGETHER {
        narrow.load(s, i, Read::new(row(i)));
    }
}

impl<'a, E: Element> Grid<'a, E> {
    /// From one batch to another.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`].
    #[inline(always)]
    pub fn apart(from: Rows<'a, E>, to: RowsMut<'a, E>) -> Result<Self, Error> {
        Self::checked(from, to.into_slots())
    }

    #[inline(always)]
    fn checked(from: Rows<'a, E>, to: RowSlots<'a, E>) -> Result<Self, Error> {
        let (input, output) = ((from.rows(), from.cols()), (to.rows(), to.cols()));
        // A batch of no rows has no columns to speak of.
        if input == output || input.0 + output.0 == 0 {
            Ok(Grid::Apart(from, to))
        } else {
            Err(Error::ShapeMismatch { input, output })
        }
    }
}

/// From a batch to contiguous memory that need not be initialised.
pub struct Uninit<'x, 'a, E: Element> {
    pub from: Rows<'x, E>,
    pub to: &'a mut [MaybeUninit<E>],
}

impl<'x, 'a, E: Element> Uninit<'x, 'a, E> {
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`], or what is wrong with `to` as rows.
    pub fn new(from: Rows<'x, E>, to: &'a mut [MaybeUninit<E>]) -> Result<Self, Error> {
        Grid::checked(from, RowSlots::new(to, from.cols())?)?;
        Ok(Self { from, to })
    }
}
