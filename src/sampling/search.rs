//! The search for the last token that is kept, where there are many.

use super::order::{Amount, Last, Order, reach};
use super::sample::Known;
use super::survivors::{FEW, Scratch, Survivors};
use super::sweep::{Count, Each, Weigh};

/// Guesses by a sample, before what is left is halved.
const GUESSES: usize = 8;

/// What a search finds.
pub struct Found {
    /// Nothing if all are kept.
    pub last: Option<Last>,
    /// Whether the errors of sums cannot have changed that.
    pub is_certain: bool,
}

impl Found {
    const UNCERTAIN: Self = Self { last: None, is_certain: false };
}

impl Survivors<'_, '_> {
    /// The last token that is kept if an amount is kept in some order; nothing if all are, or less than that amount.
    pub fn last(&mut self, order: Order, amount: Amount) -> Option<Last> {
        if self.are_few() {
            return self.last_of_few(order, amount);
        }
        match (amount, order) {
            (Amount::Tokens(count), _) => self.search(order, amount, Some(count as f64), Count, 1.0).last,
            (Amount::Mass(_), Order::Largest) => {
                let (terms, unit) = (self.terms(), self.unit());
                let found = self.search(order, amount, None, terms, unit);
                if found.is_certain {
                    return found.last;
                }
                self.search(order, amount, None, self.exact(), 1.0).last
            }
            (Amount::Mass(part), Order::Nearest { .. }) => {
                let target = part * self.mass();
                self.search(order, amount, Some(target), self.exact(), 1.0).last
            }
        }
    }

    fn last_of_few(&mut self, order: Order, amount: Amount) -> Option<Last> {
        let (target, is_mass) = match amount {
            Amount::Tokens(count) => (count as f64, false),
            Amount::Mass(part) => (part * self.weigh().iter().sum::<f64>(), true),
        };
        let Scratch { list, entries, weights, .. } = self.scratch();
        let weight = |i: usize| if is_mass { weights[i] } else { 1.0 };
        let reached = reach(list, entries, order, weight, (0, 0.0), target).ok()?;
        Some(Last { is_found: false, ..reached.last })
    }

    /// The search through reads of the row. `target` is known already if weights need not be summed up first; sums are divided by
    /// `unit`.
    fn search<W: Weigh>(
        &mut self,
        order: Order,
        amount: Amount,
        mut target: Option<f64>,
        weights: W,
        unit: f64,
    ) -> Found {
        let mut known = Known { from: 0, to: order.end(), before: 0.0, up_to: None };
        let mut is_sampled = false;
        for attempt in 0.. {
            let (first, last) = match self.first_guess(order, amount, attempt) {
                Some(guess) => guess,
                None if attempt < GUESSES => {
                    if !is_sampled {
                        self.sample(order, W::WEIGHS);
                        is_sampled = true;
                    }
                    match (target, amount) {
                        (Some(target), _) => self.scratch().sample.guess(order, known, target),
                        (None, Amount::Mass(part)) => self.guess_part(order, part),
                        (None, Amount::Tokens(_)) => unreachable!("numbers need not be summed up first"),
                    }
                }
                None => (known.from, known.from.midpoint(known.to)),
            };
            let (inner, outer) = (order.before(first), order.up_to(last));
            let ids = self.ids();
            let swept = match target {
                Some(_) => self.sweep::<_, false>(ids, weights, inner, outer),
                None => self.sweep::<_, true>(ids, weights, inner, outer),
            };
            let target = match (target, amount) {
                (None, Amount::Mass(part)) => {
                    known.up_to = Some(swept.all / unit);
                    *target.insert(part * swept.all / unit)
                }
                (target, _) => target.unwrap_or_default(),
            };
            let before = if W::WEIGHS { swept.inner / unit } else { swept.count as f64 };
            // Of what is before and of the target.
            let tolerance = 2.0 * W::ERROR * target;
            let is_near = |amount: f64| tolerance > 0.0 && (amount - target).abs() <= tolerance;
            if is_near(before) {
                return Found::UNCERTAIN;
            }
            if before >= target {
                (known.to, known.up_to) = (first - 1, Some(before));
                continue;
            }
            (known.from, known.before) = (first, before);
            let up_to = if self.scratch().found.is_exceeded() {
                if first == last {
                    let found = self.last_of_equal::<W>(order, first, (swept.count, before), target);
                    if let Some(found) = found {
                        return found;
                    }
                }
                let ids = self.ids();
                let up_to = self.sweep::<_, false>(ids, weights, outer, outer);
                if W::WEIGHS { up_to.inner / unit } else { up_to.count as f64 }
            } else {
                let (machine, exact) = (self.machine(), self.exact());
                let Scratch { found, entries, weights, .. } = self.scratch();
                if W::WEIGHS {
                    let out = &mut weights[..found.len];
                    machine.run(Each { logits: found.logits(), weights: exact, out });
                }
                let weight = |i: usize| if W::WEIGHS { weights[i] } else { 1.0 };
                match reach(found, entries, order, weight, (swept.count, before), target) {
                    Ok(reached) => {
                        let margin = (target - reached.before).min(reached.with - target);
                        let is_certain = tolerance == 0.0 || margin > tolerance;
                        return Found { last: Some(reached.last), is_certain };
                    }
                    Err(with) => with,
                }
            };
            if is_near(up_to) {
                return Found::UNCERTAIN;
            }
            if up_to >= target {
                (known.to, known.up_to) = (last, Some(up_to));
            } else if last < known.to {
                (known.from, known.before) = (last + 1, up_to);
            } else {
                return Found { last: None, is_certain: tolerance == 0.0 };
            }
        }
        unreachable!("every read narrows what is left")
    }

