//! A sample of a row, and what it says about where an amount is reached.
//!
//! It is stratified: the few largest logits, which may have most of the mass, are all in it, and of the others every so-manieth one, which
//! stands for as many. So what it says of sums is uncertain only by the others.

use core::ops::Range;

use crate::simd::isa::Machine;

use super::order::Order;
use super::scratch::FEW;
use super::weigh::{Each, Exact};

/// Tokens that stand for others.
pub const LIGHT: usize = 1024;

/// The largest, at most.
pub const HEAVY: usize = 1024;

/// All in a sample.
pub const MOST: usize = LIGHT + HEAVY;

/// How far guesses are off as a rule, in standard deviations: more of them would be right, but gather more.
const DEVIATIONS: f64 = 2.2;

/// What is known of the token where an amount is reached.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its key is one of these.
    pub from: u64,
    pub to: u64,
    /// How much there is before the first of them, and up to the last.
    pub before: f64,
    pub up_to: Option<f64>,
}

/// Some tokens of a row, in some order.
pub struct Sample {
    logits: [f32; MOST],
    /// What each stands for.
    amounts: [f64; MOST],
    /// The squares of those that stand for others.
    variances: [f64; MOST],
    len: usize,
    /// How many tokens a light one stands for.
    stride: f64,
}

/// What a sample is taken of: all logits that are not less than some, and every so-manieth of all.
pub struct Strata<'a, L> {
    pub least: f32,
    pub heavy: &'a [f32],
    pub stride: usize,
    pub light: L,
}

impl Sample {
    pub const NEW: Self =
        Self { logits: [0.0; MOST], amounts: [0.0; MOST], variances: [0.0; MOST], len: 0, stride: 0.0 };

    /// Takes a sample: of the mass if there are weights, and otherwise of numbers.
    pub fn take(
        &mut self,
        machine: Machine,
        order: Order,
        weights: Option<Exact>,
        strata: Strata<'_, impl Iterator<Item = f32>>,
        entries: &mut [u64],
    ) {
        let Strata { least, heavy, stride, light } = strata;
        let light = light.filter(|&logit| logit < least);
        let mut len = 0;
        for logit in heavy.iter().copied().chain(light) {
            // Keys of 64 bits are shortened: it is a sample.
            let key = match order {
                Order::Largest => order.key(logit),
                Order::Nearest { .. } => order.key(logit) >> 32,
            };
            entries[len] = key << 32 | u64::from(logit.to_bits());
            len += 1;
        }
        let (entries, room) = entries.split_at_mut(len);
        let entries = sort(entries, &mut room[..len]);
        self.len = len;
        let (logits, amounts) = (&mut self.logits[..len], &mut self.amounts[..len]);
        for (logit, &entry) in logits.iter_mut().zip(entries) {
            *logit = f32::from_bits(entry as u32);
        }
        match weights {
            Some(weights) => machine.run(Each { logits, weights, out: amounts }),
            None => amounts.fill(1.0),
        }
        let stride = stride as f64;
        self.stride = stride;
        for ((logit, amount), variance) in logits.iter().zip(amounts).zip(&mut self.variances) {
            let is_heavy = *logit >= least;
            *amount *= if is_heavy { 1.0 } else { stride };
            *variance = if is_heavy { 0.0 } else { *amount * *amount };
        }
    }

    /// Two keys that a part of the mass is probably reached between.
    pub fn guess_part(&self, order: Order, part: f64) -> (u64, u64) {
        let sum: f64 = self.amounts[..self.len].iter().sum();
        let variance: f64 = self.variances[..self.len].iter().sum();
        let (kept, variance_kept) = self.reached(0..self.len, part * sum);
        let rest = 1.0 - part;
        let variance = rest * rest * variance_kept + part * part * (variance - variance_kept);
        let deviation = DEVIATIONS * libm::sqrt(variance);
        let (first, _) = self.reached(0..kept, part * sum - deviation);
        let (last, _) = self.reached(0..self.len, part * sum + deviation);
        self.keys(order, (0, order.end()), 0..self.len, kept, (first, last))
    }

    /// Whether more than half of all tokens seem to have keys before this one.
    pub fn is_most_before(&self, order: Order, key: u64) -> bool {
        let is_light = |variance: &&f64| **variance > 0.0;
        let before = self.logits[..self.len].partition_point(|&x| order.key(x) < key);
        let count = |variances: &[f64]| variances.iter().filter(is_light).count();
        2 * count(&self.variances[..before]) > count(&self.variances[..self.len])
    }

