//! The inverse of the distribution function: one number, and the ids in their order.

use crate::simd::LANES;

use super::places::FEW;
use super::scratch::Scratch;
use super::survivors::Survivors;
use super::weigh::{Each, Weigh};

impl Survivors<'_, '_> {
    /// The token up to which there is more than a part `uniform` of the mass, in the order of the ids.
    pub fn draw(&mut self, uniform: f64) -> (u32, f32) {
        if !self.are_few() {
            return match self.plain_terms() {
                Some(terms) => self.narrow(uniform, terms),
                None => self.narrow(uniform, self.terms()),
            };
        }
        let (at, _) = pick(self.weigh().iter().copied(), uniform);
        let list = &self.scratch().list;
        (list.places[at], list.logits[at])
    }

    /// [`Survivors::draw`] from many: from parts of the row, and parts of the part.
    fn narrow<W: Weigh>(&mut self, mut uniform: f64, weights: W) -> (u32, f32) {
        let (mut ids, machine) = (self.ids(), self.machine());
        let mut size = self.weigh_parts(weights);
        loop {
            let masses = self.scratch().parts.masses();
            let parts = masses.len();
            let (at, rest) = pick(masses.iter().copied(), uniform);
            let start = ids.start + at * size;
            (ids, uniform) = (start..(start + size).min(ids.end), rest);
            if ids.len() <= FEW {
                break;
            }
            // Of a very long row: parts of the part.
            size = ids.len().div_ceil(parts).next_multiple_of(LANES);
            self.weigh_parts_of(ids.clone(), size, weights);
        }
        self.gather(ids);
        let Scratch { found, weights: out, .. } = self.scratch();
        let out = &mut out[..found.len];
        machine.run(Each { logits: found.logits(), weights, out });
        // In two steps, of which the first adds many side by side.
        let (vector, uniform) = pick(out.chunks(LANES).map(|vector| vector.iter().sum()), uniform);
        let first = vector * LANES;
        let at = first + pick(out[first..].iter().take(LANES).copied(), uniform).0;
        (found.places[at], found.logits[at])
    }
}

/// The first of some masses up to which there is more than a part of their sum, and what part of it that is; the last that is not 0 if
/// rounding says none.
pub fn pick(masses: impl Iterator<Item = f64> + Clone, part: f64) -> (usize, f64) {
    let target = part * masses.clone().sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (i, mass) in masses.enumerate() {
        if mass > 0.0 {
            last = i;
            if sum + mass > target {
                return (i, ((target - sum) / mass).max(0.0));
            }
        }
        sum += mass;
    }
    (last, 1.0)
}
