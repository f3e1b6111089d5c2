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
use crate::math::double::{exp_near_zero, ln, power_of_two};
use crate::math::exp::{self, BIAS, Exp, FLOOR};
use crate::row::TOGETHER;
use crate::simd::{F32, F64, LANES, Simd};
use crate::span::Span;
use crate::tile::Tile;

use super::temperature::Scale;

/// What is taken off every `z` of a segment before its exponential.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    center: f32,
    /// An integer.
    exponent: f32,
}

impl Shift {
    /// The shift of a segment with this maximum.
    #[inline(always)]
    pub fn new(max: f32, scale: impl Scale) -> Self {
        let z = scale.approximate(max);
        let near = z.abs() < 256.0;
        Self {
            center: if near || !max.is_finite() { 0.0 } else { max },
            exponent: if near { exp::nearest_multiple(z) } else { 0.0 },
        }
    }

    /// What terms with this shift are multiplied by to become terms with another, of a larger maximum.
    #[inline]
    pub fn weight(self, larger: Self, scale: impl Scale) -> f64 {
        let power = power_of_two((self.exponent - larger.exponent) as i32);
        if self.center == larger.center {
            power
        } else {
            libm::exp(scale.exact(f64::from(self.center) - f64::from(larger.center))) * power
        }
    }

    /// The term of the maximum that the shift is of, in f64.
    #[inline(always)]
    pub fn top(self, max: f32, scale: impl Scale) -> f64 {
        exp_near_zero(self.rest(max, scale)) * power_of_two(BIAS)
    }

    /// The logarithm of the sum of the terms over the one of the maximum that the shift is of.
    #[inline(always)]
    pub fn ln_over_top(self, sum: f64, max: f32, scale: impl Scale) -> f64 {
        ln(sum * power_of_two(-BIAS)) - self.rest(max, scale)
    }

    /// What the shift leaves of the maximum that it is of: less than 0.4.
    #[inline(always)]
    fn rest(self, max: f32, scale: impl Scale) -> f64 {
        let z = scale.exact(f64::from(max) - f64::from(self.center));
        z - f64::from(self.exponent) * core::f64::consts::LN_2
    }

    /// The logarithm of the normaliser, given the sum of the terms.
    #[inline(always)]
    pub fn logsumexp(self, sum: f64, scale: impl Scale) -> f64 {
        let shift = scale.exact(f64::from(self.center)) + f64::from(self.exponent) * core::f64::consts::LN_2;
        shift + ln(sum * power_of_two(-BIAS))
    }
}

/// What a [`Term`] takes from a shift.
#[derive(Debug, Clone, Copy)]
struct Constants {
    minus_center: f32,
    floor: f32,
    magic: f32,
}

impl Constants {
    #[inline(always)]
    fn new(shift: Shift, scale: impl Scale) -> Self {
        Self {
            minus_center: scale.minus(shift.center),
            floor: scale.unscaled((shift.exponent + FLOOR as f32) * core::f32::consts::LN_2),
            magic: exp::magic(shift.exponent),
        }
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
        Self::with(s, Constants::new(shift, scale), scale)
    }

    #[inline(always)]
    fn with(s: S, constants: Constants, scale: C) -> Self {
        Self {
            scale,
            minus_center: s.splat(constants.minus_center),
            floor: s.splat(constants.floor),
            exp: Exp::new(s, s.splat(constants.magic)),
        }
    }

    /// Terms of which each lane has the shift of its own maximum.
    #[inline(always)]
    pub fn of_lanes(s: S, maxima: &[f32; LANES], scale: C) -> Self {
        let (mut minus_center, mut floor, mut magic) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..LANES {
            let constants = Constants::new(Shift::new(maxima[i], scale), scale);
            (minus_center[i], floor[i], magic[i]) =
                (constants.minus_center, constants.floor, constants.magic);
        }
        Self {
            scale,
            minus_center: s.load(&minus_center),
            floor: s.load(&floor),
            exp: Exp::new(s, s.load(&magic)),
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
pub fn exp_sum<S: Simd, E: Element>(s: S, segment: &mut impl Span<E>, term: Term<S, impl Scale>) -> S::F64 {
    lanes::map_sum(s, segment, f32::NEG_INFINITY, term, s.zero_f64())
}

/// What is known of some segments: their maximum, and the sum of their terms with the shift of that maximum.
///
/// The sum is NaN if there is a NaN; else it is 0 where the maximum is -inf, and +inf where that is +inf.
#[derive(Debug, Clone, Copy)]
pub struct Normalizer {
    pub max: f32,
    pub sum: f64,
}

/// What is known of nothing.
impl Default for Normalizer {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl Normalizer {
    /// Reads a segment whose maximum is known, and replaces it by its terms where it is written.
    #[inline(always)]
    pub fn of_segment<S: Simd, E: Element>(
        s: S,
        max: f32,
        segment: &mut impl Span<E>,
        scale: impl Scale,
    ) -> Self {
        let nan = max == f32::INFINITY && lanes::has_nan(s, segment.rest());
        let term = Term::new(s, Shift::new(max, scale), scale);
        let sum = exp_sum(s, segment, term).reduce_add();
        let sum = match max {
            f32::INFINITY if !nan => f64::INFINITY,
            // The kernel's term for -inf is not quite 0.
            f32::NEG_INFINITY if !sum.is_nan() => 0.0,
            _ => sum,
        };
        Self { max, sum }
    }

    /// [`Normalizer::of_segment`] of some rows. What is computed once a row is computed for all of them at once.
    #[inline(always)]
    pub fn of_rows<S: Simd, E: Element>(
        s: S,
        rows: &mut [impl Span<E>],
        scale: impl Scale,
    ) -> [Self; TOGETHER] {
        let mut known = [Self::default(); TOGETHER];
        for (row, known) in rows.iter().zip(&mut known) {
            known.max = lanes::max_reduce(s, row.rest());
        }
        let mut constants = [Constants { minus_center: 0.0, floor: 0.0, magic: 0.0 }; TOGETHER];
        for i in 0..TOGETHER {
            constants[i] = Constants::new(Shift::new(known[i].max, scale), scale);
        }
        for ((row, known), &constants) in rows.iter_mut().zip(&mut known).zip(&constants) {
            if known.max.is_infinite() {
                *known = Self::of_segment(s, known.max, row, scale);
            } else {
                known.sum = exp_sum(s, row, Term::with(s, constants, scale)).reduce_add();
            }
        }
        known
    }

    /// [`Normalizer::of_segment`] of transposed rows, which become their terms; or nothing, if there is a NaN or a row without
    /// a finite maximum.
    #[inline(always)]
    pub fn of_tile<S: Simd>(s: S, tile: &mut Tile, scale: impl Scale) -> Option<[Self; TOGETHER]> {
        let maxima = tile.max(s).to_array();
        if maxima.iter().any(|max| max.is_infinite()) {
            return None;
        }
        let sums = tile.map_sum(s, &Term::of_lanes(s, &maxima, scale));
        if sums.iter().any(|sum| sum.is_nan()) {
            return None;
        }
        let mut known = [Self::default(); TOGETHER];
        for i in 0..TOGETHER {
            known[i] = Self { max: maxima[i], sum: sums[i] };
        }
        Some(known)
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
