//! Entropy: `H = -sum_i p_i log p_i` with `p = softmax(x / T)`.
//!
//! With the [`moments`](super::moments) of `d_i = (m - x_i) / T`: `H = log(S / e) + W / S`, with `S = sum e_i` and the
//! maximum's term `e`, and `W = sum e_i d_i`. Nothing in that is negative, so nothing cancels, also where one logit has
//! all but nothing of the mass and `H` is small: there `log(S / e) = log1p(S' / e)`, with the sum `S'` of the terms that
//! are not the maximum's. Varentropy is the variance of `d`, `C / S`.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: a term has one below 1.6 u (at any temperature; 2 u without fused multiply-add), `d` one
//! below 2 u, and their product and the three levels of a group's tree add 4 u. So `W` is within 7.6 u and `S` within
//! 4.6 u, their quotient within 12.2 u, and `S' / e` within 6.2 u, which log1p does not magnify. A sum of two that are
//! not negative has no larger relative error than the worse of them: below 12.2 u < 7.3e-7 (13 u < 7.8e-7 without fused
//! multiply-add). To that comes what is lost with terms below `e^-132` of the maximum's: far less than 1e-12.
//!
//! Of varentropy `v`, with the mean `mu <= H` of `d`: a summand of `C` is within 8.6 u, and by `2 u d_i` of its root where `d`
//! rounds. What is taken off for the mean is at most three quarters of the sum, so the first is 34 u of `C`, and the second
//! `4 u (v + mu sqrt(v))`; the mean itself, within 12.2 u, makes `42 u mu sqrt(v)` of what is taken off; `S` has 4.6 u. Together
//! below `43 u v + 46 u mu sqrt(v)`: below `3e-6 (v + H sqrt(v))`.

use core::ops::Range;

use crate::element::Element;
use crate::math::double::ln_of_quotient;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::span::{Read, Span};
use crate::{Engine, Error};

use super::Softmax;
use super::moments::Moments;
use super::options::Kind;
use super::parts;
use super::short_moments::ShortMoments;
use super::temperature::{Scale, Temperature, Unit};

/// `-sum_i p_i log p_i` in nats, with `p = softmax(x)`: how much is open. `exp` of it is the perplexity of the row, a
/// number of equally probable choices.
///
/// One row, on this thread, without allocation; an [`Engine`] does batches. The relative error is below `1e-6`, also where
/// the entropy is close to 0. What is masked by -inf has no part in it.
///
/// NaN for a row without a distribution: with a NaN or +inf in it, of nothing but -inf, or without elements.
///
/// # Examples
///
/// ```
/// assert!((logits::entropy(&[1.0; 8]) - 8_f64.ln()).abs() < 1e-6);
/// assert_eq!(logits::entropy(&[1.0, f32::NEG_INFINITY]), 0.0);
/// // Nearly certain: 2 (1 + 40) e^-40.
/// let open = logits::entropy(&[40.0, 0.0, 0.0]);
/// assert!((open / (2.0 * 41.0 * (-40_f64).exp()) - 1.0).abs() < 1e-6);
/// ```
#[must_use]
pub fn entropy(x: &[f32]) -> f64 {
    let mut out = [f64::NAN];
    if !x.is_empty() {
        let _ = Engine::new().serial().entropy(Rows::one(x), &mut out);
    }
    out[0]
}

impl Engine {
    /// [`entropy`] of each row: one `f64` a row, in nats.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let logits = [0.0, 0.0, 100.0, 0.0];
    /// let mut out = [0.0; 2];
    /// Engine::new().entropy(Rows::new(&logits, 2)?, &mut out)?;
    /// assert!((out[0] - 2_f64.ln()).abs() < 1e-6 && out[1] < 1e-40);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn entropy(&self, x: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.entropy_with(x, out, &Softmax::default())
    }

    /// [`Engine::entropy`] of `softmax(x / T)`. At temperature 0 it is 0.
    ///
    /// [`MaskedRows`](crate::MaskedRows) changes nothing: a row without a distribution has no entropy, and gets NaN.
    ///
    /// # Errors
    ///
    /// As [`Engine::entropy`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn entropy_with(&self, x: Rows<'_>, out: &mut [f64], options: &Softmax) -> Result<(), Error> {
        apply(self, x, out, options, false)
    }

    /// The perplexity of each row: `exp` of its [`entropy`], the number of equally probable choices that are as open.
    ///
    /// From 1 to the number of columns. Its relative error is the absolute one of the entropy: below `1e-6` times that.
    /// NaN for a row without a distribution.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let mut out = [0.0];
    /// Engine::new().perplexity(Rows::new(&[7.0; 50], 50)?, &mut out)?;
    /// assert!((out[0] - 50.0).abs() < 1e-3);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn perplexity(&self, x: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.perplexity_with(x, out, &Softmax::default())
    }

    /// [`Engine::perplexity`] of `softmax(x / T)`.
    ///
    /// # Errors
    ///
    /// As [`Engine::perplexity`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn perplexity_with(&self, x: Rows<'_>, out: &mut [f64], options: &Softmax) -> Result<(), Error> {
        apply(self, x, out, options, true)
    }

    /// The varentropy of each row: the variance of `-log p` under `p = softmax(x)`, in nats squared.
    ///
    /// 0 where all that is possible is equally probable. The error is below `3e-6 (v + h sqrt(v))`, with the entropy `h` and the
    /// varentropy `v`, on ordinary rows below `1e-6` of that. NaN for a row without a distribution.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one number for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let mut out = [7.0];
    /// Engine::new().varentropy(Rows::new(&[3.0; 9], 9)?, &mut out)?;
    /// assert_eq!(out, [0.0]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn varentropy(&self, x: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.varentropy_with(x, out, &Softmax::default())
    }

    /// [`Engine::varentropy`] of `softmax(x / T)`. At temperature 0 it is 0.
    ///
    /// # Errors
    ///
    /// As [`Engine::varentropy`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn varentropy_with(&self, x: Rows<'_>, out: &mut [f64], options: &Softmax) -> Result<(), Error> {
        let (scale, certain) = match options.temperature()? {
            Kind::One => (None, false),
            Kind::Other(scale) => (Some(scale), false),
            // Also where there are several as large, all is given to one.
            Kind::Zero => (Some(Temperature::new(0.0)), true),
        };
        parts::read(self, x, scale, out, |row, _| {
            let varentropy = row.varentropy();
            if certain && !varentropy.is_nan() { 0.0 } else { varentropy }
        })
    }
}

