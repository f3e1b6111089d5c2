//! Reads over logits: how many there are in an interval, with which mass, and which they are.

use crate::simd::{F32, F64, Kernel, LANES, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Interval};
use super::scores::BLOCK;
use super::weigh::{TOGETHER, Weigh, mass};

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

/// `2^23`: an integer below it is the low bits of their sum.
const BASE: f32 = 8_388_608.0;

const IOTA: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// The place that is told as a float; anything for a lane that is not meant.
#[inline(always)]
fn place(first: usize, behind: f32) -> u32 {
    (first as u32).wrapping_add(behind.to_bits()).wrapping_sub(BASE.to_bits())
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
