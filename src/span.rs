//! What a kernel passes over: a row or a part of one, to be read, or to be read and written.
//!
//! A kernel looks at what a span begins with and puts something in its place; what has been put is no longer part of the
//! span. There is no other way to take elements from a span, so one that has been used up has been written whole: outputs
//! need not be initialised.
//!
//! A span that is written has two addresses, which are the same where an operation works in place: one type, and one copy
//! of each kernel in the program, for all three of out of place, in place and uninitialised. That takes raw pointers. The
//! argument for all `unsafe` in this file is the invariant of [`Write`].
#![expect(unsafe_code, reason = "an input and an output that may be the same, or not initialised yet")]

use core::marker::PhantomData;
use core::mem::{self, MaybeUninit};
use core::slice;

use crate::element::Element;
use crate::simd::{LANES, STREAM_ALIGNMENT, Simd};

/// A row or a part of one. All parts but the last of a row are whole vectors.
pub trait Span<E: Element>: Default {
    /// What has not been passed yet.
    fn rest(&self) -> Read<'_, E>;

    /// Puts vectors in the place of the first ones and passes them.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    fn put<S: Simd, const N: usize>(&mut self, lanes: [S::F32; N]);

    /// Puts lanes in the place of what stands behind the last vector and passes it.
    fn put_tail<S: Simd>(&mut self, lanes: S::F32);

    /// Puts lanes in the place of a [pair](Read::pair) and passes it.
    #[inline(always)]
    fn put_pair<S: Simd>(&mut self, [a, b]: [S::F32; 2]) {
        // No index that is not known: vectors have no addresses, and would be stored and loaded to have some.
        let vectors = self.rest().vectors.len();
        if vectors >= 2 {
            return self.put::<S, 2>([a, b]);
        }
        let mut tail = a;
        if vectors == 1 {
            self.put::<S, 1>([a]);
            tail = b;
        }
        if !self.rest().is_empty() {
            self.put_tail::<S>(tail);
        }
    }
}

/// Elements to read; to put something in their place is to pass them.
#[derive(Clone, Copy)]
pub struct Read<'a, E> {
    pub vectors: &'a [[E; LANES]],
    pub tail: &'a [E],
    /// How many elements come next, right behind in memory or nearly so: worth fetching.
    pub next: usize,
    /// How far from an element, in bytes, its result will be, or that of another that comes soon: worth fetching too. 0
    /// if there is none, or in place.
    pub result: isize,
}

impl<'a, E: Element> Read<'a, E> {
    #[inline(always)]
    pub fn new(row: &'a [E]) -> Self {
        let (vectors, tail) = row.as_chunks();
        Self { vectors, tail, next: 0, result: 0 }
    }

    /// The same, with so many elements that come next.
    #[inline(always)]
    pub fn before(self, next: usize) -> Self {
        Self { next, ..self }
    }

