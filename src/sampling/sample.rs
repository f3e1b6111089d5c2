//! A sample of a row, and what it says about where an amount is reached.
//!
//! It is stratified: the few largest logits, which may have most of the mass, stand for themselves, and of the others some vectors for all.
//! So what it says of sums is uncertain only by the others. The largest are those of the parts of the row, which are known already; where a
//! part has several large ones, the second is one of the others.
//!
//! Nothing is sorted: a sum over all of the sample takes less time than to order some of it, and a bound is found by some such sums.

use core::ops::Range;

use crate::ops::temperature::Temperature;
use crate::simd::isa::Machine;
use crate::simd::{F32, F64, Kernel, LANES, Mask, Simd};

use super::interval::{Ends, Interval};
use super::order::Order;
use super::parts::{Cut, Parts};
use super::places::FEW;
use super::scores::{Room, Scores};
use super::weigh::Terms;

/// Vectors that stand for others.
const LIGHT: usize = 256;

/// Vectors of the largest logits, at most.
const HEAVY: usize = 64;

/// The largest that there are as a rule.
const LARGEST: usize = HEAVY * LANES / 2;

/// How far guesses are off as a rule, in standard deviations: more of them would be right, but gather more.
const DEVIATIONS: f64 = 2.4;

/// Sums in which a bound is found.
const STEPS: usize = 12;

/// As many are gathered as a rule, which leaves room for more.
const WANTED: f64 = FEW as f64 * 0.8;

/// How much is ahead of the bound that is guessed, in the keys that it is one of.
#[derive(Debug, Clone, Copy)]
pub enum Ahead {
    Amount(f64),
    /// A part of what there is in all of them.
    Part(f64),
}

type Vector = [f32; LANES];

/// A key, and how much there is up to it.
type Point = (f32, f64);

/// Some tokens of a row: the light ones first.
pub struct Sample {
    /// Their keys in an order, as near as floats are.
    keys: [Vector; LIGHT + HEAVY],
    /// How much they stand for.
    amounts: [Vector; LIGHT + HEAVY],
    /// Vectors that there are.
    len: usize,
    /// The least key, and the largest one of which there is an amount.
    first: f32,
    last: f32,
    /// How many tokens a light one stands for.
    each: f64,
}

impl Sample {
    pub const NEW: Self = Self {
        keys: [[0.0; LANES]; LIGHT + HEAVY],
        amounts: [[0.0; LANES]; LIGHT + HEAVY],
        len: 0,
        first: 0.0,
        last: 0.0,
        each: 0.0,
    };

