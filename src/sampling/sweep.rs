//! Reads over logits: how many there are in an interval, with which mass, and which they are.

use crate::lanes::{Map, map};
use crate::math::exp_wide;
use crate::ops::normalizer::{Shift, Term};
use crate::ops::temperature::Scale;
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
    pub const NEW: Self = Self { logits: [0.0; MOST], places: [0; MOST], len: 0 };

    /// Adds the lanes whose bits are set; the places of all are those behind `first`, added to [`BASE`].
    #[inline(always)]
    fn push<S: Simd>(&mut self, x: S::F32, places: S::F32, bits: u16, first: usize) {
        let count = bits.count_ones() as usize;
        if let (Some(logits), Some(to)) = (
            self.logits.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()),
            self.places.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<LANES>()),
        ) {
            x.compress(bits, logits);
            let mut compressed = [0.0; LANES];
            places.compress(bits, &mut compressed);
            for i in 0..LANES {
                to[i] = place(first, compressed[i]);
            }
        } else {
            let (logits, places, mut rest) = (x.to_array(), places.to_array(), bits);
            for at in self.len..MOST.min(self.len + count) {
                let lane = rest.trailing_zeros() as usize;
                (self.logits[at], self.places[at]) = (logits[lane], place(first, places[lane]));
                rest &= rest - 1;
            }
        }
        self.len += count;
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

/// The place that is told as a float; anything for a lane that is not meant.
#[inline(always)]
fn place(first: usize, behind: f32) -> u32 {
    (first as u32).wrapping_add(behind.to_bits()).wrapping_sub(BASE.to_bits())
}

/// How logits are weighed.
pub trait Weigh: Copy {
    /// Whether they are at all.
    const WEIGHS: bool = true;

    /// What the relative error of a sum of weights is below, where it matters.
    const ERROR: f64 = 0.0;

    /// The weights of some vectors, added lane by lane: of those in an interval, and of the others. -inf has none, or all but none.
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], inner: Ends<S::F32>) -> [S::F64; 2];

    /// The same of all.
    fn weigh_all<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> S::F64;
}

/// Not at all.
#[derive(Clone, Copy)]
pub struct Count;

impl Weigh for Count {
    const WEIGHS: bool = false;

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, _: [S::F32; N], _: Ends<S::F32>) -> [S::F64; 2] {
        [s.zero_f64(); 2]
    }

    #[inline(always)]
    fn weigh_all<S: Simd, const N: usize>(self, s: S, _: [S::F32; N]) -> S::F64 {
        s.zero_f64()
    }
}

/// By the terms of a softmax.
#[derive(Clone, Copy)]
pub struct Terms<C> {
    pub shift: Shift,
    pub scale: C,
}

impl<C: Scale> Weigh for Terms<C> {
    /// A term has 2 u at most, with `u = 2^-24`, and each of the three additions in floats 1 u more.
    const ERROR: f64 = 5.0 / (1 << 24) as f64;

    #[inline(always)]
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], inner: Ends<S::F32>) -> [S::F64; 2] {
        let terms = Term::<S, C, false>::new(s, self.shift, self.scale).apply(s, x);
        let (mut within, mut others) = (terms, terms);
        for i in 0..N {
            within[i] = inner.select(x[i], terms[i], s.splat(0.0));
            others[i] = terms[i] - within[i];
        }
        [tree::<S, N>(within).widen(), tree::<S, N>(others).widen()]
    }

    /// The terms of -inf are 0.
    #[inline(always)]
    fn weigh_all<S: Simd, const N: usize>(self, s: S, x: [S::F32; N]) -> S::F64 {
        tree::<S, N>(Term::<S, C, false>::new(s, self.shift, self.scale).apply(s, x)).widen()
    }
}

