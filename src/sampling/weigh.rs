//! What logits weigh: in floats for many, in f64 where it decides; and sums over them.

use crate::lanes::Map;
use crate::math::exp_wide;
use crate::ops::normalizer::{Shift, Term};
use crate::ops::temperature::Scale;
use crate::simd::{F32, F64, Kernel, LANES, Mask as _, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Interval};

/// How logits are weighed.
pub trait Weigh: Copy {
    /// Whether they are at all.
    const WEIGHS: bool = true;

    /// What the relative error of a sum of weights is below, where it matters.
    const ERROR: f64 = 0.0;

    /// A logit that weighs next to nothing, to stand behind the last.
    fn nothing<S: Simd>(self) -> f32 {
        f32::NEG_INFINITY
    }

    /// The weights of some vectors, added lane by lane: of those above a logit, and of the others. -inf has none, or all but none.
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], below: S::F32) -> [S::F64; 2];

    /// The same of all.
    fn weigh_all<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> S::F64;
}

/// Not at all.
#[derive(Clone, Copy)]
pub struct Count;

impl Weigh for Count {
    const WEIGHS: bool = false;

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, _: [S::F32; N], _: S::F32) -> [S::F64; 2] {
        [s.zero_f64(); 2]
    }

    #[inline(always)]
    fn weigh_all<S: Simd, const N: usize>(self, s: S, _: [S::F32; N]) -> S::F64 {
        s.zero_f64()
    }
}

/// By the terms of a softmax; of logits that are all plain, as [segments](crate::ops::normalizer) are.
#[derive(Clone, Copy)]
pub struct Terms<C, const PLAIN: bool> {
    pub shift: Shift,
    pub scale: C,
}

impl<C: Scale, const PLAIN: bool> Terms<C, PLAIN> {
    /// The terms of some vectors; those of -inf, which is not plain, are 0.
    #[inline(always)]
    pub fn of<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> [S::F32; N] {
        Term::<S, C, PLAIN>::new(s, self.shift, self.scale).apply(s, x)
    }
}

impl<C: Scale, const PLAIN: bool> Weigh for Terms<C, PLAIN> {
    /// A term has 2 u at most, with `u = 2^-24`, and each of the three additions in floats 1 u more.
    const ERROR: f64 = 5.0 / (1 << 24) as f64;

    #[inline(always)]
    fn nothing<S: Simd>(self) -> f32 {
        Term::<S, C, PLAIN>::nothing(self.shift, self.scale)
    }

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], below: S::F32) -> [S::F64; 2] {
        let terms = self.of(s, x);
        let (mut within, mut others, nothing) = (terms, terms, s.splat(0.0));
        let half = N / 2;
        for i in 0..half {
            let are_within = [x[i].exceeds(below), x[i + half].exceeds(below)];
            let (first, second) = (terms[i], terms[i + half]);
            let (sum, other) = (are_within[0].select(first, nothing), are_within[0].select(nothing, first));
            // A choice of sums, not a sum of choices: with masks that is one instruction less.
            within[i] = are_within[1].select(sum + second, sum);
            others[i] = are_within[1].select(other, other + second);
        }
        [halves::<S, N>(within).widen(), halves::<S, N>(others).widen()]
    }

    #[inline(always)]
    fn weigh_all<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> S::F64 {
        tree::<S, N>(self.of(s, x)).widen()
    }
}

/// The sum of vectors, a power of two of them and [`TOGETHER`] at most.
#[inline(always)]
fn tree<S: Simd, const N: usize>(mut vectors: [S::F32; N]) -> S::F32 {
    for i in 0..N / 2 {
        vectors[i] = vectors[i] + vectors[i + N / 2];
    }
    halves::<S, N>(vectors)
}

/// The sum of the first half of some vectors.
#[inline(always)]
fn halves<S: Simd, const N: usize>(mut vectors: [S::F32; N]) -> S::F32 {
    let mut len = N / 2;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            vectors[i] = vectors[i] + vectors[i + len];
        }
    }
    vectors[0]
}

