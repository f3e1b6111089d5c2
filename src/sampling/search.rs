//! The search for the last token that is kept, where there are many.

use super::interval::Interval;
use super::order::{Among, Amount, Last, Order, Reached};
use super::parts::Keep;
use super::places::FEW;
use super::sample::Ahead;
use super::scratch::Scratch;
use super::sift::Sifted;
use super::survivors::Survivors;
use super::weigh::{Count, Each, Weigh};

/// Guesses by a sample, before what is left is halved.
const GUESSES: usize = 8;

/// What is searched for.
#[derive(Clone, Copy)]
enum Goal {
    /// A part of what all weigh, by the largest logits.
    Part(f64),
    /// An amount, and how much all are where that is weighed: so that it is exact.
    Amount { target: f64, all: Option<f64> },
}

/// What is known of the token where an amount is reached.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Its key is one of these.
    from: u64,
    to: u64,
    /// How much there is before the first of them, and up to the last.
    before: f64,
    up_to: Option<f64>,
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
    /// How many tokens are before it, if they were counted.
    count: Option<usize>,
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
                self.search(order, Goal::Amount { target: count as f64, all: None }, Count, guess).last
            }
            (Amount::Mass(part), Order::Largest) => {
                let goal = Goal::Part(part);
                let found = match self.plain_terms() {
                    Some(terms) => self.search(order, goal, terms, None),
                    None => self.search(order, goal, self.terms(), None),
                };
                if found.is_certain {
                    return found.last;
                }
                self.search(order, goal, self.exact(), Some(found.guess)).last
            }
            (Amount::Mass(part), Order::Nearest { mass, .. }) => {
                let goal = Goal::Amount { target: part * mass, all: Some(mass) };
                self.search(order, goal, self.exact(), None).last
            }
        }
    }

    fn last_of_few(&mut self, order: Order, amount: Amount) -> Option<Last> {
        let (target, is_mass, number) = match amount {
            Amount::Tokens(count) => (count as f64, false, count),
            // As many as may have it if it is a row with some likely tokens.
            Amount::Mass(part) => (part * self.weigh().iter().sum::<f64>(), true, 64),
        };
        let machine = self.machine();
        // Of the largest alone, if these are enough.
        if let Order::Largest = order
            && let Some(low) = self.largest_of_parts(number)
        {
            self.gather_listed(Interval { low, high: f32::MAX });
            if is_mass {
                self.weigh_found(self.exact());
            }
            let Scratch { list, found, numbers, weights, .. } = self.scratch();
            let weights = if is_mass { Some(&weights[..]) } else { None };
            let among = Among { tokens: found, weights, order, numbers };
            if let Some(reached) = among.reach(machine, (Some(0), 0.0), target) {
                let id = list.places[reached.last.id as usize];
                return Some(Last { id, is_found: false, ..reached.last });
            }
            if is_mass {
                self.weigh();
            }
        }
        let Scratch { list, numbers, weights, .. } = self.scratch();
        let weights = if is_mass { Some(&weights[..]) } else { None };
        let among = Among { tokens: list, weights, order, numbers };
        let reached = among.reach(machine, (Some(0), 0.0), target)?;
        Some(Last { is_found: false, ..reached.last })
    }

    /// The search through reads of the row, with sums of these weights. The first read may be given what to look between.
    fn search<W: Weigh>(
        &mut self,
        order: Order,
        goal: Goal,
        weights: W,
        mut given: Option<(u64, u64)>,
    ) -> Found {
        let (mut target, all) = match goal {
            // Of everything, until that is weighed.
            Goal::Part(part) => (part, Some(1.0)),
            Goal::Amount { target, all } => (target, all),
        };
        let mut known = Known { from: 0, to: order.end(), before: 0.0, up_to: all };
        let (mut is_sampled, mut tried) = (false, None);
        for attempt in 0.. {
            if given.is_none() && !is_sampled {
                self.sample(order, W::WEIGHS);
                is_sampled = true;
            }
            let (from, to) = (known.from, known.to);
            let ahead = match known.up_to {
                Some(up_to) => Ahead::Part((target - known.before) / (up_to - known.before)),
                None => Ahead::Amount(target - known.before),
            };
            let machine = self.machine();
            let sample = &self.scratch().sample;
            let mut guess = match given.take() {
                Some(given) => given,
                None if attempt < GUESSES => sample.guess(machine, order, (from, to), ahead),
                None => (from, from.midpoint(to)),
            };
            if Some(guess) == tried {
                // Nothing was learnt.
                guess = (from, from.midpoint(to));
            }
            tried = Some(guess);
            let (first, last) = guess;
            let is_most_before = is_sampled && sample.is_most_before(machine, order, first);
            let read = self.read(order, guess, goal, weights, is_most_before);
            let Read { count, before, up_to, tolerance, .. } = read;
            target = read.target;
            if known.to == order.end() {
                known.up_to = read.all;
            }
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
                    let last = self.last_of_equal(order, first, (count, before), weights, target, tolerance);
                    return Found { guess, ..last };
                }
                if read.is_exceeded {
                    (known.from, known.before) = (first, before);
                    (known.to, known.up_to) = (last, Some(up_to));
                    continue;
                }
                let Scratch { found, numbers, weights, .. } = self.scratch();
                let weights = if W::WEIGHS { Some(&weights[..]) } else { None };
                let among = Among { tokens: found, weights, order, numbers };
                let reached = among.reach(machine, (count, before), target);
                if let Some(Reached { mut last, before, with }) = reached {
                    let is_certain = tolerance == 0.0 || (target - before).min(with - target) > tolerance;
                    if is_certain && matches!(goal, Goal::Part(_)) && !last.is_found {
                        self.weigh_parts_through(last);
                        last.is_weighed = true;
                    }
                    return Found { last: Some(last), is_certain, guess };
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
        is_most_before: bool,
    ) -> Read {
        let (inner, outer) = (order.before(first), order.up_to(last));
        let ids = self.ids();
        let (count, weighed, outside, target, all) = match goal {
            Goal::Part(part) => {
                let Sifted { weighed, others } = self.sift(weights, inner.low, outer.low);
                let (all, count) = (weighed + others, (first == 0).then_some(0));
                (count, weighed, false, part * all, Some(all))
            }
            Goal::Amount { target, all } => {
                // Whatever is less work, where what all weigh tells about the other.
                let outside = is_most_before && all.is_some();
                let swept = self.sweep(ids, weights, (inner, outer), outside);
                (Some(swept.count), swept.weighed, outside, target, all)
            }
        };
        let found = self.scratch().found.len;
        let is_exceeded = self.scratch().found.is_exceeded();
        let mut read = Read { count, before: 0.0, up_to: 0.0, target, all, tolerance: 0.0, is_exceeded };
        let Some(all) = all else {
            let before = count.unwrap_or_default();
            (read.before, read.up_to) = (before as f64, (before + found) as f64);
            return read;
        };
        let between = if is_exceeded {
            // What cannot be weighed one by one takes another read.
            let ids = self.ids();
            let interval = if outside { inner } else { outer };
            let other = self.sweep(ids, weights, (interval, interval), false).weighed;
            if outside { all - weighed - other } else { other - weighed }
        } else {
            self.weigh_found(weights)
        };
        if let Goal::Part(part) = goal {
            // `before - target` is `1 - part` times what is before, less `part` times the others. What is between has been weighed twice.
            read.tolerance = W::ERROR * ((1.0 - part) * weighed + part * (all - weighed) + between);
        }
        (read.before, read.up_to) =
            if outside { (all - weighed - between, all - weighed) } else { (weighed, weighed + between) };
        read
    }

    /// The weights of what was gathered, and their sum.
    fn weigh_found<W: Weigh>(&mut self, weights: W) -> f64 {
        let machine = self.machine();
        let Scratch { found, weights: out, .. } = self.scratch();
        machine.run(Each { logits: found.logits(), weights, out: &mut out[..found.len] })
    }

    /// Adds what is kept of what was gathered, in the order of the largest, to the masses of the parts.
    fn weigh_parts_through(&mut self, last: Last) {
        let machine = self.machine();
        let Scratch { found, weights, parts, .. } = self.scratch();
        machine.run(Keep { tokens: found, weights, last: (last.logit, last.id), parts });
    }

    /// The so-manieth of tokens with one key, too many to be listed, given how many and how much there is before them.
    fn last_of_equal<W: Weigh>(
        &mut self,
        order: Order,
        key: u64,
        (count, before): (Option<usize>, f64),
        weights: W,
        target: f64,
        tolerance: f64,
    ) -> Found {
        let logit = self.scratch().found.logits[0];
        let mut weight = [1.0];
        if W::WEIGHS {
            self.machine().run(Each { logits: &[logit], weights, out: &mut weight });
        }
        let [weight] = weight;
        let more = (target - before) / weight;
        let needed = libm::ceil(more).max(1.0);
        // Neither one token more nor less.
        let margin = (more - libm::floor(more)).min(needed - more) * weight;
        let is_certain = tolerance == 0.0 || margin > tolerance;
        let (needed, inner, outer) = (needed as usize, order.before(key), order.up_to(key));
        let (mut seen, mut first, len) = (0, 0, self.ids().end);
        while first < len {
            let end = len.min(first + FEW);
            self.sweep(first..end, Count, (inner, outer), false);
            let found = &self.scratch().found;
            if seen + found.len >= needed {
                let at = needed - seen - 1;
                let (logit, id) = (found.logits[at], found.places[at]);
                let count = count.map(|count| count + needed);
                let last = Last { key, logit, id, count, is_found: false, is_weighed: false };
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
