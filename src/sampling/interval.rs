//! Intervals of logits, and the lanes that are within.

use crate::simd::{F32, Kernel, LANES, Mask, Simd};
use crate::span::{Read, Span};

/// Logits from one to another, both included: nothing if the first is above the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f32,
    pub high: f32,
}

impl Interval {
    pub const NUMBERS: Self = Self { low: f32::MIN, high: f32::MAX };
    pub const NOTHING: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    pub fn contains(self, x: f32) -> bool {
        self.low <= x && x <= self.high
    }

    pub fn and(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

/// The ends of an interval, to be compared with lanes.
#[derive(Clone, Copy)]
pub struct Ends<V> {
    below: V,
    above: V,
}

impl<V: F32> Ends<V> {
    #[inline(always)]
    pub fn new<S: Simd<F32 = V>>(s: S, interval: Interval) -> Self {
        Self { below: s.splat(interval.low.next_down()), above: s.splat(interval.high.next_up()) }
    }

    /// The lanes that are within, as bits.
    #[inline(always)]
    pub fn bits(self, x: V) -> u16 {
        x.exceeds(self.below).bits() & self.above.exceeds(x).bits()
    }

    /// The same of both vectors of a pair.
    #[inline(always)]
    pub fn pair(self, x: [V; 2]) -> u32 {
        u32::from(self.bits(x[0])) | u32::from(self.bits(x[1])) << LANES
    }

    /// One vector in these lanes, another elsewhere.
    #[inline(always)]
    pub fn select(self, x: V, within: V, elsewhere: V) -> V {
        x.exceeds(self.below).select(self.above.exceeds(x).select(within, elsewhere), elsewhere)
    }

    /// -inf in the lanes that are not.
    #[inline(always)]
    pub fn only<S: Simd<F32 = V>>(self, s: S, x: V) -> V {
        self.select(x, x, s.splat(f32::NEG_INFINITY))
    }
}

/// From the least of some logits, other than -inf, to the largest.
pub struct Extent<'a> {
    pub logits: &'a [f32],
}

impl Kernel for Extent<'_> {
    type Output = Interval;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Interval {
        let (infinity, nothing, mut rest) =
            (s.splat(f32::INFINITY), s.splat(f32::NEG_INFINITY), Read::new(self.logits));
        let (mut low, mut high) = (infinity, nothing);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            rest.put_pair::<S>(x);
            for x in x {
                low = x.exceeds(nothing).select(x, infinity).min(low);
                high = x.max(high);
            }
        }
        let negative = s.splat(0.0) - low;
        Interval { low: -negative.reduce_max(), high: high.reduce_max() }
    }
}
