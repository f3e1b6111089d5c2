//! What an operation is: what it does with a segment, a short row and narrow rows, and what a result is made of.
//!
//! An operation says what happens ([`Reduce`], [`Summarize`], [`Transform`]); in which way a row goes is said in
//! [`row`](crate::row) and [`batch`](crate::batch). Each step is a function of its own there, by the functions below:
//! so it is compiled once for an instruction set, however many ways lead to it. (Inlined into all of them, as
//! everything else is, they made functions too large for the compiler.)

use core::marker::PhantomData;
use core::ops::Range;
use core::slice;

use crate::element::Element;
use crate::lanes::Map;
use crate::narrow::Narrow;
use crate::simd::{Kernel, LANES, Simd};
use crate::span::{Read, Span, Write};
use crate::sums::{GROUP_LEN, GROUPS, Side};

/// Elements of a segment, 4096: as many as stay in the first-level cache between its first pass and its exponentials.
pub const SEGMENT: usize = GROUPS * GROUP_LEN;

/// Rows up to this length are short: four vectors, kept until the row is known.
pub const SHORT: usize = 64;

/// Segments whose partial results are kept at a time, on the stack.
pub const WINDOW: usize = 64;

/// Where in its batch something begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    pub row: usize,
    /// So many elements from the start of the row.
    pub at: usize,
}

impl Origin {
    /// The start of a row.
    pub const fn of_row(row: usize) -> Self {
        Self { row, at: 0 }
    }

    /// So many elements later in the same row.
    pub const fn after(self, elements: usize) -> Self {
        Self { at: self.at + elements, ..self }
    }
}

/// What an operation learns from a row in one read.
pub trait Reduce<E: Element>: Sync + Sized {
    /// What is known of some neighbouring segments, by default of none.
    type Partial: Copy + Default + Send + Sync;

    /// What is known of sixteen short rows. Each field of all by itself: a loop over rows is vectorised then.
    type Together;

    /// Whether [`Reduce::segments`] is compiled once more, into the kernel of a row alone: for an operation of a few
    /// nanoseconds, or one that is nothing but a call itself.
    const ALONE: bool = false;

    /// Reads segments, and replaces them if they are written: one, or up to [`TOGETHER`] rows that are one segment each,
    /// of which the first has this origin. Beside its exponentials a segment may pass one of `sides`.
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Self::Partial],
        sides: &mut impl Sides<S>,
    );

    /// [`Reduce::segments`] of narrow rows, of which the first is this one; or nothing, if they want to be looked at one by one.
    #[inline(always)]
    fn narrow<S: Simd>(&self, _: S, _: usize, _: &mut Narrow) -> Option<Self::Together> {
        None
    }

    /// Merges what is known of neighbours.
    fn merge(&self, left: Self::Partial, right: Self::Partial) -> Self::Partial;
}

/// An operation with a result for each row: a number or some.
pub trait Summarize<E: Element>: Reduce<E> {
    type Output: Copy + Default + Send;

    /// The result, once the whole row is known.
    fn result(&self, row: usize, known: Self::Partial) -> Self::Output;

    /// [`Summarize::result`] of up to [`TOGETHER`] rows, of which this is the first.
    #[inline(always)]
    fn results(&self, row: usize, known: &[Self::Partial]) -> [Self::Output; TOGETHER] {
        let mut results = [Self::Output::default(); TOGETHER];
        for (i, known) in known.iter().enumerate() {
            results[i] = self.result(row + i, *known);
        }
        results
    }

    /// Whether [`Summarize::short`] is there.
    const SHORT: bool = false;

    /// [`Reduce::segments`] of up to [`TOGETHER`] rows of up to [`SHORT`] elements, of which the first is this one; or nothing,
    /// if they want to be looked at one by one.
    #[inline(always)]
    fn short<S: Simd>(&self, _: S, _: usize, _: &[Read<'_, E>]) -> Option<Self::Together> {
        unreachable!("an operation that has no way of its own for short rows")
    }

    /// [`Summarize::result`] of these rows, of which so much is known.
    #[inline(always)]
    fn results_together(&self, _: Range<usize>, _: &Self::Together) -> [Self::Output; TOGETHER] {
        unreachable!("an operation on short rows together that has no result for them")
    }
}

/// An operation that writes as many elements as it reads, once it knows the whole row.
pub trait Transform<E: Element>: Reduce<E> {
    /// Whether [`Reduce::segments`] is to write, in rows of up to [`WINDOW`] segments.
    const STORES: bool;

    /// Whether results may be [streamed](crate::span::Stream): what an element becomes must not depend on where its
    /// segment begins, once the row is known and, where [`Transform::STORES`], stored.
    const STREAMS: bool;

    /// From how many columns on rows of one segment are done in a [pipeline](crate::pipeline). Shorter than [`SHORT`]
    /// none are.
    const PIPELINE: usize;