/// By `exp((x - top) / T)` in f64; what is below `e^-87` counts as that.
#[derive(Debug, Clone, Copy)]
pub struct Exact {
    pub top: f32,
    /// `1 / T`.
    pub inverse: f64,
}

impl Exact {
    /// `(x - top) / T`.
    pub fn exponent(self, x: f32) -> f64 {
        (f64::from(x) - f64::from(self.top)) * self.inverse
    }

    /// The exponents of some logits, and their exponentials.
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F32) -> (S::F64, S::F64) {
        let z = (x.widen() - s.splat_f64(f64::from(self.top))) * s.splat_f64(self.inverse);
        // The exponent is what is held, not the logit: that may have no float near where it should be. So -inf has next to nothing at
        // any temperature.
        let least = s.splat_f64(exp_wide::LEAST);
        let held = z.narrow().max(s.splat(exp_wide::LEAST as f32)).widen();
        let z = held.select_equal(least, least, z);
        (z, exp_wide::exp(s, z))
    }
}

impl Weigh for Exact {
    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], below: S::F32) -> [S::F64; 2] {
        let mut sums = [s.zero_f64(); 2];
        for x in x {
            let weight = self.apply(s, x).1;
            let within = weight * x.exceeds(below).select(s.splat(1.0), s.splat(0.0)).widen();
            sums = [sums[0] + within, sums[1] + (weight - within)];
        }
        sums
    }

    #[inline(always)]
    fn weigh_all<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> S::F64 {
        let mut sum = s.zero_f64();
        for x in x {
            sum = sum + self.apply(s, x).1;
        }
        sum
    }
}

/// Vectors that are weighed side by side.
pub const TOGETHER: usize = 8;

/// The mass of some logits.
#[inline(always)]
pub fn mass<S: Simd, W: Weigh>(s: S, logits: &[f32], weights: W) -> S::F64 {
    let (mut rest, mut sum) = (Read::new(logits), s.zero_f64());
    while let Some(x) = rest.front::<S, TOGETHER>(s) {
        sum = sum + weights.weigh_all(s, x);
        rest.put::<S, TOGETHER>(x);
    }
    while let Some(x) = rest.pair(s, weights.nothing::<S>()) {
        sum = sum + weights.weigh_all(s, x);
        rest.put_pair::<S>(x);
    }
    sum
}

/// The same of those in an interval.
#[inline(always)]
fn mass_of<S: Simd, W: Weigh>(s: S, logits: &[f32], weights: W, all: Interval) -> S::F64 {
    if all == Interval::NUMBERS {
        return mass(s, logits, weights);
    }
    let (mut rest, mut sum, ends) = (Read::new(logits), s.zero_f64(), Ends::new(s, all));
    while let Some(mut x) = rest.front::<S, TOGETHER>(s) {
        rest.put::<S, TOGETHER>(x);
        for x in &mut x {
            *x = ends.only(s, *x);
        }
        sum = sum + weights.weigh_all(s, x);
    }
    while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
        sum = sum + weights.weigh_all(s, [ends.only(s, x[0]), ends.only(s, x[1])]);
        rest.put_pair::<S>(x);
    }
    sum
}

/// The mass of the logits in an interval.
pub struct Mass<'a, W> {
    pub logits: &'a [f32],
    pub weights: W,
    pub all: Interval,
}

impl<W: Weigh> Kernel for Mass<'_, W> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        mass_of(s, self.logits, self.weights, self.all).reduce_add()
    }
}

/// How many of some tokens have a logit in an interval, and what they weigh.
pub struct Within<'a> {
    pub logits: &'a [f32],
    pub weights: Option<&'a [f64]>,
    pub interval: Interval,
}

