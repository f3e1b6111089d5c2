//! Which tokens are left, found without sorting the vocabulary.
//!
//! What a filter keeps of a distribution is an interval of its logits, cut short by ids where several are equal at an end of it. So a
//! filter is the search for a bound, and its result two numbers; only when no more than [`FEW`] tokens are left they are listed.
//!
//! Most bounds follow from a formula. Those of top-k, top-p and typical sampling are where an amount, of tokens or of mass, is
//! reached in some [`Order`]. They are searched for in reads of the row, each of which knows an interval that the bound is in and
//! guesses a narrower one from a sample of the row: it weighs what is surely kept, and gathers what lies between. If that contains the
//! bound, and is not too much, the bound is found there. Otherwise the next read knows more. Guesses that
//! fail are followed by bisection, so that the reads are never many; usually there is one.
//!
//! # Exactness
//!
//! Filters keep what they would keep if the vocabulary was sorted and everything computed in f64. Masses of many tokens are first
//! summed up from floats, whose relative error is below [`Weigh::ERROR`]; only where a bound is so close to an element that
//! this matters the search is done once more with exponentials in f64.

mod reads;

use core::ops::Range;

use crate::ops::normalizer::Shift;
use crate::ops::temperature::{Scale as _, Temperature, Unit};
use crate::simd::isa::Machine;

use super::interval::Interval;
use super::order::{Amount, Last, Order};
use super::parts::{Cut, Top, TopOf};
use super::places::FEW;
use super::scores::{Changes, Scores};
use super::scratch::Scratch;
use super::set::Set;
use super::weigh::{Count, Each, Exact, Mean, Spread, Terms};
use reads::pieces;

