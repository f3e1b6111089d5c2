//! Kullback-Leibler divergence: `KL(P || Q) = sum_i p_i log(p_i / q_i)`.
//!
//! Where P and Q are nearly the same, `log(p_i / q_i)` are small and of both signs, and their sum is as small as their
//! squares: it cancels. With `d_i = log(q_i / p_i)` and `phi(d) = exp(d) - 1 - d >= 0` it is `sum_i p_i phi(d_i)`, of
//! which nothing cancels, as `sum_i p_i (exp(d_i) - 1) = sum_i q_i - p_i = 0`.
//!
//! In a segment, with terms `e_i` of P and `f_i` of Q as in [`normalizer`](super::normalizer), and `c` about `log sum f -
//! log sum e`:
//!
//! 1. `d_i = (y_i - x_i) - c`, in f64, as the difference may be small beside the logits;
//! 2. `F = sum e_i phi(d_i)` and `D = sum e_i d_i`. For `|d_i| <= 2` that is [`phi`](crate::math::phi); beyond it is `f_i
//!    - e_i - e_i d_i`, with `f_i` in units of `e_i`. Where `e_i = 0` it is `f_i`.
//! 3. What `c` lacks is known from that: `r = (F + D) / sum e`, and `log(1 + r) + c` is the logarithm of the quotient of
//!    the masses, as exact as the differences. The divergence within the segment is `F / sum e - (r - log(1 + r))`.
//!
//! Segments merge by the chain rule: the divergence of two segments is what is within them, weighted by their mass in P,
//! and that between them, of two distributions of two elements each: with the part `w` of the second and the logarithm `g` of
//! the quotient of the quotients of the masses, `log(1 + t) - w g = w phi(g) - (t - log(1 + t))` for `t = w (exp(g) - 1)`.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: `e_i` is within 1.6 u and `d_i` within u, of which `phi` makes 2 u at most; with the 3.5 u of
//! `phi` and the product that is 8.1 u. Beyond `|d_i| = 2`: `f_i` within 3.2 u, and the parts of the sum are not larger
//! than 1.7 times it: 7.2 u. A group's tree adds 3 u, and `sum e` has 4.6 u: below 16 u < `1e-6`. To that come the
//! differences, whose roundings are relative to themselves, and at most `2^-50` of the largest logit. Without fused
//! multiply-add below `1.2e-6`.

use core::mem::MaybeUninit;

use crate::lanes::{self, Map};
use crate::math::ln;
use crate::math::phi::{self, REACH, phi_f64};
use crate::operation::{Origin, Reduce, SEGMENT, Sides, Summarize};
use crate::rows::Rows;
use crate::simd::{F32, F64, Kernel, Mask, Simd};
use crate::span::{Read, Slots, Span, Write};
use crate::sums::{self, Sum, Terms};

use super::factor::Factor;
use super::normalizer::{Look, Normalizer, Shift, exp_sum};
use super::temperature::{Scale, Temperature, Unit};

/// How one of the two distributions is read.
pub trait Side: Copy + Send + Sync {
    /// The terms of a segment, whose sum is known then: in `room`, or the segment itself.
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>);

    /// Logarithms of terms, and of what else is common to all, which merges as logits do.
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64;

    /// A difference of centers, as one of logarithms.
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer;

    /// What makes terms with a shift terms with another.
    fn weight(self, from: Shift, to: Shift) -> f64;

    /// The logarithm of a sum of terms.
    fn logsumexp(self, terms: Normalizer) -> f64;

    /// What makes probabilities of terms with a shift.
    fn factor(self, row: &Normalizer, shift: Shift) -> f64;
}

/// Logits, at some temperature.
#[derive(Clone, Copy)]
pub struct Logits<C>(pub C);

impl<C: Scale> Side for Logits<C> {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        s.vectorize(TermsOf { scale: self.0, segment, room })
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64 {
        self.0.exact_lanes(s, x.widen())
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        left.merge(right, self.0)
    }

    #[inline(always)]
    fn weight(self, from: Shift, to: Shift) -> f64 {
        from.weight(to, self.0)
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        terms.logsumexp(self.0)
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, shift: Shift) -> f64 {
        row.factor(shift, self.0)
    }
}

/// One copy for all sides that are logits.
struct TermsOf<'r, C> {
    scale: C,
    segment: &'r [f32],
    room: &'r mut [MaybeUninit<f32>; SEGMENT],
}

