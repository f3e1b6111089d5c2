//! Reads over logits: how many there are in an interval, with which mass, and which they are.

use crate::lanes::{Map, map};
use crate::math::exp_wide;
use crate::ops::normalizer::{Shift, Term};
use crate::ops::temperature::Temperature;
use crate::simd::{F32, F64, Kernel, LANES, Mask, Simd};
use crate::span::{Read, Span, Write};

use super::scores::BLOCK;

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

/// A read over logits: what is in `inner` is counted and weighed, what is in `outer` and not in `inner` is gathered; and what is
/// in `all` is weighed too, with `ALL`. Each of the three holds the one before.
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

/// The ends of an interval, to be compared with lanes.
#[derive(Clone, Copy)]
struct Ends<V> {
    below: V,
    above: V,
}

impl<V: F32> Ends<V> {
    #[inline(always)]
    fn new<S: Simd<F32 = V>>(s: S, interval: Interval) -> Self {
        Self { below: s.splat(interval.low.next_down()), above: s.splat(interval.high.next_up()) }
    }

    /// The lanes that are within, as bits.
    #[inline(always)]
    fn bits(self, x: V) -> u16 {
        x.exceeds(self.below).bits() & self.above.exceeds(x).bits()
    }

    /// The same as factors, 0 or 1.
    #[inline(always)]
    fn factors<S: Simd<F32 = V>>(self, s: S, x: V) -> V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        x.exceeds(self.below).select(self.above.exceeds(x).select(one, zero), zero)
    }

    /// Both vectors of a pair.
    #[inline(always)]
    fn pair_bits(self, x: [V; 2]) -> u32 {
        u32::from(self.bits(x[0])) | u32::from(self.bits(x[1])) << LANES
    }

    #[inline(always)]
    fn pair_factors<S: Simd<F32 = V>>(self, s: S, x: [V; 2]) -> [V; 2] {
        [self.factors(s, x[0]), self.factors(s, x[1])]
    }
}

/// Logits that wait until there are enough of them to be weighed side by side: where few of many count, the others cost nothing.
struct Waiting {
    logits: [f32; Self::ROOM],
    len: usize,
}

impl Waiting {
    const ROOM: usize = 512;

    #[inline(always)]
    fn push<S: Simd>(&mut self, x: S::F32, bits: u16) {
        let front = self.logits[self.len..].first_chunk_mut::<LANES>().expect("room for a vector");
        x.compress(bits, front);
        self.len += bits.count_ones() as usize;
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.len > Self::ROOM - 2 * LANES
    }

    /// The weight of all of them.
    #[inline(always)]
    fn weigh<S: Simd, W: Weigh>(&mut self, s: S, weights: W) -> S::F64 {
        let mut rest = Read::new(&self.logits[..self.len]);
        let (mut sum, ends) = (s.zero_f64(), Ends::new(s, Interval::NUMBERS));
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let [mass] = weights.weigh(s, x, [ends.pair_factors(s, x)]);
            sum = sum + mass;
            rest.put_pair::<S>(x);
        }
        self.len = 0;
        sum
    }
}

impl<W: Weigh, const MOST: usize, const ALL: bool> Kernel for Sweep<'_, W, MOST, ALL> {
    type Output = Swept;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Swept {
        let inner_ends = Ends::new(s, self.inner);
        let (outer_ends, all_ends) = (Ends::new(s, self.outer), Ends::new(s, self.all));
        let mut waiting = Waiting { logits: [0.0; Waiting::ROOM], len: 0 };
        let (mut inner_sum, mut all_sum, mut count) = (s.zero_f64(), s.zero_f64(), 0);
        let (mut rest, mut at) = (Read::new(self.logits), 0);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let outer = outer_ends.pair_bits(x);
            if ALL {
                let (in_inner, in_all) = (inner_ends.pair_factors(s, x), all_ends.pair_factors(s, x));
                let [inner, all] = self.weights.weigh(s, x, [in_inner, in_all]);
                (inner_sum, all_sum) = (inner_sum + inner, all_sum + all);
            }
            if outer != 0 {
                let inner = inner_ends.pair_bits(x);
                count += inner.count_ones() as usize;
                if W::WEIGHS && !ALL && inner != 0 {
                    waiting.push::<S>(x[0], inner as u16);
                    waiting.push::<S>(x[1], (inner >> LANES) as u16);
                    if waiting.is_full() {
                        inner_sum = inner_sum + waiting.weigh(s, self.weights);
                    }
                }
                let mut found = outer & !inner;
                if self.gathered.is_exceeded() {
                    self.gathered.len += found.count_ones() as usize;
                    found = 0;
                }
                while found != 0 {
                    let place = at + found.trailing_zeros() as usize;
                    self.gathered.push(self.logits[place], (self.first + place) as u32);
                    found &= found - 1;
                }
            }
            rest.put_pair::<S>(x);
            at += 2 * LANES;
        }
        if W::WEIGHS && !ALL {
            inner_sum = inner_sum + waiting.weigh(s, self.weights);
        }
        Swept { count, inner: inner_sum.reduce_add(), all: all_sum.reduce_add() }
    }
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
        let (mut rest, mut sum, ends) = (Read::new(self.logits), s.zero_f64(), Ends::new(s, self.all));
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let [mass] = self.weights.weigh(s, x, [ends.pair_factors(s, x)]);
            sum = sum + mass;
            rest.put_pair::<S>(x);
        }
        sum.reduce_add()
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

