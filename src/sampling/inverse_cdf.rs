//! The inverse of the distribution function: one number, and the ids in their order.

use crate::ops::temperature::Scale;
use crate::simd::LANES;

use super::interval::Interval;
use super::places::FEW;
use super::scratch::Scratch;
use super::survivors::Survivors;
use super::weigh::{Count, EachTerm, Terms};

impl Survivors<'_, '_> {
    /// The token up to which there is more than a part `uniform` of the mass, in the order of the ids.
    pub fn draw(&mut self, uniform: f64) -> (u32, f32) {
        if !self.are_few() {
            return match self.plain_terms() {
                Some(terms) => self.narrow(uniform, terms),
                None => self.narrow(uniform, self.terms()),
            };
        }
        let at = pick(self.weigh().iter().copied(), uniform);
        let list = &self.scratch().list;
        (list.places[at], list.logits[at])
    }

    /// [`Survivors::draw`] from many: from parts of the row, and parts of the part.
    fn narrow<C: Scale>(&mut self, mut uniform: f64, weights: Terms<C>) -> (u32, f32) {
        let (mut ids, machine) = (self.ids(), self.machine());
        let mut size = self.weigh_parts(weights);
        loop {
            let masses = self.scratch().parts.masses();
            let at = pick(masses.iter().copied(), uniform);
            let (before, all) = (masses[..at].iter().sum::<f64>(), masses.iter().sum::<f64>());
            uniform = ((uniform * all - before) / masses[at]).clamp(0.0, 1.0);
            let start = ids.start + at * size;
            ids = start..(start + size).min(ids.end);
            if ids.len() <= FEW {
                break;
            }
            // Of a very long row: parts of the part.
            size = ids.len().div_ceil(masses.len()).next_multiple_of(LANES);
            self.weigh_parts_of(ids.clone(), size, weights);
        }
        self.sweep(ids, Count, (Interval::NOTHING, Interval::NUMBERS), false);
        let Scratch { list, found, .. } = self.scratch();
        // Nobody needs the list where they are many.
        let terms = &mut list.logits[..found.len];
        terms.copy_from_slice(found.logits());
        machine.run(EachTerm { logits: terms, weights });
        let at = pick(terms.iter().map(|&term| f64::from(term)), uniform);
        (found.places[at], found.logits[at])
    }
}

/// The first of some masses up to which there is more than a part of their sum; the last that is not 0 if rounding says none.
pub fn pick(masses: impl Iterator<Item = f64> + Clone, part: f64) -> usize {
    let target = part * masses.clone().sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (i, mass) in masses.enumerate() {
        sum += mass;
        if mass > 0.0 {
            last = i;
            if sum > target {
                return i;
            }
        }
    }
    last
}
