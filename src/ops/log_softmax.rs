//! Log-softmax: `log p_i = z_i - log sum_j exp(z_j)`, with `z = x / T`.
//!
//! With `m` the maximum of the row and `S'` the sum of all terms but that of the first maximum, whose term is `e`:
//! `log p_i = (z_i - m/T) - L` with `L = log1p(S' / e)`. Where one logit dominates, `L` is its log-probability, and
//! accurate, since `S'` never contained `e`: its segment is summed without it. Where none does, in rows whose sum `S` is
//! three times `e` at least, `L = log1p(S / e - 1)` is as good, and `S` is there already.
//!
//! # Error
//!
//! Against the exact logarithm, relative, with `u = 2^-24`; an ULP is between `u` and `2 u` of its number:
//!
//! - `S'` is a sum of terms, with an error below `(1.29 + 0.3 + 3) u` as in [`softmax`](super::softmax); `e` is computed in
//!   f64, and `log1p` does not magnify a relative error: that of `L` is below 4.6 u;
//! - `log1p(S / e - 1)`, which is `log(S / e)`, makes an absolute error of a relative one, but is `log 3 > 1` at least: the same 4.6 u;
//! - `x_i - m` rounds by u of itself at most;
//! - `z_i` and `L` are taken off each other as two floats each: the first subtraction rounds by u of the result, the second
//!   by half an ULP.
//!
//! `z_i - m/T` and `-L` have one sign, so what is relative to a part is no more of the whole: `4.6 u + u` and half an ULP are
//! below 7 ULP. To that comes what stands for the terms that are too small to count: less than `2^-126`.
//! Without fused multiply-add a term has 1.65 u: below 9 ULP.

use core::mem::MaybeUninit;

use crate::batch::{Engine, Grid, Place, Uninit};
use crate::element::Element;
use crate::error::Error;
use crate::lanes::{self, GROUP, Map};
use crate::math::double::{in_two, ln_1p, power_of_two};
use crate::math::exp::BIAS;
use crate::narrow::Narrow;
use crate::row::{Reduce, TOGETHER, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{F32, F64, LANES, Mask, Simd};
use crate::span::{Read, Span};

use super::normalizer::{Shift, Term, exp_sum};
use super::one_hot::OneHot;
use super::options::{Kind, Softmax};
use super::temperature::{Scale, Unit};

/// `log_softmax(x)`: each `x_i` becomes `x_i - log sum_j exp(x_j)`, the logarithm of its probability, in nats.
///
/// One row, on this thread, without allocation; an [`Engine`] does batches. The result is within 3 ULP + 2^-126 of the exact
/// one on ordinary rows and within 7 ULP + 2^-126 on any (see [Numerics](crate#numerics)): also that of a logit which
/// dominates its row, where `log(softmax(x))` gives 0.
///
/// A NaN or +inf in the row makes all of it NaN; logits of -inf stay -inf; a row of nothing but -inf becomes NaN
/// ([`MaskedRows`](crate::MaskedRows) has the other choice).
///
/// # Panics
///
/// If the lengths differ.
///
/// # Examples
///
/// ```
/// let mut y = [0.0; 2];
/// logits::log_softmax(&[30.0, 0.0], &mut y);
/// assert!((y[0] / -(-30_f32).exp() - 1.0).abs() < 1e-6);
/// ```
#[track_caller]
pub fn log_softmax(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "the lengths of input and output");
    let _ = Engine::new().serial().log_softmax(Rows::one(x), RowsMut::one(y));
}

/// [`log_softmax`] of a row in place.
///
/// # Examples
///
/// ```
/// let mut x = [5.0, f32::NEG_INFINITY];
/// logits::log_softmax_in_place(&mut x);
/// assert_eq!(x, [0.0, f32::NEG_INFINITY]);
/// ```
pub fn log_softmax_in_place(x: &mut [f32]) {
    let _ = Engine::new().serial().log_softmax_in_place(RowsMut::one(x));
}

