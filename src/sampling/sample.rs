//! A sample of a row, and what it says about where an amount is reached.

use crate::simd::isa::Machine;

use super::order::Order;
use super::scores::Scores;
use super::set::Set;
use super::sweep::{Each, Exact};

/// Tokens that are looked at.
pub const SAMPLE: usize = 2048;

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

/// Every so-manieth token of a row, in some order.
pub struct Sample {
    logits: [f32; SAMPLE],
    weights: [f64; SAMPLE],
    len: usize,
    /// How many tokens each of these stands for.
    stride: f64,
}

impl Sample {
    pub const NONE: Self = Self { logits: [0.0; SAMPLE], weights: [0.0; SAMPLE], len: 0, stride: 1.0 };

    /// Takes a sample of what is left, weighed by mass if there are weights, and otherwise by number.
    pub fn take(
        &mut self,
        machine: Machine,
        scores: &Scores<'_>,
        set: Set,
        order: Order,
        weights: Option<Exact>,
        entries: &mut [u64],
    ) {
        let stride = scores.len().div_ceil(SAMPLE);
        let mut len = 0;
        for place in (0..scores.len()).step_by(stride) {
            let logit = scores.get(place);
            if set.contains(logit, place as u32) {
                // Keys of 64 bits, or of 32, shortened or not: it is a sample.
                let key = match order {
                    Order::Largest => order.key(logit),
                    Order::Nearest { .. } => order.key(logit) >> 32,
                };
                entries[len] = key << 32 | u64::from(logit.to_bits());
                len += 1;
            }
        }
        (self.len, self.stride) = (len, stride as f64);
        entries[..len].sort_unstable();
        for (logit, &entry) in self.logits.iter_mut().zip(&entries[..len]) {
            *logit = f32::from_bits(entry as u32);
        }
        match weights {
            Some(weights) => {
                machine.run(Each { logits: &self.logits[..len], weights, out: &mut self.weights[..len] });
            }
            None => self.weights[..len].fill(1.0),
        }
    }

    /// Where a part of the mass is reached, if the sample knows how much that is: two keys that it is probably between.
    pub fn guess_part(&self, order: Order, part: f64) -> Option<(u64, u64)> {
        let weights = &self.weights[..self.len];
        let (mut sum, mut squares) = (0.0, 0.0);
        for weight in weights {
            (sum, squares) = (sum + weight, squares + weight * weight);
        }
        // What is missing are the largest.
        if squares > 1e-3 * sum * sum {
            return None;
        }
        let (kept, squares_kept) = reached(weights.iter(), part * sum);
        let rest = 1.0 - part;
        let variance = rest * rest * squares_kept + part * part * (squares - squares_kept);
        let deviation = DEVIATIONS * libm::sqrt(variance);
        let (first, _) = reached(weights[..kept].iter(), part * sum - deviation);
        let (last, _) = reached(weights.iter(), part * sum + deviation);
        let last = if last < self.len { order.key(self.logits[last]) } else { order.end() };
        Some((if first == 0 { 0 } else { order.key(self.logits[first - 1]) }, last))
    }

    /// Two keys that an amount is probably reached between.
    pub fn guess(&self, order: Order, known: Known, target: f64) -> (u64, u64) {
        let key = |i: usize| order.key(self.logits[i]);
        let Known { from, to, .. } = known;
        let logits = &self.logits[..self.len];
        let start = logits.partition_point(|&x| order.key(x) < from);
        let end = start + logits[start..].partition_point(|&x| order.key(x) <= to);
        let weights = &self.weights[start..end];
        // From the front, or from the back: from where less is uncertain.
        let ahead = (target - known.before) / self.stride;
        let (kept, variance_ahead) = reached(weights.iter(), ahead);
        let mut bounds = {
            let deviation = DEVIATIONS * libm::sqrt(variance_ahead) + 1.0 * f64::from(u8::from(kept == 0));
            let (first, _) = reached(weights.iter(), ahead - deviation);
            let (last, _) = reached(weights.iter(), ahead + deviation);
            (first, last)
        };
        if let Some(up_to) = known.up_to {
            let behind = (up_to - target) / self.stride;
            let (_, variance) = reached(weights.iter().rev(), behind);
            if variance < variance_ahead || kept == weights.len() {
                let deviation = DEVIATIONS * libm::sqrt(variance);
                let (first, _) = reached(weights.iter().rev(), behind + deviation);
                let (last, _) = reached(weights.iter().rev(), behind - deviation);
                bounds = (weights.len() - first, weights.len() - last);
            }
        }
        let first = if bounds.0 == 0 { from } else { key(start + bounds.0 - 1) };
        let last = if bounds.1 >= weights.len() { to } else { key(start + bounds.1) };
        let (first, last) = (first.clamp(from, to), last.clamp(from, to));
        if (first, last) != (from, to) {
            return (first, last);
        }
        // Nothing is learnt: the median.
        let middle = if weights.is_empty() { from.midpoint(to) } else { key(start + weights.len() / 2) };
        (from, if middle < to { middle } else { from.midpoint(to) })
    }

    /// The key of a token with so many before it.
    pub fn ranked(&self, order: Order, rank: usize) -> u64 {
        let at = rank / self.stride as usize;
        if at < self.len { order.key(self.logits[at]) } else { order.end() }
    }
}

/// How far guesses are off, at most as a rule.
const DEVIATIONS: f64 = 3.0;

/// How many of some weights it takes until they are an amount, and the sum of their squares.
fn reached<'a>(weights: impl Iterator<Item = &'a f64>, amount: f64) -> (usize, f64) {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0);
    for weight in weights {
        if sum >= amount {
            break;
        }
        (sum, squares, count) = (sum + weight, squares + weight * weight, count + 1);
    }
    (count, squares)
}
