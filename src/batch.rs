//! The engine: batches of rows, on one thread or several.
//!
//! Instruction sets are entered here, once for each block of rows that a thread takes on (and in [`row`](crate::row) once
//! for each part of a row that is split over threads).

use core::mem::MaybeUninit;

use crate::caches;
use crate::element::Element;
use crate::grid::{self, Grid, Uninit};
use crate::narrow::{self, Narrow};
use crate::operation::{self, Origin, SEGMENT, Summarize, TOGETHER, Transform};
use crate::pipeline::Pipeline;
use crate::row::{self, Alone};
use crate::rows::{RowSlots, Rows};
use crate::simd::isa::Machine;
use crate::simd::{Kernel, Simd};
use crate::span::{self, Fence, Read, Slots, Write};
use crate::stream;
use crate::threads::{Divide, GRAIN, Workers};
use crate::visit::{self, Visit};
use crate::{Error, Isa};

/// Where and how batches are computed: an instruction set, and one thread or the caller's rayon pool.
///
/// An engine is a few bytes and costs nothing to make or copy. Results do not depend on it, down to the bits, as long as
/// its instruction set is a fused one ([`Isa::is_fused`]).
///
/// # Examples
///
/// ```
/// use logits::{Engine, Rows, RowsMut};
///
/// let logits = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0];
/// let mut probabilities = [0.0; 6];
/// Engine::new().softmax(Rows::new(&logits, 3)?, RowsMut::new(&mut probabilities, 3)?)?;
/// assert_eq!(probabilities[3..], [1.0 / 3.0; 3]);
/// # Ok::<(), logits::Error>(())
/// ```
///
/// # Threads
///
/// With the feature `rayon`, batches of more than some tens of thousands of elements are spread over the current rayon
/// pool: the global one, or the one whose `install` the call is made in. Smaller ones, and all after
/// [`Engine::serial`], are computed on the calling thread, without allocation.
///
/// A thread outside the pool works along, but others have to be woken for it, which pays later (from 262144 elements
/// on, not 32768): where many calls follow each other, make all of them inside one `install`.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    workers: Workers,
    /// The caller's choice, in bytes.
    stream_from: Option<usize>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// The best instruction set of this CPU, on the caller's rayon pool.
    #[must_use]
    pub fn new() -> Self {
        Self { workers: Workers { machine: Machine::detect(), parallel: true }, stream_from: None }
    }

    /// The same on another instruction set.
    ///
    /// # Errors
    ///
    /// [`Error::IsaUnavailable`] if this CPU or this build does not have it.
    pub fn with_isa(self, isa: Isa) -> Result<Self, Error> {
        let machine = Machine::new(isa).ok_or(Error::IsaUnavailable { isa })?;
        Ok(Self { workers: Workers { machine, ..self.workers }, ..self })
    }

    /// The same on the calling thread alone.
    #[must_use]
    pub fn serial(self) -> Self {
        Self { workers: Workers { parallel: false, ..self.workers }, ..self }
    }

    /// The same with another size, in bytes, from which on the results of a call are written past the caches.
    ///
    /// Results that do not fit are in memory before anybody reads them; then it is faster not to fetch the memory that
    /// they go to first, and not to drive out what is in the caches. By default that is done from the size of the
    /// last-level cache on, or from twelve times the second-level one if that is less. 0 is for results that nobody is
    /// going to read soon, `usize::MAX` for those that are always read at once.
    ///
    /// Results are the same in any case. Nothing is written past the caches in place, where rows have up to 16 columns, at
    /// temperature 0, by softmax of rows of more than 262144 columns, and by instruction sets other than [`Isa::Avx2`] and
    /// [`Isa::Avx512`].
    #[must_use]
    pub fn stream_from(self, bytes: usize) -> Self {
        Self { stream_from: Some(bytes), ..self }
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.workers.machine.isa()
    }

    /// One result for each row.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`]. Nothing has been written then.
    pub(crate) fn reduce<E: Element, R: Summarize<E>>(
        &self,
        rows: Rows<'_, E>,
        out: &mut [R::Output],
        operation: &R,
    ) -> Result<(), Error> {
        self.check_results(rows, out)?;
        if let [out] = out
            && rows.cols() <= SEGMENT
        {
            // A row alone has no time for anything else.
            let row = next_row(&mut { rows });
            *out = self.workers.machine.run(Alone { row, operation });
        } else {
            self.run(Reductions { first: 0, rows, out, operation });
        }
        Ok(())
    }

    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if there is not a place for the result of each row.
    pub(crate) fn check_results<E: Element, O>(&self, rows: Rows<'_, E>, out: &[O]) -> Result<(), Error> {
        if rows.rows() == out.len() {
            Ok(())
        } else {
            Err(Error::LengthMismatch { rows: rows.rows(), len: out.len() })
        }
    }

    /// Visits rows, for each of which there are so many places in `out`.
    pub(crate) fn visit<E: Element, V: Visit<E>>(
        &self,
        rows: Rows<'_, E>,
        places: usize,
        out: &mut [V::Output],
        operation: &V,
    ) {
        visit::visit(self.workers, rows, places, out, operation);
    }

    /// As many rows as are still in the caches when they are looked at again.
    pub(crate) fn block<E: Element>(&self, rows: Rows<'_, E>) -> usize {
        const BLOCK: usize = 1 << 17;
        let threads = self.workers.threads(rows.rows() * rows.cols());
        (threads * BLOCK / rows.cols().max(1)).max(1)
    }

    /// Whether results of so many bytes go past the caches.
    fn streams(&self, bytes: usize) -> bool {
        self.workers.machine.streams()
            && self.stream_from.map_or_else(|| caches::are_exceeded_by(bytes), |least| bytes >= least)
    }

    fn run(&self, batch: impl Batch) {
        let (rows, elements) = (batch.rows(), batch.elements());
        let threads = self.workers.threads(elements);
        // Too few rows to go round, and long enough to share each.
        if threads > 1 && rows < 2 * threads && elements >= 2 * GRAIN * rows {
            batch.run_each(self.workers);
        } else {
            self.workers.run(batch);
        }
    }
}

