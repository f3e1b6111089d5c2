//! Orders in which tokens are kept, and where in them an amount is reached.

use crate::simd::isa::Machine;
use crate::simd::{Kernel, LANES, Simd};
use crate::span::{Read, Span};

use super::interval::{Ends, Extent, Interval};
use super::places::Places;
use super::weigh::{Exact, Within};

/// In which order tokens are kept: by a key, the least first, and then by their ids.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// The largest logit first.
    Largest,
    /// Exponents nearest to their mean first, under a distribution with this mass.
    Nearest { weights: Exact, mean: f64, mass: f64 },
}

/// Floats as integers of the same order, but for -0, which is the same as +0 here.
fn ordered(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The float that is this integer.
fn float(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 0 { !ordered } else { ordered & !(1 << 31) })
}

impl Order {
    /// Distances are not negative, and those are ordered as their bits are.
    pub fn key(self, x: f32) -> u64 {
        match self {
            Order::Largest => u64::from(!ordered(x)),
            Order::Nearest { weights, mean, .. } => (weights.exponent(x) - mean).abs().to_bits(),
        }
    }

    /// The key behind all others.
    pub fn end(self) -> u64 {
        match self {
            Order::Largest => self.key(f32::MIN),
            Order::Nearest { .. } => f64::MAX.to_bits(),
        }
    }

    /// The first and the last key that logits in an interval may have.
    fn keys(self, Interval { low, high }: Interval) -> (u64, u64) {
        let (low, high) = (self.key(low), self.key(high));
        match self {
            Order::Largest => (high, low),
            Order::Nearest { .. } => (0, low.max(high)),
        }
    }

    /// A key as a float, which is near it.
    pub fn near(self, key: u64) -> f32 {
        match self {
            Order::Largest => -float(!(key as u32)),
            Order::Nearest { .. } => f64::from_bits(key) as f32,
        }
    }

    /// The key that is this float.
    pub fn exact(self, near: f32) -> u64 {
        match self {
            Order::Largest => self.key(-near),
            Order::Nearest { .. } => f64::from(near.max(0.0)).to_bits(),
        }
    }

    /// The logits whose keys are up to a key.
    pub fn up_to(self, key: u64) -> Interval {
        match self {
            // There are keys of NaN, before those of all numbers. An end that nothing compares with would be no end.
            Order::Largest => match float(!(key as u32)) {
                low if low.is_nan() => Interval::NOTHING,
                low => Interval { low, high: f32::MAX },
            },
            Order::Nearest { weights, mean, .. } => {
                let most = f64::from_bits(key);
                let low = first_where(|x| mean - weights.exponent(x) <= most);
                let above = first_where(|x| weights.exponent(x) - mean > most);
                Interval { low, high: above.next_down() }
            }
        }
    }

    /// The logits whose keys are below a key.
    pub fn before(self, key: u64) -> Interval {
        key.checked_sub(1).map_or(Interval::NOTHING, |key| self.up_to(key))
    }

    /// A key between two, by what they stand for: a part of the way; but not the last of them.
    fn between(self, (from, to): (u64, u64), part: f64) -> u64 {
        let along = |from: f64, to: f64| from + part * (to - from);
        let key = match self {
            Order::Largest => self.exact(along(f64::from(self.near(from)), f64::from(self.near(to))) as f32),
            Order::Nearest { .. } => along(f64::from_bits(from), f64::from_bits(to)).to_bits(),
        };
        key.clamp(from, to - 1)
    }
}

/// The first finite float for which something is true that is true for all above it; +inf if it is for none.
pub fn first_where(is_true: impl Fn(f32) -> bool) -> f32 {
    let (mut from, mut to) = (ordered(f32::MIN), ordered(f32::INFINITY));
    while from < to {
        let middle = from.midpoint(to);
        if is_true(float(middle)) { to = middle } else { from = middle + 1 }
    }
    float(from)
}

/// How much is to be kept: tokens as long as those before them are less than this.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    Tokens(usize),
    /// A part of the mass of all that are left.
    Mass(f64),
}

/// The last token that is kept.
#[derive(Debug, Clone, Copy)]
pub struct Last {
    pub key: u64,
    pub logit: f32,
    pub id: u32,
    /// How many are kept, if that is known.
    pub count: Option<usize>,
    /// Whether all of them were gathered by the read that found this one.
    pub is_found: bool,
    /// Whether the masses of the parts of the row are those of what is kept.
    pub is_weighed: bool,
}

/// Where in some tokens an amount is reached.
pub struct Reached {
    pub last: Last,
    /// How much there is before that token, and with it.
    pub before: f64,
    pub with: f64,
}