/// The sum of vectors, a power of two of them and [`TOGETHER`] at most.
#[inline(always)]
fn tree<S: Simd, const N: usize>(mut vectors: [S::F32; N]) -> S::F32 {
    let mut len = N;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            vectors[i] = vectors[2 * i] + vectors[2 * i + 1];
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
    fn weigh<S: Simd, const N: usize>(self, s: S, x: [S::F32; N], inner: Ends<S::F32>) -> [S::F64; 2] {
        let mut sums = [s.zero_f64(); 2];
        for x in x {
            let weight = self.apply(s, x).1;
            let within = weight * inner.select(x, s.splat(1.0), s.splat(0.0)).widen();
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

/// What a sweep finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// How many in `inner`.
    pub count: usize,
    /// The mass of what was weighed.
    pub weighed: f64,
    /// That of all others, where it was asked for.
    pub others: f64,
}

/// A read over logits: what is in `inner` is counted, what is in `outer`, which holds that, and not in `inner` is gathered. Weighed is
/// what is in `inner`, or what is not in `outer`; or, with `ALL`, what is in `inner` and what is not.
pub struct Sweep<'a, W, const MOST: usize, const ALL: bool> {
    /// Some of the logits, of which the first has this place.
    pub first: usize,
    pub logits: &'a [f32],
    pub weights: W,
    pub inner: Interval,
    pub outer: Interval,
    /// Whether what is not in `outer` is weighed.
    pub outside: bool,
    /// What there is at all.
    pub all: Interval,
    pub gathered: &'a mut Places<MOST>,
}

/// `2^23`: an integer below it is the low bits of their sum.
const BASE: f32 = 8_388_608.0;

const IOTA: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// The ends of an interval, to be compared with lanes.
#[derive(Clone, Copy)]
pub struct Ends<V> {
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

    /// The same of both vectors of a pair.
    #[inline(always)]
    fn pair(self, x: [V; 2]) -> u32 {
        u32::from(self.bits(x[0])) | u32::from(self.bits(x[1])) << LANES
    }

    /// One vector in these lanes, another elsewhere.
    #[inline(always)]
    fn select(self, x: V, within: V, elsewhere: V) -> V {
        x.exceeds(self.below).select(self.above.exceeds(x).select(within, elsewhere), elsewhere)
    }

    /// -inf in the lanes that are not.
    #[inline(always)]
    fn only<S: Simd<F32 = V>>(self, s: S, x: V) -> V {
        self.select(x, x, s.splat(f32::NEG_INFINITY))
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
        let waiting = &self.logits[..self.len];
        self.len = 0;
        mass(s, waiting, weights)
    }
}

/// Vectors that are weighed side by side.
const TOGETHER: usize = 8;

/// The mass of some logits.
#[inline(always)]
fn mass<S: Simd, W: Weigh>(s: S, logits: &[f32], weights: W) -> S::F64 {
    let (mut rest, mut sum) = (Read::new(logits), s.zero_f64());
    while let Some(x) = rest.front::<S, TOGETHER>(s) {
        sum = sum + weights.weigh_all(s, x);
        rest.put::<S, TOGETHER>(x);
    }
    while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
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

/// The mass of the logits in an interval within another one, and of the others in that; and the largest of all.
#[inline(always)]
fn masses<S: Simd, W: Weigh>(
    s: S,
    logits: &[f32],
    weights: W,
    all: Interval,
    inner: Interval,
) -> ([S::F64; 2], f32) {
    let (mut rest, mut sums) = (Read::new(logits), [s.zero_f64(); 2]);
    let mut top = s.splat(f32::NEG_INFINITY);
    let (ends, inner, are_all) = (Ends::new(s, all), Ends::new(s, inner), all == Interval::NUMBERS);
    while let Some(mut x) = rest.front::<S, TOGETHER>(s) {
        rest.put::<S, TOGETHER>(x);
        if !are_all {
            for x in &mut x {
                *x = ends.only(s, *x);
            }
        }
        for x in x {
            top = x.max(top);
        }
        let more = weights.weigh(s, x, inner);
        sums = [sums[0] + more[0], sums[1] + more[1]];
    }
    while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
        rest.put_pair::<S>(x);
        let x = [ends.only(s, x[0]), ends.only(s, x[1])];
        top = x[0].max(x[1].max(top));
        let more = weights.weigh(s, x, inner);
        sums = [sums[0] + more[0], sums[1] + more[1]];
    }
    (sums, top.reduce_max())
}

impl<W: Weigh, const MOST: usize, const ALL: bool> Kernel for Sweep<'_, W, MOST, ALL> {
    type Output = Swept;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) -> Swept {
        let (mut swept, mut sum, mut others) = (Swept::default(), s.zero_f64(), s.zero_f64());
        let mut waiting = Waiting { logits: [0.0; Waiting::ROOM], len: 0 };
        // What is weighed as a whole is then still in the first-level cache.
        for block in self.logits.chunks(BLOCK) {
            if ALL {
                let (more, top) = masses(s, block, self.weights, self.all, self.inner);
                (sum, others) = (sum + more[0], others + more[1]);
                if top < self.outer.low {
                    self.first += block.len();
                    continue;
                }
            }
            self.look(s, block, &mut swept, &mut sum, &mut waiting);
            self.first += block.len();
        }
        if W::WEIGHS && !ALL {
            sum = sum + waiting.weigh(s, self.weights);
        }
        Swept { weighed: sum.reduce_add(), others: others.reduce_add(), ..swept }
    }
}

