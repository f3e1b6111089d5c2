//! Log-softmax: `log p_i = z_i - log sum_j exp(z_j)`, with `z = x / T`.
//!
//! There are two ways to the logarithm of a probability:
//!
//! - *flat*: `(z_i - c) - L` with `L = log sum_j exp(z_j - c)` and the center `c` of the [`Shift`], where no term is
//!   more than a third of the sum;
//! - *apart*: where one logit dominates, that cancels. Then, with the maximum `m` [set apart](super::apart),
//!   `(z_i - m/T) - L` with `L = log1p(S' / e)`.
//!
//! # Error
//!
//! Against the exact logarithm, relative, with `u = 2^-24`; an ULP is between `u` and `2 u` of its number:
//!
//! - a term has an error below `(1.29 + 0.3) u`, as in [`softmax`](super::softmax), and a sum of terms `3 u` more for
//!   the three levels of a group's tree: below 4.6 u;
//! - apart, `e` is computed in f64; or, of a short row, it is a term like the others, but then the tree has two levels.
//!   `log1p` does not magnify a relative error: that of `L` is below 4.6 u, or 5.2 u;
//! - flat, the error of `L` is the same 4.6 u, but absolute; the result is `-log 3` at most, so it is no more of the
//!   result;
//! - `x_i - m` rounds by u of itself at most; `x_i - c` does not round where it matters;
//! - `z_i` and `L` are taken off each other as two floats each: the first subtraction rounds by u of the result, the second
//!   by half an ULP.
//!
//! Apart, `z_i - m/T` and `-L` have one sign, so what is relative to a part is no more of the whole. `5.2 u + u` and
//! half an ULP are below 7 ULP. To that comes what is lost below the smallest term: less than `2^-126`. Without fused
//! multiply-add a term has 1.65 u: below 9 ULP.

use core::mem::MaybeUninit;

use crate::element::Element;
use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::grid::{Grid, Uninit};
use crate::lanes::{self, Map};
use crate::math::double::in_two;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, TOGETHER, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{F32, Mask, Simd};
use crate::span::{Span, Write};

use super::apart::{Apart, Log, Sums};
use super::normalizer::degenerate;
use super::one_hot::OneHot;
use super::options::{Kind, Softmax};
use super::temperature::{Scale, Unit};

/// `log_softmax(x)`: each `x_i` becomes `x_i - log sum_j exp(x_j)`, the logarithm of its probability, in nats.
///
/// One row, on this thread, without allocation; an [`Engine`] does batches. The result is within 3 ULP + 2^-126 of the
/// exact one on ordinary rows and within 7 ULP + 2^-126 on any (see [Numerics](crate#numerics)): also that of a logit
/// which dominates its row, where `log(softmax(x))` gives 0.
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
        apply(self, Grid::apart(x, out)?, &Softmax::default())
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
        apply(self, Grid::InPlace(x), &Softmax::default())
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
        apply(self, Uninit::new(x, out)?, &Softmax::default())
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

/// Into its callers, so that nothing is moved for a call: a row alone would wait for it.
#[inline(always)]
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

impl<E: Element, C: Scale> Reduce<E> for AtTemperature<C> {
    type Partial = Sums;
    type Together = Apart<TOGETHER>;

    const ALONE: bool = true;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Sums],
        sides: &mut impl Sides<S>,
    ) {
        Sums::of_segments(s, segments, known, self.scale, sides);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<Apart<TOGETHER>> {
        Apart::of_narrow(s, rows, self.scale)
    }

    #[inline(always)]
    fn merge(&self, left: Sums, right: Sums) -> Sums {
        left.merge(right, self.scale)
    }
}

/// What becomes of the rows' logits.
#[inline(always)]
fn losses(rows: &[Sums]) -> [Loss; TOGETHER] {
    let (logs, mut losses) = (Log::of_rows(rows.iter()), [Loss::default(); TOGETHER]);
    for i in 0..TOGETHER {
        let (hi, lo) = in_two(logs[i].rest);
        losses[i] = Loss { pivot: logs[i].pivot, hi, lo };
    }
    losses
}

/// What becomes of the logits of each of some short rows. Field by field: so the loop over rows is vectorised.
#[inline(always)]
fn short_losses<const N: usize>(known: &Apart<N>) -> impl Fn(usize) -> Loss {
    let (mut hi, mut lo) = ([0.0; N], [0.0; N]);
    for (i, rest) in known.rests().into_iter().enumerate() {
        (hi[i], lo[i]) = in_two(rest);
    }
    let pivots = known.maxima;
    move |i| Loss { pivot: pivots[i], hi: hi[i], lo: lo[i] }
}

/// The logarithm of a probability is `(x - pivot) / T - (hi + lo)`.
#[derive(Clone, Copy, Default)]
struct Loss {
    pivot: f32,
    hi: f32,
    lo: f32,
}

impl Loss {
    #[inline(always)]
    fn subtract<S: Simd, C: Scale>(self, s: S, scale: C) -> Subtract<S, C> {
        let minus_pivot = s.splat(scale.minus(self.pivot));
        Subtract { scale, minus_pivot, hi: s.splat(self.hi), lo: s.splat(self.lo) }
    }
}

impl<E: Element, C: Scale> Transform<E> for AtTemperature<C> {
    const STORES: bool = false;
    const STREAMS: bool = true;
    /// With fewer columns it takes longer than one pass after the other.
    const PIPELINE: usize = 256;
    const SHORT: bool = true;

    type Last = Loss;
    type LastMap<S: Simd> = Subtract<S, C>;

    #[inline(always)]
    fn lasts(&self, rows: &[Sums]) -> [Option<Loss>; TOGETHER] {
        let losses = losses(rows);
        let mut lasts = [None; TOGETHER];
        for (i, row) in rows.iter().enumerate() {
            if row.degenerate(self.masked).is_none() {
                lasts[i] = Some(losses[i]);
            }
        }
        lasts
    }

    #[inline(always)]
    fn last<S: Simd>(&self, s: S, loss: Loss) -> Subtract<S, C> {
        loss.subtract(s, self.scale)
    }

    #[inline(always)]
    fn short<S: Simd, const N: usize>(&self, s: S, rows: &mut [Write<'_, E>]) {
        let known = Apart::<N>::of(s, rows, self.scale, &mut ());
        let (losses, totals) = (short_losses(&known), known.totals());
        for (i, row) in rows.iter_mut().enumerate() {
            match degenerate(totals[i], self.masked) {
                Some(value) => lanes::fill(s, row, value),
                None => lanes::map(s, row, 0.0, losses(i).subtract(s, self.scale)),
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Sums],
        _: Option<&[Sums]>,
        _: Origin,
        segments: &mut [impl Span<E>],
    ) {
        let losses = losses(rows);
        for (i, segment) in segments.iter_mut().enumerate() {
            match rows[i].degenerate(self.masked) {
                Some(value) => lanes::fill(s, segment, value),
                None => lanes::map(s, segment, 0.0, losses[i].subtract(s, self.scale)),
            }
        }
    }

    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, s: S, known: &Apart<TOGETHER>, rows: &mut Narrow) {
        let losses = short_losses(known);
        rows.finish(s, |row| losses(row).subtract(s, self.scale));
    }
}

/// The last pass.
struct Subtract<S: Simd, C> {
    scale: C,
    minus_pivot: S::F32,
    hi: S::F32,
    lo: S::F32,
}

impl<S: Simd, C: Scale> Map<S> for Subtract<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            let (z, rest) = self.scale.divide(s, self.scale.shift(s, *x, self.minus_pivot));
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
