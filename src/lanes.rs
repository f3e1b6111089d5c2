//! Passes over spans: unrolling, tails, and the one order in which terms are added.
//!
//! # The order of a sum
//!
//! Rounding errors of a long `f32` sum grow with its length, however many lanes it has. So terms are added in groups of
//! [`GROUP`] vectors, lane by lane, as a tree of depth log2 [`GROUP`]; the tree of a group is widened and added to 16
//! lanes of `f64`, whose rounding is of no account, and these are folded 16 -> 8 -> 4 -> 2 -> 1 at the end. Vectors
//! that a last group lacks count as zeros. The order depends on the length of the span alone.

use crate::element::Element;
use crate::simd::{F32, LANES, Mask, Simd};
use crate::span::{Read, Span};

/// Vectors whose terms are added in `f32`.
pub const GROUP: usize = 8;

/// Vectors that are computed side by side, to hide the latency of their arithmetic.
const STEP: usize = 2;

/// How many vectors ahead memory is fetched while a sum is computed: a segment of 4096 elements, so that its maximum, which
/// takes no time to compute, need not wait for memory either. Beyond the end of a row the next one follows, or nothing.
const AHEAD: usize = 256;

/// What happens to each vector of a span.
pub trait Map<S: Simd> {
    fn apply<const N: usize>(&self, s: S, lanes: [S::F32; N]) -> [S::F32; N];
}

/// One map after another.
pub struct Then<A, B>(pub A, pub B);

impl<S: Simd, A: Map<S>, B: Map<S>> Map<S> for Then<A, B> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, lanes: [S::F32; N]) -> [S::F32; N] {
        self.1.apply(s, self.0.apply(s, lanes))
    }
}

/// The largest element; -inf if there is none. NaN is passed over, and -0 may stand for +0.
#[inline(always)]
pub fn max_reduce<S: Simd, E: Element>(s: S, mut span: Read<'_, E>) -> f32 {
    const CHAINS: usize = 4;
    let mut largest = [s.splat(f32::NEG_INFINITY); CHAINS];
    while let Some(x) = span.front::<S, CHAINS>(s) {
        for i in 0..CHAINS {
            largest[i] = x[i].max(largest[i]);
        }
        span.put::<S, CHAINS>(x);
    }
    let mut largest = largest[0].max(largest[1]).max(largest[2].max(largest[3]));
    while let Some([x]) = span.front::<S, 1>(s) {
        largest = x.max(largest);
        span.put::<S, 1>([x]);
    }
    if let Some(x) = span.tail_lanes(s, f32::NEG_INFINITY) {
        largest = x.max(largest);
    }
    largest.reduce_max()
}

/// Whether there is a NaN.
#[inline(always)]
pub fn has_nan<S: Simd, E: Element>(s: S, mut span: Read<'_, E>) -> bool {
    let mut numbers = u16::MAX;
    while let Some([x]) = span.front::<S, 1>(s) {
        numbers &= x.equals(x).bits();
        span.put::<S, 1>([x]);
    }
    if let Some(x) = span.tail_lanes(s, 0.0) {
        numbers &= x.equals(x).bits();
    }
    numbers != u16::MAX
}

/// Where `value` stands first.
///
/// # Panics
///
/// If it stands nowhere.
#[inline(always)]
pub fn position<S: Simd, E: Element>(s: S, mut span: Read<'_, E>, value: f32) -> usize {
    const CHUNK: usize = 4;
    let (len, value) = (span.len(), s.splat(value));
    while let Some(x) = span.front::<S, CHUNK>(s) {
        let mut found = 0;
        for (i, x) in x.into_iter().enumerate() {
            found |= u64::from(x.equals(value).bits()) << (LANES * i);
        }
        if found != 0 {
            return len - span.len() + found.trailing_zeros() as usize;
        }
        span.put::<S, CHUNK>(x);
    }
    while let Some([x]) = span.front::<S, 1>(s) {
        let found = x.equals(value).bits();
        if found != 0 {
            return len - span.len() + found.trailing_zeros() as usize;
        }
        span.put::<S, 1>([x]);
    }
    let found = match span.tail_lanes(s, f32::NAN) {
        Some(x) => x.equals(value).bits(),
        None => 0,
    };
    assert!(found != 0, "no such element");
    len - span.len() + found.trailing_zeros() as usize
}