impl Kernel for Within<'_> {
    type Output = (usize, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (usize, f64) {
        let (one, zero, ends) = (s.splat(1.0), s.splat(0.0), Ends::new(s, self.interval));
        let (mut number, mut sums) = (zero, [s.zero_f64(); 2]);
        let (vectors, tail) = self.logits.as_chunks::<LANES>();
        let (weights, weights_tail) = self.weights.unwrap_or_default().as_chunks::<LANES>();
        for (i, x) in vectors.iter().enumerate() {
            let counts = ends.select(s.load(x), one, zero);
            number = number + counts;
            if let Some(weights) = weights.get(i) {
                sums[i % 2] = counts.widen().mul_add(s.load_f64(weights), sums[i % 2]);
            }
        }
        let counts = ends.select(s.load_partial(tail, f32::NEG_INFINITY), one, zero);
        let mut behind = [0.0; LANES];
        behind[..weights_tail.len()].copy_from_slice(weights_tail);
        sums[0] = counts.widen().mul_add(s.load_f64(&behind), sums[0]);
        let number = (number + counts).widen().reduce_add();
        (number as usize, if self.weights.is_some() { (sums[0] + sums[1]).reduce_add() } else { number })
    }
}

/// The weight of each logit, and their sum.
pub struct Each<'a, W> {
    pub logits: &'a [f32],
    pub weights: W,
    pub out: &'a mut [f64],
}

impl<W: Weigh> Kernel for Each<'_, W> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (vectors, tail) = self.logits.as_chunks::<LANES>();
        let (to, to_tail) = self.out.as_chunks_mut::<LANES>();
        let mut sum = s.zero_f64();
        for (to, x) in to.iter_mut().zip(vectors) {
            let weights = self.weights.weigh_all(s, [s.load(x)]);
            sum = sum + weights;
            *to = weights.to_array();
        }
        let mut weights =
            self.weights.weigh_all(s, [s.load_partial(tail, self.weights.nothing::<S>())]).to_array();
        weights[tail.len()..].fill(0.0);
        to_tail.copy_from_slice(&weights[..tail.len()]);
        (sum + s.load_f64(&weights)).reduce_add()
    }
}

/// Sums over the logits in an interval: `sum_i w_i` and `sum_i w_i z_i` with the exponents `z` of [`Exact`], but for those from
/// `e^-87` down, -inf and what is not in the interval among them: where all others are as good as the same, these would be the mean.
pub struct Mean<'a> {
    pub logits: &'a [f32],
    pub weights: Exact,
    pub all: Interval,
}

impl Kernel for Mean<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; 2] {
        let (mut rest, mut sums) = (Read::new(self.logits), [s.zero_f64(); 2]);
        let ends = Ends::new(s, self.all);
        let (zero, least) = (s.zero_f64(), s.splat_f64(exp_wide::LEAST));
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            for x in x {
                let (z, weight) = self.weights.apply(s, ends.only(s, x));
                sums = [sums[0] + weight, sums[1] + z.select_equal(least, zero, weight * z)];
            }
            rest.put_pair::<S>(x);
        }
        [sums[0].reduce_add(), sums[1].reduce_add()]
    }
}

/// Sums over the logits in an interval: how many they are, `sum_i (x_i - c)` and `sum_i (x_i - c)^2`.
pub struct Spread<'a> {
    pub logits: &'a [f32],
    pub center: f64,
    pub all: Interval,
}

impl Kernel for Spread<'_> {
    type Output = [f64; 3];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; 3] {
        let (mut rest, mut sums) = (Read::new(self.logits), [s.zero_f64(); 3]);
        let ends = Ends::new(s, self.all);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            for x in x {
                let only = ends.only(s, x);
                let (zero, one) = (s.splat(0.0), s.splat(1.0));
                let factor = only.exceeds(s.splat(f32::NEG_INFINITY)).select(one, zero).widen();
                // What is not finite is no part of it, and 0 times that would be NaN.
                let finite = only.max(s.splat(f32::MIN));
                let distance = (finite.widen() - s.splat_f64(self.center)) * factor;
                sums = [sums[0] + factor, sums[1] + distance, sums[2] + distance * distance];
            }
            rest.put_pair::<S>(x);
        }
        [sums[0].reduce_add(), sums[1].reduce_add(), sums[2].reduce_add()]
    }
}
