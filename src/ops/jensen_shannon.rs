//! Jensen-Shannon divergence, with weights: `b KL(P || M) + (1 - b) KL(Q || M)` with `M = b P + (1 - b) Q`.
//!
//! A first read of a row pair finds both normalisers. The second one adds up, with `s = m / p - 1` and `t = m / q - 1`,
//!
//! `b p (s - log(1 + s)) + (1 - b) q (t - log(1 + t))`, which is the sum wanted, as `sum m - p = sum m - q = 0`; and no
//! part of it is negative. With `d = log(p / q)` it is `s = (1 - b) (exp(-d) - 1)` and `t = b (exp(d) - 1)`: so as long as `|d| <=
//! 2`, where a difference of probabilities would be left with their rounding. An error of the normalisers' quotient adds as much
//! as its square: where P and Q are nearly the same that is below `1e-13`.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: probabilities are within 6.7 u; `exp(d) - 1` is within 2.7 u of that of a `d` which is within u, and both
//! make 7 u at most of what is added; the rest is below 3 u: below 16.7 u < `1e-6`. Of a small `s` the logarithm is that of `1 + s`
//! rounded to f64, and so is the `s` that it is taken from: what that adds is below `2^-53 |s|`, and what the logarithm adds below
//! `3e-14 |s|`.

use core::mem::MaybeUninit;

use crate::lanes::{self, Map};
use crate::math::ln;
use crate::math::phi::{self, REACH};
use crate::operation::SEGMENT;
use crate::rows::Rows;
use crate::simd::{F32, F64, Mask, Simd};
use crate::span::Read;
use crate::sums::{self, WideTerms};
use crate::visit::Visit;

use super::factor::AnyFactor;

use super::normalizer::Normalizer;
use super::side::{Any, Side};

/// The divergence of the rows of two batches, for `0 < b < 1`.
pub struct JensenShannon<'a> {
    pub p: Any,
    pub q: Any,
    pub rows: [Rows<'a>; 2],
    pub beta: f64,
}

impl Visit<f32> for JensenShannon<'_> {
    type Output = f64;

    #[inline(always)]
    fn visit<S: Simd>(&self, s: S, row: usize, _: Read<'_, f32>, out: &mut [f64]) {
        let mut rooms = [[const { MaybeUninit::uninit() }; SEGMENT]; 2];
        let pair = self.rows.map(|rows| rows.row(row));
        let segments = || pair[0].chunks(SEGMENT).zip(pair[1].chunks(SEGMENT)).map(|(x, y)| [x, y]);
        let mut known = [Normalizer::default(); 2];
        for [x, y] in segments() {
            let [first, second] = &mut rooms;
            known[0] = self.p.merge(known[0], self.p.terms(s, x, first).0);
            known[1] = self.q.merge(known[1], self.q.terms(s, y, second).0);
        }
        out[0] = f64::NAN;
        if known.iter().all(|known| known.sum > 0.0 && known.sum < f64::INFINITY) {
            out[0] = 0.0;
            for segment in segments() {
                out[0] += self.segment(s, &known, segment, &mut rooms);
            }
            out[0] = out[0].max(0.0);
        }
    }
}

impl JensenShannon<'_> {
    #[inline(always)]
    fn segment<S: Simd>(
        &self,
        s: S,
        known: &[Normalizer; 2],
        [x, y]: [&[f32]; 2],
        rooms: &mut [[MaybeUninit<f32>; SEGMENT]; 2],
    ) -> f64 {
        let [first, second] = rooms;
        let (p, e) = self.p.terms(s, x, first);
        let (q, f) = self.q.terms(s, y, second);
        // What is nothing but masked has no terms.
        let factor = |factor: f64, sum: f64| if sum > 0.0 { factor } else { 0.0 };
        let mut elements = Elements {
            sides: (self.p, self.q),
            ratio: s.splat_f64(self.p.logsumexp(known[0]) - self.q.logsumexp(known[1])),
            p: AnyFactor::new(s, factor(self.p.factor(&known[0], p.shift), p.sum)),
            q: AnyFactor::new(s, factor(self.q.factor(&known[1], q.shift), q.sum)),
            beta: s.splat_f64(self.beta),
            rest: s.splat_f64(1.0 - self.beta),
        };
        let spans = [Read::new(x), Read::new(y), e, f];
        let [sum] =
            sums::wide_sums_of(s, spans, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0], &mut elements);
        sum
    }
}

/// What an element adds.
struct Elements<S: Simd> {
    sides: (Any, Any),
    ratio: S::F64,
    p: AnyFactor<S::F32>,
    q: AnyFactor<S::F32>,
    beta: S::F64,
    rest: S::F64,
}

impl<S: Simd> WideTerms<S, 4, 1> for Elements<S> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x, y, e, f]: [[S::F32; N]; 4]) -> [[S::F64; N]; 1] {
        let (zero, reach) = (s.splat(0.0), s.splat(REACH));
        // Terms of what is masked throughout are not there; logits of -inf stand in their place.
        let (p, q) = (self.p.apply(s, positive(s, e)), self.q.apply(s, positive(s, f)));
        let (mut d, mut minus_d) = (x, x);
        for i in 0..N {
            let quotient = self.sides.0.logarithms(s, x[i]) - self.sides.1.logarithms(s, y[i]);
            d[i] = (quotient - self.ratio).narrow();
            minus_d[i] = zero - d[i];
        }
        let (above, below) = (phi::phi_over(s, d), phi::phi_over(s, minus_d));
        let mut sums = [s.zero_f64(); N];
        for i in 0..N {
            let is_near = d[i].abs().max(reach).equals(reach).select(s.splat(1.0), zero);
            let is_near = lanes::unless_zero(s, p[i], lanes::unless_zero(s, q[i], is_near));
            // exp(-d) - 1 and exp(d) - 1.
            let more = lanes::unless_zero(s, is_near, d[i].mul_add(above[i], minus_d[i])).widen();
            let less = lanes::unless_zero(s, is_near, minus_d[i].mul_add(below[i], d[i])).widen();
            let (p, q, is_near) = (p[i].widen(), q[i].widen(), is_near.widen());
            let mean = self.beta * p + self.rest * q;
            sums[i] = self.beta * side(s, is_near, mean, p, self.rest * more)
                + self.rest * side(s, is_near, mean, q, self.beta * less);
        }
        [sums]
    }
}

/// `p (s - log(1 + s))`, with `s` as it is given where it is near, and `m / p - 1` elsewhere.
#[inline(always)]
fn side<S: Simd>(s: S, is_near: S::F64, mean: S::F64, part: S::F64, excess: S::F64) -> S::F64 {
    let one = s.splat_f64(1.0);
    let quotient = is_near.select_equal(s.zero_f64(), mean / part, one + excess);
    let rest = part * ((quotient - one) - ln::ln_of(s, quotient));
    // Nothing times an infinite logarithm is nothing.
    part.select_equal(s.zero_f64(), mean, rest)
}

#[inline(always)]
fn positive<S: Simd, const N: usize>(s: S, mut x: [S::F32; N]) -> [S::F32; N] {
    for x in &mut x {
        *x = x.max(s.splat(0.0));
    }
    x
}
