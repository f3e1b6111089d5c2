//! Reads over logits: how many there are in an interval, with which mass, and which they are.

use crate::simd::{F32, F64, Kernel, LANES, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Interval};
use super::places::Places;
use super::weigh::{Weigh, mass};

/// What a sweep finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// How many in `inner`.
    pub count: usize,
    /// The mass of what was weighed.
    pub weighed: f64,
}

/// A read over logits: what is in `inner` is counted, what is in `outer`, which holds that, and not in `inner` is gathered. Weighed is
/// what is in `inner`, or what is not in `outer`.
pub struct Sweep<'a, W> {
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
    pub gathered: &'a mut Places,
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

impl<W: Weigh> Kernel for Sweep<'_, W> {
    type Output = Swept;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Swept {
        let Self { mut first, logits, weights, outside, .. } = self;
        let (inner_ends, outer_ends) = (Ends::new(s, self.inner), Ends::new(s, self.outer));
        let all_ends = Ends::new(s, self.all);
        let (mut count, mut sum) = (0, s.zero_f64());
        let mut waiting = Waiting { logits: [0.0; Waiting::ROOM], len: 0 };
        let mut rest = Read::new(logits);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            let outer = outer_ends.pair(x);
            let mut weighed = if outside { all_ends.pair(x) & !outer } else { 0 };
            if outer != 0 {
                let inner = inner_ends.pair(x);
                count += inner.count_ones() as usize;
                if !outside {
                    weighed = inner;
                }
                let found = outer & !inner;
                if found != 0 {
                    self.gathered.push(s, x[0], found as u16, first);
                    self.gathered.push(s, x[1], (found >> LANES) as u16, first + LANES);
                }
            }
            if W::WEIGHS && weighed != 0 {
                waiting.push::<S>(x[0], weighed as u16);
                waiting.push::<S>(x[1], (weighed >> LANES) as u16);
                if waiting.is_full() {
                    sum = sum + waiting.weigh(s, weights);
                }
            }
            rest.put_pair::<S>(x);
            first += 2 * LANES;
        }
        if W::WEIGHS {
            sum = sum + waiting.weigh(s, weights);
        }
        Swept { count, weighed: sum.reduce_add() }
    }
}
