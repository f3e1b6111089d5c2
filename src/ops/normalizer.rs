//! What softmax, log-softmax and logsumexp share: the normaliser `sum exp(z)` of a row, by segments.
//!
//! With `z = x / T`, a segment's terms are `e = exp(z - c) 2^(BIAS - n)`, and its [`Shift`] `(c, n)` comes from its
//! maximum `m` alone:
//!
//! - `c = 0` while `|m / T| < 256`, else `c = m`: then `x - c` is exact for every term that matters. (Subtracting a
//!   smaller maximum would round, and that is the largest error of most softmaxes.)
//! - `n` is the rest of the shift as a multiple of ln2, taken off the exponent, where it is free and exact.
//!
//! Sums of two segments with the same `c` merge by a power of two, exactly; else by `exp(c1 - c2)` in f64.

use crate::element::Element;
use crate::lanes::{self, Map};
use crate::math::exp::{self, BIAS, Exp, FLOOR};
use crate::math::power_of_two;
use crate::simd::{F32, F64, Simd};
use crate::span::Span;

use super::temperature::Scale;

/// What is taken off every `z` of a segment before its exponential.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    center: f32,
    exponent: i32,
}

impl Shift {
    /// The shift of a segment with this maximum.
    #[inline(always)]
    pub fn new(max: f32, scale: impl Scale) -> Self {
        let z = scale.approximate(max);
        if z.abs() < 256.0 {
            Self { center: 0.0, exponent: exp::nearest_multiple(z) }
        } else if max.is_finite() {
            Self { center: max, exponent: 0 }
        } else {
            Self { center: 0.0, exponent: 0 }
        }
    }

    /// What terms with this shift are multiplied by to become terms with another, of a larger maximum.
    #[inline]
    pub fn weight(self, larger: Self, scale: impl Scale) -> f64 {
        let power = power_of_two(self.exponent - larger.exponent);
        if self.center == larger.center {
            power
        } else {
            libm::exp(scale.exact(f64::from(self.center) - f64::from(larger.center))) * power
        }
    }

    /// The term of `x`, in f64.
    #[inline]
    pub fn term(self, x: f32, scale: impl Scale) -> f64 {
        let z = scale.exact(f64::from(x) - f64::from(self.center));
        libm::exp(z - f64::from(self.exponent) * core::f64::consts::LN_2) * power_of_two(BIAS)
    }

    /// The logarithm of the normaliser, given the sum of the terms.
    #[inline]
    pub fn logsumexp(self, sum: f64, scale: impl Scale) -> f64 {
        let exponent = f64::from(self.exponent - BIAS);
        scale.exact(f64::from(self.center)) + (exponent * core::f64::consts::LN_2 + libm::log(sum))
    }
}

/// The terms of a segment.
#[derive(Clone, Copy)]
pub struct Term<S: Simd, C: Scale> {
    scale: C,
    minus_center: S::F32,
    floor: S::F32,
    exp: Exp<S>,
}

impl<S: Simd, C: Scale> Term<S, C> {
    #[inline(always)]
    pub fn new(s: S, shift: Shift, scale: C) -> Self {
        let floor = (shift.exponent + FLOOR) as f32 * core::f32::consts::LN_2;
        Self {
            scale,
            minus_center: s.splat(scale.minus(shift.center)),
            floor: s.splat(scale.unscaled(floor)),
            exp: Exp::new(s, shift.exponent),
        }
    }

    /// NaN stays what it is, and -inf becomes a term far too small to count.
    #[inline(always)]
    pub fn of<const N: usize>(&self, s: S, x: [S::F32; N]) -> [S::F32; N] {
        let (mut z, mut rests) = (x, None);
        for i in 0..N {
            let d = self.floor.max(self.scale.shift(s, x[i], self.minus_center));
            let (quotient, rest) = self.scale.divide(s, d);
            z[i] = quotient;
            if let Some(rest) = rest {
                rests.get_or_insert(x)[i] = rest;
            }
        }
        self.exp.exp(z, rests)
    }
}

impl<S: Simd, C: Scale> Map<S> for Term<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, lanes: [S::F32; N]) -> [S::F32; N] {
        self.of(s, lanes)
    }
}

/// Replaces a segment by its terms, where it is written at all, and adds them up.
#[inline(always)]
pub fn exp_sum<S: Simd, E: Element>(
    s: S,
    segment: &mut impl Span<E>,
    shift: Shift,
    scale: impl Scale,
) -> S::F64 {
    lanes::map_sum(s, segment, f32::NEG_INFINITY, Term::new(s, shift, scale), s.zero_f64())
}

/// What is known of some segments: their maximum, and the sum of their terms with the shift of that maximum.
///
/// The sum is NaN if there is a NaN; else it is 0 where the maximum is -inf, and +inf where that is +inf.
#[derive(Debug, Clone, Copy)]
pub struct Normalizer {
    pub max: f32,
    pub sum: f64,
}

impl Normalizer {
    /// Reads a segment, and replaces it by its terms where it is written.
    #[inline(always)]
    pub fn of_segment<S: Simd, E: Element>(s: S, segment: &mut impl Span<E>, scale: impl Scale) -> Self {
        let max = lanes::max_reduce(s, segment.rest());
        let nan = max == f32::INFINITY && lanes::has_nan(s, segment.rest());
        let sum = exp_sum(s, segment, Shift::new(max, scale), scale).reduce_add();
        let sum = match max {
            f32::INFINITY if !nan => f64::INFINITY,
            // The kernel's term for -inf is not quite 0.
            f32::NEG_INFINITY if !sum.is_nan() => 0.0,
            _ => sum,
        };
        Self { max, sum }
    }

    #[inline]
    pub fn merge(self, other: Self, scale: impl Scale) -> Self {
        let (larger, smaller) = if other.max > self.max { (other, self) } else { (self, other) };
        if smaller.max == f32::NEG_INFINITY {
            return Self { max: larger.max, sum: larger.sum + smaller.sum };
        }
        let weight = Shift::new(smaller.max, scale).weight(Shift::new(larger.max, scale), scale);
        Self { max: larger.max, sum: larger.sum + smaller.sum * weight }
    }

    /// What makes probabilities of the terms of a segment with this maximum, given those of its row.
    #[inline]
    pub fn factor(&self, segment_max: f32, scale: impl Scale) -> f64 {
        if segment_max == self.max {
            return 1.0 / self.sum;
        }
        if segment_max == f32::NEG_INFINITY {
            return 0.0;
        }
        Shift::new(segment_max, scale).weight(Shift::new(self.max, scale), scale) / self.sum
    }
}

/// What a row becomes that has no distribution, given its maximum, its sum, and the choice for rows that are all -inf.
#[inline]
pub fn degenerate(max: f32, sum: f64, masked: f32) -> Option<f32> {
    if sum.is_nan() || max == f32::INFINITY {
        Some(f32::NAN)
    } else if max == f32::NEG_INFINITY {
        Some(masked)
    } else {
        None
    }
}
