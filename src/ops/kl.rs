//! Kullback-Leibler divergence: `KL(P || Q) = sum_i p_i log(p_i / q_i)`.
//!
//! Where P and Q are nearly the same, `log(p_i / q_i)` are small and of both signs, and their sum is as small as their
//! squares: it cancels. With `d_i = log(p_i / q_i)` and `phi(d) = exp(-d) - 1 + d >= 0` it is `sum_i p_i phi(d_i)`, of
//! which nothing cancels, as `sum_i p_i (exp(-d_i) - 1) = sum_i q_i - p_i = 0`.
//!
//! In a segment, with terms `e_i` of P and `f_i` of Q as in [`normalizer`](super::normalizer), and `c` about `log sum e -
//! log sum f`:
//!
//! 1. `d_i = (x_i - y_i) - c`, in f64, as the difference may be small beside the logits;
//! 2. `F = sum e_i phi(d_i)` and `D = sum e_i d_i`. For `|d_i| <= 2` the first is `e_i d_i` times
//!    [`phi(d_i) / d_i`](crate::math::phi); beyond it is `f_i + (e_i d_i - e_i)`, with `f_i` in units of `e_i`. Where `e_i = 0`
//!    it is `f_i`.
//! 3. What `c` lacks is known from that: `r = (F - D) / sum e`, and `c - log(1 + r)` is the logarithm of the quotient of
//!    the masses, as exact as the differences. The divergence within the segment is `F / sum e - (r - log(1 + r))`.
//!
//! Segments merge by the chain rule: the divergence of two segments is what is within them, weighted by their mass in P,
//! and that between them, of two distributions of two elements each: with the part `w` of the second and the logarithm `g` of
//! the quotient of the quotients of the masses, `log(1 + t) - w g = w phi(-g) - (t - log(1 + t))` for `t = w (exp(g) - 1)`.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: `e_i` is within 1.6 u, and `d_i` within u, of which `phi` makes 3 u at most, at `d_i = -2`; the
//! polynomial and three products add 4.5 u: 9.1 u. Beyond `|d_i| = 2`: `f_i` is within 2.6 u in units of `e_i`, and at most, at `d_i =
//! -2`, 1.7 times as large as what is added; with the other parts that is 8.1 u. At `d_i = 2` it is `e_i d_i` that is 1.8 times as
//! large: 7.1 u. A group's tree adds 3 u, and `sum e` has 4.6 u: below 16.7 u < `1e-6`. To that come the differences, whose roundings
//! are relative to themselves, and at most `2^-50` of the largest logit. Without fused multiply-add below `1.2e-6`.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::math::double::ln_of_quotient;
use crate::math::phi::{REACH, phi_f64, phi_over};
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, SEGMENT, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::{F32, F64, Mask, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Terms};

use super::normalizer::Normalizer;
use super::short_kl::ShortKl;
use super::side::Side;

/// The divergence of the rows of two batches.
pub struct Kl<'a, P, Q> {
    pub p: P,
    pub q: Q,
    pub rows: [Rows<'a>; 2],
}

/// What is known of some segments.
#[derive(Clone, Copy)]
pub struct Known {
    p: Normalizer,
    q: Normalizer,
    /// The divergence within them, times the sum of P's terms.
    within: f64,
    /// The logarithm of the quotient of the masses of Q and P, where there are both: more exact than the sums.
    ratio: f64,
}

/// Of nothing.
impl Default for Known {
    fn default() -> Self {
        Self { p: Normalizer::default(), q: Normalizer::default(), within: 0.0, ratio: 0.0 }
    }
}

impl<P: Side, Q: Side> Kl<'_, P, Q> {
    #[inline(always)]
    fn segment<S: Simd>(
        &self,
        s: S,
        [x, y]: [&[f32]; 2],
        rooms: &mut [[MaybeUninit<f32>; SEGMENT]; 2],
    ) -> Known {
        let [first, second] = rooms;
        let (p, e) = self.p.terms(s, x, first);
        let (q, f) = self.q.terms(s, y, second);
        if !are_distributions(&p, &q) {
            return Known::without(p, q);
        }
        let center = self.center(&p, &q);
        let around = (s.splat_f64(center), s.splat(unit(&p, &q)));
        let mut elements = Elements::new((self.p, self.q), around);
        let spans = [Read::new(x), Read::new(y), e, f];
        Known::of(p, q, center, sums::sums_of(s, spans, FILL, &mut elements))
    }

    /// About the logarithm of the quotient of the masses of P and Q.
    #[inline(always)]
    pub(super) fn center(&self, p: &Normalizer, q: &Normalizer) -> f64 {
        self.p.logsumexp(*p) - self.q.logsumexp(*q)
    }
}

