//! The search for the last token that is kept, where there are many.

use super::interval::Interval;
use super::order::{Amount, Last, Order, reach};
use super::sample::Known;
use super::scratch::{FEW, Scratch};
use super::survivors::Survivors;
use super::weigh::{Count, Each, Weigh};

/// Guesses by a sample, before what is left is halved.
const GUESSES: usize = 8;

/// What is searched for.
#[derive(Clone, Copy)]
enum Goal {
    /// A part of what all weigh.
    Part(f64),
    /// An amount, and how much all are where that is weighed.
    Amount { target: f64, all: Option<f64> },
}

/// What a search finds.
struct Found {
    /// Nothing if all are kept.
    last: Option<Last>,
    /// Whether the errors of sums cannot have changed that.
    is_certain: bool,
    /// Two keys that it is probably between.
    guess: (u64, u64),
}

/// What a read finds out about a guess.
struct Read {
    /// How many tokens are before it.
    count: usize,
    /// How much there is before it, and up to its end.
    before: f64,
    up_to: f64,
    /// What is searched for, and how much all weigh, if they do.
    target: f64,
    all: Option<f64>,
    /// How far `before - target` may be wrong.
    tolerance: f64,
    /// Whether there is more between than could be gathered.
    is_exceeded: bool,
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
                self.search(order, Goal::Amount { target: count as f64, all: None }, Count, 1.0, guess).last
            }
            (Amount::Mass(part), Order::Largest) => {
                let (goal, unit) = (Goal::Part(part), self.unit());
                let found = match self.plain_terms() {
                    Some(terms) => self.search(order, goal, terms, unit, None),
                    None => self.search(order, goal, self.terms(), unit, None),
                };
                if found.is_certain {
                    return found.last;
                }
                self.search(order, goal, self.exact(), 1.0, Some(found.guess)).last
            }
            (Amount::Mass(part), Order::Nearest { mass, .. }) => {
                let goal = Goal::Amount { target: part * mass, all: Some(mass) };
                self.search(order, goal, self.exact(), 1.0, None).last
            }
        }
    }

    fn last_of_few(&mut self, order: Order, amount: Amount) -> Option<Last> {
        let (target, is_mass, number) = match amount {
            Amount::Tokens(count) => (count as f64, false, count),
            // As many as may have it if it is a row with some likely tokens.
            Amount::Mass(part) => (part * self.weigh().iter().sum::<f64>(), true, 64),
        };
        // Of the largest alone, if these are enough.
        if let Order::Largest = order
            && let Some(low) = self.largest_of_parts(number)
        {
            self.gather_listed(Interval { low, high: f32::MAX });
            if is_mass {
                self.weigh_found();
            }
            let Scratch { list, found, entries, weights, .. } = self.scratch();
            let weight = |i: usize| if is_mass { weights[i] } else { 1.0 };
            if let Ok(reached) = reach(found, entries, order, weight, (0, 0.0), target) {
                let id = list.places[reached.last.id as usize];
                return Some(Last { id, is_found: false, ..reached.last });
            }
            if is_mass {
                self.weigh();
            }
        }
        let Scratch { list, entries, weights, .. } = self.scratch();
        let weight = |i: usize| if is_mass { weights[i] } else { 1.0 };
        let reached = reach(list, entries, order, weight, (0, 0.0), target).ok()?;
        Some(Last { is_found: false, ..reached.last })
    }

    /// The search through reads of the row; sums are divided by `unit`. The first read may be given what to look between.
    fn search<W: Weigh>(
        &mut self,
        order: Order,
        mut goal: Goal,
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
            if let Goal::Amount { all, .. } = goal {
                known.up_to = known.up_to.or(all);
            }
            let sample = &self.scratch().sample;
            let guess = match (given.take(), goal) {
                (Some(given), _) => given,
                (None, Goal::Part(part)) => sample.guess_part(order, part),
                (None, Goal::Amount { target, .. }) if attempt < GUESSES => {
                    sample.guess(order, known, target)
                }
                (None, Goal::Amount { .. }) => (known.from, known.from.midpoint(known.to)),
            };
            let (first, last) = guess;
            let is_most_before = is_sampled && sample.is_most_before(order, first);
            let read = self.read(order, guess, goal, weights, unit, is_most_before);
            let Read { count, before, up_to, target, tolerance, .. } = read;
            goal = Goal::Amount { target, all: read.all };
            let is_near = |amount: f64| tolerance > 0.0 && (amount - target).abs() <= tolerance;
            if is_near(before) || is_near(up_to) {
                return Found { last: None, is_certain: false, guess };
            }
            if before >= target {
                (known.to, known.up_to) = (first - 1, Some(before));
                continue;
            }
            if up_to >= target {
                if first == last && read.is_exceeded {
                    let last = self.last_of_equal::<W>(order, first, (count, before), target, tolerance);
                    return Found { guess, ..last };
                }
                if read.is_exceeded {
                    (known.from, known.before) = (first, before);
                    (known.to, known.up_to) = (last, Some(up_to));
                    continue;
                }
                let Scratch { found, entries, weights, .. } = self.scratch();
                let weight = |i: usize| if W::WEIGHS { weights[i] } else { 1.0 };
                if let Ok(reached) = reach(found, entries, order, weight, (count, before), target) {
                    let margin = (target - reached.before).min(reached.with - target);
                    let is_certain = tolerance == 0.0 || margin > tolerance;
                    return Found { last: Some(reached.last), is_certain, guess };
                }
                // Added up in another order they are less by a rounding: it is the next.
            }
            if last >= known.to {
                return Found { last: None, is_certain: tolerance == 0.0, guess };
            }
            (known.from, known.before) = (last + 1, up_to.min(target));
        }
        unreachable!("every read narrows what is left")
    }

    /// Reads the row, given two keys that the last token's is probably between, and whether more than half of all tokens are before these.
    fn read<W: Weigh>(
        &mut self,
        order: Order,
        (first, last): (u64, u64),
        goal: Goal,
        weights: W,
        unit: f64,
        is_most_before: bool,
    ) -> Read {
        let (inner, outer) = (order.before(first), order.up_to(last));
        let ids = self.ids();
        let (swept, outside, target, all) = match goal {
            Goal::Part(part) => {
                let swept = self.sweep::<_, true>(ids, weights, (inner, outer), false);
                let all = (swept.weighed + swept.others) / unit;
                (swept, false, part * all, Some(all))
            }
            Goal::Amount { target, all } => {
                // Whatever is less work, where what all weigh tells about the other.
                let outside = is_most_before && all.is_some();
                let swept = self.sweep::<_, false>(ids, weights, (inner, outer), outside);
                (swept, outside, target, all)
            }
        };
        let found = self.scratch().found.len;
        let is_exceeded = self.scratch().found.is_exceeded();
        let mut read =
            Read { count: swept.count, before: 0.0, up_to: 0.0, target, all, tolerance: 0.0, is_exceeded };
        let Some(all) = all else {
            (read.before, read.up_to) = (swept.count as f64, (swept.count + found) as f64);
            return read;
        };
        let weighed = swept.weighed / unit;
        read.tolerance = W::ERROR
            * match goal {
                // `before - target` is `1 - part` times what is before, less `part` times the others.
                Goal::Part(part) => (1.0 - part) * weighed + part * (all - weighed),
                Goal::Amount { .. } if outside => all - target + weighed,
                Goal::Amount { .. } => target + weighed,
            };
        let between = if is_exceeded {
            // What cannot be weighed one by one takes another read.
            let ids = self.ids();
            let interval = if outside { inner } else { outer };
            let other = self.sweep::<_, false>(ids, weights, (interval, interval), false).weighed / unit;
            if outside { all - weighed - other } else { other - weighed }
        } else {
            self.weigh_found()
        };
        (read.before, read.up_to) =
            if outside { (all - weighed - between, all - weighed) } else { (weighed, weighed + between) };
        read
    }

    /// The weights of what was gathered, and their sum.
    fn weigh_found(&mut self) -> f64 {
        let (machine, exact) = (self.machine(), self.exact());
        let Scratch { found, weights, .. } = self.scratch();
        let out = &mut weights[..found.len];
        machine.run(Each { logits: found.logits(), weights: exact, out });
        out.iter().sum()
    }

    /// The so-manieth of tokens with one key, too many to be listed, given how many and how much there is before them.
    fn last_of_equal<W: Weigh>(
        &mut self,
        order: Order,
        key: u64,
        (count, before): (usize, f64),
        target: f64,
        tolerance: f64,
    ) -> Found {
        let logit = self.scratch().found.logits[0];
        let weight = if W::WEIGHS { libm::exp(self.exact().exponent(logit)) } else { 1.0 };
        let more = (target - before) / weight;
        let needed = libm::ceil(more).max(1.0);
        // Neither one token more nor less.
        let margin = (more - libm::floor(more)).min(needed - more) * weight;
        let is_certain = tolerance == 0.0 || margin > tolerance;
        let (needed, inner, outer) = (needed as usize, order.before(key), order.up_to(key));
        let (mut seen, mut first, len) = (0, 0, self.ids().end);
        while first < len {
            let end = len.min(first + FEW);
            self.sweep::<_, false>(first..end, Count, (inner, outer), false);
            let found = &self.scratch().found;
            if seen + found.len >= needed {
                let at = needed - seen - 1;
                let (logit, id) = (found.logits[at], found.places[at]);
                let last = Last { key, logit, id, count: count + needed, is_found: false };
                return Found { last: Some(last), is_certain, guess: (key, key) };
            }
            (seen, first) = (seen + found.len, end);
        }
        // By the rounding of sums it is the last of all.
        Found { last: None, is_certain, guess: (key, key) }
    }

    /// What is known without a sample: that so many logits are not below as many largest ones of parts of the row.
    fn guess_number(&mut self, order: Order, count: usize) -> Option<(u64, u64)> {
        let Order::Largest = order else { return None };
        self.largest_of_parts(count).map(|largest| (0, order.key(largest)))
    }
}