    /// The so-manieth of tokens with one key, too many to be listed, given how many and how much there is before them; nothing if they
    /// are not enough.
    fn last_of_equal<W: Weigh>(
        &mut self,
        order: Order,
        key: u64,
        (count, before): (usize, f64),
        target: f64,
    ) -> Option<Found> {
        let logit = self.scratch().found.logits[0];
        let weight = if W::WEIGHS { libm::exp(self.exact().exponent(logit)) } else { 1.0 };
        let more = (target - before) / weight;
        let needed = libm::ceil(more).max(1.0);
        let tolerance = 2.0 * W::ERROR * target;
        // Neither one token more nor less.
        let margin = (more - libm::floor(more)).min(needed - more) * weight;
        let is_certain = tolerance == 0.0 || margin > tolerance;
        let (needed, inner, outer) = (needed as usize, order.before(key), order.up_to(key));
        let (mut seen, mut first, len) = (0, 0, self.ids().end);
        while first < len {
            let end = len.min(first + FEW);
            self.sweep::<_, false>(first..end, Count, inner, outer);
            let found = &self.scratch().found;
            if seen + found.len >= needed {
                let at = needed - seen - 1;
                let (logit, id) = (found.logits[at], found.places[at]);
                let last = Last { key, logit, id, count: count + needed, is_found: false };
                return Some(Found { last: Some(last), is_certain });
            }
            (seen, first) = (seen + found.len, end);
        }
        None
    }

    /// What is known without a sample: that the largest logits are not below the largest ones of some parts of the row.
    fn first_guess(&mut self, order: Order, amount: Amount, attempt: usize) -> Option<(u64, u64)> {
        if attempt > 0 || !matches!(order, Order::Largest) {
            return None;
        }
        let number = match amount {
            Amount::Tokens(count) => count,
            // As many as are worth a try if few of them have most of the mass.
            Amount::Mass(_) if self.is_peaked() => FEW / 8,
            Amount::Mass(_) => return None,
        };
        self.largest_of_parts(number).map(|largest| (0, order.key(largest)))
    }

    /// Two keys that a part of the mass is probably reached between, of which the sample may know nothing.
    fn guess_part(&mut self, order: Order, part: f64) -> (u64, u64) {
        let sample = &self.scratch().sample;
        sample.guess_part(order, part).unwrap_or_else(|| (0, sample.ranked(order, FEW / 2)))
    }
}
