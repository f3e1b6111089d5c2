//! One row: cut into segments, which are merged from the left, by one thread or by several.
//!
//! Where rows are cut depends on nothing but the length: so neither the number of threads nor the place of a row in its
//! batch shows in the bits.

use core::slice;

use crate::element::Element;
use crate::operation::{self, Origin, Reduce, SEGMENT, SHORT, Summarize, TOGETHER, Transform, WINDOW};
use crate::simd::isa::Machine;
use crate::simd::{Kernel, Simd};
use crate::span::{Read, Span, Write};
use crate::threads::{Divide, Workers};

/// Does some rows of one segment each, of which the first has this origin.
#[inline(always)]
pub fn transform_rows<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    origin: Origin,
    rows: &mut [Write<'_, E>],
    known: &mut [T::Partial],
    operation: &T,
) {
    if T::SHORT && rows.iter().all(|row| row.rest().len() <= SHORT) {
        operation::short(s, rows, operation);
        return rows.iter().for_each(assert_done);
    }
    if T::STORES {
        operation::segments(s, origin, rows, known, operation);
        rows.iter_mut().for_each(Write::rewind);
        operation::finish(s, known, Some(known), origin, rows, operation);
    } else {
        let mut spans = [Read::default(); TOGETHER];
        for (span, row) in spans.iter_mut().zip(&*rows) {
            *span = row.read();
        }
        operation::segments(s, origin, &mut spans[..rows.len()], known, operation);
        operation::finish(s, known, None, origin, rows, operation);
    }
}

#[inline(always)]
fn assert_done<E: Element>(row: &Write<'_, E>) {
    assert!(row.rest().is_empty(), "an operation has left something");
}

/// The only row of a batch, of one segment. Of some operations it has no time for calls: all of its steps are here.
pub struct Alone<'o, R, T> {
    pub row: R,
    pub operation: &'o T,
}

/// Reads it, to the result: what is known of it would be copied on its way out.
impl<E: Element, R: Summarize<E>> Kernel for Alone<'_, Read<'_, E>, R> {
    type Output = R::Output;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> R::Output {
        let (mut known, mut row) = ([R::Partial::default()], [self.row]);
        if R::ALONE {
            self.operation.segments(s, Origin::default(), &mut row, &mut known, &mut ());
        } else {
            operation::segments(s, Origin::default(), &mut row, &mut known, self.operation);
        }
        self.operation.result(0, known[0])
    }
}

/// Reads and writes it.
impl<E: Element, T: Transform<E>> Kernel for Alone<'_, Write<'_, E>, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (operation, mut row, mut known) = (self.operation, [self.row], [T::Partial::default()]);
        if T::SHORT && row[0].rest().len() <= SHORT {
            operation.short::<S, 1>(s, &mut row);
        } else if T::STORES {
            operation.segments(s, Origin::default(), &mut row, &mut known, &mut ());
            row[0].rewind();
            operation.finish(s, &known, Some(&known), Origin::default(), &mut row);
        } else if T::ALONE {
            operation.segments(s, Origin::default(), &mut [row[0].read()], &mut known, &mut ());
            operation.finish(s, &known, None, Origin::default(), &mut row);
        } else {
            operation::segments(s, Origin::default(), &mut [row[0].read()], &mut known, operation);
            operation::finish(s, &known, None, Origin::default(), &mut row, operation);
        }
        assert_done(&row[0]);
    }
}

/// What is known of a row that has elements, given its origin.
pub fn reduce_row<E: Element, R: Reduce<E>>(
    workers: Workers,
    mut origin: Origin,
    row: Read<'_, E>,
    operation: &R,
) -> R::Partial {
    let mut rest = row;
    let mut known = None;
    while !rest.is_empty() {
        let (window, behind) = rest.split_at(rest.len().min(WINDOW * SEGMENT));
        rest = behind;
        let mut partials = [None; WINDOW];
        let partials = &mut partials[..window.len().div_ceil(SEGMENT)];
        workers.run(ReduceSegments { origin, rest: window, partials: &mut *partials, operation });
        origin = origin.after(window.len());
        known = partials.iter().fold(known, |left, right| merge(operation, left, *right));
    }
    known.expect("a row that has elements")
}

/// Does a row that has elements, given its origin.
pub fn transform_row<E: Element, T: Transform<E>>(
    workers: Workers,
    origin: Origin,
    row: Write<'_, E>,
    operation: &T,
) {
    if T::STORES && row.rest().len() <= WINDOW * SEGMENT {
        return store_then_finish(workers, origin, row, operation);
    }
    let known = reduce_row(workers, origin, row.rest(), operation);
    workers.run(WriteSegments { origin, rest: row, known: &known, operation });
}