    #[inline(always)]
    pub fn len(self) -> usize {
        self.vectors.len() * LANES + self.tail.len()
    }

    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.vectors.is_empty() && self.tail.is_empty()
    }

    /// One of the elements.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    #[inline(always)]
    pub fn get(self, i: usize) -> f32 {
        let element = match self.vectors.get(i / LANES) {
            Some(vector) => vector[i % LANES],
            None => self.tail[i - self.vectors.len() * LANES],
        };
        element.to_f32()
    }

    /// Copies all elements.
    ///
    /// # Panics
    ///
    /// If there are not as many places.
    #[inline(always)]
    pub fn copy_to(self, to: &mut [E]) {
        let (vectors, tail) = to.split_at_mut(self.vectors.len() * LANES);
        vectors.copy_from_slice(self.vectors.as_flattened());
        tail.copy_from_slice(self.tail);
    }

    /// The first vectors, if there are as many.
    #[inline(always)]
    pub fn front<S: Simd, const N: usize>(self, s: S) -> Option<[S::F32; N]> {
        let front = self.vectors.first_chunk::<N>()?;
        let mut lanes = [s.splat(0.0); N];
        for i in 0..N {
            lanes[i] = E::load(s, &front[i]);
        }
        Some(lanes)
    }

    /// The next two vectors, if there is anything left, and `fill` in the lanes behind the end.
    #[inline(always)]
    pub fn pair<S: Simd>(self, s: S, fill: f32) -> Option<[S::F32; 2]> {
        match (self.front::<S, 2>(s), self.vectors, self.tail) {
            (Some(pair), _, _) => Some(pair),
            (None, [], []) => None,
            (None, [], tail) => Some([E::load_partial(s, tail, fill), s.splat(fill)]),
            (None, [vector, ..], tail) => Some([E::load(s, vector), E::load_partial(s, tail, fill)]),
        }
    }

    /// What stands behind the last vector, if anything does, and `fill` in the lanes behind it.
    #[inline(always)]
    pub fn tail_lanes<S: Simd>(self, s: S, fill: f32) -> Option<S::F32> {
        if self.tail.is_empty() { None } else { Some(E::load_partial(s, self.tail, fill)) }
    }

    /// The first `mid` elements, which are whole vectors or all there is, and the others.
    #[inline(always)]
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        assert!(is_boundary(mid, self.len()));
        if mid == self.len() {
            return (self, Self { vectors: &[], tail: &[], ..self });
        }
        let (first, second) = self.vectors.split_at(mid / LANES);
        let next = self.len() - mid + self.next;
        (Self { vectors: first, tail: &[], next, ..self }, Self { vectors: second, ..self })
    }
}

impl<E: Element> Span<E> for Read<'_, E> {
    #[inline(always)]
    fn rest(&self) -> Read<'_, E> {
        *self
    }

    #[inline(always)]
    fn put<S: Simd, const N: usize>(&mut self, _: [S::F32; N]) {
        self.vectors = &self.vectors[N..];
    }

    #[inline(always)]
    fn put_tail<S: Simd>(&mut self, _: S::F32) {
        self.tail = &[];
    }
}

/// Places to write elements to, initialised or not: only [`Write`] opens them, and writes nothing else.
pub struct Slots<'a, E>(&'a mut [MaybeUninit<E>]);

impl<E> Default for Slots<'_, E> {
    fn default() -> Self {
        Self(&mut [])
    }
}

impl<'a, E: Element> Slots<'a, E> {
    pub fn new(memory: &'a mut [MaybeUninit<E>]) -> Self {
        Self(memory)
    }

    #[inline(always)]
    pub fn of(elements: &'a mut [E]) -> Self {
        // SAFETY: the layout is the same, and what is written there are elements.
        Self(unsafe { slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), elements.len()) })
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    pub fn part(&mut self, range: core::ops::Range<usize>) -> Slots<'_, E> {
        Slots(&mut self.0[range])
    }

    /// Writes lanes to all of them.
    ///
    /// # Panics
    ///
    /// If there are too few.
    #[inline(always)]
    pub fn write<S: Simd>(&mut self, s: S, lanes: &[[f32; LANES]]) {
        let (vectors, tail) = self.0.as_chunks_mut::<LANES>();
        let (full, rest) = lanes.split_at(vectors.len());
        for (to, lanes) in vectors.iter_mut().zip(full) {
            E::store::<S>(s.load(lanes), to);
        }
        if !tail.is_empty() {
            E::store_partial::<S>(s.load(&rest[0]), tail);
        }
    }

    #[inline(always)]
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        let (first, second) = self.0.split_at_mut(mid);
        (Self(first), Self(second))
    }
}

/// Slots as elements.
///
/// # Safety
///
/// All of them have been written.
pub unsafe fn assume_written<E: Element>(slots: &mut [MaybeUninit<E>]) -> &mut [E] {
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts_mut(slots.as_mut_ptr().cast(), slots.len()) }
}

/// Elements to read and as many places to write to, the same or others.
///
/// Invariant: for `'a`, `from` points to `vectors` vectors and `tail` elements that are initialised, and `to` to as
/// much memory that nobody else uses; the two are the same memory or have none in common. Between `start` and `to`,
/// which are one piece of memory, everything has been written.
pub struct Write<'a, E> {
    start: *mut [MaybeUninit<E>; LANES],
    len: usize,
    from: *const [E; LANES],
    to: *mut [MaybeUninit<E>; LANES],
    vectors: usize,
    tail: usize,
    /// As in [`Read`].
    next: usize,
    exclusive: PhantomData<&'a mut [E]>,
}

