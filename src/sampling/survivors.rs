//! Which tokens are left, found without sorting the vocabulary.
//!
//! What a filter keeps of a distribution is an interval of its logits, cut short by ids where several are equal at an end of it. So a
//! filter is the search for a bound, and its result two numbers; only when no more than [`FEW`] tokens are left they are listed.
//!
//! Most bounds follow from a formula. Those of top-k, top-p and typical sampling are where an amount, of tokens or of mass, is
//! reached in some [`Order`]. They are searched for in reads of the row, each of which knows an interval that the bound is in and
//! guesses a narrower one from a sample of the row: it counts and weighs what is surely kept, and gathers what lies between. If that contains the
//! bound, and is not too much, it is ordered as far as that takes, in f64. Otherwise the next read knows more. Guesses that
//! fail are followed by bisection, so that the reads are never many; usually there is one.
//!
//! # Exactness
//!
//! Filters keep what they would keep if the vocabulary was sorted and everything computed in f64. Masses of many tokens are first
//! summed up from floats, whose relative error is below [`Terms::ERROR`]; only where a bound is so close to an element that
//! this matters the search is done once more with exponentials in f64.

use crate::ops::normalizer::Shift;
use crate::ops::temperature::Temperature;
use crate::simd::isa::Machine;

use super::scores::{BLOCK, Changes, Room, Scores};
use super::sweep::{
    Count, Each, EachTerm, Exact, Interval, Mean, Places, Spread, Sweep, Swept, Terms, Top, Weigh,
};
use core::ops::Range;

/// As many tokens are listed.
pub const FEW: usize = 4096;

/// Tokens of a row that are looked at for a guess.
const SAMPLE: usize = 2048;

/// Memory for one row at a time.
pub struct Scratch {
    /// The tokens that are left, when they are few.
    list: Places<FEW>,
    found: Places<FEW>,
    order: [u32; FEW],
    weights: [f64; FEW],
    room: Room,
}

impl Scratch {
    pub const NEW: Self = Self {
        list: Places::NONE,
        found: Places::NONE,
        order: [0; FEW],
        weights: [0.0; FEW],
        room: [0.0; BLOCK],
    };
}

/// Tokens by their logits; at both ends by their ids too.
#[derive(Debug, Clone, Copy)]
struct Set {
    interval: Interval,
    /// Those as low as the lower end are in it up to this id.
    low_through: u32,
    /// Those as high as the upper end are in it from this id on, and up to that.
    high_from: u32,
    high_through: u32,
}

impl Set {
    const ALL: Self =
        Self { interval: Interval::NUMBERS, low_through: u32::MAX, high_from: 0, high_through: u32::MAX };

    /// Parts of some ids, each with the interval that is the set there.
    fn parts(self, ids: Range<usize>) -> impl Iterator<Item = (Range<usize>, Interval)> {
        let mut cuts = [
            ids.start,
            self.low_through as usize + 1,
            self.high_from as usize,
            self.high_through as usize + 1,
            ids.end,
        ];
        for cut in &mut cuts {
            *cut = (*cut).clamp(ids.start, ids.end);
        }
        cuts.sort_unstable();
        let parts = [cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..cuts[3], cuts[3]..cuts[4]];
        parts.into_iter().filter(|part| !part.is_empty()).map(move |part| {
            let id = part.start as u32;
            let Interval { mut low, mut high } = self.interval;
            if id > self.low_through {
                low = low.next_up();
            }
            if id < self.high_from || id > self.high_through {
                high = high.next_down();
            }
            (part, Interval { low, high })
        })
    }

    fn contains(self, logit: f32, id: u32) -> bool {
        self.interval.contains(logit)
            && (logit != self.interval.low || id <= self.low_through)
            && (logit != self.interval.high || self.high_from <= id && id <= self.high_through)
    }

    /// Without what is below a logit, and of those equal to it without those behind an id.
    fn raise(&mut self, low: f32, through: u32) {
        if low > self.interval.low {
            (self.interval.low, self.low_through) = (low, through);
        } else if low == self.interval.low {
            self.low_through = self.low_through.min(through);
        }
    }

