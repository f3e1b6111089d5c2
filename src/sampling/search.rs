//! The search for the last token that is kept, where there are many.

use super::order::{Amount, Last, Order, reach};
use super::sample::Known;
use super::survivors::{FEW, Scratch, Survivors};
use super::sweep::{Count, Each, Weigh};

/// Guesses by a sample, before what is left is halved.
const GUESSES: usize = 8;

/// What a search finds.
struct Found {
    /// Nothing if all are kept.
    last: Option<Last>,
    /// Whether the errors of sums cannot have changed that.
    is_certain: bool,
    /// Two keys that it is probably between.
    guess: (u64, u64),
}

impl Survivors<'_, '_> {
    /// The last token that is kept if an amount is kept in some order; nothing if all are, or less than that amount.
    pub fn last(&mut self, order: Order, amount: Amount) -> Option<Last> {
        if self.are_few() {
            return self.last_of_few(order, amount);
        }
        match (amount, order) {
            (Amount::Tokens(count), _) => {
                let guess = self.guess_number(order, count);
                self.search(order, Ok(count as f64), Count, 1.0, guess).last
            }
            (Amount::Mass(part), Order::Largest) => {
                let (terms, unit) = (self.terms(), self.unit());
                let found = self.search(order, Err(part), terms, unit, None);
                if found.is_certain {
                    return found.last;
                }
                let target = part * self.mass();
                self.search(order, Ok(target), self.exact(), 1.0, Some(found.guess)).last
            }
            (Amount::Mass(part), Order::Nearest { mass, .. }) => {
                self.search(order, Ok(part * mass), self.exact(), 1.0, None).last
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

    /// The search through reads of the row, for an amount or for a part of what all weigh; sums are divided by `unit`. The first read
    /// may be given what to look between.
    fn search<W: Weigh>(
        &mut self,
        order: Order,
        mut target: Result<f64, f64>,
        weights: W,
        unit: f64,
        mut given: Option<(u64, u64)>,
    ) -> Found {
        let mut known = Known { from: 0, to: order.end(), before: 0.0, up_to: None };
        let mut is_sampled = false;
        for attempt in 0.. {
            if given.is_none() && !is_sampled {
                self.sample(order, W::WEIGHS);
                is_sampled = true;
            }
            let sample = &self.scratch().sample;
            let guess = match (given.take(), target) {
                (Some(given), _) => given,
                (None, Ok(target)) if attempt < GUESSES => sample.guess(order, known, target),
                (None, Ok(_)) => (known.from, known.from.midpoint(known.to)),
                (None, Err(part)) => sample.guess_part(order, part),
            };
            let (first, last) = guess;
            let (inner, outer) = (order.before(first), order.up_to(last));
            let ids = self.ids();
            let swept = match target {
                Ok(_) => self.sweep::<_, false>(ids, weights, inner, outer),
                Err(_) => self.sweep::<_, true>(ids, weights, inner, outer),
            };
            let target = match target {
                Ok(target) => target,
                Err(part) => {
                    let all = swept.all / unit;
                    known.up_to = Some(all);
                    target = Ok(part * all);
                    part * all
                }
            };
            let before = if W::WEIGHS { swept.inner / unit } else { swept.count as f64 };
            // Of what is before and of the target.
            let tolerance = 2.0 * W::ERROR * target;
            let is_near = |amount: f64| tolerance > 0.0 && (amount - target).abs() <= tolerance;
            if is_near(before) {
                return Found { last: None, is_certain: false, guess };
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
                        return Found { last: Some(reached.last), is_certain, guess };
                    }
                    Err(with) => with,
                }
            };
            if is_near(up_to) {
                return Found { last: None, is_certain: false, guess };
            }
            if up_to >= target {
                (known.to, known.up_to) = (last, Some(up_to));
            } else if last < known.to {
                (known.from, known.before) = (last + 1, up_to);
            } else {
                return Found { last: None, is_certain: tolerance == 0.0, guess };
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
                return Some(Found { last: Some(last), is_certain, guess: (key, key) });
            }
            (seen, first) = (seen + found.len, end);
        }
        None
    }

    /// What is known without a sample: that so many logits are not below as many largest ones of parts of the row.
    fn guess_number(&mut self, order: Order, count: usize) -> Option<(u64, u64)> {
        let Order::Largest = order else { return None };
        self.largest_of_parts(count).map(|largest| (0, order.key(largest)))
    }
}