/// What makes terms of Q as large as those of P.
#[inline(always)]
pub fn unit(p: &Normalizer, q: &Normalizer) -> f32 {
    (p.sum / q.sum) as f32
}

/// Whether there is a distribution on both sides.
#[inline(always)]
fn are_distributions(p: &Normalizer, q: &Normalizer) -> bool {
    is_distribution(p.sum) && is_distribution(q.sum)
}

/// Whether terms with this sum are those of a distribution.
#[inline(always)]
pub fn is_distribution(sum: f64) -> bool {
    sum > 0.0 && sum < f64::INFINITY
}

impl Known {
    /// Without a distribution on one side.
    fn without(p: Normalizer, q: Normalizer) -> Self {
        // All of P's mass is where Q has none, if it has any elsewhere.
        let within = if p.sum > 0.0 && q.sum == 0.0 { f64::INFINITY } else { 0.0 };
        Self { p, q, within, ratio: 0.0 }
    }

    /// Given the sums of what [`Elements`] add around this center.
    #[inline(always)]
    fn of(p: Normalizer, q: Normalizer, center: f64, sums: [f64; 2]) -> Self {
        let (within, logarithm) = within(p.sum, sums);
        let ratio = if within == f64::INFINITY { 0.0 } else { logarithm - center };
        Self { p, q, within, ratio }
    }
}

/// The divergence within a segment, times the sum of P's terms, given that sum and what its elements add; and the logarithm of what its
/// center lacks. Without branches, so that a loop over rows is vectorised.
#[inline(always)]
pub fn within(p: f64, [divergence, difference]: [f64; 2]) -> (f64, f64) {
    // Where the two are far apart, what is left of both is what rounding has left, and nothing beside them.
    let lacking = if divergence > FAR * p { 0.0 } else { divergence - difference };
    let logarithm = ln_of_quotient(p + lacking, p, lacking);
    // Twice what is below the last place of the quotient is not negative.
    let within = divergence - (lacking - p * logarithm);
    (if within > 0.0 { within } else { 0.0 }, logarithm)
}

/// From this divergence within a segment on its two parts need no correction: what `c` lacks, `1e-6` at most, adds the square of that.
const FAR: f64 = 1e3;

/// What adds nothing.
const FILL: [f32; 4] = [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0];

/// What an element adds.
pub struct Elements<S: Simd, P, Q> {
    p: P,
    q: Q,
    center: S::F64,
    unit: S::F32,
}

impl<S: Simd, P: Side, Q: Side> Elements<S, P, Q> {
    /// Given the center, and the unit of Q's terms.
    #[inline(always)]
    pub fn new((p, q): (P, Q), (center, unit): (S::F64, S::F32)) -> Self {
        Self { p, q, center, unit }
    }
}

impl<S: Simd, P: Side, Q: Side> Terms<S, 4, 2> for Elements<S, P, Q> {
    const IN_STEP: bool = true;

    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x, y, e, f]: [[S::F32; N]; 4]) -> [[S::F32; N]; 2] {
        let (zero, reach) = (s.splat(0.0), s.splat(REACH));
        let mut d = x;
        for i in 0..N {
            let quotient = self.p.logarithms(s, x[i]) - self.q.logarithms(s, y[i]);
            d[i] = (quotient - self.center).narrow();
        }
        let mut divergences = phi_over(s, d);
        for i in 0..N {
            // NaN, which is the difference of two that are masked, is not near.
            let near = reach.exceeds(d[i].abs());
            // Of nothing, which may lie infinitely far from Q.
            let difference = e[i].equals(zero).select(zero, e[i] * d[i]);
            let far = f[i].mul_add(self.unit, difference - e[i]);
            divergences[i] = near.select(difference * divergences[i], far);
            d[i] = difference;
        }
        [divergences, d]
    }
}

