//! The first read for a part of the mass: from a logit on what is kept for sure, below another what is not, and between them what is
//! looked at one by one.
//!
//! All of it is weighed, in the same read, and what is kept for sure part by part, so that a draw finds the part it is in.

use crate::simd::{F32, F64, Kernel, LANES, Mask as _, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Interval};
use super::parts::Parts;
use super::places::{Places, TOLD};
use super::scores::BLOCK;
use super::weigh::{TOGETHER, Weigh};

/// What a sift finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sifted {
    /// The mass of what is kept for sure.
    pub weighed: f64,
    /// That of all others.
    pub others: f64,
}

/// A read over logits: those from `from` on are weighed, and so are the others, of which those that are not below `down_to` are gathered.
pub struct Sift<'a, W> {
    /// Some of the logits, of which the first has this place.
    pub first: usize,
    pub logits: &'a [f32],
    pub weights: W,
    pub from: f32,
    pub down_to: f32,
    /// What there is at all.
    pub all: Interval,
    pub gathered: &'a mut Places,
    pub parts: &'a mut Parts,
}

impl<W: Weigh> Kernel for Sift<'_, W> {
    type Output = Sifted;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Sifted {
        let Self { mut first, logits: mut rest, weights, all, gathered, parts, .. } = self;
        let (ends, are_all) = (Ends::new(s, all), all == Interval::NUMBERS);
        let below = s.splat(self.from.next_down());
        let between = Between { below: s.splat(self.down_to.next_down()), above: s.splat(self.from) };
        let (mut sifted, mut others) = (Sifted::default(), s.zero_f64());
        let step = parts.size().min(BLOCK);
        while !rest.is_empty() {
            let (block, behind) = rest.split_at(rest.len().min(step - first % step));
            let (mut ahead, mut at, known) = (Read::new(block), first, gathered.len);
            let mut within = s.zero_f64();
            while let Some(mut x) = ahead.front::<S, TOGETHER>(s) {
                ahead.put::<S, TOGETHER>(x);
                if !are_all {
                    for x in &mut x {
                        *x = ends.only(s, *x);
                    }
                }
                let masses = weights.weigh(s, x, below);
                (within, others) = (within + masses[0], others + masses[1]);
                between.gather::<S, TOGETHER>(x, at, gathered);
                at += TOGETHER * LANES;
            }
            // What stands behind the end weighs nothing, and is not there to be gathered.
            while let (Some(x), Some(mut weighed)) =
                (ahead.pair(s, f32::NEG_INFINITY), ahead.pair(s, weights.nothing::<S>()))
            {
                ahead.put_pair::<S>(x);
                let x = [ends.only(s, x[0]), ends.only(s, x[1])];
                if !are_all {
                    weighed = x;
                }
                let masses = weights.weigh(s, weighed, below);
                (within, others) = (within + masses[0], others + masses[1]);
                between.gather::<S, 2>(x, at, gathered);
                at += 2 * LANES;
            }
            gathered.look_up(known, block, first);
            let within = within.reduce_add();
            parts.add(first, within, gathered.len);
            sifted.weighed += within;
            (first, rest) = (first + block.len(), behind);
        }
        Sifted { others: others.reduce_add(), ..sifted }
    }
}

/// What is looked at one by one is above the one, and below the other.
#[derive(Clone, Copy)]
struct Between<V> {
    below: V,
    above: V,
}

impl<V: F32> Between<V> {
    #[inline(always)]
    fn gather<S: Simd<F32 = V>, const N: usize>(self, x: [V; N], first: usize, gathered: &mut Places) {
        const VECTORS: usize = TOLD / LANES;
        let mut bits = [0; TOGETHER / VECTORS];
        for i in 0..N {
            // Each for itself: with masks, that is one comparison under another.
            let is_between = x[i].exceeds(self.below).bits() & self.above.exceeds(x[i]).bits();
            bits[i / VECTORS] |= u64::from(is_between) << (i % VECTORS * LANES);
        }
        if bits.iter().fold(0, |all, bits| all | bits) != 0 {
            for (i, bits) in bits.into_iter().enumerate() {
                gathered.push_places(bits, first + i * TOLD);
            }
        }
    }
}
