//! What softmax, log-softmax and logsumexp share: the normaliser `sum exp(z)` of a row, by segments.
//!
//! With `z = x / T`, a segment's terms are `e = exp(z - c) 2^(BIAS - n)`, with a [`Shift`] `(c, n)`:
//!
//! - Where all `|z| < 32` the segment is *plain*: `c = 0`, and `n` is the same for all such segments, so that their maximum
//!   is not even computed. Nothing leaves the range of a float there.
//! - Else, with the maximum `m` of the segment, `c = 0` while `|m / T| < 256`, else `c = m`: then `x - c` is exact for
//!   every term that matters. (Subtracting a smaller maximum would round, and that is the largest error of most
//!   softmaxes.) And `n` is the rest of the shift as a multiple of ln2, taken off the exponent, where it is free and
//!   exact.
//!
//! Sums of two segments with the same `c` merge by a power of two, exactly; else by `exp(c1 - c2)` in f64.

use core::slice;

use crate::element::Element;
use crate::lanes::{self, Map};
use crate::math::double::{ln, power_of_two, power_of_two_float};
use crate::math::exp::{self, BIAS, Exp, FLOOR};
use crate::narrow::{Columns, Narrow};
use crate::operation::{SHORT, Sides, TOGETHER};
use crate::simd::{F32, HALF, LANES, Simd};
use crate::span::Span;
use crate::sums::{self, Side, Sum, Total};

use super::temperature::Scale;

/// What is taken off every `z` of a segment before its exponential.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shift {
    pub center: f32,
    /// An integer.
    pub exponent: f32,
}

impl Shift {
    /// That of plain segments: terms are `exp(z)`.
    pub const PLAIN: Self = Self { center: 0.0, exponent: BIAS as f32 };

    /// The shift of a segment with this maximum.
    #[inline(always)]
    pub fn new(max: f32, scale: impl Scale) -> Self {
        let z = scale.approximate(max);
        let (near, exponent) = (z.abs() < 256.0, exp::nearest_multiple(z));
        Self { center: if near { 0.0 } else { max }, exponent: if near { exponent } else { 0.0 } }
    }

    /// The shift of a segment that has elements, all of them numbers; or none, if it is nothing but -inf.
    #[inline(always)]
    pub fn of<S: Simd, E: Element>(s: S, segment: &impl Span<E>, scale: impl Scale) -> Option<Self> {
        if scale.is_plain(lanes::magnitude(s, slice::from_ref(segment))) {
            return Some(Self::PLAIN);
        }
        let max = lanes::max_reduce(s, segment.rest());
        if max == f32::NEG_INFINITY { None } else { Some(Self::new(max, scale)) }
    }

    /// What terms with this shift are multiplied by to become terms with another, if that is not far below.
    #[inline]
    pub fn weight(self, other: Self, scale: impl Scale) -> f64 {
        let power = power_of_two((self.exponent - other.exponent) as i32);
        if self.center == other.center {
            power
        } else {
            libm::exp(scale.exact(f64::from(self.center) - f64::from(other.center))) * power
        }
    }

    /// Whether the terms of another shift are to be made terms of this one.
    #[inline]
    fn is_above(self, other: Self, scale: impl Scale) -> bool {
        let level_of =
            |shift: Self| scale.approximate(shift.center) + shift.exponent * core::f32::consts::LN_2;
        let (level, others) = (level_of(self), level_of(other));
        // Of centers as large as 2^24 the quotients may be the same.
        level > others || level == others && self.center > other.center
    }

    /// What a sum of terms is multiplied by to become one of `exp(z - c)`.
    #[inline(always)]
    pub fn unit(self) -> f64 {
        power_of_two_float(self.exponent - BIAS as f32)
    }

    /// The term of a logit, in f64.
    #[inline]
    pub fn term(self, x: f32, scale: impl Scale) -> f64 {
        let z = scale.exact(f64::from(x) - f64::from(self.center));
        libm::exp(z - f64::from(self.exponent) * core::f64::consts::LN_2) * power_of_two(BIAS)
    }
}

/// Those of some segments, each field by itself: of loops that pick fields from structures some turns are not vectorised.
#[derive(Clone, Copy)]
pub struct Shifts<const N: usize> {
    centers: [f32; N],
    exponents: [f32; N],
}

impl<const N: usize> Shifts<N> {
    /// Of plain segments.
    pub const PLAIN: Self = Self { centers: [Shift::PLAIN.center; N], exponents: [Shift::PLAIN.exponent; N] };

    #[inline(always)]
    pub fn get(&self, i: usize) -> Shift {
        Shift { center: self.centers[i], exponent: self.exponents[i] }
    }

