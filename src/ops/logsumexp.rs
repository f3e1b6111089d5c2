//! Logsumexp: `log sum_j exp(x_j)`.
//!
//! # Error
//!
//! With `u = 2^-24`: each term has a relative error below 1.29 u (`MAX_RELATIVE` of [`exp`](crate::math::exp); 1.65 u
//! without fused multiply-add) and the three levels of a group's tree add 3 u, so the sum has one below 4.7 u < 3e-7, which is
//! the absolute error of its logarithm.
//! What follows is done in f64 on numbers of at most the result's size or a few hundred.

use core::ops::Range;

use crate::element::Element;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::span::Span;
use crate::{Engine, Error};

use super::normalizer::{NarrowNormalizers, Normalizer};
use super::temperature::Unit;

/// `log sum_j exp(x_j)` in nats: the logarithm of what softmax divides by.
///
/// One row, on this thread, without allocation. The error is below `3e-7` absolute plus `2^-50` relative.
///
/// NaN if there is a NaN, else +inf if there is a +inf; -inf for a row of nothing but -inf, and for an empty one.
///
/// # Examples
///
/// ```
/// assert!((logits::logsumexp(&[0.0, 0.0]) - 2_f64.ln()).abs() < 3e-7);
/// assert_eq!(logits::logsumexp(&[]), f64::NEG_INFINITY);
/// ```
#[must_use]
pub fn logsumexp(x: &[f32]) -> f64 {
    let mut out = [f64::NEG_INFINITY];
    if !x.is_empty() {
        let _ = Engine::new().serial().logsumexp(Rows::one(x), &mut out);
    }
    out[0]
}

impl Engine {
    /// [`logsumexp`] of each row: one `f64` a row.
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
    /// let logits = [0.0, 0.0, 1e4, f32::NEG_INFINITY];
    /// let mut out = [0.0; 2];
    /// Engine::new().logsumexp(Rows::new(&logits, 2)?, &mut out)?;
    /// assert_eq!(out[1], 1e4);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn logsumexp(&self, x: Rows<'_>, out: &mut [f64]) -> Result<(), Error> {
        self.reduce(x, out, &LogSumExp)
    }
}

struct LogSumExp;

impl<E: Element> Summarize<E> for LogSumExp {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: Normalizer) -> f64 {
        known.logsumexp(Unit)
    }

    #[inline(always)]
    fn results(&self, _: usize, rows: &[Normalizer]) -> [f64; TOGETHER] {
        Normalizer::logsumexps(rows, Unit)
    }

    #[inline(always)]
    fn results_together(&self, _: Range<usize>, rows: &NarrowNormalizers) -> [f64; TOGETHER] {
        rows.logsumexps(Unit)
    }
}

impl<E: Element> Reduce<E> for LogSumExp {
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
        Normalizer::of_segments(s, segments, known, Unit, sides);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<NarrowNormalizers> {
        NarrowNormalizers::of(s, rows, Unit)
    }

    #[inline(always)]
    fn merge(&self, left: Normalizer, right: Normalizer) -> Normalizer {
        left.merge(right, Unit)
    }
}
