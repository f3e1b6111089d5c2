//! Log-softmax: `log p_i = z_i - log sum_j exp(z_j)`, with `z = x / T`.
//!
//! With `m` the maximum of the row and `S'` the sum of all terms but that of the first maximum, whose term is `e`:
//! `log p_i = (z_i - m/T) - L` with `L = log1p(S' / e)`. Where one logit dominates, `L` is its log-probability, and
//! accurate, since `S'` never contained `e`: its segment is summed without it. Where none does, in rows whose sum `S` is
//! three times `e` at least, `L = log(S / e)` is as good, and `S` is there already.
//!
//! # Error
//!
//! Against the exact logarithm, relative, with `u = 2^-24`; an ULP is between `u` and `2 u` of its number:
//!
//! - `S'` is a sum of terms, with an error below `(1.29 + 0.3 + 3) u` as in [`softmax`](super::softmax); `e` is computed in
//!   f64, and `log1p` does not magnify a relative error: that of `L` is below 4.6 u;
//! - `log(S / e)` makes an absolute error of a relative one, but is `log 3 > 1` at least: the same 4.6 u;
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
use crate::row::{Reduce, TOGETHER, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{F32, F64, LANES, Mask, Simd};
use crate::span::{Read, Span};
use crate::tile::{self, Tile};

use super::normalizer::{Shift, Term, degenerate, exp_sum};
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

impl<E: Element, C: Scale> Reduce<E> for AtTemperature<C> {
    type Partial = Sums;

    #[inline(always)]
    fn segment<S: Simd>(&self, s: S, max: f32, _: usize, segment: &mut impl Span<E>) -> Sums {
        let row = segment.rest();
        let term = Term::new(s, Shift::new(max, self.scale), self.scale);
        if max.is_infinite() {
            let rest = if lanes::has_nan(s, row) { f64::NAN } else { 0.0 };
            return Sums { max, sum: rest, flat: false };
        }
        if row.len() <= tile::COLS {
            let mut others = [E::from_f32(0.0); tile::COLS];
            row.copy_to(s, &mut others);
            others[lanes::position(s, row, max)] = E::from_f32(f32::NEG_INFINITY);
            let sum = exp_sum(s, &mut Read::new(&others[..row.len()]), term);
            return Sums { max, sum: sum.reduce_add(), flat: false };
        }
        let sum = exp_sum(s, &mut { row }, term).reduce_add();
        if sum >= FLAT {
            return Sums { max, sum, flat: true };
        }
        // Once more, in the group of the first maximum without it.
        const LEN: usize = GROUP * LANES;
        let position = lanes::position(s, row, max);
        let (before, behind) = row.split_at(position / LEN * LEN);
        let (group, behind) = behind.split_at(behind.len().min(LEN));
        let mut others = [E::from_f32(0.0); LEN];
        group.copy_to(s, &mut others);
        others[position % LEN] = E::from_f32(f32::NEG_INFINITY);
        let mut rest = s.zero_f64();
        for mut part in [before, Read::new(&others[..group.len()]), behind] {
            rest = lanes::map_sum(s, &mut part, f32::NEG_INFINITY, term, rest);
        }
        Sums { max, sum: rest.reduce_add(), flat: false }
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, tile: &mut Tile) -> Option<[Sums; TOGETHER]> {
        let max = tile.max(s);
        let maxima = max.to_array();
        if maxima.iter().any(|max| max.is_infinite()) {
            return None;
        }
        let positions = tile.positions(s, max);
        let mut hidden = [f32::NEG_INFINITY; LANES];
        tile.swap(&positions, &mut hidden);
        let rests = tile.map_sum(s, &Term::of_lanes(s, &maxima, self.scale));
        tile.swap(&positions, &mut hidden);
        if rests.iter().any(|rest| rest.is_nan()) {
            return None;
        }
        let mut known = [Sums::default(); TOGETHER];
        for i in 0..TOGETHER {
            known[i] = Sums { max: maxima[i], sum: rests[i], flat: false };
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
    /// `L`, in two floats.
    #[inline(always)]
    fn loss(&self, row: &Sums) -> (f32, f32) {
        let shift = Shift::new(row.max, self.scale);
        in_two(if row.flat {
            shift.ln_over_top(row.sum, row.max, self.scale)
        } else {
            ln_1p(row.sum / shift.top(row.max, self.scale))
        })
    }
}

impl<E: Element, C: Scale> Transform<E> for AtTemperature<C> {
    const STORES: bool = false;

    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, row: &Sums, _: Option<&Sums>, _: usize, segment: &mut impl Span<E>) {
        if let Some(value) = degenerate(row.max, row.sum, self.masked) {
            return lanes::fill(s, segment, value);
        }
        let (hi, lo) = self.loss(row);
        let subtract = Subtract {
            scale: self.scale,
            minus_max: s.splat(self.scale.minus(row.max)),
            hi: s.splat(hi),
            lo: s.splat(lo),
        };
        lanes::map(s, segment, 0.0, subtract);
    }

    #[inline(always)]
    fn finish_tile<S: Simd>(&self, s: S, known: &[Sums; TOGETHER], tile: &mut Tile) {
        let (mut minus_max, mut hi, mut lo) = ([0.0; TOGETHER], [0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            minus_max[i] = self.scale.minus(known[i].max);
            (hi[i], lo[i]) = self.loss(&Sums { flat: false, ..known[i] });
        }
        let (minus_max, hi, lo) = (s.load(&minus_max), s.load(&hi), s.load(&lo));
        tile.map(s, &Subtract { scale: self.scale, minus_max, hi, lo });
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
