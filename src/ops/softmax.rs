//! Softmax: `p_i = exp(x_i / T) / sum_j exp(x_j / T)`.
//!
//! Both forms compute the same terms and the same products, and so the same bits:
//!
//! - *store, then scale*: one exponential an element; the terms rest in the output until the row's sum is known.
//! - *fused two-pass*: shifts and sum in one read by segments, then each term once more, normalised. It needs no place
//!   for the terms and no memory of the segments.
//!
//! # Error
//!
//! Against the exact softmax, relative, with `u = 2^-24`; an ULP is between `u` and `2 u` of its number:
//!
//! - a term: 1.29 u (`MAX_RELATIVE` of [`exp`](crate::math::exp)), and at other temperatures than 1 up to 0.3 u more, since
//!   the rest of `x / T` is added to an argument of up to 0.35, which rounds;
//! - the sum of terms: as much, and for the three levels of a group's tree 3 u; what is added in f64 does not count;
//! - `1 / S` as the sum of two floats: nothing;
//! - the product: half an ULP.
//!
//! Together `2 (1.29 + 0.3) u + 3 u` and half an ULP: below 7 ULP. Below `2^-126`, where an ULP is a step of `2^-149`, the
//! 6.18 u are less than 4 steps, and the products of the last pass round by half a step each: below 5 steps.
//! Without fused multiply-add a term has 1.65 u, and the product rounds once more, by u: below 9 ULP.

use core::mem::MaybeUninit;

use crate::element::Element;
use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::grid::{Grid, Uninit};
use crate::lanes::{self, Map, Then};
use crate::math::double::{in_two, power_of_two};
use crate::math::exp::BIAS;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, SHORT, Sides, TOGETHER, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{LANES, Simd};
use crate::span::{Span, Write};

use super::factor::{AnyFactor, Factor, SMALL};
use super::normalizer::{Kept, NarrowNormalizers, Normalizer, Shift, Term, degenerate};
use super::one_hot::OneHot;
use super::options::{Kind, Softmax};
use super::temperature::{Scale, Unit};

/// `softmax(x)`: each `x_i` becomes `exp(x_i) / sum_j exp(x_j)`, the probability that goes with the logit.
///
/// One row, on this thread, without allocation; an [`Engine`] does batches. The result is within 3 ULP of the exact
/// softmax on ordinary rows and within 7 ULP on any (see [Numerics](crate#numerics)).
///
/// A NaN or +inf in the row makes all of it NaN; logits of -inf get exactly 0; a row of nothing but -inf becomes NaN
/// ([`MaskedRows`](crate::MaskedRows) has the other choice).
///
/// # Panics
///
/// If the lengths differ.
///
/// # Examples
///
/// ```
/// let mut probabilities = [0.0; 3];
/// logits::softmax(&[0.0, 0.0, f32::NEG_INFINITY], &mut probabilities);
/// assert_eq!(probabilities, [0.5, 0.5, 0.0]);
/// ```
#[track_caller]
pub fn softmax(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "the lengths of input and output");
    let _ = Engine::new().serial().softmax(Rows::one(x), RowsMut::one(y));
}

/// [`softmax`] of a row in place.
///
/// # Examples
///
/// ```
/// let mut x = [1.0, 1.0, 1.0, 1.0];
/// logits::softmax_in_place(&mut x);
/// assert_eq!(x, [0.25; 4]);
/// ```
pub fn softmax_in_place(x: &mut [f32]) {
    let _ = Engine::new().serial().softmax_in_place(RowsMut::one(x));
}

