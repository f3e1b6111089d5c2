//! The largest logits, of a row and of its parts.

use crate::simd::{F32, Kernel, LANES, Mask, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Interval};
use super::scores::BLOCK;

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
