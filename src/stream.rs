//! Rows with results that go past the caches: [`row`](crate::row), where what is written is not what is read once more.

use core::{mem, slice};

use crate::element::Element;
use crate::operation::{self, Origin, SEGMENT, TOGETHER, Transform, WINDOW};
use crate::row::{self, reduce_row};
use crate::simd::isa::Machine;
use crate::simd::{Kernel, Simd};
use crate::span::{Fence, Read, Slots, Span, Stream, Write};
use crate::threads::{Divide, Workers};

/// Does some rows of one segment each, of which the first has this origin, none of them in place. What [`Reduce::segments`] stores is
/// kept in `scratch`, which has room for a segment.
#[inline(always)]
pub fn stream_rows<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    fence: &Fence<S>,
    origin: Origin,
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
        operation::segments(s, origin, &mut terms[..rows.len()], known, operation);
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
        operation::segments(s, origin, &mut spans[..rows.len()], known, operation);
    }
    let stored = if T::STORES { Some(&*known) } else { None };
    for (i, known) in known.iter().enumerate() {
        let to = to[i].take().expect("as many rows as are known");
        let stored = stored.map(|stored| &stored[i]);
        stream_segment(s, fence, Origin::of_row(origin.row + i), (from[i], to), known, stored, operation);
    }
}

/// [`Transform::finish`] of one segment, past the caches.
#[inline(always)]
fn stream_segment<S: Simd, E: Element, T: Transform<E>>(
    s: S,
    fence: &Fence<S>,
    mut origin: Origin,
    (from, to): (&[E], Slots<'_, E>),
    row: &T::Partial,
    stored: Option<&T::Partial>,
    operation: &T,
) {
    let (row, stored) = (slice::from_ref(row), stored.map(slice::from_ref));
    for mut part in Stream::new(fence, from, to) {
        let len = part.rest().len();
        operation::finish(s, row, stored, origin, slice::from_mut(&mut part), operation);
        origin = origin.after(len);
    }
}

/// Whether rows of this length may be [streamed](stream_row).
pub fn may_stream<E: Element, T: Transform<E>>(len: usize) -> bool {
    T::STREAMS && (!T::STORES || len <= WINDOW * SEGMENT)
}

/// Does a row that has elements, not in place, with results that go past the caches. What [`Reduce::segments`] stores
/// is kept in `scratch`, which has room for the row.
pub fn stream_row<E: Element, T: Transform<E>>(
    workers: Workers,
    origin: Origin,
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
        let known = row::store(workers, origin, terms, stored, operation);
        for (source, stored) in sources.iter_mut().zip(&mut *stored) {
            let (partial, terms) = stored.take().expect("a segment that has been stored");
            *source = (&*terms, Some(partial));
        }
        let sources = &sources[..stored.len()];
        workers.run(StreamSegments { origin, sources, to, known: &known, operation });
    } else {
        let known = reduce_row(workers, origin, Read::new(elements).before(next), operation);
        let mut origin = origin;
        for window in elements.chunks(WINDOW * SEGMENT) {
            let segments = window.chunks(SEGMENT);
            let sources = &mut sources[..segments.len()];
            for (source, segment) in sources.iter_mut().zip(segments) {
                source.0 = segment;
            }
            let (first, others) = to.split_at(window.len());
            to = others;
            workers.run(StreamSegments { origin, sources, to: first, known: &known, operation });
            origin = origin.after(window.len());
        }
    }
}

/// Passes segments once more, from where they are to where they go past the caches.
struct StreamSegments<'a, 'w, E: Element, T: Transform<E>> {
    origin: Origin,
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
        let (fence, mut origin, mut to) = (Fence::new(s), self.origin, self.to);
        for (from, stored) in self.sources {
            let (segment, behind) = to.split_at(from.len());
            to = behind;
            stream_segment(s, &fence, origin, (from, segment), self.known, stored.as_ref(), self.operation);
            origin = origin.after(from.len());
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
        let origin = self.origin.after(half * SEGMENT);
        Ok((
            Self { sources: sources.0, to: to.0, ..self },
            Self { origin, sources: sources.1, to: to.1, ..self },
        ))
    }
}
