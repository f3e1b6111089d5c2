//! One row: cut into segments, which are merged from the left, by one thread or by several.
//!
//! An operation says what it does with a segment ([`Reduce`], [`Transform`]); where rows are cut is said here, and depends
//! on nothing but the length: so neither the number of threads nor the place of a row in its batch shows in the bits.

use core::{mem, slice};

use crate::element::Element;
use crate::lanes::{GROUP_LEN, GROUPS};
use crate::narrow::Narrow;
use crate::simd::isa::Machine;
use crate::simd::{Kernel, LANES, Simd};
use crate::span::{Fence, Read, Slots, Span, Stream, Write};
use crate::threads::{Divide, Workers};

/// Elements of a segment, 4096: as many as stay in the first-level cache between its first pass and its exponentials.
pub const SEGMENT: usize = GROUPS * GROUP_LEN;

/// Rows up to this length are short: four vectors, kept until the row is known.
pub const SHORT: usize = 64;

/// Segments whose partial results are kept at a time, on the stack.
pub const WINDOW: usize = 64;

/// What an operation learns from a row in one read.
pub trait Reduce<E: Element>: Sync + Sized {
    /// What is known of some neighbouring segments, by default of none.
    type Partial: Copy + Default + Send + Sync;

    /// What is known of sixteen narrow rows.
    type Narrow;

    /// Reads segments, and replaces them if they are written: one that begins `at` so many elements of its row, or up to
    /// [`TOGETHER`] rows that are one segment each.
    fn segments<S: Simd>(&self, s: S, at: usize, segments: &mut [impl Span<E>], known: &mut [Self::Partial]);

    /// [`Reduce::segments`] of narrow rows; or nothing, if they want to be looked at one by one.
    #[inline(always)]
    fn narrow<S: Simd>(&self, _: S, _: &mut Narrow) -> Option<Self::Narrow> {
        None
    }

    /// Merges what is known of neighbours.
    fn merge(&self, left: Self::Partial, right: Self::Partial) -> Self::Partial;
}

/// An operation whose result is a number for each row.
pub trait Summarize<E: Element>: Reduce<E> {
    /// The result, once the whole row is known.
    fn result(&self, row: Self::Partial) -> f64;

    /// [`Summarize::result`] of up to [`TOGETHER`] rows.
    fn results(&self, rows: &[Self::Partial]) -> [f64; TOGETHER];

    /// [`Summarize::result`] of narrow rows.
    fn narrow_results(&self, rows: &Self::Narrow) -> [f64; TOGETHER];
}

/// An operation that writes as many elements as it reads, once it knows the whole row.
pub trait Transform<E: Element>: Reduce<E> {
    /// Whether [`Reduce::segments`] is to write, in rows of up to [`WINDOW`] segments.
    const STORES: bool;

    /// Whether results may be [streamed](Stream): what an element becomes must not depend on where its segment begins, once
    /// the row is known and, where [`Transform::STORES`], stored.
    const STREAMS: bool;

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
        at: usize,
        segments: &mut [impl Span<E>],
    );

    /// [`Transform::finish`] of narrow rows.
    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, _: S, _: &Self::Narrow, _: &mut Narrow) {
        unreachable!("an operation on narrow rows that does not finish them")
    }
}

/// Rows of one segment that are done together. From its first pass to its sum and on to its result a row waits for the one or
/// other long operation; the next rows fill the gaps.
pub const TOGETHER: usize = LANES;

/// Does some rows of one segment each.
#[inline(always)]
pub fn transform_rows<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    rows: &mut [Write<'_, E>],
    known: &mut [T::Partial],
    operation: &T,
) {
    if T::SHORT && rows.iter().all(|row| row.rest().len() <= SHORT) {
        if rows.len() == 1 {
            operation.short::<S, 1>(s, rows);
        } else {
            operation.short::<S, TOGETHER>(s, rows);
        }
    } else if T::STORES {
        operation.segments(s, 0, rows, known);
        rows.iter_mut().for_each(Write::rewind);
        operation.finish(s, known, Some(known), 0, rows);
    } else {
        let mut spans = [Read::default(); TOGETHER];
        for (span, row) in spans.iter_mut().zip(&*rows) {
            *span = row.read();
        }
        operation.segments(s, 0, &mut spans[..rows.len()], known);
        operation.finish(s, known, None, 0, rows);
    }
    for row in rows {
        assert!(row.rest().is_empty(), "an operation has left something");
    }
}

