//! Reads of what is left of a row: what is weighed, and gathered, on the way.

use core::ops::Range;

use crate::sampling::interval::Interval;
use crate::sampling::order::Order;
use crate::sampling::scores::{Room, Scores};
use crate::sampling::scratch::Scratch;
use crate::sampling::set::Set;
use crate::sampling::sift::{Sift, Sifted};
use crate::sampling::sweep::{Sweep, Swept};
use crate::sampling::weigh::{Count, Mass, Weigh};
use crate::simd::isa::Machine;

use super::Survivors;

impl Survivors<'_, '_> {
    /// A read over some of the ids. What is gathered is in `found` afterwards.
    pub fn sweep<W: Weigh>(
        &mut self,
        ids: Range<usize>,
        weights: W,
        (inner, outer): (Interval, Interval),
        outside: bool,
    ) -> Swept {
        let Scratch { found, room, .. } = &mut *self.scratch;
        found.len = 0;
        let (mut sum, machine) = (Swept::default(), self.machine);
        pieces(&self.scores, self.set, room, ids, |first, logits, all| {
            let (inner, outer, gathered) = (inner.and(all), outer.and(all), &mut *found);
            let sweep = Sweep { first, logits, weights, inner, outer, outside, all, gathered };
            let swept = machine.run(sweep);
            sum.count += swept.count;
            sum.weighed += swept.weighed;
        });
        sum
    }

    /// A read of everything that is left, for what is kept from a logit on and looked at down to another. What is gathered is in
    /// `found` afterwards, and the masses of what is kept in `parts`.
    pub fn sift<W: Weigh>(&mut self, weights: W, from: f32, down_to: f32) -> Sifted {
        let Scratch { found, parts, room, .. } = &mut *self.scratch;
        found.len = 0;
        parts.masses().fill(0.0);
        let (mut sum, machine, ids) = (Sifted::default(), self.machine, 0..self.scores.len());
        pieces(&self.scores, self.set, room, ids, |first, logits, all| {
            let (gathered, parts) = (&mut *found, &mut *parts);
            let sifted = machine.run(Sift { first, logits, weights, from, down_to, all, gathered, parts });
            sum.weighed += sifted.weighed;
            sum.others += sifted.others;
        });
        sum
    }

    /// Gathers what is left of some ids, and says whether it is too much.
    pub fn gather(&mut self, ids: Range<usize>) -> bool {
        self.sweep(ids, Count, (Interval::NOTHING, Interval::NUMBERS), false);
        self.scratch.found.is_exceeded()
    }

    /// Gathers the listed tokens with some logits: with their places in the list.
    pub fn gather_listed(&mut self, outer: Interval) {
        let Scratch { list, found, .. } = &mut *self.scratch;
        found.len = 0;
        self.machine.run(Sweep {
            first: 0,
            logits: list.logits(),
            weights: Count,
            inner: Interval::NOTHING,
            outer,
            outside: false,
            all: outer,
            gathered: found,
        });
    }

    /// The mass of some of the ids, in the unit of the weights.
    pub fn mass_of<W: Weigh>(&mut self, ids: Range<usize>, weights: W) -> f64 {
        let (mut mass, machine) = (0.0, self.machine);
        pieces(&self.scores, self.set, &mut self.scratch.room, ids, |_, logits, all| {
            mass += machine.run(Mass { logits, weights, all });
        });
        mass
    }

    /// The masses of the parts of the row, unless they are known, in `parts`; and how many ids a part has.
    pub fn weigh_parts<W: Weigh>(&mut self, weights: W) -> usize {
        let size = self.scratch.parts.size();
        if !self.are_weighed {
            self.weigh_parts_of(self.ids(), size, weights);
        }
        size
    }

    /// The masses of as many parts of some ids, in the place of those of the row.
    pub fn weigh_parts_of<W: Weigh>(&mut self, ids: Range<usize>, size: usize, weights: W) {
        for i in 0..self.scratch.parts.masses().len() {
            let start = (ids.start + i * size).min(ids.end);
            let mass = self.mass_of(start..(start + size).min(ids.end), weights);
            self.scratch.parts.masses()[i] = mass;
        }
        self.are_weighed = false;
    }

    /// Takes a sample of what is left.
    pub fn sample(&mut self, order: Order, is_weighed: bool) {
        let weights = if is_weighed { Some(self.terms()) } else { None };
        let Scratch { sample, parts, room, .. } = &mut *self.scratch;
        sample.take(self.machine, order, weights, (&self.scores, self.set.interval), parts, room);
    }

    /// Adds up sums over all parts of what is left.
    pub(super) fn sums<const N: usize>(
        &mut self,
        add: impl Fn(Machine, &[f32], Interval, [f64; N]) -> [f64; N],
    ) -> [f64; N] {
        let Scratch { list, room, .. } = &mut *self.scratch;
        let mut sums = [0.0; N];
        if self.are_few {
            return add(self.machine, list.logits(), Interval::NUMBERS, sums);
        }
        let (machine, ids) = (self.machine, 0..self.scores.len());
        pieces(&self.scores, self.set, room, ids, |_, logits, all| {
            sums = add(machine, logits, all, sums);
        });
        sums
    }
}

/// Calls something with all logits of some ids, piece by piece: with the place of the first, and with the interval that is left of them.
pub(super) fn pieces(
    scores: &Scores<'_>,
    set: Set,
    room: &mut Room,
    ids: Range<usize>,
    mut call: impl FnMut(usize, &[f32], Interval),
) {
    for (part, all) in set.parts(ids) {
        let mut first = part.start;
        while first < part.end {
            let logits = scores.block(first..part.end, room);
            call(first, logits, all);
            first += logits.len();
        }
    }
}
