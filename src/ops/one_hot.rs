//! Temperature 0, the limit of softmax and log-softmax: everything to the first maximum.

use crate::element::Element;
use crate::lanes::{self, Same};
use crate::operation::{Origin, Reduce, Sides, Transform};
use crate::simd::{LANES, Simd};
use crate::span::Span;

/// `hot` at the first maximum and `cold` elsewhere.
pub struct OneHot {
    pub hot: f32,
    pub cold: f32,
    /// What rows of nothing but -inf become.
    pub masked: f32,
}

#[derive(Clone, Copy)]
pub struct First {
    max: f32,
    at: usize,
    has_nan: bool,
}

/// What is known of nothing.
impl Default for First {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, at: 0, has_nan: false }
    }
}

impl<E: Element> Reduce<E> for OneHot {
    type Partial = First;
    type Narrow = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [First],
        _: &mut impl Sides<S>,
    ) {
        for (segment, known) in segments.iter().zip(known) {
            let row = segment.rest();
            let (max, has_nan) = (lanes::max_reduce(s, row), lanes::has_nan(s, row));
            let position = if has_nan { 0 } else { lanes::position(s, row, max) };
            *known = First { max, at: origin.at + position, has_nan };
        }
    }

    #[inline(always)]
    fn merge(&self, left: First, right: First) -> First {
        let larger = if right.max > left.max { right } else { left };
        First { has_nan: left.has_nan || right.has_nan, ..larger }
    }
}

impl<E: Element> Transform<E> for OneHot {
    const STORES: bool = false;
    const STREAMS: bool = false;
    const PIPELINE: usize = usize::MAX;
    const SHORT: bool = false;

    type Last = ();
    type LastMap<S: Simd> = Same;

    #[inline(always)]
    fn last<S: Simd>(&self, _: S, (): ()) -> Same {
        Same
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[First],
        _: Option<&[First]>,
        origin: Origin,
        segments: &mut [impl Span<E>],
    ) {
        for (row, segment) in rows.iter().zip(segments) {
            if row.has_nan || row.max == f32::INFINITY {
                lanes::fill(s, segment, f32::NAN);
            } else if row.max == f32::NEG_INFINITY {
                lanes::fill(s, segment, self.masked);
            } else {
                self.write(s, row, origin.at, segment);
            }
        }
    }
}

impl OneHot {
    #[inline(always)]
    fn write<S: Simd, E: Element>(&self, s: S, row: &First, mut at: usize, segment: &mut impl Span<E>) {
        while !segment.rest().is_empty() {
            let mut lanes = [self.cold; LANES];
            if let Some(lane) = row.at.checked_sub(at).and_then(|lane| lanes.get_mut(lane)) {
                *lane = self.hot;
            }
            if segment.rest().vectors.is_empty() {
                segment.put_tail::<S>(s.load(&lanes));
            } else {
                segment.put::<S, 1>([s.load(&lanes)]);
            }
            at += LANES;
        }
    }
}
