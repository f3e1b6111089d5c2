//! Temperature 0, the limit of softmax and log-softmax: everything to the first maximum.

use crate::element::Element;
use crate::lanes::{self, Same, Zip};
use crate::operation::{Origin, Reduce, Sides, Transform};
use crate::simd::Simd;
use crate::span::Span;

use super::first::First;

/// `hot` at the first maximum and `cold` elsewhere.
pub struct OneHot {
    pub hot: f32,
    pub cold: f32,
    /// What rows of nothing but -inf become.
    pub masked: f32,
}

impl<E: Element> Reduce<E> for OneHot {
    type Partial = First;
    type Together = ();

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
            *known = First::of(s, origin, segment.rest());
        }
    }

    #[inline(always)]
    fn merge(&self, left: First, right: First) -> First {
        left.merge(right)
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
            match row.place() {
                Some(place) => {
                    let place = place.checked_sub(origin.at);
                    lanes::zip(s, segment, [], 0.0, Mark { place, hot: self.hot, cold: self.cold });
                }
                None if row.is_masked() => lanes::fill(s, segment, self.masked),
                None => lanes::fill(s, segment, f32::NAN),
            }
        }
    }
}

/// One value in one place, and another everywhere else.
struct Mark {
    /// Where, counted from the start of the segment.
    place: Option<usize>,
    hot: f32,
    cold: f32,
}

impl<S: Simd> Zip<S, 0> for Mark {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, at: usize, _: [S::F32; N], _: [[S::F32; N]; 0]) -> [S::F32; N] {
        lanes::with(s, at, [s.splat(self.cold); N], self.place, self.hot)
    }
}