    #[inline(always)]
    pub fn set(&mut self, i: usize, shift: Shift) {
        (self.centers[i], self.exponents[i]) = (shift.center, shift.exponent);
    }
}

/// A `z - c` whose term is 0.
#[inline(always)]
fn floor(shift: Shift) -> f32 {
    (shift.exponent + FLOOR as f32) * core::f32::consts::LN_2
}

/// The terms of a segment, which is plain or may be any.
#[derive(Clone, Copy)]
pub struct Term<S: Simd, C: Scale, const PLAIN: bool> {
    scale: C,
    minus_center: S::F32,
    floor: S::F32,
    exp: Exp<S>,
}

impl<S: Simd, C: Scale, const PLAIN: bool> Term<S, C, PLAIN> {
    #[inline(always)]
    pub fn new(s: S, shift: Shift, scale: C) -> Self {
        Self::each(s, &Shifts { centers: [shift.center], exponents: [shift.exponent] }, scale)
    }

    /// With a shift for each lane, or the only one.
    #[inline(always)]
    pub fn each<const N: usize>(s: S, shifts: &Shifts<N>, scale: C) -> Self {
        let (mut minus_centers, mut floors, mut magics) = ([0.0; N], [0.0; N], [0.0; N]);
        for i in 0..N {
            let shift = shifts.get(i);
            minus_centers[i] = scale.minus(shift.center);
            floors[i] = scale.unscaled(floor(shift));
            magics[i] = exp::magic(shift.exponent);
        }
        Self {
            scale,
            minus_center: lanes::each(s, &minus_centers),
            floor: lanes::each(s, &floors),
            exp: Exp::new(s, lanes::each(s, &magics)),
        }
    }

    /// A logit whose term is 0.
    #[inline(always)]
    pub fn nothing(shift: Shift, scale: C) -> f32 {
        if PLAIN { scale.logit(floor(shift)) } else { f32::NEG_INFINITY }
    }
}

impl<S: Simd, C: Scale, const PLAIN: bool> Map<S> for Term<S, C, PLAIN> {
    /// NaN stays what it is, and -inf, which is in no plain segment, becomes 0.
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, x: [S::F32; N]) -> [S::F32; N] {
        let (mut z, mut rests) = (x, None);
        for i in 0..N {
            let d = if PLAIN {
                self.scale.unshifted(s, x[i])
            } else {
                self.floor.max(self.scale.shift(s, x[i], self.minus_center))
            };
            let (quotient, rest) = self.scale.divide(s, d);
            z[i] = quotient;
            if let Some(rest) = rest {
                rests.get_or_insert(x)[i] = rest;
            }
        }
        self.exp.exp(z, rests)
    }
}

/// Replaces a segment by its terms, where it is written at all, and adds them to a total.
#[inline(always)]
pub fn exp_sum<S: Simd, E: Element, C: Scale>(
    s: S,
    segment: &mut impl Span<E>,
    plain: bool,
    shift: Shift,
    scale: C,
    total: &mut impl Total<S>,
    side: &mut impl Side<S>,
) {
    if plain {
        let (term, fill) =
            (Term::<S, C, true>::new(s, shift, scale), Term::<S, C, true>::nothing(shift, scale));
        sums::map_sum(s, segment, fill, term, total, side);
    } else {
        let term = Term::<S, C, false>::new(s, shift, scale);
        sums::map_sum(s, segment, f32::NEG_INFINITY, term, total, side);
    }
}

/// What a first look at a segment finds.
pub enum Look {
    /// Its terms are to have the shift of plain segments.
    Plain,
    /// The maximum, and a shift for it.
    Shifted(f32, Shift),
    /// A NaN, an infinity, or nothing but -inf.
    Degenerate(Normalizer),
}

impl Look {
    /// Looks at one of some segments, given whether all of them are plain.
    #[inline(always)]
    pub fn at<S: Simd, E: Element>(
        s: S,
        segments: &[impl Span<E>],
        i: usize,
        all_plain: bool,
        scale: impl Scale,
    ) -> Self {
        // Of a segment alone it is known already.
        let known = all_plain || segments.len() == 1;
        if all_plain || !known && scale.is_plain(lanes::magnitude(s, &segments[i..=i])) {
            return Self::Plain;
        }
        let segment = segments[i].rest();
        let max = lanes::max_reduce(s, segment);
        let shift = Shift::new(max, scale);
        if max.is_finite() {
            return Self::Shifted(max, shift);
        }
        let sum = if lanes::has_nan(s, segment) { f64::NAN } else { f64::from(max.max(0.0)) };
        Self::Degenerate(Normalizer { shift, sum })
    }
}