    /// Takes a sample of the logits in an interval: of their mass if there are weights, and otherwise of their number.
    pub fn take(
        &mut self,
        machine: Machine,
        order: Order,
        weights: Option<Terms<Temperature, false>>,
        (scores, all): (&Scores<'_>, Interval),
        parts: &Parts,
        room: &mut Room,
    ) {
        let cut = machine.run(Cut { logits: parts.maxima(), number: LARGEST });
        let (light_keys, heavy_keys) = self.keys.split_at_mut(LIGHT);
        let (light_amounts, heavy_amounts) = self.amounts.split_at_mut(LIGHT);
        let heavy = heavy_keys.as_flattened_mut();
        let mut number = 0;
        if let Some(cut) = cut {
            for &logit in parts.maxima() {
                // Written in any case, and passed only if it counts: no branch to guess.
                heavy[number % (HEAVY * LANES)] = logit;
                number += usize::from(logit >= cut);
            }
        }
        if number > HEAVY * LANES {
            // Too many are equal: others stand for them.
            number = 0;
        }
        let least = cut.filter(|_| number > 0).unwrap_or(f32::INFINITY);
        heavy[number..number.next_multiple_of(LANES)].fill(f32::NEG_INFINITY);
        heavy_amounts.as_flattened_mut().fill(1.0);
        self.each = scores.len() as f64 / (LIGHT * LANES) as f64;
        let vectors = (scores.len() / LANES) as u64;
        for (i, (logits, amounts)) in light_keys.iter_mut().zip(light_amounts).enumerate() {
            // One of as many vectors as one stands for, and not always the same.
            let which = (i as u64 * 0x9e37_79b9) & 0xffff_ffff;
            let vector = (i as u64 * vectors + ((which * vectors) >> 32)) / LIGHT as u64;
            let first = vector as usize * LANES;
            logits.copy_from_slice(scores.block(first..first + LANES, room));
            amounts.fill(self.each as f32);
            if logits.iter().fold(false, |any, &logit| any | (logit >= least)) {
                for ((amount, logit), max) in amounts.iter_mut().zip(logits).zip(parts.maxima_at(first)) {
                    // It stands for itself.
                    if *logit >= least && logit == max {
                        *amount = 0.0;
                    }
                }
            }
        }
        self.len = LIGHT + number.div_ceil(LANES);
        let (keys, amounts) = (&mut self.keys[..self.len], &mut self.amounts[..self.len]);
        (self.first, self.last) = machine.run(Tell { order, weights, all, keys, amounts });
    }

    /// Two keys that a bound is probably between, of which it is known that it is between two others.
    pub fn guess(&self, machine: Machine, order: Order, (from, to): (u64, u64), ahead: Ahead) -> (u64, u64) {
        let start = if from == 0 { self.first.next_down() } else { order.near(from).next_down() };
        let [start, end] = [start, order.near(to).min(self.last)].map(|key| (key, self.up_to(machine, key)));
        let all = end.1 - start.1;
        if all <= 0.0 || end.0 <= start.0 {
            return (from, to);
        }
        let part = match ahead {
            Ahead::Amount(amount) => (amount / all).min(1.0),
            Ahead::Part(part) => part,
        };
        let target = start.1 + part * all;
        let (below, above) = self.bracket(machine, target, (start, end), all / 64.0);
        let lights = (&self.keys[..LIGHT], &self.amounts[..LIGHT]);
        let variance = machine.run(Variance { lights, from: start.0, bound: above.0, to: end.0, part });
        let mut deviation = DEVIATIONS * libm::sqrt(variance);
        let bounds = |deviation: f64| {
            let find = |amount: f64| {
                let within = if amount <= below.1 {
                    (start, below)
                } else if amount <= above.1 {
                    (below, above)
                } else {
                    (above, end)
                };
                self.bracket(machine, amount, within, 0.2 * deviation)
            };
            let (least, most) = (target - deviation, target + deviation);
            let low = if least <= start.1 { start } else { find(least).0 };
            let high = if most >= end.1 { end } else { find(most).1 };
            (low, high)
        };
        let number = |key: f32| self.number(machine, key);

        let (mut low, mut high) = bounds(deviation);
        let up_to = number(high.0);
        if from == 0 && up_to <= 0.5 * WANTED {
            // Little more work, and then all of them are listed. Some further ones too: of so few a sample does not tell.
            let further = high.0 + 0.25 * (high.0 - self.first);
            let last = if number(further) <= 0.5 * WANTED { further } else { high.0 };
            return (from, order.exact(last).clamp(from, to));
        }
        let mut gathered = up_to - number(low.0);
        for _ in 0..2 {
            if gathered > WANTED {
                deviation *= 0.9 * WANTED / gathered;
                (low, high) = bounds(deviation);
                gathered = number(high.0) - number(low.0);
            }
        }
        // Up to the ends of what is known: but not where there is more already than can be gathered, of one logit it may be.
        let is_room = gathered <= WANTED;
        let first =
            if low == start && is_room { from } else { order.exact(low.0).saturating_add(1).clamp(from, to) };
        let last = if high == end && is_room { to } else { order.exact(high.0).clamp(first, to) };
        (first, last)
    }

    /// Whether more than half of all tokens seem to have keys before this one.
    pub fn is_most_before(&self, machine: Machine, order: Order, key: u64) -> bool {
        key > 0 && 2.0 * self.number(machine, order.near(key - 1)) > self.number(machine, self.last)
    }

    /// Two keys that an amount is reached between, narrower than two others: what is between them is not much more than the resolution.
    fn bracket(
        &self,
        machine: Machine,
        amount: f64,
        (mut low, mut high): (Point, Point),
        resolution: f64,
    ) -> (Point, Point) {
        for step in 0..STEPS {
            if high.1 - low.1 <= resolution {
                break;
            }
            // Where it is if keys and amounts are in proportion, or in the middle if that is not.
            let part = if step % 2 == 0 { (amount - low.1) / (high.1 - low.1) } else { 0.5 };
            let (from, to) = (f64::from(low.0), f64::from(high.0));
            let middle = (from + part * (to - from)) as f32;
            if middle <= low.0 || middle >= high.0 {
                continue;
            }
            let sum = self.up_to(machine, middle);
            if sum < amount { low = (middle, sum) } else { high = (middle, sum) }
        }
        (low, high)
    }

    /// How many tokens seem to have keys up to one.
    fn number(&self, machine: Machine, key: f32) -> f64 {
        let number = |part: Range<usize>| self.sum::<true>(machine, part, key);
        self.each * number(0..LIGHT) + number(LIGHT..self.len)
    }

    /// How much there is up to a key.
    fn up_to(&self, machine: Machine, key: f32) -> f64 {
        self.sum::<false>(machine, 0..self.len, key)
    }

    /// How much there is up to a key in a part of the sample, or how many.
    fn sum<const COUNT: bool>(&self, machine: Machine, part: Range<usize>, bound: f32) -> f64 {
        let (keys, amounts) = (&self.keys[part.clone()], &self.amounts[part]);
        machine.run(UpTo::<COUNT> { keys, amounts, bound })
    }
}

/// Makes logits their keys, and what their weights are multiplied by how much they stand for. The results are the least key, and the
/// largest one of which there is an amount.
struct Tell<'a> {
    order: Order,
    weights: Option<Terms<Temperature, false>>,
    all: Interval,
    keys: &'a mut [Vector],
    amounts: &'a mut [Vector],
}