impl<'r, C: Scale> Kernel for TermsOf<'r, C> {
    type Output = (Normalizer, Read<'r, f32>);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (Normalizer, Read<'r, f32>) {
        let Self { scale, segment, room } = self;
        let read = Read::new(segment);
        let all_plain = scale.is_plain(lanes::magnitude(s, &[read]));
        let (plain, shift) = match Look::at(s, &[read], 0, all_plain, scale) {
            Look::Plain => (true, Shift::PLAIN),
            Look::Shifted(_, shift) => (false, shift),
            // Nothing is read of terms where there is no sum.
            Look::Degenerate(found) => return (found, read),
        };
        let (mut terms, mut sum) =
            (Write::apart(segment, Slots::new(&mut room[..segment.len()])), Sum::new(s));
        exp_sum(s, &mut terms, plain, shift, scale, &mut sum, &mut ());
        (Normalizer { shift, sum: sum.sum() }, Read::new(terms.into_written()))
    }
}

/// Probabilities, at temperature 1: they are terms themselves.
#[derive(Clone, Copy)]
pub struct Probabilities;

impl Side for Probabilities {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        _: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        let segment = Read::new(segment);
        let [sum] = sums::sums_of(s, [segment], [0.0], &mut NotNegative);
        (Normalizer { shift: Shift::PLAIN, sum }, segment)
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, p: S::F32) -> S::F64 {
        ln::ln(s, p)
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        Normalizer { shift: Shift::PLAIN, sum: left.sum + right.sum }
    }

    #[inline(always)]
    fn weight(self, _: Shift, _: Shift) -> f64 {
        1.0
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        terms.logsumexp(Unit)
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, _: Shift) -> f64 {
        1.0 / row.sum
    }
}

/// Either, at a temperature that is 1 for probabilities: one copy of the code for all pairs of which not both are logits at
/// temperature 1.
#[derive(Clone, Copy)]
pub enum Any {
    Logits(Logits<Temperature>),
    Probabilities,
}

macro_rules! either {
    ($any:expr, $side:ident => $value:expr) => {
        match $any {
            Any::Logits($side) => $value,
            Any::Probabilities => {
                let $side = Probabilities;
                $value
            }
        }
    };
}

impl Side for Any {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        either!(self, side => side.terms(s, segment, room))
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64 {
        either!(self, side => side.logarithms(s, x))
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        either!(self, side => side.merge(left, right))
    }

    #[inline(always)]
    fn weight(self, from: Shift, to: Shift) -> f64 {
        either!(self, side => side.weight(from, to))
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        either!(self, side => side.logsumexp(terms))
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, shift: Shift) -> f64 {
        either!(self, side => side.factor(row, shift))
    }
}

/// Numbers, or NaN for those that are negative.
struct NotNegative;

impl<S: Simd> Terms<S, 1, 1> for NotNegative {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [mut p]: [[S::F32; N]; 1]) -> [[S::F32; N]; 1] {
        for p in &mut p {
            *p = lanes::not_negative(s, *p);
        }
        [p]
    }
}

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
        let nothing = Known { p, q, within: 0.0, ratio: 0.0 };
        if !(p.sum > 0.0 && p.sum < f64::INFINITY && q.sum > 0.0 && q.sum < f64::INFINITY) {
            // All of P's mass is where Q has none, if it has any elsewhere.
            let apart = p.sum > 0.0 && q.sum == 0.0;
            return if apart { Known { within: f64::INFINITY, ..nothing } } else { nothing };
        }
        let center = self.q.logsumexp(q) - self.p.logsumexp(p);
        let mut elements = Elements {
            p: self.p,
            q: self.q,
            center: s.splat_f64(center),
            unit: Factor::new(s, p.sum / q.sum),
        };
        let spans = [Read::new(x), Read::new(y), e, f];
        let [divergence, difference] =
            sums::sums_of(s, spans, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0], &mut elements);
        if divergence == f64::INFINITY {
            return Known { within: divergence, ..nothing };
        }
        // Where the two are far apart the sum of both is what rounding has left of them, and nothing beside them.
        let is_far = divergence > FAR * p.sum;
        let lacking = if is_far { 0.0 } else { (divergence + difference) / p.sum };
        let logarithm = libm::log1p(lacking);
        // Twice what is below the last place of the quotient is not negative.
        let within = (divergence - p.sum * (lacking - logarithm)).max(0.0);
        Known { p, q, within, ratio: center + logarithm }
    }
}

/// From this divergence within a segment on its two parts need no correction: what `c` lacks, `1e-6` at most, adds the square of that.
const FAR: f64 = 1e3;

