//! The engine: where and how batches are computed.
//!
//! Single rows go straight to their kernel from here, everything else by [`batch`].

use crate::batch::{self, Reductions, Transformations};
use crate::caches;
use crate::element::Element;
use crate::grid::{Grid, Uninit};
use crate::narrow;
use crate::operation::{SEGMENT, Summarize, Transform};
use crate::row::Alone;
use crate::rows::{RowSlots, Rows};
use crate::simd::isa::Machine;
use crate::span;
use crate::stream;
use crate::threads::{Divide, Workers};
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
            let row = batch::next_row(&mut { rows });
            *out = self.workers.machine.run(Alone { row, operation });
        } else {
            batch::run(self.workers, Reductions::new(rows, out, operation));
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

    /// The instruction set, as what runs kernels.
    pub(crate) fn machine(&self) -> Machine {
        self.workers.machine
    }

    /// Does work on rows, on as many threads as it takes.
    pub(crate) fn divide(&self, work: impl Divide) {
        self.workers.run(work);
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
        batch::run(engine.workers, Transformations::new(self, stream, whole, operation));
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