/// The tokens of a row that are left.
pub struct Survivors<'a, 's> {
    machine: Machine,
    scores: Scores<'a>,
    scratch: &'s mut Scratch,
    /// Those in the row; all of them are listed if they are few.
    set: Set,
    are_few: bool,
    /// Whether the masses of the parts of the row are those of what is left.
    are_weighed: bool,
    /// The largest logit.
    top: f32,
    /// The largest magnitude of one in the row.
    magnitude: f32,
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
        let Scratch { parts, room, .. } = &mut *scratch;
        parts.begin(scores.len());
        let (mut top, mut magnitude, mut first) = (f32::NEG_INFINITY, 0.0_f32, 0);
        while first < scores.len() {
            let logits = scores.block(first..scores.len(), room);
            let (max, most, has_nan) = machine.run(Top { first, logits, parts });
            if has_nan {
                return Err(Unfit::NotANumber);
            }
            (top, magnitude) = (top.max(max), magnitude.max(most));
            first += logits.len();
        }
        match top {
            f32::INFINITY => return Err(Unfit::Infinite),
            f32::NEG_INFINITY => return Err(Unfit::Nothing),
            _ => {}
        }
        let scale = Temperature::new(1.0);
        let set = Set::ALL;
        let mut survivors =
            Self { machine, scores, scratch, set, are_few: false, are_weighed: false, top, magnitude, scale };
        if scores.len() <= FEW {
            survivors.list();
        }
        Ok(survivors)
    }

    pub fn machine(&self) -> Machine {
        self.machine
    }

    pub fn scratch(&mut self) -> &mut Scratch {
        self.scratch
    }

    /// Whether all tokens that are left are listed.
    pub fn are_few(&self) -> bool {
        self.are_few
    }

    pub fn ids(&self) -> Range<usize> {
        0..self.scores.len()
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
        self.are_weighed = false;
    }

    /// How tokens are weighed: the most probable has 1.
    pub fn exact(&self) -> Exact {
        Exact { top: self.top, inverse: 1.0 / self.scale.get() }
    }

    /// `(x - max) / T`.
    pub fn exponent(&self, x: f32) -> f64 {
        self.exact().exponent(x)
    }

    /// The same in floats, and in another unit.
    pub fn terms(&self) -> Terms<Temperature, false> {
        Terms { shift: Shift::new(self.top, self.scale), scale: self.scale }
    }

    /// The same in less time, where that is possible: of all tokens of an ordinary row at temperature 1.
    pub fn plain_terms(&self) -> Option<Terms<Unit, true>> {
        let is_plain = self.set == Set::ALL && self.scale.get() == 1.0 && Unit.is_plain(self.magnitude);
        is_plain.then_some(Terms { shift: Shift::PLAIN, scale: Unit })
    }

    /// A logit that at least so many tokens are not below, where the parts of the row tell that.
    pub fn largest_of_parts(&mut self, number: usize) -> Option<f32> {
        let logits = self.scratch.parts.maxima();
        // Where there are many more, most of the largest are in parts of their own.
        let is_known = self.set == Set::ALL && number * 4 <= logits.len();
        if is_known { self.machine.run(Cut { logits, number }) } else { None }
    }

    /// Lists the tokens that are left, if they are few.
    fn list(&mut self) {
        let len = self.ids().end;
        // Where there are too many the start of a long row says so, as a rule.
        if len > 8 * FEW && self.gather(0..2 * FEW) || self.gather(0..len) {
            return;
        }
        self.take_found();
    }

    /// What was gathered is all that is left.
    fn take_found(&mut self) {
        let Scratch { list, found, .. } = &mut *self.scratch;
        let len = found.len;
        list.logits[..len].copy_from_slice(&found.logits[..len]);
        list.places[..len].copy_from_slice(&found.places[..len]);
        list.len = len;
        self.are_few = true;
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

    /// Takes a set for what is left, which is listed unless it is known to be, or probably is, too much.
    fn apply(&mut self, set: Set, are_many: bool) {
        self.set = set;
        self.are_weighed = false;
        if self.are_few {
            self.retain(|logit, id| set.contains(logit, id));
        } else if !are_many {
            self.list();
        }
    }

    fn find_top(&mut self) {
        if self.are_few {
            let list = self.scratch.list.logits();
            self.top = list.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
            return;
        }
        let (mut top, machine) = (f32::NEG_INFINITY, self.machine);
        let ids = self.ids();
        pieces(&self.scores, self.set, &mut self.scratch.room, ids, |_, logits, all| {
            top = top.max(machine.run(TopOf { logits, all }));
        });
        self.top = top;
    }

    /// Keeps the largest logits, down to this one; and of those that are as large, if they are told apart, no later ids.
    pub fn keep_through(&mut self, last: Last, ties: bool) {
        let mut set = self.set;
        set.raise(last.logit, if ties { u32::MAX } else { last.id });
        if last.is_found {
            self.take_found();
        }
        self.apply(set, !ties && last.count.map_or(last.is_weighed, |count| count > FEW));
        self.are_weighed = last.is_weighed && !ties;
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
        self.apply(set, false);
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
        let (sure, all) = (order.before(last.key), order.up_to(last.key));
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
        self.apply(set, last.count.is_some_and(|count| count > FEW));
        self.find_top();
    }

    /// Keeps what is not before a token in the order of their logits.
    pub fn keep_behind(&mut self, first: Last) {
        let mut set = self.set;
        set.lower(first.logit, first.id, u32::MAX);
        self.apply(set, false);
        self.find_top();
    }

    /// How many tokens have a logit at least as large.
    pub fn count_from(&mut self, low: f32) -> usize {
        let interval = Interval { low, high: f32::MAX };
        if self.are_few {
            self.scratch.list.logits().iter().filter(|logit| interval.contains(**logit)).count()
        } else {
            self.sweep(self.ids(), Count, (interval, interval), false).count
        }
    }

    /// How many tokens there are through one.
    pub fn count_through(&mut self, order: Order, last: Last) -> usize {
        last.count.unwrap_or_else(|| {
            let (before, up_to) = (order.before(last.key), order.up_to(last.key));
            let behind = last.id as usize + 1;
            // Of those that are equal to it the earlier ones.
            self.sweep(0..behind, Count, (up_to, up_to), false).count
                + self.sweep(behind..self.ids().end, Count, (before, before), false).count
        })
    }

    /// How many tokens are left.
    pub fn count(&mut self) -> usize {
        if self.are_few { self.scratch.list.len } else { self.count_from(f32::MIN) }
    }

    /// The sum of all weights, of which the largest is 1.
    pub fn mass(&mut self) -> f64 {
        if self.are_few { self.weigh().iter().sum() } else { self.mass_of(self.ids(), self.exact()) }
    }

    /// The weights of the listed tokens.
    pub fn weigh(&mut self) -> &[f64] {
        let weights = self.exact();
        let Scratch { list, weights: out, .. } = &mut *self.scratch;
        let out = &mut out[..list.len];
        self.machine.run(Each { logits: list.logits(), weights, out });
        out
    }

    /// The order of how typical tokens are of the distribution that is left.
    pub fn typical(&mut self) -> Order {
        let weights = self.exact();
        let [mass, sum] = self.sums(|machine, logits, all, sums: [f64; 2]| {
            let [mass, sum] = machine.run(Mean { logits, weights, all });
            [sums[0] + mass, sums[1] + sum]
        });
        Order::Nearest { weights, mean: sum / mass, mass }
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
        pieces(&self.scores, self.set, room, 0..self.scores.len(), |first, logits, all| {
            for (i, &logit) in logits.iter().enumerate() {
                if all.contains(logit) {
                    call((first + i) as u32, logit);
                }
            }
        });
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