impl Engine {
    /// [`log_softmax`] of each row.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if `out` has other rows or columns than `x`. Nothing has been written then.
    pub fn log_softmax(&self, x: Rows<'_>, out: RowsMut<'_>) -> Result<(), Error> {
        self.log_softmax_with(x, out, &Softmax::default())
    }

    /// [`Engine::log_softmax`] with a temperature, or with another answer to masked rows.
    ///
    /// # Errors
    ///
    /// As [`Engine::log_softmax`], and [`Error::Temperature`] if the temperature is negative or NaN.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows, RowsMut, Softmax};
    ///
    /// let logits = [2.0, 1.0, 2.0];
    /// let mut out = [0.0; 3];
    /// let greedy = Softmax { temperature: 0.0, ..Default::default() };
    /// Engine::new().log_softmax_with(Rows::new(&logits, 3)?, RowsMut::new(&mut out, 3)?, &greedy)?;
    /// assert_eq!(out, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn log_softmax_with(&self, x: Rows<'_>, out: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, options)
    }

    /// [`log_softmax`] of each row, in place of the logits.
    ///
    /// # Errors
    ///
    /// None as yet: the signature is that of its kin.
    pub fn log_softmax_in_place(&self, x: RowsMut<'_>) -> Result<(), Error> {
        self.log_softmax_in_place_with(x, &Softmax::default())
    }

    /// [`Engine::log_softmax_with`], in place of the logits.
    ///
    /// # Errors
    ///
    /// [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn log_softmax_in_place_with(&self, x: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), options)
    }

    /// [`log_softmax`] of each row into memory that need not be initialised, contiguous rows as long as those of `x`.
    ///
    /// Gives back the same memory, initialised.
    ///
    /// # Errors
    ///
    /// [`Error::RaggedRows`] or [`Error::ShapeMismatch`] if `out` does not hold just as many elements as `x` has.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let logits = [0.0, 0.0];
    /// let mut spare = Vec::with_capacity(2);
    /// let out = Engine::new().log_softmax_uninit(Rows::new(&logits, 2)?, &mut spare.spare_capacity_mut()[..2])?;
    /// assert_eq!(out, [-std::f32::consts::LN_2; 2]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn log_softmax_uninit<'a>(
        &self,
        x: Rows<'_>,
        out: &'a mut [MaybeUninit<f32>],
    ) -> Result<&'a mut [f32], Error> {
        self.log_softmax_uninit_with(x, out, &Softmax::default())
    }

    /// [`Engine::log_softmax_uninit`] with options.
    ///
    /// # Errors
    ///
    /// As [`Engine::log_softmax_uninit`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn log_softmax_uninit_with<'a>(
        &self,
        x: Rows<'_>,
        out: &'a mut [MaybeUninit<f32>],
        options: &Softmax,
    ) -> Result<&'a mut [f32], Error> {
        apply(self, Uninit::new(x, out)?, options)
    }
}

fn apply<'a, P: Place<'a, f32>>(engine: &Engine, place: P, options: &Softmax) -> Result<P::Written, Error> {
    let masked = options.masked_rows.value(f32::NEG_INFINITY);
    Ok(match options.temperature()? {
        Kind::One => place.transform(engine, &AtTemperature { scale: Unit, masked }),
        Kind::Zero => place.transform(engine, &OneHot { hot: 0.0, cold: f32::NEG_INFINITY, masked }),
        Kind::Other(scale) => place.transform(engine, &AtTemperature { scale, masked }),
    })
}

/// The operation at some temperature.
struct AtTemperature<C> {
    scale: C,
    masked: f32,
}

/// What is known of some segments. Terms have the shift of the maximum.
#[derive(Clone, Copy)]
struct Sums {
    max: f32,
    /// The sum of all terms, or of all but the first maximum's. NaN if there is a NaN.
    sum: f64,
    /// Whether it is that of all.
    flat: bool,
}