/// The same, with results that go past the caches, of rows that are not done in place. What [`Reduce::segments`] stores is
/// kept in `scratch`, which has room for a segment.
#[inline(always)]
pub fn stream_rows<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    fence: &Fence<S>,
    rows: &mut [Write<'_, E>],
    mut scratch: Slots<'_, E>,
    known: &mut [T::Partial],
    operation: &T,
) {
    let (mut from, mut to) = ([Default::default(); TOGETHER], [const { None }; TOGETHER]);
    if T::STORES {
        let mut terms: [Write<'_, E>; TOGETHER] = Default::default();
        for (i, row) in rows.iter_mut().enumerate() {
            let next = row.rest().next;
            let (elements, slots) = mem::take(row).parts();
            let (room, others) = mem::take(&mut scratch).split_at(elements.len());
            scratch = others;
            terms[i] = Write::apart(elements, room).before(next);
            to[i] = Some(slots);
        }
        operation.segments(s, 0, &mut terms[..rows.len()], known);
        for (from, terms) in from.iter_mut().zip(terms) {
            *from = &*terms.into_written();
        }
    } else {
        let mut spans = [Read::default(); TOGETHER];
        for (i, row) in rows.iter_mut().enumerate() {
            let next = row.rest().next;
            let (elements, slots) = mem::take(row).parts();
            spans[i] = Read::new(elements).before(next);
            (from[i], to[i]) = (elements, Some(slots));
        }
        operation.segments(s, 0, &mut spans[..rows.len()], known);
    }
    let stored = if T::STORES { Some(&*known) } else { None };
    for (i, known) in known.iter().enumerate() {
        let to = to[i].take().expect("as many rows as are known");
        let stored = stored.map(|stored| &stored[i]);
        stream_segment(s, fence, from[i], to, known, stored, operation);
    }
}

/// [`Transform::finish`] of one segment, past the caches.
#[inline(always)]
fn stream_segment<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    fence: &Fence<S>,
    from: &[E],
    to: Slots<'_, E>,
    row: &T::Partial,
    stored: Option<&T::Partial>,
    operation: &T,
) {
    let (row, stored) = (slice::from_ref(row), stored.map(slice::from_ref));
    for mut part in Stream::new(fence, from, to) {
        operation.finish(s, row, stored, 0, slice::from_mut(&mut part));
        assert!(part.rest().is_empty(), "an operation has left something");
    }
}

/// A row of one segment, alone.
pub struct Alone<'o, R, T> {
    pub row: R,
    pub operation: &'o T,
}

/// Reads it.
impl<E: Element, R: Reduce<E>> Kernel for Alone<'_, Read<'_, E>, R> {
    type Output = R::Partial;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) -> R::Partial {
        reduce_segment(s, 0, &mut self.row, self.operation)
    }
}

/// Reads and writes it.
impl<E: Element, T: Transform<E>> Kernel for Alone<'_, Write<'_, E>, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        transform_rows(s, slice::from_mut(&mut self.row), &mut [T::Partial::default()], self.operation);
    }
}

#[inline(always)]
fn reduce_segment<S: Simd, E: Element, R: Reduce<E>>(
    s: S,
    at: usize,
    segment: &mut impl Span<E>,
    operation: &R,
) -> R::Partial {
    let mut known = R::Partial::default();
    operation.segments(s, at, slice::from_mut(segment), slice::from_mut(&mut known));
    known
}

/// What is known of a row that has elements.
pub fn reduce_row<E: Element, R: Reduce<E>>(workers: Workers, row: Read<'_, E>, operation: &R) -> R::Partial {
    let (mut at, mut rest) = (0, row);
    let mut known = None;
    while !rest.is_empty() {
        let (window, behind) = rest.split_at(rest.len().min(WINDOW * SEGMENT));
        rest = behind;
        let mut partials = [None; WINDOW];
        let partials = &mut partials[..window.len().div_ceil(SEGMENT)];
        workers.run(ReduceSegments { at, rest: window, partials: &mut *partials, operation });
        at += window.len();
        known = partials.iter().fold(known, |left, right| merge(operation, left, *right));
    }
    known.expect("a row that has elements")
}

/// Does a row that has elements.
pub fn transform_row<E: Element, T: Transform<E>>(workers: Workers, row: Write<'_, E>, operation: &T) {
    if T::STORES && row.rest().len() <= WINDOW * SEGMENT {
        return store_then_finish(workers, row, operation);
    }
    let known = reduce_row(workers, row.rest(), operation);
    workers.run(WriteSegments { at: 0, rest: row, known: &known, operation });
}

