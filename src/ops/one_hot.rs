//! Temperature 0, the limit of softmax and log-softmax: everything to the first maximum.

use crate::element::Element;
use crate::lanes;
use crate::row::{Reduce, Transform};
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

    #[inline(always)]
    fn segment<S: Simd>(&self, s: S, max: f32, at: usize, segment: &mut impl Span<E>) -> First {
        let has_nan = lanes::has_nan(s, segment.rest());
        let position = if has_nan { 0 } else { lanes::position(s, segment.rest(), max) };
        First { max, at: at + position, has_nan }
    }

    #[inline(always)]
    fn merge(&self, left: First, right: First) -> First {
        let larger = if right.max > left.max { right } else { left };
        First { has_nan: left.has_nan || right.has_nan, ..larger }
    }
}

impl<E: Element> Transform<E> for OneHot {
    const STORES: bool = false;

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        row: &First,
        _: Option<&First>,
        mut at: usize,
        segment: &mut impl Span<E>,
    ) {
        if row.has_nan || row.max == f32::INFINITY {
            return lanes::fill(s, segment, f32::NAN);
        }
        if row.max == f32::NEG_INFINITY {
            return lanes::fill(s, segment, self.masked);
        }
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