impl<E> Default for Read<'_, E> {
    fn default() -> Self {
        Self { vectors: &[], tail: &[], next: 0, result: 0 }
    }
}

impl<E: Element> Default for Write<'_, E> {
    fn default() -> Self {
        Self::in_place(&mut [])
    }
}

// SAFETY: by the invariant it is a shared reference and an exclusive one, or an exclusive one, to elements, which are
// `Send` and `Sync`.
unsafe impl<E: Element> Send for Write<'_, E> {}

impl<'a, E: Element> Write<'a, E> {
    #[inline(always)]
    pub fn in_place(row: &'a mut [E]) -> Self {
        let start = row.as_mut_ptr();
        Self::whole(start, start.cast(), row.len())
    }

    /// # Panics
    ///
    /// If the lengths differ.
    #[inline(always)]
    pub fn apart(from: &'a [E], to: Slots<'a, E>) -> Self {
        assert_eq!(from.len(), to.len());
        Self::whole(from.as_ptr(), to.0.as_mut_ptr(), from.len())
    }

    #[inline(always)]
    fn whole(from: *const E, to: *mut MaybeUninit<E>, len: usize) -> Self {
        let (vectors, tail) = (len / LANES, len % LANES);
        let (from, to) = (from.cast(), to.cast());
        Self { start: to, len, from, to, vectors, tail, next: 0, exclusive: PhantomData }
    }

    /// The same, with so many elements to be read that come next.
    #[inline(always)]
    pub fn before(self, next: usize) -> Self {
        Self { next, ..self }
    }

    /// The first `mid` elements, which are whole vectors or all there is, and the others, of a span that has not been
    /// passed.
    #[inline(always)]
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        assert!(self.to == self.start && is_boundary(mid, self.len));
        // What begins behind the end is empty, and not used.
        let second = Self::whole(
            self.from.cast::<E>().wrapping_add(mid),
            self.to.cast::<MaybeUninit<E>>().wrapping_add(mid),
            self.len - mid,
        );
        let first = Self::whole(self.from.cast(), self.to.cast(), mid);
        (first.before(self.len - mid + self.next), second.before(self.next))
    }

    /// What is read and where it is written, of a span that has not been passed.
    ///
    /// # Panics
    ///
    /// If these are the same.
    #[inline(always)]
    pub fn parts(self) -> (&'a [E], Slots<'a, E>) {
        assert!(self.to == self.start && self.from != self.start.cast_const().cast());
        // SAFETY: the invariant: memory that has nothing in common, for `'a`.
        unsafe {
            let from = slice::from_raw_parts(self.from.cast(), self.len);
            (from, Slots(slice::from_raw_parts_mut(self.to.cast(), self.len)))
        }
    }

    /// What has not been passed yet, to be read before it is written.
    #[inline(always)]
    pub fn read(&self) -> Read<'_, E> {
        Read { result: self.result(), ..self.rest() }
    }

    #[inline(always)]
    fn result(&self) -> isize {
        (self.to.addr() as isize).wrapping_sub(self.from.addr() as isize)
    }

    /// The same of what is written at once, which has to be fetched before that; not beyond what there is.
    #[inline(always)]
    fn result_ahead(&self) -> isize {
        const AHEAD: usize = 32;
        let result = self.result();
        if result != 0 && self.vectors + self.next / LANES > AHEAD {
            result.wrapping_add((AHEAD * LANES * size_of::<E>()) as isize)
        } else {
            0
        }
    }

    /// What a pass has written.
    ///
    /// # Panics
    ///
    /// If the pass has left something.
    #[inline(always)]
    pub fn into_written(self) -> &'a mut [E] {
        assert!(self.vectors == 0 && self.tail == 0, "a pass has left something");
        // SAFETY: the invariant: everything from `start` on has been written, and it is one piece of memory, which is ours.
        unsafe { slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    /// What a pass has written, to be passed once more, in place.
    ///
    /// # Panics
    ///
    /// If the pass has left something.
    #[inline(always)]
    pub fn rewind(&mut self) {
        *self = Self::in_place(mem::take(self).into_written());
    }
}