/// What is known of some segments: the sum of their terms.
///
/// It is NaN if there is a NaN, else +inf if there is a +inf; and 0 where there is nothing but -inf.
#[derive(Debug, Clone, Copy)]
pub struct Normalizer {
    pub shift: Shift,
    pub sum: f64,
}

/// What is known of nothing.
impl Default for Normalizer {
    fn default() -> Self {
        Self { shift: Shift { center: f32::NEG_INFINITY, exponent: 0.0 }, sum: 0.0 }
    }
}

impl Normalizer {
    /// Reads segments, and replaces them by their terms where they are written.
    #[inline(always)]
    pub fn of_segments<S: Simd, E: Element>(
        s: S,
        segments: &mut [impl Span<E>],
        known: &mut [Self],
        scale: impl Scale,
        sides: &mut impl Sides<S>,
    ) {
        let all_plain = scale.is_plain(lanes::magnitude(s, segments));
        let mut halves = [[0.0; HALF]; TOGETHER];
        for i in 0..segments.len() {
            let look = Look::at(s, segments, i, all_plain, scale);
            let segment = &mut segments[i];
            let (plain, shift) = match look {
                Look::Plain => (true, Shift::PLAIN),
                Look::Shifted(_, shift) => (false, shift),
                Look::Degenerate(found) => {
                    lanes::fill(s, segment, 0.0);
                    halves[i][0] = found.sum;
                    known[i] = found;
                    continue;
                }
            };
            let (mut sum, mut side) = (Sum::new(s), sides.begin(s, i));
            exp_sum(s, segment, plain, shift, scale, &mut sum, &mut side);
            sides.end(s, side);
            if segments.len() == 1 {
                known[i] = Self { shift, sum: sum.sum() };
                return;
            }
            halves[i] = sum.halve();
            known[i].shift = shift;
        }
        for (known, sum) in known.iter_mut().zip(sums::sums(s, &halves)) {
            known.sum = sum;
        }
    }

    #[inline]
    pub fn merge(self, other: Self, scale: impl Scale) -> Self {
        let (upper, lower) =
            if other.shift.is_above(self.shift, scale) { (other, self) } else { (self, other) };
        Self { shift: upper.shift, sum: upper.sum + lower.sum * lower.shift.weight(upper.shift, scale) }
    }

    /// What makes probabilities of terms with a shift, given those of the row.
    #[inline(always)]
    pub fn factor(&self, shift: Shift, scale: impl Scale) -> f64 {
        let weight = if shift == self.shift { 1.0 } else { shift.weight(self.shift, scale) };
        weight / self.sum
    }

    /// The logarithm of the normaliser.
    #[inline(always)]
    pub fn logsumexp(&self, scale: impl Scale) -> f64 {
        // Without branches, so that a loop over rows is vectorised.
        let center = scale.exact(f64::from(self.shift.center));
        let value = center + ln(self.sum * self.shift.unit());
        // +inf and -inf are their own logsumexp; a NaN that was passed over by the maximum is in the sum.
        let value = if center.is_infinite() { center } else { value };
        if self.sum.is_nan() { f64::NAN } else { value }
    }

    /// [`Normalizer::logsumexp`] of some rows.
    #[inline(always)]
    pub fn logsumexps(rows: &[Self], scale: impl Scale) -> [f64; TOGETHER] {
        let (mut sums, mut shifts) = ([1.0; TOGETHER], Shifts::PLAIN);
        for (i, row) in rows.iter().enumerate() {
            sums[i] = row.sum;
            shifts.set(i, row.shift);
        }
        logsumexps(&sums, &shifts, scale)
    }
}

/// The terms of up to `N` short rows, which are kept until these are known.
pub struct Kept<S: Simd, const N: usize> {
    pub terms: [[S::F32; SHORT / LANES]; N],
    pub sums: [f64; N],
    pub shifts: Shifts<N>,
}

impl<S: Simd, const N: usize> Kept<S, N> {
    /// Reads them.
    #[inline(always)]
    pub fn of<E: Element, C: Scale>(s: S, rows: &[impl Span<E>], scale: C) -> Self {
        let all_plain = scale.is_plain(lanes::magnitude(s, rows));
        let mut terms = [[s.splat(0.0); SHORT / LANES]; N];
        let (mut halves, mut shifts) = ([[0.0; HALF]; N], Shifts::<N>::PLAIN);
        for i in 0..rows.len() {
            match Look::at(s, rows, i, all_plain, scale) {
                Look::Plain => {
                    let term = Term::<S, C, true>::new(s, Shift::PLAIN, scale);
                    let fill = Term::<S, C, true>::nothing(Shift::PLAIN, scale);
                    halves[i] = sums::map_kept(s, rows[i].rest(), fill, term, &mut terms[i]);
                }
                Look::Shifted(_, shift) => {
                    shifts.set(i, shift);
                    let term = Term::<S, C, false>::new(s, shift, scale);
                    halves[i] = sums::map_kept(s, rows[i].rest(), f32::NEG_INFINITY, term, &mut terms[i]);
                }
                Look::Degenerate(found) => {
                    shifts.set(i, found.shift);
                    halves[i][0] = found.sum;
                }
            }
        }
        Self { terms, sums: sums::sums(s, &halves), shifts }
    }
}