/// Tokens among which a bound is looked for.
pub struct Among<'a> {
    pub tokens: &'a Places,
    /// Without these each counts as one.
    pub weights: Option<&'a [f64]>,
    pub order: Order,
    /// Room for the numbers of all.
    pub numbers: &'a mut [u32],
}

impl Among<'_> {
    /// Where an amount is reached, if it is, given how many tokens and how much there is before these.
    pub fn reach(
        self,
        machine: Machine,
        (count, before): (Option<usize>, f64),
        target: f64,
    ) -> Option<Reached> {
        // As many are ordered.
        const SHORT: usize = 24;
        let Self { tokens, weights, order, numbers } = self;
        let logits = tokens.logits();
        let (mut from, mut to) = order.keys(machine.run(Extent { logits }));
        let within = |interval| {
            let weights = weights.map(|weights| &weights[..logits.len()]);
            let (number, mass) = machine.run(Within { logits, weights, interval });
            (number, before + mass)
        };
        let (mut less, mut enough) = ((0, before), within(order.up_to(to)));
        if enough.1 < target {
            return None;
        }
        // Some tokens behind where it is if keys and masses are in proportion, some before that, and in the middle of the keys if that
        // was wrong.
        let mut aims = [Some(SHORT as f64 / 3.0), Some(SHORT as f64 / -3.0), None].into_iter().cycle();
        while enough.0 - less.0 > SHORT && from < to {
            let mass = enough.1 - less.1;
            let middle = match aims.next().flatten() {
                Some(aside) => {
                    let part = (target - less.1) / mass + aside / (enough.0 - less.0) as f64;
                    order.between((from, to), part.clamp(0.0, 1.0))
                }
                None => from.midpoint(to),
            };
            let sums = within(order.up_to(middle));
            if sums.1 < target { (from, less) = (middle + 1, sums) } else { (to, enough) = (middle, sums) }
        }

        let (inner, outer) = (order.before(from), order.up_to(to));
        let len = machine.run(Between { logits, inner, outer, numbers: &mut *numbers });
        let numbers = &mut numbers[..len];
        if from < to {
            numbers.sort_unstable_by_key(|&i| (order.key(logits[i as usize]), i));
        }
        let (mut kept, mut with, mut reached) = (less.0, less.1, None);
        for &i in &*numbers {
            let (i, before) = (i as usize, with);
            (kept, with) = (kept + 1, with + weights.map_or(1.0, |weights| weights[i]));
            let (logit, id) = (logits[i], tokens.places[i]);
            let (key, count, is_found) =
                (order.key(logit), count.map(|count| count + kept), count == Some(0));
            let last = Last { key, logit, id, count, is_found, is_weighed: false };
            reached = Some(Reached { last, before, with });
            if with >= target {
                break;
            }
        }
        // Added up in another order they may be less by a rounding: then it is the last of them.
        reached
    }
}

/// The numbers of the tokens that are in one interval and not in another.
struct Between<'a> {
    logits: &'a [f32],
    inner: Interval,
    outer: Interval,
    numbers: &'a mut [u32],
}

impl Kernel for Between<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let (inner, outer) = (Ends::new(s, self.inner), Ends::new(s, self.outer));
        let (mut rest, mut first, mut len) = (Read::new(self.logits), 0, 0);
        while let Some(x) = rest.pair(s, f32::NEG_INFINITY) {
            rest.put_pair::<S>(x);
            let mut bits = outer.pair(x) & !inner.pair(x);
            while bits != 0 {
                self.numbers[len] = first + bits.trailing_zeros();
                bits &= bits - 1;
                len += 1;
            }
            first += 2 * LANES as u32;
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_and_integers_have_one_order() {
        let floats = [f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX, f32::INFINITY];
        assert!(floats.is_sorted_by_key(|&x| ordered(x)));
        assert!(floats.iter().all(|&x| float(ordered(x)) == x));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn every_key_has_ends_that_compare() {
        let (first, last) = (Order::Largest.key(f32::MAX), Order::Largest.end());
        for key in [0, 1, 4_194_303, first - 2, first - 1, first, first + 1, last - 1, last] {
            for interval in [Order::Largest.before(key), Order::Largest.up_to(key)] {
                assert!(!interval.low.is_nan() && !interval.high.is_nan(), "{key}: {interval:?}");
            }
            for x in [f32::MIN, 0.0, 1.0, f32::MAX] {
                assert_eq!(Order::Largest.up_to(key).contains(x), Order::Largest.key(x) <= key, "{key}: {x}");
            }
        }
    }

    #[test]
    fn the_first_float_is_found() {
        for least in [f32::MIN, -2.5, -1e-45, 0.0, 1e-45, 7.0, f32::MAX] {
            assert_eq!(first_where(|x| x >= least), least);
        }
        assert_eq!(first_where(|_| false), f32::INFINITY);
    }
}