    /// Without what is above a logit, and of those equal to it without those before and behind two ids.
    fn lower(&mut self, high: f32, from: u32, through: u32) {
        if high < self.interval.high {
            (self.interval.high, self.high_from, self.high_through) = (high, from, through);
        } else if high == self.interval.high {
            self.high_from = self.high_from.max(from);
            self.high_through = self.high_through.min(through);
        }
    }
}

/// In which order tokens are kept: by a key, the least first, and then by their ids.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// The largest logit first.
    Largest,
    /// Exponents nearest to their mean first.
    Nearest { weights: Exact, mean: f64 },
}

impl Order {
    fn key(self, x: f32) -> f64 {
        match self {
            // The same for both zeros.
            Order::Largest => 0.0 - f64::from(x),
            Order::Nearest { weights, mean } => (weights.exponent(x) - mean).abs(),
        }
    }

    /// The logits whose keys are below a key; or at most as large.
    fn before(self, key: f64, included: bool) -> Interval {
        let is_before = |of: f64| of < key || included && of == key;
        match self {
            Order::Largest => Interval { low: first_where(|x| is_before(-f64::from(x))), high: f32::MAX },
            Order::Nearest { weights, mean } => {
                let low = first_where(|x| is_before(mean - weights.exponent(x)));
                let above = first_where(|x| !is_before(weights.exponent(x) - mean));
                Interval { low, high: above.next_down() }
            }
        }
    }
}

/// The first finite float for which something is true that is true for all above it; +inf if it is for none.
pub fn first_where(is_true: impl Fn(f32) -> bool) -> f32 {
    // Floats as integers of the same order.
    let float = |ordered: i32| f32::from_bits((ordered ^ ((ordered >> 31) & i32::MAX)) as u32);
    let ordered = |x: f32| {
        let bits = x.to_bits() as i32;
        bits ^ ((bits >> 31) & i32::MAX)
    };
    let (mut from, mut to) = (ordered(f32::MIN), ordered(f32::INFINITY));
    while from < to {
        let middle = ((i64::from(from) + i64::from(to)).div_euclid(2)) as i32;
        if is_true(float(middle)) { to = middle } else { from = middle + 1 }
    }
    float(from)
}

/// A key between two others, in the order of all `f64`.
fn between(from: f64, to: f64) -> f64 {
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        bits ^ ((bits >> 63) & i64::MAX)
    };
    let middle = ((i128::from(ordered(from)) + i128::from(ordered(to))).div_euclid(2)) as i64;
    f64::from_bits((middle ^ ((middle >> 63) & i64::MAX)) as u64)
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
    key: f64,
    pub logit: f32,
    pub id: u32,
    /// How many are kept.
    pub count: usize,
}

/// The tokens of a row that are left.
pub struct Survivors<'a, 's> {
    machine: Machine,
    scores: Scores<'a>,
    scratch: &'s mut Scratch,
    /// Those in the row; all of them are listed if they are few.
    set: Set,
    are_few: bool,
    /// The largest logit.
    top: f32,
    scale: Temperature,
}

/// A row that nothing can be drawn from.
pub enum Unfit {
    NotANumber,
    Infinite,
    Nothing,
}

impl<'a, 's> Survivors<'a, 's> {
    /// All tokens of a row that are not masked, at temperature 1.
    pub fn new(machine: Machine, scores: Scores<'a>, scratch: &'s mut Scratch) -> Result<Self, Unfit> {
        let (mut top, mut at) = (f32::NEG_INFINITY, 0);
        while at < scores.len() {
            let block = scores.block(at..scores.len(), &mut scratch.room);
            let (max, has_nan) = machine.run(Top(block));
            if has_nan {
                return Err(Unfit::NotANumber);
            }
            top = top.max(max);
            at += block.len();
        }
        match top {
            f32::INFINITY => return Err(Unfit::Infinite),
            f32::NEG_INFINITY => return Err(Unfit::Nothing),
            _ => {}
        }
        let scale = Temperature::new(1.0);
        let mut survivors = Self { machine, scores, scratch, set: Set::ALL, are_few: false, top, scale };
        if scores.len() <= FEW {
            survivors.list();
        }
        Ok(survivors)
    }

