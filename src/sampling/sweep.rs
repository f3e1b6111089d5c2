//! Reads over logits: how many there are in an interval, with which mass, and which they are.

use crate::lanes::{Map, map};
use crate::math::exp_wide;
use crate::ops::normalizer::{Shift, Term};
use crate::ops::temperature::Temperature;
use crate::simd::{F32, F64, Kernel, LANES, Mask, Simd};
use crate::span::{Read, Span, Write};

/// Logits from one to another, both included: nothing if the first is above the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f32,
    pub high: f32,
}

impl Interval {
    pub const NUMBERS: Self = Self { low: f32::MIN, high: f32::MAX };
    pub const NOTHING: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    pub fn contains(self, x: f32) -> bool {
        self.low <= x && x <= self.high
    }

    pub fn and(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

/// Logits with their places in a row, up to so many, in the order of their places.
pub struct Places<const MOST: usize> {
    pub logits: [f32; MOST],
    pub places: [u32; MOST],
    /// How many there were, which may be more.
    pub len: usize,
}

impl<const MOST: usize> Places<MOST> {
    pub const NONE: Self = Self { logits: [0.0; MOST], places: [0; MOST], len: 0 };

    pub fn push(&mut self, logit: f32, place: u32) {
        if self.len < MOST {
            (self.logits[self.len], self.places[self.len]) = (logit, place);
        }
        self.len += 1;
    }

    /// Whether there were more than there is room for.
    pub fn is_exceeded(&self) -> bool {
        self.len > MOST
    }

    /// The logits, if there were not too many.
    pub fn logits(&self) -> &[f32] {
        &self.logits[..self.len]
    }
}

/// How logits are weighed.
pub trait Weigh: Copy {
    /// Whether they are at all.
    const WEIGHS: bool = true;

    /// What the relative error of a sum of weights is below, where it matters.
    const ERROR: f64 = 0.0;

    /// The weights of two vectors, times 0 or 1, added in pairs of lanes.
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; 2], parts: [[S::F32; 2]; N]) -> [S::F64; N];
}

/// Not at all.
#[derive(Clone, Copy)]
pub struct Count;

impl Weigh for Count {
    const WEIGHS: bool = false;

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, _: [S::F32; 2], _: [[S::F32; 2]; N]) -> [S::F64; N] {
        [s.zero_f64(); N]
    }
}

/// By the terms of a softmax.
#[derive(Clone, Copy)]
pub struct Terms {
    pub shift: Shift,
    pub scale: Temperature,
}

impl Weigh for Terms {
    /// A term has 2 u at most, with `u = 2^-24`, and the sum of a pair 1 u more.
    const ERROR: f64 = 3.0 / (1 << 24) as f64;

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; 2], parts: [[S::F32; 2]; N]) -> [S::F64; N] {
        let [a, b] = Term::<S, Temperature, false>::new(s, self.shift, self.scale).apply(s, x);
        let mut sums = [s.zero_f64(); N];
        for i in 0..N {
            // Products with 0 and 1 are exact.
            sums[i] = (a * parts[i][0] + b * parts[i][1]).widen();
        }
        sums
    }
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
        let least = f64::from(self.top) + exp_wide::LEAST / self.inverse;
        let least = (least as f32).max(f32::MIN);
        let z =
            (x.max(s.splat(least)).widen() - s.splat_f64(f64::from(self.top))) * s.splat_f64(self.inverse);
        (z, exp_wide::exp(s, z))
    }
}

impl Weigh for Exact {
    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; 2], parts: [[S::F32; 2]; N]) -> [S::F64; N] {
        let ((_, a), (_, b)) = (self.apply(s, x[0]), self.apply(s, x[1]));
        let mut sums = [s.zero_f64(); N];
        for i in 0..N {
            sums[i] = a * parts[i][0].widen() + b * parts[i][1].widen();
        }
        sums
    }
}

/// What a sweep finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// How many in `inner`.
    pub count: usize,
    /// The mass of these.
    pub inner: f64,
    /// That of all, where it was asked for.
    pub all: f64,
}

/// A read over logits: what is in `inner` is counted and weighed, what is in `outer` and not in `inner` is gathered; and what is in `all` is
/// weighed too, with `ALL`. Each of the three holds the one before.
pub struct Sweep<'a, W, const MOST: usize, const ALL: bool> {
    /// Some of the logits, of which the first has this place.
    pub first: usize,
    pub logits: &'a [f32],
    pub weights: W,
    pub inner: Interval,
    pub outer: Interval,
    pub all: Interval,
    pub gathered: &'a mut Places<MOST>,
}