fn store_then_finish<E: Element, T: Transform<E>>(workers: Workers, row: Write<'_, E>, operation: &T) {
    let mut stored = [const { None }; WINDOW];
    let stored = &mut stored[..row.rest().len().div_ceil(SEGMENT)];
    let known = store(workers, row, stored, operation);
    workers.run(FinishSegments { at: 0, stored, known: &known, operation });
}

/// Whether rows of this length may be [streamed](stream_row).
pub fn may_stream<E: Element, T: Transform<E>>(len: usize) -> bool {
    T::STREAMS && (!T::STORES || len <= WINDOW * SEGMENT)
}

/// Does a row that has elements, not in place, with results that go past the caches. What [`Reduce::segments`] stores is kept
/// in `scratch`, which has room for the row.
pub fn stream_row<E: Element, T: Transform<E>>(
    workers: Workers,
    row: Write<'_, E>,
    scratch: Slots<'_, E>,
    operation: &T,
) {
    let next = row.rest().next;
    let (elements, mut to) = row.parts();
    let mut sources = [const { (&[] as &[E], None) }; WINDOW];
    if T::STORES {
        let mut stored = [const { None }; WINDOW];
        let stored = &mut stored[..elements.len().div_ceil(SEGMENT)];
        let terms = Write::apart(elements, scratch).before(next);
        let known = store(workers, terms, stored, operation);
        for (source, stored) in sources.iter_mut().zip(&mut *stored) {
            let (partial, terms) = stored.take().expect("a segment that has been stored");
            *source = (&*terms, Some(partial));
        }
        let sources = &sources[..stored.len()];
        workers.run(StreamSegments { sources, to, known: &known, operation });
    } else {
        let known = reduce_row(workers, Read::new(elements).before(next), operation);
        for window in elements.chunks(WINDOW * SEGMENT) {
            let segments = window.chunks(SEGMENT);
            let sources = &mut sources[..segments.len()];
            for (source, segment) in sources.iter_mut().zip(segments) {
                source.0 = segment;
            }
            let (first, others) = to.split_at(window.len());
            to = others;
            workers.run(StreamSegments { sources, to: first, known: &known, operation });
        }
    }
}

/// Reads and writes the segments of a row, and says what is known of all.
fn store<'a, E: Element, T: Transform<E>>(
    workers: Workers,
    row: Write<'a, E>,
    stored: &mut [Stored<'a, E, T>],
    operation: &T,
) -> T::Partial {
    workers.run(StoreSegments { at: 0, rest: row, stored: &mut *stored, operation });
    let partials = stored.iter().map(|segment| segment.as_ref().map(|(partial, _)| *partial));
    let known = partials.fold(None, |left, right| merge(operation, left, right));
    known.expect("a row that has elements")
}

fn merge<E: Element, R: Reduce<E>>(
    operation: &R,
    left: Option<R::Partial>,
    right: Option<R::Partial>,
) -> Option<R::Partial> {
    match (left, right) {
        (Some(left), Some(right)) => Some(operation.merge(left, right)),
        (one, None) | (None, one) => one,
    }
}

/// Reads each segment.
struct ReduceSegments<'a, 'w, E: Element, R: Reduce<E>> {
    at: usize,
    rest: Read<'a, E>,
    partials: &'w mut [Option<R::Partial>],
    operation: &'w R,
}

impl<E: Element, R: Reduce<E>> Kernel for ReduceSegments<'_, '_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut at, mut rest) = (self.at, self.rest);
        for partial in self.partials {
            let (mut segment, behind) = rest.split_at(rest.len().min(SEGMENT));
            rest = behind;
            *partial = Some(reduce_segment(s, at, &mut segment, self.operation));
            at += SEGMENT;
        }
    }
}

impl<E: Element, R: Reduce<E>> Divide for ReduceSegments<'_, '_, E, R> {
    fn run(self, machine: Machine) {
        machine.run(self);
    }

    fn elements(&self) -> usize {
        self.rest.len()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.partials.len() / 2;
        let (rest, partials) = (self.rest.split_at(half * SEGMENT), self.partials.split_at_mut(half));
        Ok((
            Self { rest: rest.0, partials: partials.0, ..self },
            Self { at: self.at + half * SEGMENT, rest: rest.1, partials: partials.1, ..self },
        ))
    }
}

/// What is known of a segment, and what has been written there.
type Stored<'a, E, T> = Option<(<T as Reduce<E>>::Partial, &'a mut [E])>;