    /// The largest logit.
    pub fn top(&self) -> f32 {
        self.top
    }

    pub fn temperature(&self) -> f64 {
        self.scale.get()
    }

    /// From here on probabilities are those at another temperature.
    pub fn set_temperature(&mut self, temperature: f64) {
        self.scale = Temperature::new(temperature);
    }

    /// How tokens are weighed: the most probable has 1.
    pub fn exact(&self) -> Exact {
        Exact { top: self.top, inverse: 1.0 / self.scale.get() }
    }

    /// `(x - max) / T`.
    pub fn exponent(&self, x: f32) -> f64 {
        self.exact().exponent(x)
    }

    fn terms(&self) -> Terms {
        Terms { shift: Shift::new(self.top, self.scale), scale: self.scale }
    }

    /// What a sum of terms is divided by, so that the most probable token has 1.
    fn unit(&self) -> f64 {
        self.terms().shift.term(self.top, self.scale)
    }

    /// A read over some of the ids. What is gathered is in `found` afterwards.
    fn sweep<W: Weigh, const ALL: bool>(
        &mut self,
        ids: Range<usize>,
        weights: W,
        inner: Interval,
        outer: Interval,
    ) -> Swept {
        let Scratch { found, room, .. } = &mut *self.scratch;
        found.len = 0;
        let mut sum = Swept::default();
        for (part, all) in self.set.parts(ids) {
            let mut first = part.start;
            while first < part.end {
                let logits = self.scores.block(first..part.end, room);
                let (inner, outer) = (inner.and(all), outer.and(all));
                let gathered = &mut *found;
                let swept = self.machine.run(Sweep::<_, FEW, ALL> {
                    first,
                    logits,
                    weights,
                    inner,
                    outer,
                    all,
                    gathered,
                });
                sum.count += swept.count;
                sum.inner += swept.inner;
                sum.all += swept.all;
                first += logits.len();
            }
        }
        sum
    }

    fn ids(&self) -> Range<usize> {
        0..self.scores.len()
    }

    /// Lists the tokens that are left, if they are few.
    fn list(&mut self) {
        self.sweep::<_, false>(self.ids(), Count, Interval::NOTHING, Interval::NUMBERS);
        if !self.scratch.found.is_exceeded() {
            let Scratch { list, found, .. } = &mut *self.scratch;
            core::mem::swap(list, found);
            self.are_few = true;
        }
    }

    /// Keeps the listed tokens for which something is true.
    fn retain(&mut self, is_true: impl Fn(f32, u32) -> bool) {
        let list = &mut self.scratch.list;
        let mut kept = 0;
        for i in 0..list.len {
            let (logit, id) = (list.logits[i], list.places[i]);
            if is_true(logit, id) {
                (list.logits[kept], list.places[kept]) = (logit, id);
                kept += 1;
            }
        }
        list.len = kept;
    }

    /// Takes the set in hand for what is left.
    fn apply(&mut self, set: Set, count: Option<usize>) {
        self.set = set;
        if self.are_few {
            self.retain(|logit, id| set.contains(logit, id));
        } else if count.is_none_or(|count| count <= FEW) {
            self.list();
        }
        if set.interval.high < self.top || set.high_from > 0 || set.high_through < u32::MAX {
            self.find_top();
        }
    }

