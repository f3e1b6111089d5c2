//! Logits with their places in a row, in the order of their places.

use crate::simd::{F32, LANES, Simd};

/// As many are listed.
pub const FEW: usize = 4096;

/// Places that are told by the bits of one integer.
pub const TOLD: usize = u64::BITS as usize;

pub struct Places {
    pub logits: [f32; FEW + TOLD],
    pub places: [u32; FEW + TOLD],
    /// How many there were, which may be more.
    pub len: usize,
}

/// The numbers of lanes, as the bits of floats that nothing is computed with.
const LANE_NUMBERS: [f32; LANES] = {
    let mut numbers = [0.0; LANES];
    let mut lane = 0;
    while lane < LANES {
        numbers[lane] = f32::from_bits(lane as u32);
        lane += 1;
    }
    numbers
};

impl Places {
    pub const NEW: Self = Self { logits: [0.0; FEW + TOLD], places: [0; FEW + TOLD], len: 0 };

    /// Adds the lanes whose bits are set; the first lane has the place `first`.
    #[inline(always)]
    pub fn push<S: Simd>(&mut self, s: S, x: S::F32, bits: u16, first: usize) {
        let count = bits.count_ones() as usize;
        if self.len <= FEW
            && let (Some(logits), Some(places)) = (
                self.logits[self.len..].first_chunk_mut(),
                self.places[self.len..].first_chunk_mut::<LANES>(),
            )
        {
            x.compress(bits, logits);
            let mut lanes = [0.0; LANES];
            s.load(&LANE_NUMBERS).compress(bits, &mut lanes);
            for i in 0..LANES {
                places[i] = (first as u32).wrapping_add(lanes[i].to_bits());
            }
        }
        self.len += count;
    }

    /// Adds the places whose bits are set, the lowest of which is `first`: without logits, which [`Places::look_up`] finds.
    #[inline(always)]
    pub fn push_places(&mut self, mut bits: u64, first: usize) {
        let (len, place) = (self.len, first as u32);
        self.len += bits.count_ones() as usize;
        if len > FEW {
            return;
        }
        let Some(places) = self.places[len..].first_chunk_mut::<TOLD>() else { return };
        // Two are written in any case, and passed only if they count: there are seldom more, and then a branch is hard to guess.
        for to in &mut places[..2] {
            *to = place.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        let mut at = 2;
        while bits != 0 {
            places[at % TOLD] = place.wrapping_add(bits.trailing_zeros());
            bits &= bits - 1;
            at += 1;
        }
    }

    /// Finds the logits of places from the `from`-th on: those of some logits, of which the first has the place `first`.
    #[inline(always)]
    pub fn look_up(&mut self, from: usize, logits: &[f32], first: usize) {
        let len = self.len.min(FEW);
        if from < len {
            for (logit, &place) in self.logits[from..len].iter_mut().zip(&self.places[from..len]) {
                *logit = logits[place as usize - first];
            }
        }
    }

    /// Whether there were more than there is room for.
    pub fn is_exceeded(&self) -> bool {
        self.len > FEW
    }

    /// The logits, if there were not too many.
    pub fn logits(&self) -> &[f32] {
        &self.logits[..self.len]
    }
}