/// Places that are written to past the caches, so that nobody waits for what they held and nothing else is driven out.
///
/// A stream lives no longer than the [`Fence`] behind it.
pub struct Stream<'a, E> {
    from: Read<'a, E>,
    to: Slots<'a, E>,
}

/// What streams have written stands before everything that follows its end.
pub struct Fence<S: Simd>(S);

impl<S: Simd> Fence<S> {
    #[inline(always)]
    pub fn new(s: S) -> Self {
        Self(s)
    }
}

impl<S: Simd> Drop for Fence<S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.fence();
    }
}

impl<E: Element> Default for Stream<'_, E> {
    fn default() -> Self {
        Self { from: Read::default(), to: Slots::default() }
    }
}

impl<'a, E: Element> Stream<'a, E> {
    /// A part that ends where a line of the caches begins, which may be empty, and the rest.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline(always)]
    pub fn new<S: Simd>(_: &'a Fence<S>, from: &'a [E], to: Slots<'a, E>) -> [Self; 2] {
        let offset = to.0.as_ptr().addr() % STREAM_ALIGNMENT;
        let head = ((STREAM_ALIGNMENT - offset) % STREAM_ALIGNMENT / size_of::<E>()).min(to.len());
        let ((from_head, from), (to_head, to)) = (from.split_at(head), to.split_at(head));
        assert_eq!(from.len(), to.len());
        [Self { from: Read::new(from_head), to: to_head }, Self { from: Read::new(from), to }]
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Slots<'a, E> {
        let (first, rest) = mem::take(&mut self.to).split_at(len);
        self.to = rest;
        first
    }
}

impl<E: Element> Span<E> for Stream<'_, E> {
    #[inline(always)]
    fn rest(&self) -> Read<'_, E> {
        self.from
    }

    #[inline(always)]
    fn put<S: Simd, const N: usize>(&mut self, lanes: [S::F32; N]) {
        self.from.put::<S, N>(lanes);
        let to = self.take(N * LANES).0.as_chunks_mut().0;
        for (to, lanes) in to.iter_mut().zip(&lanes) {
            E::stream::<S>(*lanes, to);
        }
    }

    #[inline(always)]
    fn put_tail<S: Simd>(&mut self, lanes: S::F32) {
        self.from.put_tail::<S>(lanes);
        E::store_partial::<S>(lanes, mem::take(&mut self.to).0);
    }
}

/// Whether a span of `len` elements may be cut at `mid`.
#[inline(always)]
fn is_boundary(mid: usize, len: usize) -> bool {
    mid == len || mid < len && mid.is_multiple_of(LANES)
}

impl<E: Element> Span<E> for Write<'_, E> {
    #[inline(always)]
    fn rest(&self) -> Read<'_, E> {
        // SAFETY: the invariant; nothing is written while `self` is borrowed.
        unsafe {
            let vectors = slice::from_raw_parts(self.from, self.vectors);
            let tail = slice::from_raw_parts(self.from.add(self.vectors).cast(), self.tail);
            Read { vectors, tail, next: self.next, result: self.result_ahead() }
        }
    }

    #[inline(always)]
    fn put<S: Simd, const N: usize>(&mut self, lanes: [S::F32; N]) {
        assert!(N <= self.vectors);
        for (i, lanes) in lanes.iter().enumerate() {
            // SAFETY: the invariant, as `i < vectors`.
            E::store::<S>(*lanes, unsafe { &mut *self.to.add(i) });
        }
        // SAFETY: still in bounds, or just behind.
        unsafe {
            self.from = self.from.add(N);
            self.to = self.to.add(N);
        }
        self.vectors -= N;
    }

    #[inline(always)]
    fn put_tail<S: Simd>(&mut self, lanes: S::F32) {
        assert!(self.vectors == 0);
        // SAFETY: the invariant; nothing stands before the tail any more.
        E::store_partial::<S>(lanes, unsafe { slice::from_raw_parts_mut(self.to.cast(), self.tail) });
        self.tail = 0;
    }
}