/// [`Normalizer::logsumexp`] of some rows.
#[inline(always)]
fn logsumexps(sums: &[f64; TOGETHER], shifts: &Shifts<TOGETHER>, scale: impl Scale) -> [f64; TOGETHER] {
    let mut results = [0.0; TOGETHER];
    for i in 0..TOGETHER {
        results[i] = Normalizer { shift: shifts.get(i), sum: sums[i] }.logsumexp(scale);
    }
    results
}

/// The shift of each of some narrow rows. A row that is degenerate gets one with which its sum is not
/// [positive](all_positive).
#[inline(always)]
pub fn narrow_shifts<S: Simd>(s: S, columns: &Columns, scale: impl Scale) -> Shifts<TOGETHER> {
    let (magnitudes, maxima) = (columns.magnitudes(s), columns.max(s).to_array());
    let mut shifts = Shifts::PLAIN;
    for i in 0..TOGETHER {
        let (plain, shift) = (scale.is_plain(magnitudes[i]), Shift::new(maxima[i], scale));
        shifts.centers[i] = if plain { Shift::PLAIN.center } else { shift.center };
        shifts.exponents[i] = if plain { Shift::PLAIN.exponent } else { shift.exponent };
    }
    shifts
}

/// What is known of narrow rows, whose terms stand in columns.
pub struct NarrowNormalizers {
    pub sums: [f64; TOGETHER],
    pub shifts: Shifts<TOGETHER>,
    /// Whether terms stand in rows as well, where all rows are plain.
    pub plain: bool,
}

impl NarrowNormalizers {
    /// Reads narrow rows; or gives nothing, if one has to be looked at alone.
    #[inline(always)]
    pub fn of<S: Simd, C: Scale>(s: S, rows: &mut Narrow, scale: C) -> Option<Self> {
        if !scale.is_plain(rows.magnitude(s)) {
            return Self::of_columns(s, rows.columns(s), scale);
        }
        rows.map_terms(s, &Term::<S, C, true>::new(s, Shift::PLAIN, scale));
        Self::checked(rows.term_columns(s).sums(s), Shifts::PLAIN, true)
    }

    /// The same of rows in columns, which are replaced by their terms.
    #[inline(always)]
    pub fn of_columns<S: Simd, C: Scale>(s: S, columns: &mut Columns, scale: C) -> Option<Self> {
        let shifts = narrow_shifts(s, columns, scale);
        columns.map(s, &Term::<S, C, false>::each(s, &shifts, scale));
        Self::checked(columns.sums(s), shifts, false)
    }

    /// Nothing, if there is a NaN, or a row of nothing but -inf.
    #[inline(always)]
    fn checked(sums: [f64; TOGETHER], shifts: Shifts<TOGETHER>, plain: bool) -> Option<Self> {
        all_positive(&sums).then_some(Self { sums, shifts, plain })
    }

    /// [`Normalizer::logsumexp`] of each.
    #[inline(always)]
    pub fn logsumexps(&self, scale: impl Scale) -> [f64; TOGETHER] {
        logsumexps(&self.sums, &self.shifts, scale)
    }
}

#[inline(always)]
pub fn widened<const N: usize>(floats: &[f32; N]) -> [f64; N] {
    let mut wide = [0.0; N];
    for i in 0..N {
        wide[i] = f64::from(floats[i]);
    }
    wide
}

/// Whether all are larger than 0, and none is NaN.
#[inline(always)]
pub fn all_positive(numbers: &[f64; TOGETHER]) -> bool {
    let mut all = true;
    for &number in numbers {
        all &= number > 0.0;
    }
    all
}

/// What a row becomes that has no distribution, given the sum of its terms, and the choice for rows that are all -inf.
#[inline]
pub fn degenerate(sum: f64, masked: f32) -> Option<f32> {
    if sum.is_nan() || sum == f64::INFINITY {
        Some(f32::NAN)
    } else if sum == 0.0 {
        Some(masked)
    } else {
        None
    }
}