impl<W: Weigh, const MOST: usize, const ALL: bool> Sweep<'_, W, MOST, ALL> {
    /// What is in the two intervals.
    #[inline(always)]
    fn look<S: Simd>(
        &mut self,
        s: S,
        block: &[f32],
        swept: &mut Swept,
        sum: &mut S::F64,
        waiting: &mut Waiting,
    ) {
        let (inner_ends, outer_ends) = (Ends::new(s, self.inner), Ends::new(s, self.outer));
        let all_ends = Ends::new(s, self.all);
        let (iota, lanes) = (s.load(&IOTA), s.splat(LANES as f32));
        let (mut rest, mut at) = (Read::new(block), 0);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let outer = outer_ends.pair(x);
            let mut weighed = if self.outside { all_ends.pair(x) & !outer } else { 0 };
            if outer != 0 {
                let inner = inner_ends.pair(x);
                swept.count += inner.count_ones() as usize;
                if !self.outside {
                    weighed = inner;
                }
                let found = outer & !inner;
                if found != 0 {
                    let places = iota + s.splat(BASE + at as f32);
                    self.gathered.push::<S>(x[0], places, found as u16, self.first);
                    self.gathered.push::<S>(x[1], places + lanes, (found >> LANES) as u16, self.first);
                }
            }
            if W::WEIGHS && !ALL && weighed != 0 {
                waiting.push::<S>(x[0], weighed as u16);
                waiting.push::<S>(x[1], (weighed >> LANES) as u16);
                if waiting.is_full() {
                    *sum = *sum + waiting.weigh(s, self.weights);
                }
            }
            rest.put_pair::<S>(x);
            at += 2 * LANES;
        }
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
        mass_of(s, self.logits, self.weights, self.all).reduce_add()
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
pub struct EachTerm<'a, C> {
    pub logits: &'a mut [f32],
    pub weights: Terms<C>,
}

impl<C: Scale> Kernel for EachTerm<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let term = Term::<S, C, false>::new(s, self.weights.shift, self.weights.scale);
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
    pub const NEW: Self = Self { lanes: [[0.0; LANES]; Self::GROUPS], group: 0 };

    /// The least elements of a group.
    const LEAST: usize = 4 * LANES;

    /// Those of a row of so many elements, of which nothing has been looked at.
    pub fn begin(&mut self, len: usize) {
        let group = len.div_ceil(Self::GROUPS);
        self.group = if group > BLOCK {
            group.next_multiple_of(BLOCK)
        } else {
            group.next_power_of_two().max(Self::LEAST)
        };
        self.lanes[..len.div_ceil(self.group)].fill([f32::NEG_INFINITY; LANES]);
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
        let group = self.maxima.group;
        for part in self.logits.chunks(group.min(BLOCK)) {
            let mut rest = Read::new(part);
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
            let lanes = &mut self.maxima.lanes[first / group];
            *lanes = most.max(s.load(lanes)).to_array();
            largest = most.max(largest);
            first += part.len();
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
        let mut largest = s.splat(f32::NEG_INFINITY);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            largest = ends.only(s, x[0]).max(ends.only(s, x[1]).max(largest));
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
            for x in x {
                let (z, weight) = self.weights.apply(s, ends.only(s, x));
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