    fn find_top(&mut self) {
        self.top = if self.are_few {
            let list = self.scratch.list.logits();
            list.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit))
        } else {
            self.last(Order::Largest, Amount::Tokens(1)).map_or(self.top, |last| last.logit)
        };
    }

    /// Keeps the largest logits, down to this one; and of those that are as large, if they are told apart, no later ids.
    pub fn keep_through(&mut self, last: Last, ties: bool) {
        let mut set = self.set;
        set.raise(last.logit, if ties { u32::MAX } else { last.id });
        self.apply(set, if ties { None } else { Some(last.count) });
    }

    /// Keeps logits from this one on, and so many of the largest in any case.
    pub fn keep_from(&mut self, low: f32, min_keep: usize) {
        let mut set = self.set;
        if min_keep > 1 || low > self.top {
            let Some(last) = self.last(Order::Largest, Amount::Tokens(min_keep)) else { return };
            if low > last.logit {
                return self.keep_through(last, false);
            }
        }
        set.raise(low, u32::MAX);
        self.apply(set, None);
    }

    /// Keeps what is first in an order, through this one.
    pub fn keep_before(&mut self, order: Order, last: Last) {
        if self.are_few {
            self.retain(|logit, id| {
                let key = order.key(logit);
                key < last.key || key == last.key && id <= last.id
            });
            return self.find_top();
        }
        let (sure, all) = (order.before(last.key, false), order.before(last.key, true));
        let mut set = self.set;
        // What is as near on the other side is told apart by its id too.
        let through = |is_sure| if is_sure { u32::MAX } else { last.id };
        if last.logit < sure.low {
            set.raise(last.logit, last.id);
            set.lower(all.high, 0, through(all.high == sure.high));
        } else {
            set.raise(all.low, through(all.low == sure.low));
            set.lower(last.logit, 0, last.id);
        }
        self.apply(set, Some(last.count));
    }

    /// Keeps what is not before a token in the order of their logits.
    pub fn keep_behind(&mut self, first: Last) {
        let mut set = self.set;
        set.lower(first.logit, first.id, u32::MAX);
        self.apply(set, None);
    }

    /// How many tokens have a logit at least as large.
    pub fn count_from(&mut self, low: f32) -> usize {
        let interval = Interval { low, high: f32::MAX };
        if self.are_few {
            self.scratch.list.logits().iter().filter(|logit| interval.contains(**logit)).count()
        } else {
            self.sweep::<_, false>(self.ids(), Count, interval, interval).count
        }
    }

    /// How many tokens are left.
    pub fn count(&mut self) -> usize {
        if self.are_few { self.scratch.list.len } else { self.count_from(f32::MIN) }
    }

    /// The sum of all weights, of which the largest is 1.
    pub fn mass(&mut self) -> f64 {
        let weights = self.exact();
        if self.are_few {
            self.weigh().iter().sum()
        } else {
            self.sweep::<_, true>(self.ids(), weights, Interval::NOTHING, Interval::NOTHING).all
        }
    }

    /// The weights of the listed tokens.
    fn weigh(&mut self) -> &[f64] {
        let weights = self.exact();
        let Scratch { list, weights: out, .. } = &mut *self.scratch;
        let out = &mut out[..list.len];
        self.machine.run(Each { logits: list.logits(), weights, out });
        out
    }

    /// The mean of `(x - max) / T` under the distribution that is left.
    pub fn mean_exponent(&mut self) -> f64 {
        let weights = self.exact();
        let [mass, sum] = self.sums(|machine, logits, all, sums: [f64; 2]| {
            let [mass, sum] = machine.run(Mean { logits, weights, all });
            [sums[0] + mass, sums[1] + sum]
        });
        sum / mass
    }

    /// The standard deviation of the logits that are left.
    pub fn standard_deviation(&mut self) -> f64 {
        let spread = |center: f64| {
            move |machine: Machine, logits: &[f32], all, sums: [f64; 3]| {
                let [count, first, second] = machine.run(Spread { logits, center, all });
                [sums[0] + count, sums[1] + first, sums[2] + second]
            }
        };
        let top = f64::from(self.top);
        let [count, sum, _] = self.sums(spread(top));
        let [_, rest, squares] = self.sums(spread(top + sum / count));
        let mean = rest / count;
        libm::sqrt((squares / count - mean * mean).max(0.0))
    }

    /// Adds up sums over all parts of what is left.
    fn sums<const N: usize>(
        &mut self,
        add: impl Fn(Machine, &[f32], Interval, [f64; N]) -> [f64; N],
    ) -> [f64; N] {
        let Scratch { list, room, .. } = &mut *self.scratch;
        let mut sums = [0.0; N];
        if self.are_few {
            return add(self.machine, list.logits(), Interval::NUMBERS, sums);
        }
        for (part, all) in self.set.parts(0..self.scores.len()) {
            let mut first = part.start;
            while first < part.end {
                let logits = self.scores.block(first..part.end, room);
                sums = add(self.machine, logits, all, sums);
                first += logits.len();
            }
        }
        sums
    }

    /// The last token that is kept if an amount is kept in some order; `None` if all are.
    pub fn last(&mut self, order: Order, amount: Amount) -> Option<Last> {
        if self.are_few {
            return self.last_of_few(order, amount);
        }
        match amount {
            Amount::Tokens(count) => self.search(order, amount, Some(count as f64), Count, 1.0).0,
            Amount::Mass(_) => {
                if let Order::Largest = order {
                    let found = self.search(order, amount, None, self.terms(), self.unit());
                    if found.1 {
                        return found.0;
                    }
                }
                self.search(order, amount, None, self.exact(), 1.0).0
            }
        }
    }

    fn last_of_few(&mut self, order: Order, amount: Amount) -> Option<Last> {
        let target = match amount {
            Amount::Tokens(count) => count as f64,
            Amount::Mass(part) => part * self.weigh().iter().sum::<f64>(),
        };
        let is_mass = matches!(amount, Amount::Mass(_));
        let Scratch { list, order: indices, weights, .. } = &mut *self.scratch;
        let weight = |i: u32| if is_mass { weights[i as usize] } else { 1.0 };
        last_of(list, indices, order, weight, 0, 0.0, target).0
    }

    /// The search through reads of the row, and whether its result is certain. `target` is known already if weights need not be
    /// summed up first; sums are divided by `unit`.
    fn search<W: Weigh>(
        &mut self,
        order: Order,
        amount: Amount,
        mut target: Option<f64>,
        weights: W,
        unit: f64,
    ) -> (Option<Last>, bool) {
        // Every token that may be the last has a key from here to there.
        let (mut from, mut to) = match order {
            Order::Largest => (-f64::from(self.top), f64::from(f32::MAX)),
            Order::Nearest { .. } => (0.0, f64::INFINITY),
        };
        let mut all = None;
        for attempt in 0.. {
            let (first, last) = self.guess(order, amount, all, (from, to), attempt);
            let (inner, outer) = (order.before(first, false), order.before(last, true));
            let swept = if all.is_none() && W::WEIGHS {
                self.sweep::<_, true>(self.ids(), weights, inner, outer)
            } else {
                self.sweep::<_, false>(self.ids(), weights, inner, outer)
            };
            if let (Amount::Mass(part), None) = (amount, all) {
                all = Some(swept.all / unit);
                target = all.map(|all| part * all);
            }
            let target = target.unwrap_or(0.0);
            let ahead = if W::WEIGHS { swept.inner / unit } else { swept.count as f64 };
            // Of what is ahead and of the target.
            let tolerance = 2.0 * W::ERROR * target;
            let is_near = |amount: f64| tolerance > 0.0 && (amount - target).abs() <= tolerance;
            if is_near(ahead) {
                return (None, false);
            }
            if ahead >= target {
                to = first.next_down();
                continue;
            }
            if self.scratch.found.is_exceeded() {
                // The last one is among these or behind.
                from = first;
                let (exact, equal) = (self.exact(), self.scratch.found.logits[0]);
                let upto = self.sweep::<_, false>(self.ids(), weights, outer, outer);
                let upto_mass = if W::WEIGHS { upto.inner / unit } else { upto.count as f64 };
                if is_near(upto_mass) {
                    return (None, false);
                }
                if upto_mass >= target {
                    if first == last {
                        let weight = if W::WEIGHS { libm::exp(exact.exponent(equal)) } else { 1.0 };
                        let more = (target - ahead) / weight;
                        let needed = libm::ceil(more).max(1.0);
                        // Neither one token more nor less.
                        let certain = (more - libm::floor(more)).min(needed - more) * weight > tolerance;
                        let last = self.last_of_equal(order, first, swept.count, needed as usize);
                        return (last, certain || tolerance == 0.0);
                    }
                    to = last;
                } else if last < to {
                    from = last.next_up();
                } else {
                    return (None, tolerance == 0.0);
                }
                continue;
            }
            let exact = self.exact();
            let machine = self.machine;
            let Scratch { found, order: indices, weights: masses, .. } = &mut *self.scratch;
            let masses = &mut masses[..found.len];
            if W::WEIGHS {
                machine.run(Each { logits: found.logits(), weights: exact, out: masses });
            }
            let weight = |i: u32| if W::WEIGHS { masses[i as usize] } else { 1.0 };
            let (found_last, next) = last_of(found, indices, order, weight, swept.count, ahead, target);
            if let Some((before, with)) = next {
                // Reached within these: certain if neither the last one nor the next might change that.
                let certain = target - before > tolerance && with - target > tolerance;
                return (found_last, certain || tolerance == 0.0);
            }
            // Not reached: all of these are kept.
            if last >= to {
                return (None, tolerance == 0.0);
            }
            from = last.next_up();
        }
        unreachable!("every read narrows what is left")
    }

    /// The one of tokens with one key that is the so-manieth, too many to be listed.
    fn last_of_equal(&mut self, order: Order, key: f64, before: usize, needed: usize) -> Option<Last> {
        let (inner, outer) = (order.before(key, false), order.before(key, true));
        let (mut seen, mut first) = (0, 0);
        while first < self.scores.len() {
            let end = self.scores.len().min(first + FEW);
            self.sweep::<_, false>(first..end, Count, inner, outer);
            let found = &self.scratch.found;
            if seen + found.len >= needed {
                let at = needed - seen - 1;
                let (logit, id) = (found.logits[at], found.places[at]);
                return Some(Last { key, logit, id, count: before + needed });
            }
            (seen, first) = (seen + found.len, end);
        }
        None
    }

    /// Two keys that the last token's is probably between, by a sample of the row.
    fn guess(
        &mut self,
        order: Order,
        amount: Amount,
        all: Option<f64>,
        (from, to): (f64, f64),
        attempt: usize,
    ) -> (f64, f64) {
        // Guesses have failed: half of what is left.
        if attempt > 2 {
            return (from, if attempt.is_multiple_of(2) { to } else { between(from, to) });
        }
        let stride = self.scores.len().div_ceil(SAMPLE);
        let exact = self.exact();
        let Scratch { found, order: indices, weights, .. } = &mut *self.scratch;
        found.len = 0;
        for place in (0..self.scores.len()).step_by(stride) {
            let logit = self.scores.get(place);
            if self.set.contains(logit, place as u32) {
                found.push(logit, place as u32);
            }
        }
        let sampled = found.len;
        let (indices, weights) = (&mut indices[..sampled], &mut weights[..sampled]);
        for (i, index) in indices.iter_mut().enumerate() {
            *index = i as u32;
        }
        let stride = stride as f64;
        let key = |i: u32| order.key(found.logits[i as usize]);
        // The amount that is kept of the sample, and how far that may be wrong.
        let (kept, deviation) = match amount {
            Amount::Tokens(count) => {
                weights.fill(1.0);
                let kept = count as f64 / stride;
                (kept, libm::sqrt(kept) + 1.0)
            }
            Amount::Mass(part) => {
                self.machine.run(Each { logits: found.logits(), weights: exact, out: weights });
                let sum: f64 = weights.iter().sum();
                let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
                // What is behind can be estimated, as it has no large weights; what is kept may be the tokens between.
                let all = match all {
                    Some(all) => all / stride,
                    // The largest weight, 1, has more than a fiftieth of the mass: the sample knows nothing of the sum.
                    None if 50.0 > sum * stride => f64::INFINITY,
                    None => sum,
                };
                (sum - (1.0 - part) * all, libm::sqrt(squares))
            }
        };
        let most = (FEW / 2) as f64 / stride;
        if !(kept > -1e300) {
            // As many as can be listed.
            let at = (most as usize).min(sampled.saturating_sub(1));
            if sampled == 0 {
                return (from, between(from, to));
            }
            let (_, middle, _) = indices.select_nth_unstable_by(at, |a, b| key(*a).total_cmp(&key(*b)));
            return (from, key(*middle).clamp(from, to));
        }
        let weight = |i: u32| weights[i as usize];
        let (middle, before) = split(indices, key, weight, 0.0, kept);
        let behind: f64 = indices[middle..].iter().map(|&i| weight(i) * weight(i)).sum();
        let deviation = match amount {
            Amount::Tokens(_) => 3.0 * deviation,
            Amount::Mass(part) if all.is_none() => {
                let ahead = deviation * deviation - behind;
                3.0 * libm::sqrt(part * part * behind + (1.0 - part) * (1.0 - part) * ahead.max(0.0))
            }
            Amount::Mass(_) => 3.0 * libm::sqrt(behind),
        };
        let (ahead, behind) = indices.split_at_mut(middle);
        let first = match split(ahead, key, weight, 0.0, kept - deviation).0 {
            0 => from,
            at => key(ahead[at - 1]),
        };
        let (at, _) = split(behind, key, weight, before, kept + deviation);
        let last = if at == behind.len() {
            to
        } else if at == 0 && behind.is_empty() {
            to
        } else {
            key(behind[at])
        };
        let (first, last) = (first.clamp(from, to), last.clamp(from, to));
        if first <= last { (first, last) } else { (from, to) }
    }

    /// The token up to which there is more than a part `uniform` of the mass, in the order of the ids.
    pub fn draw(&mut self, uniform: f64) -> (u32, f32) {
        if !self.are_few {
            let weights = self.terms();
            self.narrow(uniform, weights)
        } else {
            let weights = self.exact();
            let Scratch { list, weights: out, .. } = &mut *self.scratch;
            let out = &mut out[..list.len];
            self.machine.run(Each { logits: list.logits(), weights, out });
            let at = pick(out.iter().copied(), uniform);
            (list.places[at], list.logits[at])
        }
    }

    /// [`Survivors::draw`] from many: from parts of the row, and parts of the part.
    fn narrow(&mut self, mut uniform: f64, weights: Terms) -> (u32, f32) {
        const PARTS: usize = 64;
        let mut ids = self.ids();
        while ids.len() > FEW {
            let len = ids.len().div_ceil(PARTS).next_multiple_of(64);
            let mut masses = [0.0; PARTS];
            for (i, mass) in masses.iter_mut().enumerate() {
                let start = (ids.start + i * len).min(ids.end);
                let part = start..(start + len).min(ids.end);
                let all = Interval::NUMBERS;
                *mass = self.sweep::<_, false>(part, weights, all, all).inner;
            }
            let total: f64 = masses.iter().sum();
            let at = pick(masses.iter().copied(), uniform);
            let before: f64 = masses[..at].iter().sum();
            uniform = ((uniform * total - before) / masses[at]).clamp(0.0, 1.0);
            let start = ids.start + at * len;
            ids = start..(start + len).min(ids.end);
        }
        self.sweep::<_, false>(ids, Count, Interval::NOTHING, Interval::NUMBERS);
        let Scratch { list, found, .. } = &mut *self.scratch;
        // Nobody needs the list where they are many.
        let terms = &mut list.logits[..found.len];
        terms.copy_from_slice(found.logits());
        self.machine.run(EachTerm { logits: terms, weights });
        let at = pick(terms.iter().map(|&term| f64::from(term)), uniform);
        (found.places[at], found.logits[at])
    }

    /// What is left, without the row.
    pub fn left(&self) -> Left {
        Left { set: self.set, are_few: self.are_few }
    }

    /// Calls something with each token that is left, in the order of the ids.
    pub fn for_each(&mut self, mut call: impl FnMut(u32, f32)) {
        let Scratch { list, room, .. } = &mut *self.scratch;
        if self.are_few {
            for (&logit, &id) in list.logits().iter().zip(&list.places) {
                call(id, logit);
            }
            return;
        }
        for (part, all) in self.set.parts(0..self.scores.len()) {
            let mut first = part.start;
            while first < part.end {
                let logits = self.scores.block(first..part.end, room);
                for (i, &logit) in logits.iter().enumerate() {
                    if all.contains(logit) {
                        call((first + i) as u32, logit);
                    }
                }
                first += logits.len();
            }
        }
    }
}