/// The largest logits of the parts that a row is cut into: of each lane of the vectors of a block, or of some blocks.
///
/// No part has more than one, so that the `k`-th largest of them is not above the `k`-th largest logit; and as a rule not far below.
pub struct Maxima {
    lanes: [[f32; LANES]; Self::GROUPS],
    /// Elements of a group.
    group: usize,
}

impl Maxima {
    const GROUPS: usize = 128;
    pub const NONE: Self = Self { lanes: [[f32::NEG_INFINITY; LANES]; Self::GROUPS], group: 0 };

    /// Those of a row of so many elements, of which nothing has been looked at.
    pub fn begin(&mut self, len: usize) {
        self.lanes.fill([f32::NEG_INFINITY; LANES]);
        self.group = len.div_ceil(Self::GROUPS).next_multiple_of(BLOCK).max(BLOCK);
    }

    /// All of them, of a row of so many elements, in no order.
    pub fn logits(&mut self, len: usize) -> &mut [f32] {
        let groups = len.div_ceil(self.group.max(1));
        self.lanes[..groups].as_flattened_mut()
    }

    /// The so-manieth largest, the first of which is number 1, if that says anything.
    pub fn largest(&mut self, number: usize, len: usize) -> Option<f32> {
        let logits = self.logits(len);
        // Where there are many more, most of the largest are in parts of their own.
        if number * 4 > logits.len() {
            return None;
        }
        let (_, largest, _) = logits.select_nth_unstable_by(number - 1, |a, b| b.total_cmp(a));
        Some(*largest).filter(|largest| largest.is_finite())
    }
}

/// Looks at the next elements of a row for the first time: the largest, and whether there is a NaN.
pub struct Top<'a> {
    /// The place of the first of them, a multiple of [`BLOCK`].
    pub first: usize,
    pub logits: &'a [f32],
    pub maxima: &'a mut Maxima,
}

impl Kernel for Top<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        const CHAINS: usize = 4;
        let (mut largest, mut numbers) = (s.splat(f32::NEG_INFINITY), u16::MAX);
        let mut first = self.first;
        for block in self.logits.chunks(BLOCK) {
            let mut rest = Read::new(block);
            let mut chains = [s.splat(f32::NEG_INFINITY); CHAINS];
            while let Some(x) = rest.front::<S, CHAINS>(s) {
                for i in 0..CHAINS {
                    chains[i] = x[i].max(chains[i]);
                    numbers &= x[i].equals(x[i]).bits();
                }
                rest.put::<S, CHAINS>(x);
            }
            while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
                for i in 0..2 {
                    chains[i] = x[i].max(chains[i]);
                    numbers &= x[i].equals(x[i]).bits();
                }
                rest.put_pair::<S>(x);
            }
            let most = chains[0].max(chains[1]).max(chains[2].max(chains[3]));
            let group = &mut self.maxima.lanes[first / self.maxima.group];
            *group = most.max(s.load(group)).to_array();
            largest = most.max(largest);
            first += BLOCK;
        }
        (largest.reduce_max(), numbers != u16::MAX)
    }
}

/// The largest logit in an interval.
pub struct TopOf<'a> {
    pub logits: &'a [f32],
    pub all: Interval,
}

impl Kernel for TopOf<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (mut rest, ends) = (Read::new(self.logits), Ends::new(s, self.all));
        let nothing = s.splat(f32::NEG_INFINITY);
        let mut largest = nothing;
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            for x in x {
                let within = x.exceeds(ends.below).select(ends.above.exceeds(x).select(x, nothing), nothing);
                largest = within.max(largest);
            }
            rest.put_pair::<S>(x);
        }
        largest.reduce_max()
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
        let ends = Ends::new(s, self.all);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let factors = ends.pair_factors(s, x);
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
        let ends = Ends::new(s, self.all);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let factors = ends.pair_factors(s, x);
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