impl Engine {
    /// [`softmax`] of each row.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if `out` has other rows or columns than `x`. Nothing has been written then.
    pub fn softmax(&self, x: Rows<'_>, out: RowsMut<'_>) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, &Softmax::default())
    }

    /// [`Engine::softmax`] with a temperature, or with another answer to masked rows.
    ///
    /// # Errors
    ///
    /// As [`Engine::softmax`], and [`Error::Temperature`] if the temperature is negative or NaN.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows, RowsMut, Softmax};
    ///
    /// let logits = [2.0, 1.0, 2.0];
    /// let mut out = [0.0; 3];
    /// let greedy = Softmax { temperature: 0.0, ..Default::default() };
    /// Engine::new().softmax_with(Rows::new(&logits, 3)?, RowsMut::new(&mut out, 3)?, &greedy)?;
    /// assert_eq!(out, [1.0, 0.0, 0.0]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn softmax_with(&self, x: Rows<'_>, out: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, options)
    }

    /// [`softmax`] of each row, in place of the logits.
    ///
    /// # Errors
    ///
    /// None as yet: the signature is that of its kin.
    pub fn softmax_in_place(&self, x: RowsMut<'_>) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), &Softmax::default())
    }

    /// [`Engine::softmax_with`], in place of the logits.
    ///
    /// # Errors
    ///
    /// [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn softmax_in_place_with(&self, x: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), options)
    }

    /// [`softmax`] of each row into memory that need not be initialised, contiguous rows as long as those of `x`.
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
    /// let out = Engine::new().softmax_uninit(Rows::new(&logits, 2)?, &mut spare.spare_capacity_mut()[..2])?;
    /// assert_eq!(out, [0.5; 2]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn softmax_uninit<'a>(
        &self,
        x: Rows<'_>,
        out: &'a mut [MaybeUninit<f32>],
    ) -> Result<&'a mut [f32], Error> {
        apply(self, Uninit::new(x, out)?, &Softmax::default())
    }

    /// [`Engine::softmax_uninit`] with options.
    ///
    /// # Errors
    ///
    /// As [`Engine::softmax_uninit`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn softmax_uninit_with<'a>(
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
    let masked = options.masked_rows.value(0.0);
    Ok(match options.temperature()? {
        Kind::One => place.transform(engine, &AtTemperature { scale: Unit, masked }),
        Kind::Zero => place.transform(engine, &OneHot { hot: 1.0, cold: 0.0, masked }),
        Kind::Other(scale) => place.transform(engine, &AtTemperature { scale, masked }),
    })
}

/// The operation at some temperature.
struct AtTemperature<C> {
    scale: C,
    masked: f32,
}

impl<E: Element, C: Scale> Reduce<E> for AtTemperature<C> {
    type Partial = Normalizer;
    type Together = NarrowNormalizers;

    const ALONE: bool = true;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Normalizer],
        sides: &mut impl Sides<S>,
    ) {
        Normalizer::of_segments(s, segments, known, self.scale, sides);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<NarrowNormalizers> {
        NarrowNormalizers::of(s, rows, self.scale)
    }

    #[inline(always)]
    fn merge(&self, left: Normalizer, right: Normalizer) -> Normalizer {
        left.merge(right, self.scale)
    }
}

impl<E: Element, C: Scale> Transform<E> for AtTemperature<C> {
    const STORES: bool = E::KEEPS_LANES;
    /// Exponentials that are computed anew are those of another segment.
    const STREAMS: bool = E::KEEPS_LANES;
    const PIPELINE: usize = SHORT + 1;
    const SHORT: bool = true;

    type Last = (f32, f32);
    type LastMap<S: Simd> = Factor<S::F32>;