/// Reads and writes each segment, for [`FinishSegments`].
struct StoreSegments<'a, 'w, E: Element, T: Transform<E>> {
    at: usize,
    rest: Write<'a, E>,
    stored: &'w mut [Stored<'a, E, T>],
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for StoreSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut at, mut rest) = (self.at, self.rest);
        for stored in self.stored {
            let len = rest.rest().len();
            let (mut segment, behind) = rest.split_at(len.min(SEGMENT));
            rest = behind;
            let partial = reduce_segment(s, at, &mut segment, self.operation);
            *stored = Some((partial, segment.into_written()));
            at += SEGMENT;
        }
        assert!(rest.rest().is_empty(), "a segment without a place");
    }
}

impl<E: Element, T: Transform<E>> Divide for StoreSegments<'_, '_, E, T> {
    fn run(self, machine: Machine) {
        machine.run(self);
    }

    fn elements(&self) -> usize {
        self.rest.rest().len()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.stored.len() / 2;
        let (rest, stored) = (self.rest.split_at(half * SEGMENT), self.stored.split_at_mut(half));
        let operation = self.operation;
        Ok((
            Self { at: self.at, rest: rest.0, stored: stored.0, operation },
            Self { at: self.at + half * SEGMENT, rest: rest.1, stored: stored.1, operation },
        ))
    }
}

/// Passes each stored segment once more.
struct FinishSegments<'a, 'w, E: Element, T: Transform<E>> {
    at: usize,
    stored: &'w mut [Stored<'a, E, T>],
    known: &'w T::Partial,
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for FinishSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = self.at;
        for stored in self.stored {
            let (partial, segment) = stored.as_mut().expect("a segment that has been stored");
            let mut segment = Write::in_place(segment);
            let (row, stored) = (slice::from_ref(self.known), slice::from_ref(&*partial));
            self.operation.finish(s, row, Some(stored), at, slice::from_mut(&mut segment));
            assert!(segment.rest().is_empty(), "an operation has left something");
            at += SEGMENT;
        }
    }
}

impl<E: Element, T: Transform<E>> Divide for FinishSegments<'_, '_, E, T> {
    fn run(self, machine: Machine) {
        machine.run(self);
    }

    fn elements(&self) -> usize {
        self.stored.len() * SEGMENT
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.stored.len() / 2;
        let (first, second) = self.stored.split_at_mut(half);
        Ok((Self { stored: first, ..self }, Self { at: self.at + half * SEGMENT, stored: second, ..self }))
    }
}

/// Writes each segment of a row that has only been read.
struct WriteSegments<'a, 'w, E: Element, T: Transform<E>> {
    at: usize,
    rest: Write<'a, E>,
    known: &'w T::Partial,
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for WriteSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut at, mut rest) = (self.at, self.rest);
        while !rest.rest().is_empty() {
            let len = rest.rest().len();
            let (mut segment, behind) = rest.split_at(len.min(SEGMENT));
            rest = behind;
            self.operation.finish(s, slice::from_ref(self.known), None, at, slice::from_mut(&mut segment));
            assert!(segment.rest().is_empty(), "an operation has left something");
            at += SEGMENT;
        }
    }
}

impl<E: Element, T: Transform<E>> Divide for WriteSegments<'_, '_, E, T> {
    fn run(self, machine: Machine) {
        machine.run(self);
    }

    fn elements(&self) -> usize {
        self.rest.rest().len()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.rest.rest().len() / SEGMENT / 2;
        let (first, second) = self.rest.split_at(half * SEGMENT);
        Ok((Self { rest: first, ..self }, Self { at: self.at + half * SEGMENT, rest: second, ..self }))
    }
}

/// Passes segments once more, from where they are to where they go past the caches.
struct StreamSegments<'a, 'w, E: Element, T: Transform<E>> {
    sources: &'w [(&'a [E], Option<T::Partial>)],
    to: Slots<'a, E>,
    known: &'w T::Partial,
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for StreamSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(S::STREAMS && T::STREAMS);
        let (fence, mut to) = (Fence::new(s), self.to);
        for (from, stored) in self.sources {
            let (segment, behind) = to.split_at(from.len());
            to = behind;
            stream_segment(s, &fence, from, segment, self.known, stored.as_ref(), self.operation);
        }
    }
}

impl<E: Element, T: Transform<E>> Divide for StreamSegments<'_, '_, E, T> {
    fn run(self, machine: Machine) {
        machine.run(self);
    }

    fn elements(&self) -> usize {
        self.to.len()
    }

    fn halve(self) -> Result<(Self, Self), Self> {
        let half = self.sources.len() / 2;
        let (sources, to) = (self.sources.split_at(half), self.to.split_at(half * SEGMENT));
        Ok((Self { sources: sources.0, to: to.0, ..self }, Self { sources: sources.1, to: to.1, ..self }))
    }
}