/// What an element adds.
struct Elements<S: Simd, P, Q> {
    p: P,
    q: Q,
    center: S::F64,
    /// What makes terms of Q as large as those of P.
    unit: Factor<S::F32>,
}

impl<S: Simd, P: Side, Q: Side> Terms<S, 4, 2> for Elements<S, P, Q> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x, y, e, f]: [[S::F32; N]; 4]) -> [[S::F32; N]; 2] {
        let (zero, reach) = (s.splat(0.0), s.splat(REACH));
        let f = self.unit.apply(s, f);
        let mut d = x;
        for i in 0..N {
            let quotient = self.q.logarithms(s, y[i]) - self.p.logarithms(s, x[i]);
            d[i] = (quotient - self.center).narrow();
        }
        let mut divergences = phi::phi(s, d);
        for i in 0..N {
            let near = d[i].abs().max(reach).equals(reach);
            let far = d[i].mul_add(zero - e[i], f[i] - e[i]);
            let divergence = near.select(e[i] * divergences[i], far);
            let is_nothing = e[i].equals(zero);
            divergences[i] = is_nothing.select(f[i], divergence);
            d[i] = is_nothing.select(zero, e[i] * d[i]);
        }
        [divergences, d]
    }
}

impl<P: Side, Q: Side> Reduce<f32> for Kl<'_, P, Q> {
    type Partial = Known;
    type Narrow = ();

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
    fn merge(&self, left: Known, right: Known) -> Known {
        let (p, q) = (self.p.merge(left.p, right.p), self.q.merge(left.q, right.q));
        let part = |known: Known| {
            // Of nothing there is no weight.
            if known.p.sum == 0.0 { 0.0 } else { self.p.weight(known.p.shift, p.shift) }
        };
        let (parts, known) = ([part(left), part(right)], [left, right]);
        let mass = |i: usize| known[i].p.sum * parts[i];
        let within = |i: usize| if parts[i] == 0.0 { 0.0 } else { known[i].within * parts[i] };
        let (large, small) = if mass(1) > mass(0) { (1, 0) } else { (0, 1) };
        let (between, ratio) = if p.sum == 0.0 {
            (0.0, 0.0)
        } else if known[small].p.sum == 0.0 {
            // All of P is in one of them: what Q has in the other is missing there.
            let missing = libm::log1p(
                known[small].q.sum / known[large].q.sum
                    * self.q.weight(known[small].q.shift, known[large].q.shift),
            );
            let missing = if known[small].q.sum == 0.0 { 0.0 } else { missing };
            (missing, known[large].ratio + missing)
        } else {
            let part = mass(small) / (mass(small) + mass(large));
            let (between, more) = between(part, known[small].ratio - known[large].ratio);
            (between, known[large].ratio + more)
        };
        Known { p, q, within: within(0) + within(1) + p.sum * between, ratio }
    }
}

/// The divergence of two elements each, of which the second has this part in P, and its quotient of Q and P is `exp(g)`
/// times that of the first; and the logarithm of the quotient of both together, in units of that of the first.
fn between(part: f64, g: f64) -> (f64, f64) {
    if g > 1.0 {
        // exp(g) may be infinite.
        let less = libm::log(part + (1.0 - part) * libm::exp(-g));
        return ((1.0 - part) * g + less, g + less);
    }
    let t = part * libm::expm1(g);
    let logarithm = libm::log1p(t);
    let excess =
        if t.abs() < 0.01 { t * t * (0.5 - t * (1.0 / 3.0 - t * (0.25 - t * 0.2))) } else { t - logarithm };
    (part * phi_f64(g) - excess, logarithm)
}

impl<P: Side, Q: Side> Summarize<f32> for Kl<'_, P, Q> {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: Known) -> f64 {
        let sums = [known.p.sum, known.q.sum];
        if sums.iter().all(|&sum| sum > 0.0 && sum < f64::INFINITY) {
            (known.within / known.p.sum).max(0.0)
        } else {
            f64::NAN
        }
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
                let (want, got) = (ratio - part * g, between(part, g));
                // What cancels in one formula or the other.
                let cancels = if g > 1.0 { g } else { (part * g).abs() };
                let bound = 1e-15 * cancels.max(ratio.abs()) + 1e-8 * want;
                assert!((got.0 - want).abs() <= bound, "{part} {g}: {got:?} {want}");
                assert!(
                    (got.1 - ratio).abs() <= 1e-15 * cancels.max(ratio.abs()),
                    "{part} {g}: {got:?} {ratio}"
                );
            }
            assert_eq!(between(part, 0.0), (0.0, 0.0));
        }
    }
}