impl Kernel for Tell<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let (ends, zero, nothing) = (Ends::new(s, self.all), s.splat(0.0), s.splat(f32::NEG_INFINITY));
        let (mut first, mut last) = (nothing, nothing);
        for (key, amount) in self.keys.iter_mut().zip(self.amounts) {
            let x = ends.only(s, s.load(key));
            let each = s.load(amount);
            let amounts = match self.weights {
                Some(weights) => weights.of(s, [x])[0] * each,
                None => x.exceeds(nothing).select(each, zero),
            };
            let keys = match self.order {
                Order::Largest => zero - x,
                Order::Nearest { weights, mean, .. } => {
                    let z = (x.widen() - s.splat_f64(f64::from(weights.top))) * s.splat_f64(weights.inverse);
                    (z - s.splat_f64(mean)).narrow().abs()
                }
            };
            first = (zero - keys).max(first);
            last = amounts.exceeds(zero).select(keys, nothing).max(last);
            (*key, *amount) = (keys.to_array(), amounts.to_array());
        }
        (-first.reduce_max(), last.reduce_max())
    }
}

/// How much there is up to a key; or how many.
struct UpTo<'a, const COUNT: bool> {
    keys: &'a [Vector],
    amounts: &'a [Vector],
    bound: f32,
}

impl<const COUNT: bool> Kernel for UpTo<'_, COUNT> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        const CHAINS: usize = 4;
        let (bound, zero) = (s.splat(self.bound.next_up()), s.splat(0.0));
        let mut sums = [zero; CHAINS];
        for (keys, amounts) in self.keys.chunks(CHAINS).zip(self.amounts.chunks(CHAINS)) {
            for (i, (key, amount)) in keys.iter().zip(amounts).enumerate() {
                let mut amount = s.load(amount);
                if COUNT {
                    amount = amount.exceeds(zero).select(s.splat(1.0), zero);
                }
                sums[i] = sums[i] + bound.exceeds(s.load(key)).select(amount, zero);
            }
        }
        (sums[0] + sums[1] + (sums[2] + sums[3])).widen().reduce_add()
    }
}

/// The variance of what is up to a key, less a part of all, in the keys behind one and up to another: that of sums of vectors,
/// as what stands side by side may be alike.
struct Variance<'a> {
    lights: (&'a [Vector], &'a [Vector]),
    from: f32,
    bound: f32,
    to: f32,
    part: f64,
}

impl Kernel for Variance<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (from, zero) = (s.splat(self.from), s.splat(0.0));
        let [bound, to] = [self.bound, self.to].map(|key| key.next_up());
        let (bound, to, part) = (s.splat(bound), s.splat(to), s.splat(self.part as f32));
        let (mut sum, mut squares) = (0.0, 0.0);
        for (key, amount) in self.lights.0.iter().zip(self.lights.1) {
            let (key, amount) = (s.load(key), s.load(amount));
            let amount = key.exceeds(from).select(to.exceeds(key).select(amount, zero), zero);
            let ahead = bound.exceeds(key).select(amount, zero) - part * amount;
            let difference = ahead.widen().reduce_add();
            (sum, squares) = (sum + difference, squares + difference * difference);
        }
        // Where all vectors are the same, rounding leaves a little of either sign, and of a negative number there is no root.
        (squares - sum * sum / LIGHT as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::trial::tested;

    #[test]
    fn what_is_the_same_everywhere_has_no_negative_variance() {
        for isa in tested() {
            let machine = Machine::new(isa).unwrap();
            for step in 0..200 {
                let amounts = [[1.0 + step as f32 * 0.013; LANES]; LIGHT];
                let lights = (&[[-2.826_555_3; LANES]; LIGHT][..], &amounts[..]);
                let variance =
                    machine.run(Variance { lights, from: -3.0, bound: -2.0, to: -2.0, part: 0.37 });
                assert!((0.0..1e-6).contains(&variance), "{isa}: {variance} for {}", amounts[0][0]);
            }
        }
    }
}
