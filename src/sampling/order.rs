//! Orders in which tokens are kept, and where in them an amount is reached.

use core::cmp::Ordering;

use super::interval::Interval;
use super::sweep::Places;
use super::weigh::Exact;

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

    /// The logits whose keys are up to a key.
    pub fn up_to(self, key: u64) -> Interval {
        match self {
            Order::Largest => Interval { low: float(!(key as u32)), high: f32::MAX },
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
    /// How many are kept.
    pub count: usize,
    /// Whether all of them were gathered by the read that found this one.
    pub is_found: bool,
}

/// Where in some tokens an amount is reached.
pub struct Reached {
    pub last: Last,
    /// How much there is before that token, and with it.
    pub before: f64,
    pub with: f64,
}

/// Where in some tokens an amount is reached, given how many and how much there is before them; or how much there is with all of them.
/// `entries` is room.
pub fn reach<const MOST: usize>(
    tokens: &Places<MOST>,
    entries: &mut [u64],
    order: Order,
    weight: impl Fn(usize) -> f64,
    (count, before): (usize, f64),
    target: f64,
) -> Result<Reached, f64> {
    let logits = tokens.logits();
    let entries = &mut entries[..logits.len()];
    let (kept, with) = match order {
        Order::Largest => {
            for (i, (entry, &logit)) in entries.iter_mut().zip(logits).enumerate() {
                *entry = order.key(logit) << 32 | i as u64;
            }
            split(entries, u64::cmp, &weight, before, target)
        }
        Order::Nearest { .. } => {
            for (i, entry) in entries.iter_mut().enumerate() {
                *entry = i as u64;
            }
            let key = |entry: &u64| order.key(logits[*entry as usize]);
            split(entries, |a, b| key(a).cmp(&key(b)).then(a.cmp(b)), &weight, before, target)
        }
    };
    if with < target {
        return Err(with);
    }
    let Some(&last) = entries[..kept].last() else { return Err(with) };
    let i = last as u32 as usize;
    let (logit, id) = (logits[i], tokens.places[i]);
    let last = Last { key: order.key(logit), logit, id, count: count + kept, is_found: count == 0 };
    Ok(Reached { last, before: with - weight(i), with })
}

/// Puts in front the tokens that are kept as long as there is less than `target` before them, the last of them behind the others; says how
/// many these are, and how much there is with all of them. An entry has a token's number in its lower half.
fn split(
    mut entries: &mut [u64],
    order: impl Fn(&u64, &u64) -> Ordering + Copy,
    weight: &impl Fn(usize) -> f64,
    mut before: f64,
    target: f64,
) -> (usize, f64) {
    const SHORT: usize = 24;
    let weight = |entry: &u64| weight(*entry as u32 as usize);
    let mut kept = 0;
    while entries.len() > SHORT {
        let middle = entries.len() / 2;
        entries.select_nth_unstable_by(middle, order);
        let (first, second) = entries.split_at_mut(middle);
        let mass: f64 = first.iter().map(weight).sum();
        if before + mass < target {
            (before, kept, entries) = (before + mass, kept + middle, second);
        } else {
            entries = first;
        }
    }
    entries.sort_unstable_by(order);
    for entry in &*entries {
        if before >= target {
            break;
        }
        (before, kept) = (before + weight(entry), kept + 1);
    }
    (kept, before)
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
    fn the_first_float_is_found() {
        for least in [f32::MIN, -2.5, -1e-45, 0.0, 1e-45, 7.0, f32::MAX] {
            assert_eq!(first_where(|x| x >= least), least);
        }
        assert_eq!(first_where(|_| false), f32::INFINITY);
    }
}