    /// Two keys that an amount is probably reached between.
    pub fn guess(&self, order: Order, known: Known, target: f64) -> (u64, u64) {
        let Known { from, to, .. } = known;
        let logits = &self.logits[..self.len];
        let start = logits.partition_point(|&x| order.key(x) < from);
        let end = start + logits[start..].partition_point(|&x| order.key(x) <= to);
        // From the front or from the back, from where less is uncertain.
        let ahead = target - known.before;
        let (kept, variance) = self.reached(start..end, ahead);
        let deviation = DEVIATIONS * libm::sqrt(variance);
        let (first, _) = self.reached(start..end, ahead - deviation);
        let (last, _) = self.reached(start..end, ahead + deviation);
        let (mut middle, mut bounds) = (start + kept, (start + first, start + last));
        if let Some(up_to) = known.up_to {
            let behind = up_to - target;
            let (rest, variance_behind) = self.reached_back(start..end, behind);
            if variance_behind < variance || start + kept == end {
                let deviation = DEVIATIONS * libm::sqrt(variance_behind);
                let (first, _) = self.reached_back(start..end, behind + deviation);
                let (last, _) = self.reached_back(start..end, behind - deviation);
                (middle, bounds) = (end - rest, (end - first, end - last));
            }
        }
        let guess = self.keys(order, (from, to), start..end, middle, bounds);
        if guess != (from, to) {
            return guess;
        }
        // Nothing is learnt: the median.
        let median = if start == end { from.midpoint(to) } else { order.key(logits[start.midpoint(end)]) };
        (from, if median < to { median } else { from.midpoint(to) })
    }

    /// The keys of the last token before a bound and the first behind another, of a part of the sample; or nearer to its middle, if
    /// more tokens than can be gathered seem to be between.
    fn keys(
        &self,
        order: Order,
        (from, to): (u64, u64),
        part: Range<usize>,
        middle: usize,
        (first, last): (usize, usize),
    ) -> (u64, u64) {
        let reach = ((FEW as f64 * 0.4 / self.stride) as usize).max(1);
        let first = first.max(middle.saturating_sub(reach)).max(part.start);
        let last = last.min(middle + reach);
        let key = |i: usize| order.key(self.logits[i]).clamp(from, to);
        let first = if first == part.start { from } else { key(first - 1) };
        (first, if last < part.end { key(last) } else { to })
    }

    /// How many tokens of a part it takes until they are an amount, and the variance of that.
    fn reached(&self, part: Range<usize>, amount: f64) -> (usize, f64) {
        reached(self.amounts[part.clone()].iter().zip(&self.variances[part]), amount)
    }

    /// The same from the back.
    fn reached_back(&self, part: Range<usize>, amount: f64) -> (usize, f64) {
        reached(self.amounts[part.clone()].iter().zip(&self.variances[part]).rev(), amount)
    }
}

fn reached<'a>(tokens: impl Iterator<Item = (&'a f64, &'a f64)>, amount: f64) -> (usize, f64) {
    let (mut sum, mut variance, mut count) = (0.0, 0.0, 0);
    for (more, uncertain) in tokens {
        if sum >= amount {
            break;
        }
        (sum, variance, count) = (sum + more, variance + uncertain, count + 1);
    }
    (count, variance)
}

/// Sorts by the upper 24 bits, which is as exact as a sample need be: three times by eight, in a time that does not depend on what they
/// are.
fn sort<'a>(mut entries: &'a mut [u64], mut room: &'a mut [u64]) -> &'a [u64] {
    const SHIFTS: [u32; 3] = [40, 48, 56];
    let mut counts = [[0_u32; 256]; SHIFTS.len()];
    for entry in &*entries {
        for (counts, shift) in counts.iter_mut().zip(SHIFTS) {
            counts[(entry >> shift) as usize & 255] += 1;
        }
    }
    for (counts, shift) in counts.iter_mut().zip(SHIFTS) {
        let mut start = 0;
        for count in counts.iter_mut() {
            (*count, start) = (start, start + *count);
        }
        for entry in &*entries {
            let place = &mut counts[(entry >> shift) as usize & 255];
            room[*place as usize] = *entry;
            *place += 1;
        }
        (entries, room) = (room, entries);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_by_their_upper_bits() {
        let mut entries: Vec<u64> = (0..1000_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut room = vec![0; entries.len()];
        let sorted = sort(&mut entries, &mut room);
        assert!(sorted.is_sorted_by_key(|entry| entry >> 40));
        assert_eq!(
            sorted.iter().fold(0, |all, entry| all ^ entry),
            (0..1000_u64).fold(0, |all, i| { all ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15) })
        );
    }
}
