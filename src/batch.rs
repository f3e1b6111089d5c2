//! Batches of rows, on one thread or several.
//!
//! Instruction sets are entered here, once for each block of rows that a thread takes on (and in [`row`](crate::row) once
//! for each part of a row that is split over threads).

use core::mem::MaybeUninit;

use crate::element::Element;
use crate::grid::{self, Grid};
use crate::narrow::{self, Narrow};
use crate::operation::{self, Origin, SEGMENT, SHORT, Summarize, TOGETHER, Transform};
use crate::pipeline::Pipeline;
use crate::row;
use crate::rows::Rows;
use crate::simd::isa::Machine;
use crate::simd::{Kernel, Simd};
use crate::span::{Fence, Read, Slots, Write};
use crate::stream;
use crate::threads::{Divide, GRAIN, Workers};

/// Does a batch: its rows over threads, or one row after the other.
pub fn run(workers: Workers, batch: impl Batch) {
    let (rows, elements) = (batch.rows(), batch.elements());
    let threads = workers.threads(elements);
    // Too few rows to go round, and long enough to share each.
    if threads > 1 && rows < 2 * threads && elements >= 2 * GRAIN * rows {
        batch.run_each(workers);
    } else {
        workers.run(batch);
    }
}

/// Rows for an operation to be done on.
pub trait Batch: Divide {
    fn rows(&self) -> usize;

    /// Does one row after the other.
    fn run_each(self, workers: Workers);
}

/// Room for rows that are done together, and for what is known of them.
type Several<R, K> = ([R; TOGETHER], [K; TOGETHER]);

/// Rows for an operation that writes as much as it reads.
pub struct Transformations<'a, 'o, E: Element, T> {
    /// The first of the rows, in the whole batch.
    first: usize,
    rows: Grid<'a, E>,
    /// Whether results go past the caches.
    stream: bool,
    /// So many rows are not parted: all but one of them leave their exponentials where the last one goes.
    whole: usize,
    operation: &'o T,
}

/// Rows of one segment each.
impl<E: Element, T: Transform<E>> Kernel for Transformations<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (_, cols) = self.rows.shape();
        let together = together(cols);
        if (T::PIPELINE..=SEGMENT / 2).contains(&cols) && self.rows() > 1 {
            // Two blocks are in the first-level cache.
            let most = together.div_ceil(2);
            let mut pipeline = Pipeline::new(self.operation);
            while self.rows() > 0 {
                let origin = Origin::of_row(self.first);
                for row in pipeline.room(origin, most.min(self.rows())) {
                    *row = self.next_row();
                }
                pipeline.advance(s);
            }
            return pipeline.finish(s);
        }
        let (mut narrow, mut several) = (None, None);
        while self.rows() > 0 {
            if self.rows() >= TOGETHER && cols <= narrow::COLS {
                let narrow = narrow.get_or_insert_with(|| Narrow::new(cols));
                let (first, rows) = (self.first, &mut self.rows);
                if s.vectorize(TransformNarrow { narrow, first, rows, operation: self.operation }) {
                    self.first += TOGETHER;
                    continue;
                }
            }
            let count = together.min(self.rows());
            let (rows, known) = several.get_or_insert_with(Several::default);
            let (rows, known) = (&mut rows[..count], &mut known[..count]);
            let origin = Origin::of_row(self.first);
            for row in &mut *rows {
                *row = self.next_row();
            }
            row::transform_rows(s, origin, rows, known, self.operation);
        }
    }
}

impl<'a, 'o, E: Element, T> Transformations<'a, 'o, E, T> {
    /// `stream` says whether results go past the caches; then `whole` rows are not parted.
    pub fn new(rows: Grid<'a, E>, stream: bool, whole: usize, operation: &'o T) -> Self {
        Self { first: 0, rows, stream, whole, operation }
    }

    #[inline(always)]
    fn next_row(&mut self) -> Write<'a, E> {
        self.first += 1;
        self.rows.next_row().expect("a row")
    }
}

