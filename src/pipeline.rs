//! Rows of one segment in blocks, one behind the other: the last pass of a block goes beside the first one of the next.
//!
//! The first pass computes exponentials and leaves loads and stores idle; the last one is hardly anything else.

use crate::element::Element;
use crate::operation::{Origin, Sides, TOGETHER, Transform};
use crate::simd::{Kernel, Simd};
use crate::span::{Read, Span, Write};
use crate::sums::Mapped;
use core::{array, mem, slice};

/// Rows of which the second half has been read.
pub struct Pipeline<'a, 'o, E: Element, T: Transform<E>> {
    blocks: [Block<'a, E, T>; 2],
    /// Which of them is to be filled next.
    next: usize,
    operation: &'o T,
}

struct Block<'a, E: Element, T: Transform<E>> {
    rows: [Write<'a, E>; TOGETHER],
    known: [T::Partial; TOGETHER],
    len: usize,
    origin: Origin,
}

impl<'a, 'o, E: Element, T: Transform<E>> Pipeline<'a, 'o, E, T> {
    #[inline(always)]
    pub fn new(operation: &'o T) -> Self {
        let block = |_| Block {
            rows: Default::default(),
            known: [T::Partial::default(); TOGETHER],
            len: 0,
            origin: Origin::default(),
        };
        Self { blocks: array::from_fn(block), next: 0, operation }
    }

    /// Room for the next rows, up to [`TOGETHER`], of which the first has this origin.
    #[inline(always)]
    pub fn room(&mut self, origin: Origin, len: usize) -> &mut [Write<'a, E>] {
        let block = &mut self.blocks[self.next];
        (block.origin, block.len) = (origin, len);
        &mut block.rows[..len]
    }

    /// Reads the rows that have been put there, and finishes those before them.
    #[inline(always)]
    pub fn advance<S: Simd>(&mut self, s: S) {
        let [first, second] = &mut self.blocks;
        let (block, before) = if self.next == 0 { (first, second) } else { (second, first) };
        s.vectorize(Advance { block, before, operation: self.operation });
        self.next = 1 - self.next;
    }

    /// Finishes the last rows.
    #[inline(always)]
    pub fn finish<S: Simd>(mut self, s: S) {
        self.room(Origin::default(), 0);
        self.advance(s);
    }
}

struct Advance<'p, 'a, 'o, E: Element, T: Transform<E>> {
    block: &'p mut Block<'a, E, T>,
    before: &'p mut Block<'a, E, T>,
    operation: &'o T,
}

impl<E: Element, T: Transform<E>> Kernel for Advance<'_, '_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block, before, operation } = self;
        let lasts = operation.lasts(&before.known[..before.len]);
        let mut sides = Beside { rows: &mut before.rows[..before.len], lasts: &lasts, operation };
        let (rows, known) = (&mut block.rows[..block.len], &mut block.known[..block.len]);
        if T::STORES {
            operation.segments(s, block.origin, rows, known, &mut sides);
            rows.iter_mut().for_each(Write::rewind);
        } else {
            let mut spans = [Read::default(); TOGETHER];
            for (span, row) in spans.iter_mut().zip(&*rows) {
                *span = row.read();
            }
            operation.segments(s, block.origin, &mut spans[..rows.len()], known, &mut sides);
        }
        // What there was no place beside, and what is not ordinary.
        for (i, row) in before.rows[..before.len].iter_mut().enumerate() {
            if !row.rest().is_empty() {
                let known = slice::from_ref(&before.known[i]);
                let origin = Origin::of_row(before.origin.row + i);
                operation.finish(s, known, T::STORES.then_some(known), origin, slice::from_mut(row));
                assert!(row.rest().is_empty(), "an operation has left something");
            }
        }
        before.len = 0;
    }
}

/// The last pass of ordinary rows.
struct Beside<'b, 'a, 'o, E: Element, T: Transform<E>> {
    rows: &'b mut [Write<'a, E>],
    lasts: &'b [Option<T::Last>; TOGETHER],
    operation: &'o T,
}

impl<'a, S: Simd, E: Element, T: Transform<E>> Sides<S> for Beside<'_, 'a, '_, E, T> {
    type Side = Mapped<Write<'a, E>, T::LastMap<S>>;

    #[inline(always)]
    fn begin(&mut self, s: S, i: usize) -> Self::Side {
        // Where there is none it is empty.
        let (mut span, mut last) = (Write::default(), T::Last::default());
        if let (Some(row), Some(ordinary)) = (self.rows.get_mut(i), self.lasts[i]) {
            (span, last) = (mem::take(row), ordinary);
        }
        Mapped { span, map: self.operation.last(s, last) }
    }

    #[inline(always)]
    fn end(&mut self, s: S, side: Self::Side) {
        side.finish(s);
    }
}