    /// Whether [`Transform::short`] is there.
    const SHORT: bool;

    /// Does rows of up to [`SHORT`] elements, and of those up to `N`, which is 1 or [`TOGETHER`].
    #[inline(always)]
    fn short<S: Simd, const N: usize>(&self, _: S, _: &mut [Write<'_, E>]) {
        unreachable!("an operation that has no way of its own for short rows")
    }

    /// Writes the same segments, given what is known of the row of each. `stored` is what is known of the segments alone if
    /// [`Reduce::segments`] has written them.
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Self::Partial],
        stored: Option<&[Self::Partial]>,
        origin: Origin,
        segments: &mut [impl Span<E>],
    );

    /// The numbers that an ordinary row's last pass goes by, and that pass.
    type Last: Copy + Default;
    type LastMap<S: Simd>: Map<S>;

    /// The numbers of up to [`TOGETHER`] rows of one segment, where they are ordinary.
    #[inline(always)]
    fn lasts(&self, _: &[Self::Partial]) -> [Option<Self::Last>; TOGETHER] {
        [None; TOGETHER]
    }

    /// What [`Transform::finish`] maps an ordinary row with.
    fn last<S: Simd>(&self, s: S, last: Self::Last) -> Self::LastMap<S>;

    /// [`Transform::finish`] of narrow rows.
    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, _: S, _: &Self::Together, _: &mut Narrow) {
        unreachable!("an operation on narrow rows that does not finish them")
    }
}

/// What is done beside some segments, one beside each.
pub trait Sides<S: Simd> {
    type Side: Side<S>;

    fn begin(&mut self, s: S, i: usize) -> Self::Side;

    fn end(&mut self, s: S, side: Self::Side);
}

/// Nothing.
impl<S: Simd> Sides<S> for () {
    type Side = ();

    #[inline(always)]
    fn begin(&mut self, _: S, _: usize) {}

    #[inline(always)]
    fn end(&mut self, _: S, (): ()) {}
}

/// Rows of one segment that are done together. From its first pass to its sum and on to its result a row waits for the
/// one or other long operation; the next rows fill the gaps.
pub const TOGETHER: usize = LANES;

/// [`Reduce::segments`].
#[inline(always)]
pub fn segments<S: Simd, E: Element, R: Reduce<E>>(
    s: S,
    origin: Origin,
    segments: &mut [impl Span<E>],
    known: &mut [R::Partial],
    operation: &R,
) {
    s.vectorize(Segments { origin, segments, known, operation, element: PhantomData::<E> });
}

/// The same of one segment.
#[inline(always)]
pub fn segment<S: Simd, E: Element, R: Reduce<E>>(
    s: S,
    origin: Origin,
    segment: &mut impl Span<E>,
    operation: &R,
) -> R::Partial {
    let mut known = R::Partial::default();
    segments(s, origin, slice::from_mut(segment), slice::from_mut(&mut known), operation);
    known
}

struct Segments<'p, P, K, R, E> {
    origin: Origin,
    segments: &'p mut [P],
    known: &'p mut [K],
    operation: &'p R,
    element: PhantomData<E>,
}

impl<P: Span<E>, E: Element, R: Reduce<E>> Kernel for Segments<'_, P, R::Partial, R, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.operation.segments(s, self.origin, self.segments, self.known, &mut ());
    }
}

/// [`Transform::finish`], to the end.
#[inline(always)]
pub fn finish<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    rows: &[T::Partial],
    stored: Option<&[T::Partial]>,
    origin: Origin,
    segments: &mut [impl Span<E>],
    operation: &T,
) {
    s.vectorize(Finish {
        rows,
        stored,
        origin,
        segments: &mut *segments,
        operation,
        element: PhantomData::<E>,
    });
    for segment in segments {
        assert!(segment.rest().is_empty(), "an operation has left something");
    }
}

struct Finish<'p, P, K, T, E> {
    rows: &'p [K],
    stored: Option<&'p [K]>,
    origin: Origin,
    segments: &'p mut [P],
    operation: &'p T,
    element: PhantomData<E>,
}

impl<P: Span<E>, E: Element, T: Transform<E>> Kernel for Finish<'_, P, T::Partial, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.operation.finish(s, self.rows, self.stored, self.origin, self.segments);
    }
}

/// [`Transform::short`] of several rows.
#[inline(always)]
pub fn short<S: Simd, E: Element, T: Transform<E>>(s: S, rows: &mut [Write<'_, E>], operation: &T) {
    s.vectorize(Short { rows, operation });
}

struct Short<'p, 'a, E: Element, T> {
    rows: &'p mut [Write<'a, E>],
    operation: &'p T,
}

impl<E: Element, T: Transform<E>> Kernel for Short<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.operation.short::<S, TOGETHER>(s, self.rows);
    }
}