fn store_then_finish<E: Element, T: Transform<E>>(
    workers: Workers,
    origin: Origin,
    row: Write<'_, E>,
    operation: &T,
) {
    let mut stored = [const { None }; WINDOW];
    let stored = &mut stored[..row.rest().len().div_ceil(SEGMENT)];
    let known = store(workers, origin, row, stored, operation);
    workers.run(FinishSegments { origin, stored, known: &known, operation });
}

/// Reads and writes the segments of a row, and says what is known of all.
pub fn store<'a, E: Element, T: Transform<E>>(
    workers: Workers,
    origin: Origin,
    row: Write<'a, E>,
    stored: &mut [Stored<'a, E, T>],
    operation: &T,
) -> T::Partial {
    workers.run(StoreSegments { origin, rest: row, stored: &mut *stored, operation });
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
    origin: Origin,
    rest: Read<'a, E>,
    partials: &'w mut [Option<R::Partial>],
    operation: &'w R,
}

impl<E: Element, R: Reduce<E>> Kernel for ReduceSegments<'_, '_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut origin, mut rest) = (self.origin, self.rest);
        for partial in self.partials {
            let (mut segment, behind) = rest.split_at(rest.len().min(SEGMENT));
            rest = behind;
            *partial = Some(operation::segment(s, origin, &mut segment, self.operation));
            origin = origin.after(SEGMENT);
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
            Self { origin: self.origin.after(half * SEGMENT), rest: rest.1, partials: partials.1, ..self },
        ))
    }
}

/// What is known of a segment, and what has been written there.
pub type Stored<'a, E, T> = Option<(<T as Reduce<E>>::Partial, &'a mut [E])>;

/// Reads and writes each segment, for [`FinishSegments`].
struct StoreSegments<'a, 'w, E: Element, T: Transform<E>> {
    origin: Origin,
    rest: Write<'a, E>,
    stored: &'w mut [Stored<'a, E, T>],
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for StoreSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut origin, mut rest) = (self.origin, self.rest);
        for stored in self.stored {
            let len = rest.rest().len();
            let (mut segment, behind) = rest.split_at(len.min(SEGMENT));
            rest = behind;
            let partial = operation::segment(s, origin, &mut segment, self.operation);
            *stored = Some((partial, segment.into_written()));
            origin = origin.after(SEGMENT);
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
            Self { origin: self.origin, rest: rest.0, stored: stored.0, operation },
            Self { origin: self.origin.after(half * SEGMENT), rest: rest.1, stored: stored.1, operation },
        ))
    }
}

/// Passes each stored segment once more.
struct FinishSegments<'a, 'w, E: Element, T: Transform<E>> {
    origin: Origin,
    stored: &'w mut [Stored<'a, E, T>],
    known: &'w T::Partial,
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for FinishSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut origin = self.origin;
        for stored in self.stored {
            let (partial, segment) = stored.as_mut().expect("a segment that has been stored");
            let mut segment = Write::in_place(segment);
            let (row, stored) = (slice::from_ref(self.known), slice::from_ref(&*partial));
            operation::finish(s, row, Some(stored), origin, slice::from_mut(&mut segment), self.operation);
            origin = origin.after(SEGMENT);
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
        Ok((
            Self { stored: first, ..self },
            Self { origin: self.origin.after(half * SEGMENT), stored: second, ..self },
        ))
    }
}

/// Writes each segment of a row that has only been read.
struct WriteSegments<'a, 'w, E: Element, T: Transform<E>> {
    origin: Origin,
    rest: Write<'a, E>,
    known: &'w T::Partial,
    operation: &'w T,
}

impl<E: Element, T: Transform<E>> Kernel for WriteSegments<'_, '_, E, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut origin, mut rest) = (self.origin, self.rest);
        while !rest.rest().is_empty() {
            let len = rest.rest().len();
            let (mut segment, behind) = rest.split_at(len.min(SEGMENT));
            rest = behind;
            let (row, segment) = (slice::from_ref(self.known), slice::from_mut(&mut segment));
            operation::finish(s, row, None, origin, segment, self.operation);
            origin = origin.after(SEGMENT);
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
        Ok((
            Self { rest: first, ..self },
            Self { origin: self.origin.after(half * SEGMENT), rest: second, ..self },
        ))
    }
}