/// Rows for an operation to be done on.
trait Batch: Divide {
    fn rows(&self) -> usize;

    /// Does one row after the other.
    fn run_each(self, workers: Workers);
}

/// Room for rows that are done together, and for what is known of them.
type Several<R, K> = ([R; TOGETHER], [K; TOGETHER]);

struct Transformations<'a, 'o, E: Element, T> {
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
                if s.vectorize(TransformNarrow { narrow, rows: &mut self.rows, operation: self.operation }) {
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

impl<'a, E: Element, T> Transformations<'a, '_, E, T> {
    #[inline(always)]
    fn next_row(&mut self) -> Write<'a, E> {
        self.first += 1;
        self.rows.next_row().expect("a row")
    }
}

/// Sixteen narrow rows, unless they want to be looked at one by one.
struct TransformNarrow<'n, 'a, E: Element, T> {
    narrow: &'n mut Narrow,
    rows: &'n mut Grid<'a, E>,
    operation: &'n T,
}

impl<E: Element, T: Transform<E>> Kernel for TransformNarrow<'_, '_, E, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        self.rows.load(s, self.narrow);
        let Some(known) = self.operation.narrow(s, self.narrow) else { return false };
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

struct Reductions<'a, 'o, E: Element, R: Summarize<E>> {
    /// The first of the rows, in the whole batch.
    first: usize,
    rows: Rows<'a, E>,
    out: &'a mut [R::Output],
    operation: &'o R,
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
        let Some(known) = self.operation.narrow(s, self.narrow) else { return false };
        self.rows.take(TOGETHER);
        self.out.copy_from_slice(&self.operation.narrow_results(self.first, &known));
        true
    }
}

/// The next row of a batch with a result for each.
#[inline(always)]
fn next_row<'a, E: Element>(rows: &mut Rows<'a, E>) -> Read<'a, E> {
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

/// Where an operation reads and writes. Shapes have been checked.
pub(crate) trait Place<'a, E: Element> {
    type Written;

    fn transform<T: Transform<E>>(self, engine: &Engine, operation: &T) -> Self::Written;
}

impl<'a, E: Element> Place<'a, E> for Grid<'a, E> {
    type Written = ();

    /// A row alone has no time for anything else: it goes straight to its kernel, and nothing is moved on the way.
    #[inline(always)]
    fn transform<T: Transform<E>>(mut self, engine: &Engine, operation: &T) {
        let (rows, cols) = self.shape();
        if rows == 1
            && cols <= SEGMENT
            && let Some(row) = self.next_row()
        {
            engine.workers.machine.run(Alone { row, operation });
        } else {
            self.transform_several(engine, operation);
        }
    }
}

impl<E: Element> Grid<'_, E> {
    #[inline(never)]
    fn transform_several<T: Transform<E>>(self, engine: &Engine, operation: &T) {
        let (rows, cols) = self.shape();
        let elements = rows * cols;
        let stream = matches!(self, Grid::Apart(..))
            && cols > narrow::COLS
            && stream::may_stream::<E, T>(cols)
            && engine.streams(elements * size_of::<E>());
        let whole = if stream {
            // Some parts for each thread, and no more rows than it takes.
            (rows / (4 * engine.workers.threads(elements))).clamp(1, 8)
        } else {
            1
        };
        engine.run(Transformations { first: 0, rows: self, stream, whole, operation });
    }
}

impl<'a, E: Element> Place<'a, E> for Uninit<'_, 'a, E> {
    type Written = &'a mut [E];

    #[expect(unsafe_code, reason = "the memory is initialised when all of its rows have been written")]
    fn transform<T: Transform<E>>(self, engine: &Engine, operation: &T) -> &'a mut [E] {
        let to = RowSlots::new(self.to, self.from.cols()).expect("checked by Uninit::new");
        Grid::Apart(self.from, to).transform(engine, operation);
        // SAFETY: the rows are all there is; a batch runs each of its rows, and `row` runs each segment of a row and
        // asserts that it was used up.
        unsafe { span::assume_written(self.to) }
    }
}
