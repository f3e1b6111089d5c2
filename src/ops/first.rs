//! The largest logit of a row, and where it stands first.

use crate::element::Element;
use crate::lanes;
use crate::operation::Origin;
use crate::simd::Simd;
use crate::span::Read;

/// What is known of some segments.
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

impl First {
    /// Reads a segment.
    #[inline(always)]
    pub fn of<S: Simd, E: Element>(s: S, origin: Origin, segment: Read<'_, E>) -> Self {
        let (max, has_nan) = (lanes::max_reduce(s, segment), lanes::has_nan(s, segment));
        let position = if has_nan { 0 } else { lanes::position(s, segment, max) };
        Self { max, at: origin.at + position, has_nan }
    }

    /// What is known of neighbours.
    #[inline(always)]
    pub fn merge(self, right: Self) -> Self {
        let larger = if right.max > self.max { right } else { self };
        Self { has_nan: self.has_nan || right.has_nan, ..larger }
    }

    /// Whether there is nothing but -inf.
    #[inline(always)]
    pub fn is_masked(&self) -> bool {
        !self.has_nan && self.max == f32::NEG_INFINITY
    }

    /// Where in its row it stands, if the row has a distribution.
    #[inline(always)]
    pub fn place(&self) -> Option<usize> {
        if self.has_nan || self.max.is_infinite() { None } else { Some(self.at) }
    }
}