/// Sixteen narrow rows, unless they want to be looked at one by one.
struct TransformNarrow<'n, 'a, E: Element, T> {
    narrow: &'n mut Narrow,
    first: usize,
    rows: &'n mut Grid<'a, E>,
    operation: &'n T,
}

impl<E: Element, T: Transform<E>> Kernel for TransformNarrow<'_, '_, E, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        self.rows.load(s, self.narrow);
        let Some(known) = self.operation.narrow(s, self.first, self.narrow) else { return false };
        self.operation.finish_narrow(s, &known, self.narrow);
        self.rows.store(s, self.narrow);
        true
    }
}

/// Rows of one segment each, with results that go past the caches.
struct Streams<T>(T);

impl<E: Element, T: Transform<E>> Kernel for Streams<Transformations<'_, '_, E, T>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(S::STREAMS && T::STREAMS);
        let Self(mut batch) = self;
        let (_, cols) = batch.rows.shape();
        let together = together(cols);
        let mut scratch = [const { MaybeUninit::uninit() }; SEGMENT];
        let mut known = [T::Partial::default(); TOGETHER];
        let fence = Fence::new(s);
        while batch.rows() > 0 {
            let (count, origin) = (together.min(batch.rows()), Origin::of_row(batch.first));
            let mut several: [Write<'_, E>; TOGETHER] = Default::default();
            for row in &mut several[..count] {
                *row = batch.next_row();
            }
            let (scratch, several, known) =
                (Slots::new(&mut scratch), &mut several[..count], &mut known[..count]);
            stream::stream_rows(s, &fence, origin, several, scratch, known, batch.operation);
        }
    }
}

impl<E: Element, T: Transform<E>> Divide for Transformations<'_, '_, E, T> {
    fn elements(&self) -> usize {
        let (rows, cols) = self.rows.shape();
        rows * cols
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.rows() / 2;
        if half < self.whole {
            return Err(self);
        }
        let (first, second) = self.rows.split_at(half);
        Ok((Self { rows: first, ..self }, Self { first: self.first + half, rows: second, ..self }))
    }

    fn run(self, machine: Machine) {
        if self.rows.shape().1 <= SEGMENT {
            if self.stream {
                machine.run(Streams(self));
            } else {
                machine.run(self);
            }
        } else {
            self.run_each(Workers { machine, parallel: false });
        }
    }
}

impl<E: Element, T: Transform<E>> Batch for Transformations<'_, '_, E, T> {
    fn rows(&self) -> usize {
        self.rows.shape().0
    }

    fn run_each(mut self, workers: Workers) {
        if self.stream {
            // What the other rows leave behind on their way is written where the last one goes, again and again.
            let others = self.rows() - 1;
            let (rows, mut last) = self.rows.split_at(others);
            let (elements, mut slots) = last.next_row().expect("a row").parts();
            let mut batch = Self { rows, ..self };
            while batch.rows() > 0 {
                let (origin, row) = (Origin::of_row(batch.first), batch.next_row());
                stream::stream_row(workers, origin, row, slots.part(0..elements.len()), batch.operation);
            }
            let (origin, row) = (Origin::of_row(batch.first), Write::apart(elements, slots));
            return row::transform_row(workers, origin, row, batch.operation);
        }
        while self.rows() > 0 {
            let (origin, row) = (Origin::of_row(self.first), self.next_row());
            row::transform_row(workers, origin, row, self.operation);
        }
    }
}

/// Rows for an operation with a result for each.
pub struct Reductions<'a, 'o, E: Element, R: Summarize<E>> {
    /// The first of the rows, in the whole batch.
    first: usize,
    rows: Rows<'a, E>,
    out: &'a mut [R::Output],
    operation: &'o R,
}

impl<'a, 'o, E: Element, R: Summarize<E>> Reductions<'a, 'o, E, R> {
    pub fn new(rows: Rows<'a, E>, out: &'a mut [R::Output], operation: &'o R) -> Self {
        Self { first: 0, rows, out, operation }
    }
}

