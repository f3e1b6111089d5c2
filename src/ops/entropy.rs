//! Entropy: `H = -sum_i p_i log p_i` with `p = softmax(x / T)`.
//!
//! With the maximum `m`, `d_i = (m - x_i) / T` and terms `e_i` as in [`normalizer`](super::normalizer), of which that
//! of the maximum is `e`: `H = log(S / e) + W / S`, where `S = sum e_i` and `W = sum e_i d_i`. Nothing in that is
//! negative, so nothing cancels, also where one logit has all but nothing of the mass and `H` is small: there `log(S /
//! e) = log1p(S' / e)`, with the sum `S'` of the terms that are not the maximum's.
//!
//! Two segments, of which the first has the larger maximum, by `delta`, and `f` makes terms of the second terms of the
//! first, merge as `S' = S1' + f S2` and `W = W1 + f (W2 + delta S2)`.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: a term has one below 1.6 u (at any temperature; 2 u without fused multiply-add), `d` one
//! below 2 u, and their product and the three levels of a group's tree add 4 u. So `W` is within 7.6 u and `S` within
//! 4.6 u, their quotient within 12.2 u, and `S' / e` within 6.2 u, which log1p does not magnify. A sum of two that are
//! not negative has no larger relative error than the worse of them: below 12.2 u < 7.3e-7 (13 u < 7.8e-7 without fused
//! multiply-add). To that comes what is lost with terms below `e^-132` of the maximum's: far less than 1e-12.

use crate::element::Element;
use crate::lanes::{self, Map};
use crate::math::double::ln_of_quotient;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::{F32, Mask, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Terms};
use crate::{Engine, Error};

use super::Softmax;
use super::normalizer::{Shift, Term, all_positive, narrow_shifts, widened};
use super::options::Kind;
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
        apply(self, x, out, options, |entropy| entropy)
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
        apply(self, x, out, options, libm::exp)
    }
}

fn apply(
    engine: &Engine,
    x: Rows<'_>,
    out: &mut [f64],
    options: &Softmax,
    becomes: fn(f64) -> f64,
) -> Result<(), Error> {
    match options.temperature()? {
        Kind::One => engine.reduce(x, out, &Entropy { scale: Unit, certain: false, becomes }),
        Kind::Other(scale) => engine.reduce(x, out, &Entropy { scale, certain: false, becomes }),
        Kind::Zero => {
            engine.reduce(x, out, &Entropy { scale: Temperature::new(0.0), certain: true, becomes })
        }
    }
}

struct Entropy<C> {
    scale: C,
    /// Whether all is given to one logit, at temperature 0: also where there are others as large.
    certain: bool,
    /// What the entropy becomes.
    becomes: fn(f64) -> f64,
}

/// What is known of some segments.
#[derive(Clone, Copy)]
struct Known {
    /// The maximum; -inf if there is nothing else, and +inf if there is no distribution.
    max: f32,
    shift: Shift,
    /// Its term.
    top: f64,
    /// The sum of all other terms.
    others: f64,
    /// The sum of `e_i d_i`.
    weighted: f64,
}

/// What is known of nothing.
impl Default for Known {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, shift: Shift::PLAIN, top: 0.0, others: 0.0, weighted: 0.0 }
    }
}

impl Known {
    /// What is known of some segments, if one of them has no distribution.
    const NOTHING: Self =
        Self { max: f32::INFINITY, shift: Shift::PLAIN, top: f64::NAN, others: f64::NAN, weighted: f64::NAN };
}

/// What is known of narrow rows: fields as in [`Known`].
struct NarrowKnown {
    tops: [f64; TOGETHER],
    others: [f64; TOGETHER],
    weighted: [f64; TOGETHER],
}

#[inline(always)]
fn entropy_of(top: f64, others: f64, weighted: f64) -> f64 {
    let sum = others + top;
    let entropy = ln_of_quotient(sum, top, others) + weighted / sum;
    // The logarithm of what is not a number may be anything; and there is but one NaN.
    if sum > 0.0 { entropy } else { f64::NAN }
}

impl<C> Entropy<C> {
    #[inline(always)]
    fn becomes(&self, entropy: f64) -> f64 {
        (self.becomes)(if self.certain && !entropy.is_nan() { 0.0 } else { entropy })
    }
}

impl<E: Element, C: Scale> Summarize<E> for Entropy<C> {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: Known) -> f64 {
        self.becomes(entropy_of(known.top, known.others, known.weighted))
    }

    #[inline(always)]
    fn narrow_results(&self, _: usize, rows: &NarrowKnown) -> [f64; TOGETHER] {
        let mut results = [0.0; TOGETHER];
        for (i, result) in results.iter_mut().enumerate() {
            *result = entropy_of(rows.tops[i], rows.others[i], rows.weighted[i]);
        }
        for result in &mut results {
            *result = self.becomes(*result);
        }
        results
    }
}