    #[inline(always)]
    fn lasts(&self, rows: &[Normalizer]) -> [Option<(f32, f32)>; TOGETHER] {
        let mut sums = [1.0; TOGETHER];
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = row.sum;
        }
        let (mut hi, mut lo) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            (hi[i], lo[i]) = in_two(1.0 / sums[i]);
        }
        let mut lasts = [None; TOGETHER];
        for (i, row) in rows.iter().enumerate() {
            // Where the shift is that of plain rows no factor is below SMALL.
            if row.shift == Shift::PLAIN && degenerate(row.sum, 0.0).is_none() {
                lasts[i] = Some((hi[i], lo[i]));
            }
        }
        lasts
    }

    #[inline(always)]
    fn last<S: Simd>(&self, s: S, (hi, lo): (f32, f32)) -> Factor<S::F32> {
        Factor { hi: s.splat(hi), lo: s.splat(lo) }
    }

    #[inline(always)]
    fn short<S: Simd, const N: usize>(&self, s: S, rows: &mut [Write<'_, E>]) {
        let Kept { terms, sums, shifts } = Kept::<S, N>::of(s, rows, self.scale);
        let (mut hi, mut lo) = ([0.0; N], [0.0; N]);
        for i in 0..N {
            (hi[i], lo[i]) = in_two(1.0 / sums[i]);
        }
        for (i, row) in rows.iter_mut().enumerate() {
            if let Some(value) = degenerate(sums[i], self.masked) {
                lanes::fill(s, row, value);
                continue;
            }
            if shifts.get(i) == Shift::PLAIN {
                put_kept(s, row, &terms[i], Factor { hi: s.splat(hi[i]), lo: s.splat(lo[i]) });
            } else {
                put_kept(s, row, &terms[i], AnyFactor::new(s, 1.0 / sums[i]));
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Normalizer],
        stored: Option<&[Normalizer]>,
        _: Origin,
        segments: &mut [impl Span<E>],
    ) {
        for (i, segment) in segments.iter_mut().enumerate() {
            let row = &rows[i];
            if let Some(value) = degenerate(row.sum, self.masked) {
                lanes::fill(s, segment, value);
            } else if let Some(stored) = stored {
                let factor = row.factor(stored[i].shift, self.scale);
                if stored[i].shift == Shift::PLAIN && factor >= SMALL {
                    lanes::map(s, segment, 0.0, Factor::new(s, factor));
                } else {
                    lanes::map(s, segment, 0.0, AnyFactor::new(s, factor));
                }
            } else {
                let Some(shift) = Shift::of(s, segment, self.scale) else {
                    lanes::fill(s, segment, 0.0);
                    continue;
                };
                let term = Term::<S, C, false>::new(s, shift, self.scale);
                let factor = row.factor(shift, self.scale);
                lanes::map(s, segment, f32::NEG_INFINITY, Then(term, AnyFactor::new(s, factor)));
            }
        }
    }

    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, s: S, known: &NarrowNormalizers, rows: &mut Narrow) {
        if known.plain {
            let (mut hi, mut lo) = ([0.0; TOGETHER], [0.0; TOGETHER]);
            for i in 0..TOGETHER {
                (hi[i], lo[i]) = in_two(1.0 / known.sums[i]);
            }
            return rows.finish_terms(s, |row| Factor { hi: s.splat(hi[row]), lo: s.splat(lo[row]) });
        }
        rows.term_columns_to_rows(s);
        let (mut hi, mut lo, mut last) = ([0.0; TOGETHER], [0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            // As for short rows; of so few terms no factor is below SMALL.
            let as_plain = known.shifts.get(i) == Shift::PLAIN;
            (hi[i], lo[i]) = in_two(1.0 / known.sums[i] * if as_plain { 1.0 } else { power_of_two(BIAS) });
            last[i] = if as_plain { 1.0 } else { power_of_two(-BIAS) as f32 };
        }
        rows.finish_terms(s, |row| AnyFactor {
            first: s.splat(1.0),
            factor: Factor { hi: s.splat(hi[row]), lo: s.splat(lo[row]) },
            last: s.splat(last[row]),
        });
    }
}

/// Writes what becomes of terms that have been kept.
#[inline(always)]
fn put_kept<S: Simd, E: Element>(
    s: S,
    row: &mut Write<'_, E>,
    terms: &[S::F32; SHORT / LANES],
    map: impl Map<S>,
) {
    for pair in terms.as_chunks::<2>().0 {
        row.put_pair::<S>(map.apply(s, *pair));
    }
}