impl<P: Side, Q: Side> Reduce<f32> for Kl<'_, P, Q> {
    type Partial = Known;
    type Together = ShortKl;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Known],
        _: &mut impl Sides<S>,
    ) {
        let mut rooms = [[const { MaybeUninit::uninit() }; SEGMENT]; 2];
        for (i, known) in known.iter_mut().enumerate() {
            let len = segments[i].rest().len();
            let pair = self.rows.map(|rows| &rows.row(origin.row + i)[origin.at..][..len]);
            *known = self.segment(s, pair, &mut rooms);
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, first: usize, rows: &mut Narrow) -> Option<ShortKl> {
        if Self::SHORT { self.of_narrow(s, first, rows) } else { None }
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        let (p, q) = (self.p.merge(left.p, right.p), self.q.merge(left.q, right.q));
        let part = |known: Known| {
            // Of nothing there is no weight.
            if known.p.sum == 0.0 { 0.0 } else { self.p.weight(known.p.shift, p.shift) }
        };
        let (parts, known) = ([part(left), part(right)], [left, right]);
        let mass = |i: usize| known[i].p.sum * parts[i];
        let within = |i: usize| if parts[i] == 0.0 { 0.0 } else { known[i].within * parts[i] };
        let inside = within(0) + within(1);
        if p.sum == 0.0 || inside == f64::INFINITY {
            return Known { p, q, within: inside, ratio: 0.0 };
        }
        let (large, small) = if mass(1) > mass(0) { (known[1], known[0]) } else { (known[0], known[1]) };
        let (between, more) = if small.p.sum == 0.0 {
            // All of P is in one of them: what Q has in the other is missing there.
            let missing = if small.q.sum == 0.0 {
                0.0
            } else {
                ln_1p_exp(self.q.logsumexp(small.q) - self.q.logsumexp(large.q))
            };
            (missing, missing)
        } else {
            let part = mass(0).min(mass(1)) / (mass(0) + mass(1));
            between(part, || self.p.logsumexp(small.p) - self.p.logsumexp(p), small.ratio - large.ratio)
        };
        Known { p, q, within: inside + p.sum * between, ratio: large.ratio + more }
    }
}

/// `log(1 + exp(x))`.
fn ln_1p_exp(x: f64) -> f64 {
    if x > 40.0 { x } else { libm::log1p(libm::exp(x)) }
}

/// The divergence of two elements each, of which the second has this part in P, and its quotient of Q and P is `exp(g)`
/// times that of the first; and the logarithm of the quotient of both together, in units of that of the first.
///
/// The part may be too small for an f64, and all of Q be there: so its logarithm is given, too.
fn between(part: f64, log_of_part: impl Fn() -> f64, g: f64) -> (f64, f64) {
    if g > 1.0 {
        // The logarithm of the part in Q, in the same units.
        let log_in_q = log_of_part() + g;
        let logarithm = if log_in_q > 40.0 { log_in_q } else { libm::log1p(libm::exp(log_in_q) - part) };
        return (logarithm - part * g, logarithm);
    }
    let t = part * libm::expm1(g);
    let logarithm = libm::log1p(t);
    let excess =
        if t.abs() < 0.01 { t * t * (0.5 - t * (1.0 / 3.0 - t * (0.25 - t * 0.2))) } else { t - logarithm };
    (part * phi_f64(-g) - excess, logarithm)
}

impl<P: Side, Q: Side> Summarize<f32> for Kl<'_, P, Q> {
    type Output = f64;

    const SHORT: bool = P::KEEPS && Q::KEEPS;

    #[inline(always)]
    fn short<S: Simd>(&self, s: S, first: usize, rows: &[Read<'_, f32>]) -> Option<ShortKl> {
        Some(self.of_short(s, first, rows))
    }

    #[inline(always)]
    fn results_together(&self, _: Range<usize>, known: &ShortKl) -> [f64; TOGETHER] {
        known.results()
    }

    #[inline(always)]
    fn result(&self, _: usize, known: Known) -> f64 {
        if are_distributions(&known.p, &known.q) { (known.within / known.p.sum).max(0.0) } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_elements_there_is_what_the_formula_says() {
        for part in [1e-12, 1e-3, 0.1, 0.3, 0.5, 0.9] {
            for g in (-7000..7000).map(|i| f64::from(i) / 10.0 + 0.03).chain([1.0, 1e-3, -1e-3, 2e-2, -2e-2])
            {
                // log(1 - part + part exp(g)), where the exponential may be infinite.
                let ratio = if g > 600.0 {
                    g + libm::log(part + (1.0 - part) * libm::exp(-g))
                } else {
                    libm::log1p(part * libm::expm1(g))
                };
                let (want, got) = (ratio - part * g, between(part, || libm::log(part), g));
                // What cancels in one formula or the other.
                let cancels = if g > 1.0 { g } else { (part * g).abs() };
                let bound = 1e-15 * cancels.max(ratio.abs()) + 1e-8 * want;
                assert!((got.0 - want).abs() <= bound, "{part} {g}: {got:?} {want}");
                assert!(
                    (got.1 - ratio).abs() <= 1e-15 * cancels.max(ratio.abs()),
                    "{part} {g}: {got:?} {ratio}"
                );
            }
            assert_eq!(between(part, || f64::NAN, 0.0), (0.0, 0.0));
        }
    }
}