impl<E: Element, C: Scale> Reduce<E> for Entropy<C> {
    type Partial = Known;
    type Narrow = NarrowKnown;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Known],
        _: &mut impl Sides<S>,
    ) {
        for (segment, known) in segments.iter().zip(known) {
            *known = self.segment(s, segment.rest());
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, rows: &mut Narrow) -> Option<NarrowKnown> {
        let columns = rows.columns(s);
        let max = columns.max(s);
        let term = Term::<S, C, false>::each(s, &narrow_shifts(s, columns, self.scale), self.scale);
        let [tops] = term.apply(s, [max]);
        let mut weigh = Weigh::new(s, term, &max.to_array(), self.scale);
        let [others, weighted] = columns.sums_of(s, &mut weigh);
        let (counts, mut sums) = (columns.counts(s, max), others);
        let mut known = NarrowKnown { tops: widened(&tops.to_array()), others, weighted };
        for i in 0..TOGETHER {
            known.others[i] += f64::from(counts[i] - 1.0) * known.tops[i];
            known.weighted[i] = -known.weighted[i];
            sums[i] = known.others[i] + known.tops[i];
        }
        // There is no NaN, and not nothing but -inf.
        all_positive(&sums).then_some(known)
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        let (larger, smaller) = if right.max > left.max { (right, left) } else { (left, right) };
        // Nothing has a distance of infinity.
        if smaller.max == f32::NEG_INFINITY {
            return larger;
        }
        let weight = smaller.shift.weight(larger.shift, self.scale);
        let distance = self.scale.exact(f64::from(larger.max) - f64::from(smaller.max));
        let sum = smaller.others + smaller.top;
        Known {
            others: larger.others + weight * sum,
            weighted: larger.weighted + weight * (smaller.weighted + distance * sum),
            ..larger
        }
    }
}

impl<C: Scale> Entropy<C> {
    #[inline(always)]
    fn segment<S: Simd, E: Element>(&self, s: S, segment: Read<'_, E>) -> Known {
        let max = lanes::max_reduce(s, segment);
        if !max.is_finite() {
            let masked = max == f32::NEG_INFINITY && !lanes::has_nan(s, segment);
            return if masked { Known::default() } else { Known::NOTHING };
        }
        let shift = Shift::new(max, self.scale);
        let term = Term::<S, C, false>::new(s, shift, self.scale);
        let [top] = term.apply(s, [s.splat(max)]);
        let top = f64::from(top.to_array()[0]);
        let mut weigh = Weigh::new(s, term, &[max], self.scale);
        let [others, weighted] = sums::sums_of(s, [segment], [f32::NEG_INFINITY], &mut weigh);
        // Where there are several of the largest, but one is left.
        let others = others + f64::from(weigh.found - 1) * top;
        if others.is_nan() { Known::NOTHING } else { Known { max, shift, top, others, weighted: -weighted } }
    }
}

/// A `-d` whose term is 0, so that it does not matter that it should be lower.
const LOWEST: f32 = -150.0;

/// The terms of those that are not a maximum, and `-e_i d_i` of all.
struct Weigh<S: Simd, C: Scale> {
    term: Term<S, C, false>,
    scale: C,
    max: S::F32,
    minus_max: S::F32,
    lowest: S::F32,
    /// How often the maximum is there.
    found: u32,
}

impl<S: Simd, C: Scale> Weigh<S, C> {
    /// With the maximum of each lane, or the only one.
    #[inline(always)]
    fn new<const N: usize>(s: S, term: Term<S, C, false>, maxima: &[f32; N], scale: C) -> Self {
        let mut minus_maxima = *maxima;
        for max in &mut minus_maxima {
            *max = scale.minus(*max);
        }
        Self {
            term,
            scale,
            max: lanes::each(s, maxima),
            minus_max: lanes::each(s, &minus_maxima),
            lowest: s.splat(LOWEST),
            found: 0,
        }
    }
}

impl<S: Simd, C: Scale> Terms<S, 1, 2> for Weigh<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 2] {
        let mut terms = self.term.apply(s, x);
        let mut weighted = terms;
        for i in 0..N {
            let (minus_d, _) = self.scale.divide(s, self.scale.shift(s, x[i], self.minus_max));
            weighted[i] = terms[i] * self.lowest.max(minus_d);
            let is_max = x[i].equals(self.max);
            terms[i] = is_max.select(s.splat(0.0), terms[i]);
            let found = is_max.bits();
            if found != 0 {
                self.found += found.count_ones();
            }
        }
        [terms, weighted]
    }
}