/// What is known of nothing.
impl Default for Sums {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0, flat: false }
    }
}

/// Sums from here on are three times the term of any maximum.
const FLAT: f64 = 4.25 * power_of_two(BIAS);

/// Rows up to this length are not tried for being flat: few are.
const SHORT: usize = 64;

impl<E: Element, C: Scale> Reduce<E> for AtTemperature<C> {
    type Partial = Sums;

    #[inline(always)]
    fn segments<S: Simd>(&self, s: S, _: usize, segments: &mut [impl Span<E>], known: &mut [Sums]) {
        for (segment, known) in segments.iter().zip(known) {
            let row = segment.rest();
            let (max, magnitude) = lanes::max_and_magnitude(s, row);
            let plain = self.scale.is_plain(magnitude);
            *known = if max.is_infinite() {
                Sums { max, sum: if lanes::has_nan(s, row) { f64::NAN } else { 0.0 }, flat: false }
            } else {
                self.sums(s, row, plain, max)
            };
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, rows: &mut Narrow) -> Option<[Sums; TOGETHER]> {
        if !self.scale.is_plain(rows.magnitude(s)) {
            return None;
        }
        // With one shift for all rows, whose terms and sums are those with their own shifts, but for the exponent.
        let shift = Shift::default();
        rows.map_terms(s, &Term::<S, C, true>::new(s, shift, self.scale));
        let (maxima, positions) = rows.first_maxima(s);
        // Of nothing but NaN.
        if maxima.contains(&f32::NEG_INFINITY) {
            return None;
        }
        rows.hide(&positions);
        let rests = rows.sums(s);
        if rests.iter().any(|rest| rest.is_nan()) {
            return None;
        }
        let mut known = [Sums::default(); TOGETHER];
        for i in 0..TOGETHER {
            let power = shift.power(Shift::new(maxima[i], self.scale));
            known[i] = Sums { max: maxima[i], sum: rests[i] * power, flat: false };
        }
        Some(known)
    }

    #[inline(always)]
    fn merge(&self, left: Sums, right: Sums) -> Sums {
        let (larger, smaller) = if right.max > left.max { (right, left) } else { (left, right) };
        if smaller.max == f32::NEG_INFINITY || larger.max == f32::INFINITY {
            return Sums { sum: larger.sum + smaller.sum, ..larger };
        }
        let shift = Shift::new(smaller.max, self.scale);
        let top = if smaller.flat { 0.0 } else { shift.top(smaller.max, self.scale) };
        let weight = shift.weight(Shift::new(larger.max, self.scale), self.scale);
        Sums { sum: larger.sum + (smaller.sum + top) * weight, ..larger }
    }
}

impl<C: Scale> AtTemperature<C> {
    /// Reads a segment with a finite maximum.
    #[inline(always)]
    fn sums<S: Simd, E: Element>(&self, s: S, row: Read<'_, E>, plain: bool, max: f32) -> Sums {
        const LEN: usize = GROUP * LANES;
        let shift = Shift::new(max, self.scale);
        let least = E::from_f32(match plain {
            true => Term::<S, C, true>::negligible(shift, self.scale),
            false => f32::NEG_INFINITY,
        });
        let (mut short, mut group);
        let mut hidden = row.len() <= SHORT;
        loop {
            let mut parts = [row, Read::default(), Read::default()];
            let mut count = 1;
            if row.len() <= SHORT {
                short = [least; SHORT];
                row.copy_to(s, &mut short);
                short[lanes::position(s, row, max)] = least;
                parts[0] = Read::new(&short[..row.len()]);
            } else if hidden {
                // In the group of the first maximum without it.
                let position = lanes::position(s, row, max);
                let (before, rest) = row.split_at(position / LEN * LEN);
                let (with, behind) = rest.split_at(rest.len().min(LEN));
                group = [least; LEN];
                with.copy_to(s, &mut group);
                group[position % LEN] = least;
                (parts, count) = ([before, Read::new(&group[..with.len()]), behind], 3);
            }
            let mut sum = s.zero_f64();
            for part in &mut parts[..count] {
                sum = exp_sum(s, part, plain, shift, self.scale, sum);
            }
            let sum = sum.reduce_add();
            if hidden || sum >= FLAT {
                return Sums { max, sum, flat: !hidden };
            }
            hidden = true;
        }
    }