/// What is left of a row, of which [`Scratch`] has the list.
pub struct Left {
    set: Set,
    are_few: bool,
}

impl Left {
    /// Changes logits, and makes all that are not left -inf.
    pub fn mask(&self, changes: Changes<'_>, logits: &mut [f32], scratch: &Scratch) {
        changes.apply(0, logits);
        if self.are_few {
            logits.fill(f32::NEG_INFINITY);
            for (&logit, &id) in scratch.list.logits().iter().zip(&scratch.list.places) {
                logits[id as usize] = logit;
            }
        } else {
            for (id, logit) in logits.iter_mut().enumerate() {
                if !self.set.contains(*logit, id as u32) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// The first of some masses up to which there is more than a part of their sum; the last that is not 0 if rounding says none.
pub fn pick(masses: impl Iterator<Item = f64> + Clone, part: f64) -> usize {
    let target = part * masses.clone().sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (i, mass) in masses.enumerate() {
        sum += mass;
        if mass > 0.0 {
            last = i;
            if sum > target {
                return i;
            }
        }
    }
    last
}

/// Puts in front what is kept as long as there is less than `target` before it, given what is before all; says how many
/// these are and how much there is up to and with the last of them.
fn split(
    mut indices: &mut [u32],
    key: impl Fn(u32) -> f64,
    weight: impl Fn(u32) -> f64,
    mut ahead: f64,
    target: f64,
) -> (usize, f64) {
    const SHORT: usize = 24;
    let order = |a: &u32, b: &u32| key(*a).total_cmp(&key(*b)).then(a.cmp(b));
    let mut kept = 0;
    while indices.len() > SHORT {
        let middle = indices.len() / 2;
        indices.select_nth_unstable_by(middle, order);
        let (first, second) = indices.split_at_mut(middle);
        let mass: f64 = first.iter().map(|&i| weight(i)).sum();
        if ahead + mass < target {
            (ahead, kept, indices) = (ahead + mass, kept + middle, second);
        } else {
            indices = first;
        }
    }
    indices.sort_unstable_by(order);
    for &i in &*indices {
        if ahead >= target {
            break;
        }
        (ahead, kept) = (ahead + weight(i), kept + 1);
    }
    (kept, ahead)
}

/// The last that is kept of some tokens, with so many and so much before them; and, if the amount is reached within them, how much there
/// is before that one, and with it.
fn last_of(
    places: &Places<FEW>,
    indices: &mut [u32; FEW],
    order: Order,
    weight: impl Fn(u32) -> f64,
    before: usize,
    ahead: f64,
    target: f64,
) -> (Option<Last>, Option<(f64, f64)>) {
    let indices = &mut indices[..places.len];
    for (i, index) in indices.iter_mut().enumerate() {
        *index = i as u32;
    }
    let key = |i: u32| order.key(places.logits[i as usize]);
    let (kept, with) = split(indices, key, &weight, ahead, target);
    let Some(&last) = indices[..kept].last() else { return (None, None) };
    let (logit, id) = (places.logits[last as usize], places.places[last as usize]);
    let last_kept = Last { key: key(last), logit, id, count: before + kept };
    let reached = if with >= target { Some((with - weight(last), with)) } else { None };
    (Some(last_kept), reached)
}