/// Writes one value everywhere.
#[inline(always)]
pub fn fill<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, value: f32) {
    #[derive(Clone, Copy)]
    struct Constant<V>(V);

    impl<S: Simd> Map<S> for Constant<S::F32> {
        #[inline(always)]
        fn apply<const N: usize>(&self, _: S, _: [S::F32; N]) -> [S::F32; N] {
            [self.0; N]
        }
    }

    map(s, span, 0.0, Constant(s.splat(value)));
}

/// Replaces each element, `fill` standing in the lanes behind the last one.
#[inline(always)]
pub fn map<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, fill: f32, map: impl Map<S>) {
    while let Some(x) = span.rest().front::<S, STEP>(s) {
        let y = map.apply(s, x);
        span.put::<S, STEP>(y);
    }
    while let Some(x) = span.rest().front::<S, 1>(s) {
        let y = map.apply(s, x);
        span.put::<S, 1>(y);
    }
    if let Some(x) = span.rest().tail_lanes(s, fill) {
        let [y] = map.apply(s, [x]);
        span.put_tail::<S>(y);
    }
}

/// Replaces each element as [`map`] does, and adds what it is replaced by to `sum`.
#[inline(always)]
pub fn map_sum<S: Simd, E: Element>(
    s: S,
    span: &mut impl Span<E>,
    fill: f32,
    map: impl Map<S>,
    mut sum: S::F64,
) -> S::F64 {
    while span.rest().vectors.len() >= GROUP {
        sum = sum + eight(s, span, &map).widen();
    }
    if span.rest().is_empty() {
        return sum;
    }
    // What a group lacks counts as zeros, which are left out.
    let mut group = s.splat(0.0);
    if span.rest().vectors.len() >= 4 {
        group = four(s, span, &map);
    }
    let mut right = s.splat(0.0);
    if span.rest().vectors.len() >= 2 {
        right = two(s, span, &map);
    }
    sum + (group + (right + last(s, span, fill, &map))).widen()
}

/// The last vector and the tail, where there are such, of less than two vectors.
#[inline(always)]
fn last<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, fill: f32, map: &impl Map<S>) -> S::F32 {
    match (span.rest().front::<S, 1>(s), span.rest().tail_lanes(s, fill)) {
        (Some([vector]), Some(tail)) => {
            let [vector, tail] = map.apply(s, [vector, tail]);
            span.put::<S, 1>([vector]);
            span.put_tail::<S>(tail);
            vector + tail
        }
        (Some(vector), None) => {
            let [vector] = map.apply(s, vector);
            span.put::<S, 1>([vector]);
            vector
        }
        (None, Some(tail)) => {
            let [tail] = map.apply(s, [tail]);
            span.put_tail::<S>(tail);
            tail
        }
        (None, None) => s.splat(0.0),
    }
}

/// Eight terms of [`map_sum`]: the tree is spelt out, as closures would be functions without the backend's instructions.
#[inline(always)]
fn eight<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, map: &impl Map<S>) -> S::F32 {
    four(s, span, map) + four(s, span, map)
}

#[inline(always)]
fn four<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, map: &impl Map<S>) -> S::F32 {
    two(s, span, map) + two(s, span, map)
}

#[inline(always)]
fn two<S: Simd, E: Element>(s: S, span: &mut impl Span<E>, map: &impl Map<S>) -> S::F32 {
    let ahead = span.rest().vectors.as_ptr().wrapping_add(AHEAD);
    s.prefetch(ahead);
    s.prefetch(ahead.wrapping_add(1));
    let terms = map.apply(s, span.rest().front::<S, 2>(s).expect("a group"));
    span.put::<S, 2>(terms);
    terms[0] + terms[1]
}