    /// `L` of each row, in two floats.
    #[inline(always)]
    fn losses(&self, rows: &[Sums]) -> [[f32; TOGETHER]; 2] {
        let (mut hi, mut lo) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        if let [row] = rows {
            (hi[0], lo[0]) = in_two(self.loss(row.max, row.sum, row.flat));
            return [hi, lo];
        }
        // Apart, and always as many: loops that are vectorised.
        let (mut maxima, mut sums, mut flat) = ([0.0; TOGETHER], [0.0; TOGETHER], [false; TOGETHER]);
        for (i, row) in rows.iter().enumerate() {
            (maxima[i], sums[i], flat[i]) = (row.max, row.sum, row.flat);
        }
        for i in 0..TOGETHER {
            sums[i] = self.loss(maxima[i], sums[i], flat[i]);
        }
        for i in 0..TOGETHER {
            (hi[i], lo[i]) = in_two(sums[i]);
        }
        [hi, lo]
    }

    /// `L`, without a branch.
    #[inline(always)]
    fn loss(&self, max: f32, sum: f64, flat: bool) -> f64 {
        let ratio = sum / Shift::new(max, self.scale).top(max, self.scale);
        ln_1p(ratio - f64::from(u8::from(flat)))
    }

    /// What the elements of a row become, given the two floats of its `L`.
    #[inline(always)]
    fn subtract<S: Simd>(&self, s: S, row: &Sums, hi: f32, lo: f32) -> Subtract<S, C> {
        let minus_max = s.splat(self.scale.minus(row.max));
        Subtract { scale: self.scale, minus_max, hi: s.splat(hi), lo: s.splat(lo) }
    }
}

impl<E: Element, C: Scale> Transform<E> for AtTemperature<C> {
    const STORES: bool = false;

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Sums],
        _: Option<&[Sums]>,
        _: usize,
        segments: &mut [impl Span<E>],
    ) {
        let [hi, lo] = self.losses(rows);
        for (i, segment) in segments.iter_mut().enumerate() {
            let row = &rows[i];
            if row.sum.is_nan() || row.max == f32::INFINITY {
                lanes::fill(s, segment, f32::NAN);
            } else if row.max == f32::NEG_INFINITY {
                lanes::fill(s, segment, self.masked);
            } else {
                lanes::map(s, segment, 0.0, self.subtract(s, row, hi[i], lo[i]));
            }
        }
    }

    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, s: S, known: &[Sums; TOGETHER], rows: &mut Narrow) {
        let [hi, lo] = self.losses(known);
        rows.finish(s, |row| self.subtract(s, &known[row], hi[row], lo[row]));
    }
}

/// `(z - m/T) - L`.
struct Subtract<S: Simd, C> {
    scale: C,
    minus_max: S::F32,
    hi: S::F32,
    lo: S::F32,
}

impl<S: Simd, C: Scale> Map<S> for Subtract<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            let (z, rest) = self.scale.divide(s, self.scale.shift(s, *x, self.minus_max));
            *x = match rest {
                None => (z - self.hi) - self.lo,
                Some(rest) => {
                    // The rest of an infinite z is NaN.
                    let y = (z - self.hi) + (rest - self.lo);
                    z.equals(s.splat(f32::NEG_INFINITY)).select(z, y)
                }
            };
        }
        lanes
    }
}