/// Rows of one segment each.
impl<E: Element, R: Summarize<E>> Kernel for Reductions<'_, '_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let cols = self.rows.cols();
        let (mut narrow, mut several) = (None, None);
        let together = together(cols);
        for out in self.out.chunks_mut(together) {
            let first = self.first;
            self.first += out.len();
            if out.len() == TOGETHER && cols <= narrow::COLS {
                let narrow = narrow.get_or_insert_with(|| Narrow::new(cols));
                let rows = &mut self.rows;
                if s.vectorize(ReduceNarrow {
                    narrow,
                    first,
                    rows,
                    out: &mut *out,
                    operation: self.operation,
                }) {
                    continue;
                }
            }
            let (rows, known) = several.get_or_insert_with(Several::default);
            let (rows, known) = (&mut rows[..out.len()], &mut known[..out.len()]);
            for row in &mut *rows {
                *row = next_row(&mut self.rows);
            }
            if R::SHORT
                && cols <= SHORT
                && s.vectorize(ReduceShort { first, rows: &*rows, out: &mut *out, operation: self.operation })
            {
                continue;
            }
            operation::segments(s, Origin::of_row(first), rows, known, self.operation);
            out.copy_from_slice(&self.operation.results(first, known)[..out.len()]);
        }
    }
}

/// Sixteen narrow rows, unless they want to be looked at one by one.
struct ReduceNarrow<'n, 'a, E: Element, R: Summarize<E>> {
    narrow: &'n mut Narrow,
    first: usize,
    rows: &'n mut Rows<'a, E>,
    out: &'n mut [R::Output],
    operation: &'n R,
}

impl<E: Element, R: Summarize<E>> Kernel for ReduceNarrow<'_, '_, E, R> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        grid::load(s, self.narrow, self.rows.contiguous(TOGETHER), |row| self.rows.row(row));
        let Some(known) = self.operation.narrow(s, self.first, self.narrow) else { return false };
        self.rows.take(TOGETHER);
        let rows = self.first..self.first + TOGETHER;
        self.out.copy_from_slice(&self.operation.results_together(rows, &known));
        true
    }
}

/// Up to sixteen short rows, unless they want to be looked at one by one.
struct ReduceShort<'n, 'a, E: Element, R: Summarize<E>> {
    first: usize,
    rows: &'n [Read<'a, E>],
    out: &'n mut [R::Output],
    operation: &'n R,
}

impl<E: Element, R: Summarize<E>> Kernel for ReduceShort<'_, '_, E, R> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let Self { first, rows, out, operation } = self;
        let Some(known) = operation.short(s, first, rows) else { return false };
        let results = operation.results_together(first..first + rows.len(), &known);
        out.copy_from_slice(&results[..rows.len()]);
        true
    }
}

/// The next row of a batch with a result for each.
#[inline(always)]
pub fn next_row<'a, E: Element>(rows: &mut Rows<'a, E>) -> Read<'a, E> {
    Read::new(rows.next_row().expect("as many as results")).before(rows.elements())
}

/// How many rows are done together: as many as stay in the first-level cache.
#[inline(always)]
fn together(cols: usize) -> usize {
    (SEGMENT / cols.max(1)).clamp(1, TOGETHER)
}

impl<E: Element, R: Summarize<E>> Divide for Reductions<'_, '_, E, R> {
    fn elements(&self) -> usize {
        self.rows.rows() * self.rows.cols()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.rows() / 2;
        if half == 0 {
            return Err(self);
        }
        let (rows, out) = (self.rows.split_at(half), self.out.split_at_mut(half));
        let first = self.first + half;
        Ok((Self { rows: rows.0, out: out.0, ..self }, Self { first, rows: rows.1, out: out.1, ..self }))
    }

    fn run(self, machine: Machine) {
        if self.rows.cols() <= SEGMENT {
            machine.run(self);
        } else {
            self.run_each(Workers { machine, parallel: false });
        }
    }
}

impl<E: Element, R: Summarize<E>> Batch for Reductions<'_, '_, E, R> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn run_each(mut self, workers: Workers) {
        for (i, out) in self.out.iter_mut().enumerate() {
            let (origin, row) = (Origin::of_row(self.first + i), next_row(&mut self.rows));
            *out = self.operation.result(origin.row, row::reduce_row(workers, origin, row, self.operation));
        }
    }
}
