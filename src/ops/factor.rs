//! What makes probabilities of terms: one factor, more precise than a float, and in steps where results may be subnormal.

use crate::lanes::Map;
use crate::math::double::{in_two, power_of_two};
use crate::math::exp::BIAS;
use crate::simd::{F32, Simd};

/// Below this a factor in two floats is not precise any more.
pub const SMALL: f64 = power_of_two(-100);

/// From here on terms as large as they may be, times the factor and a power of two, may be no floats any more.
const LARGE: f64 = 0.5;

/// `factor = hi + lo`, so that its own rounding is no part of the error: a row of one element gives exactly 1.
pub struct Factor<V> {
    pub hi: V,
    pub lo: V,
}

impl<V: F32> Factor<V> {
    #[inline(always)]
    pub fn new<S: Simd<F32 = V>>(s: S, factor: f64) -> Self {
        let (hi, lo) = in_two(factor);
        Self { hi: s.splat(hi), lo: s.splat(lo) }
    }
}

impl<S: Simd> Map<S> for Factor<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&self, _: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            *x = x.mul_add(self.hi, *x * self.lo);
        }
        lanes
    }
}

/// A factor that may be below [`SMALL`] or from [`LARGE`] on, and terms that may be far below others, in steps: of small results
/// the product with `lo` would be subnormal, which some processors leave to microcode.
///
/// Where another step than that rounds, the result is subnormal itself, and that rounding a part of its last place.
pub struct AnyFactor<V> {
    pub first: V,
    pub factor: Factor<V>,
    pub last: V,
}

impl<V: F32> AnyFactor<V> {
    #[inline(always)]
    pub fn new<S: Simd<F32 = V>>(s: S, factor: f64) -> Self {
        let (first, last) = match factor.abs() {
            small if small < SMALL => (-96, 0),
            size if size < LARGE => (0, -BIAS),
            _ => (0, 0),
        };
        Self {
            first: s.splat(power_of_two(first) as f32),
            factor: Factor::new(s, factor * power_of_two(-first - last)),
            last: s.splat(power_of_two(last) as f32),
        }
    }
}

impl<S: Simd> Map<S> for AnyFactor<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            *x = *x * self.first;
        }
        lanes = self.factor.apply(s, lanes);
        for x in &mut lanes {
            *x = *x * self.last;
        }
        lanes
    }
}