fn apply(
    engine: &Engine,
    x: Rows<'_>,
    out: &mut [f64],
    options: &Softmax,
    exponential: bool,
) -> Result<(), Error> {
    match options.temperature()? {
        Kind::One => engine.reduce(x, out, &Entropy { scale: Unit, certain: false, exponential }),
        Kind::Other(scale) => engine.reduce(x, out, &Entropy { scale, certain: false, exponential }),
        Kind::Zero => {
            engine.reduce(x, out, &Entropy { scale: Temperature::new(0.0), certain: true, exponential })
        }
    }
}

struct Entropy<C> {
    scale: C,
    /// Whether all is given to one logit, at temperature 0: also where there are others as large.
    certain: bool,
    /// Whether `exp` of it is wanted.
    exponential: bool,
}

#[inline(always)]
fn entropy_of(top: f64, others: f64, weighted: f64) -> f64 {
    let sum = others + top;
    let entropy = ln_of_quotient(sum, top, others) + weighted / sum;
    // The logarithm of what is no sum may be anything; and there is but one NaN.
    if sum > 0.0 && sum < f64::INFINITY { entropy } else { f64::NAN }
}

impl<C> Entropy<C> {
    #[inline(always)]
    fn all(
        &self,
        tops: &[f64; TOGETHER],
        others: &[f64; TOGETHER],
        weighted: &[f64; TOGETHER],
    ) -> [f64; TOGETHER] {
        let mut results = [0.0; TOGETHER];
        for (i, result) in results.iter_mut().enumerate() {
            *result = entropy_of(tops[i], others[i], weighted[i]);
        }
        for result in &mut results {
            *result = self.becomes(*result);
        }
        results
    }

    #[inline(always)]
    fn becomes(&self, entropy: f64) -> f64 {
        let entropy = if self.certain && !entropy.is_nan() { 0.0 } else { entropy };
        if self.exponential { libm::exp(entropy) } else { entropy }
    }
}

impl<E: Element, C: Scale> Reduce<E> for Entropy<C> {
    type Partial = Moments;
    type Together = ShortMoments<TOGETHER>;

    const ALONE: bool = true;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Moments],
        _: &mut impl Sides<S>,
    ) {
        Moments::of_segments::<S, E, C, false>(s, segments, known, self.scale);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<ShortMoments<TOGETHER>> {
        ShortMoments::of_narrow::<S, C, false>(s, rows, self.scale)
    }

    #[inline(always)]
    fn merge(&self, left: Moments, right: Moments) -> Moments {
        left.merge(right, self.scale)
    }
}

impl<E: Element, C: Scale> Summarize<E> for Entropy<C> {
    type Output = f64;

    const SHORT: bool = true;

    #[inline(always)]
    fn result(&self, _: usize, known: Moments) -> f64 {
        self.becomes(entropy_of(known.top, known.others, known.weighted))
    }

    #[inline(always)]
    fn results(&self, _: usize, known: &[Moments]) -> [f64; TOGETHER] {
        // Field by field: so the loop over rows is vectorised.
        let (mut tops, mut others, mut weighted) = ([1.0; TOGETHER], [1.0; TOGETHER], [0.0; TOGETHER]);
        for (i, row) in known.iter().enumerate() {
            (tops[i], others[i], weighted[i]) = (row.top, row.others, row.weighted);
        }
        self.all(&tops, &others, &weighted)
    }

    #[inline(always)]
    fn short<S: Simd>(&self, s: S, _: usize, rows: &[Read<'_, E>]) -> Option<ShortMoments<TOGETHER>> {
        Some(ShortMoments::of::<S, E, C, false>(s, rows, self.scale))
    }

    #[inline(always)]
    fn results_together(&self, _: Range<usize>, rows: &ShortMoments<TOGETHER>) -> [f64; TOGETHER] {
        self.all(&rows.tops, &rows.others, &rows.weighted)
    }
}