/// The lanes of two vectors that are in an interval: as factors, and as bits.
#[inline(always)]
fn within<S: Simd>(s: S, x: [S::F32; 2], interval: Interval) -> ([S::F32; 2], u32) {
    let (above, below) = (s.splat(interval.low.next_down()), s.splat(interval.high.next_up()));
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let (mut factors, mut bits) = (x, 0);
    for i in 0..2 {
        let (above, below) = (x[i].exceeds(above), below.exceeds(x[i]));
        factors[i] = above.select(below.select(one, zero), zero);
        bits |= u32::from(above.bits() & below.bits()) << (i * LANES);
    }
    (factors, bits)
}

impl<W: Weigh, const MOST: usize, const ALL: bool> Kernel for Sweep<'_, W, MOST, ALL> {
    type Output = Swept;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Swept {
        let mut rest = Read::new(self.logits);
        let (mut inner_sum, mut all_sum, mut count, mut at) = (s.zero_f64(), s.zero_f64(), 0, 0);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let (factors, inner) = within(s, x, self.inner);
            count += inner.count_ones() as usize;
            if ALL {
                let (all, _) = within(s, x, self.all);
                let [in_inner, in_all] = self.weights.weigh(s, x, [factors, all]);
                (inner_sum, all_sum) = (inner_sum + in_inner, all_sum + in_all);
            } else if W::WEIGHS && inner != 0 {
                let [in_inner] = self.weights.weigh(s, x, [factors]);
                inner_sum = inner_sum + in_inner;
            }
            let (_, outer) = within(s, x, self.outer);
            let mut found = outer & !inner;
            while found != 0 {
                let place = at + found.trailing_zeros() as usize;
                self.gathered.push(self.logits[place], (self.first + place) as u32);
                found &= found - 1;
            }
            rest.put_pair::<S>(x);
            at += 2 * LANES;
        }
        Swept { count, inner: inner_sum.reduce_add(), all: all_sum.reduce_add() }
    }
}

/// The weight of each logit.
pub struct Each<'a> {
    pub logits: &'a [f32],
    pub weights: Exact,
    pub out: &'a mut [f64],
}

impl Kernel for Each<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (vectors, tail) = self.logits.as_chunks::<LANES>();
        let (to, to_tail) = self.out.as_chunks_mut::<LANES>();
        for (to, x) in to.iter_mut().zip(vectors) {
            *to = self.weights.apply(s, s.load(x)).1.to_array();
        }
        let weights = self.weights.apply(s, s.load_partial(tail, f32::NEG_INFINITY)).1.to_array();
        to_tail.copy_from_slice(&weights[..tail.len()]);
    }
}

/// The same by the terms of a softmax, in place of the logits.
pub struct EachTerm<'a> {
    pub logits: &'a mut [f32],
    pub weights: Terms,
}

impl Kernel for EachTerm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let term = Term::<S, Temperature, false>::new(s, self.weights.shift, self.weights.scale);
        map(s, &mut Write::in_place(self.logits), f32::NEG_INFINITY, term);
    }
}

/// The largest logit, and whether there is a NaN.
pub struct Top<'a>(pub &'a [f32]);

impl Kernel for Top<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        const CHAINS: usize = 4;
        let (mut rest, mut numbers) = (Read::new(self.0), u16::MAX);
        let mut largest = [s.splat(f32::NEG_INFINITY); CHAINS];
        while let Some(x) = rest.front::<S, CHAINS>(s) {
            for i in 0..CHAINS {
                largest[i] = x[i].max(largest[i]);
                numbers &= x[i].equals(x[i]).bits();
            }
            rest.put::<S, CHAINS>(x);
        }
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            for i in 0..2 {
                largest[i] = x[i].max(largest[i]);
                numbers &= x[i].equals(x[i]).bits();
            }
            rest.put_pair::<S>(x);
        }
        let largest = largest[0].max(largest[1]).max(largest[2].max(largest[3]));
        (largest.reduce_max(), numbers != u16::MAX)
    }
}

/// Sums over the logits in an interval: `sum_i w_i` and `sum_i w_i z_i` with the exponents `z` of [`Exact`].
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
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let (factors, _) = within(s, x, self.all);
            for i in 0..2 {
                let (z, weight) = self.weights.apply(s, x[i]);
                let weight = weight * factors[i].widen();
                sums = [sums[0] + weight, sums[1] + weight * z];
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
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let (factors, _) = within(s, x, self.all);
            for i in 0..2 {
                // What is not finite is no part of it, and 0 times that would be NaN.
                let (factor, finite) = (factors[i].widen(), x[i].max(s.splat(f32::MIN)));
                let distance = (finite.widen() - s.splat_f64(self.center)) * factor;
                sums = [sums[0] + factor, sums[1] + distance, sums[2] + distance * distance];
            }
            rest.put_pair::<S>(x);
        }
        [sums[0].reduce_add(), sums[1].reduce_add(), sums[2].reduce_add()]
    }
}
