//! The normaliser with the largest logit set apart: for logarithms that do not cancel where one logit dominates its row.
//!
//! With the maximum `m` and its term `e`: `log sum_j exp(z_j) = m/T + log1p(S' / e)`, where `S'` is the sum of the
//! other terms, which never contained `e`. Where no term is more than a third of the sum that is not needed, and the
//! sum is *flat*: as in [`normalizer`](super::normalizer).
//!
//! Which one a segment is shows when it has been summed: the largest sum of a lane of a group is a bound for any term
//! of it, and costs nothing. Where it must be apart, the group of the maximum is summed again without it. Short rows
//! always have their maximum set apart; few of them are flat.

use crate::element::Element;
use crate::lanes::{self, Largest, Map};
use crate::math::double::ln_of_quotient;
use crate::narrow::Narrow;
use crate::operation::{SHORT, Sides, TOGETHER};
use crate::simd::{F32, HALF, LANES, Mask, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, GROUP_LEN, Groups, Side, Sum, Total};

use super::normalizer::{
    Look, Normalizer, Shift, Shifts, Term, all_positive, degenerate, exp_sum, narrow_shifts, widened,
};
use super::temperature::Scale;

/// What is known of some segments.
#[derive(Clone, Copy)]
pub struct Sums {
    /// The sum of all terms, but that of the logit that is set apart.
    pub others: Normalizer,
    /// The maximum; or -inf, if none is set apart.
    pub apart: f32,
    /// Its term.
    pub top: f64,
}

impl Sums {
    /// With nothing set apart.
    fn flat(all: Normalizer) -> Self {
        Self { others: all, apart: f32::NEG_INFINITY, top: 0.0 }
    }

    /// The sum of all terms: not positive and finite if there is no distribution.
    #[inline(always)]
    pub fn total(&self) -> f64 {
        self.others.sum + self.top
    }

    /// What a row becomes that has no distribution.
    #[inline(always)]
    pub fn degenerate(&self, masked: f32) -> Option<f32> {
        degenerate(self.total(), masked)
    }
}

impl AsMut<Self> for Sums {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// What is known of nothing.
impl Default for Sums {
    fn default() -> Self {
        Self::flat(Normalizer::default())
    }
}

/// The logarithm of a normaliser: `pivot / T + rest`, where what is not more than the pivot cancels nothing.
#[derive(Clone, Copy, Default)]
pub struct Log {
    pub pivot: f32,
    pub rest: f64,
}

impl Log {
    /// Without branches, so that a loop over rows is vectorised.
    #[inline(always)]
    fn new(sum: f64, top: f64, apart: f32, shift: Shift) -> Self {
        let is_apart = apart > f32::NEG_INFINITY;
        let flat = sum * shift.unit();
        let (all, part) = if is_apart { (top + sum, top) } else { (flat, 1.0) };
        let rest = ln_of_quotient(all, part, if is_apart { sum } else { flat - 1.0 });
        Self { pivot: if is_apart { apart } else { shift.center }, rest }
    }

    /// Those of up to [`TOGETHER`] rows, where they have a distribution.
    #[inline(always)]
    pub fn of_rows<'k>(rows: impl ExactSizeIterator<Item = &'k Sums>) -> [Self; TOGETHER] {
        let (mut logs, len) = ([Self::default(); TOGETHER], rows.len());
        // First apart, field by field: of loops that pick fields from rows some turns are not vectorised.
        let (mut sums, mut tops, mut aparts) = ([1.0; TOGETHER], [1.0; TOGETHER], [0.0; TOGETHER]);
        let mut shifts = Shifts::<TOGETHER>::PLAIN;
        for (i, row) in rows.enumerate() {
            if len == 1 {
                logs[0] = Self::new(row.others.sum, row.top, row.apart, row.others.shift);
                return logs;
            }
            (sums[i], tops[i], aparts[i]) = (row.others.sum, row.top, row.apart);
            shifts.set(i, row.others.shift);
        }
        let (mut pivots, mut rests) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            Self { pivot: pivots[i], rest: rests[i] } = Self::new(sums[i], tops[i], aparts[i], shifts.get(i));
        }
        for i in 0..TOGETHER {
            logs[i] = Self { pivot: pivots[i], rest: rests[i] };
        }
        logs
    }

    /// That of one row, where it has a distribution.
    #[inline(always)]
    pub fn of(row: &Sums) -> Self {
        Self::new(row.others.sum, row.top, row.apart, row.others.shift)
    }
}

/// A sum of so many times its largest term is flat.
const FLAT: f64 = 3.0;

impl Sums {
    /// Reads segments.
    #[inline(always)]
    pub fn of_segments<S: Simd, E: Element>(
        s: S,
        segments: &[impl Span<E>],
        known: &mut [impl AsMut<Self>],
        scale: impl Scale,
        sides: &mut impl Sides<S>,
    ) {
        if segments.iter().all(|segment| segment.rest().len() <= SHORT) {
            for (i, known) in known.iter_mut().enumerate() {
                *known.as_mut() = Apart::<1>::of(s, &segments[i..=i], scale, &mut ()).get(0);
            }
            return;
        }
        let all_plain = scale.is_plain(lanes::magnitude(s, segments));
        let mut groups = None;
        for i in 0..segments.len() {
            let segment = segments[i].rest();
            let (max, shift) = match Look::at(s, segments, i, all_plain, scale) {
                Look::Degenerate(found) => {
                    *known[i].as_mut() = Sums::flat(found);
                    continue;
                }
                Look::Plain => (None, Shift::PLAIN),
                Look::Shifted(max, shift) => (Some(max), shift),
            };
            let mut side = sides.begin(s, i);
            *known[i].as_mut() = Self::long(s, segment, max, shift, scale, &mut groups, &mut side);
            sides.end(s, side);
        }
    }

    /// What is known of neighbours.
    #[inline(always)]
    pub fn merge(self, other: Self, scale: impl Scale) -> Self {
        let (left, right) = (self, other);
        let (larger, mut smaller) = if right.apart > left.apart { (right, left) } else { (left, right) };
        smaller.others.sum += smaller.top;
        let others = larger.others.merge(smaller.others, scale);
        let top = larger.top * larger.others.shift.weight(others.shift, scale);
        // The others may outweigh it; then it need not even be the maximum.
        if others.sum >= FLAT * top {
            return Sums::flat(Normalizer { sum: others.sum + top, ..others });
        }
        Sums { others, apart: larger.apart, top }
    }

    /// Reads any segment, whose maximum may be known, with room for its groups.
    #[inline(always)]
    fn long<S: Simd, E: Element, C: Scale>(
        s: S,
        segment: Read<'_, E>,
        max: Option<f32>,
        shift: Shift,
        scale: C,
        groups: &mut Option<Groups<S>>,
        side: &mut impl Side<S>,
    ) -> Sums {
        // Short rows are not to wait until it has been cleared.
        let groups = match groups {
            Some(groups) => groups,
            None => groups.insert(Groups::new(s)),
        };
        groups.clear();
        exp_sum(s, &mut { segment }, max.is_none(), shift, scale, groups, side);
        let sum = groups.sum(s);
        if sum.is_nan() || is_flat(s, sum, groups) {
            return Sums::flat(Normalizer { shift, sum });
        }
        let max = max.unwrap_or_else(|| lanes::max_reduce(s, segment));
        let (sum, top) = set_apart(s, segment, max, shift, scale, groups);
        Sums { others: Normalizer { shift, sum }, apart: max, top }
    }
}

/// Whether a sum of groups is [`FLAT`].
#[inline(always)]
pub fn is_flat<S: Simd>(s: S, sum: f64, groups: &Groups<S>) -> bool {
    sum >= FLAT * f64::from(groups.bound(s))
}

/// The sum of all terms of a segment but that of its maximum, and that one, given the groups of all.
#[inline(always)]
pub fn set_apart<S: Simd, E: Element, C: Scale>(
    s: S,
    segment: Read<'_, E>,
    max: f32,
    shift: Shift,
    scale: C,
    groups: &mut Groups<S>,
) -> (f64, f64) {
    // The group of the maximum is replaced by its others, and by those that are as large.
    let at = lanes::position(s, segment, max) / GROUP_LEN;
    let (_, rest) = segment.split_at(at * GROUP_LEN);
    let (with, _) = rest.split_at(rest.len().min(GROUP_LEN));
    let term = Term::<S, C, false>::new(s, shift, scale);
    let mut others = Groups::new(s);
    let terms = Others { term, max: s.splat(max) };
    sums::map_sum(s, &mut { with }, f32::NEG_INFINITY, terms, &mut others, &mut ());
    groups.replace(at, &others);
    let top = shift.term(max, scale);
    (groups.sum(s) + f64::from(lanes::count(s, with, max) - 1) * top, top)
}

/// What is known of some segments that are short, which all have their maximum set apart; or else it is -inf, and `others` says why.
pub struct Apart<const N: usize> {
    pub maxima: [f32; N],
    pub tops: [f64; N],
    pub others: [f64; N],
    pub shifts: Shifts<N>,
}

impl<const N: usize> Apart<N> {
    /// The sums of all terms: not positive and finite where there is no distribution.
    #[inline(always)]
    pub fn totals(&self) -> [f64; N] {
        let mut totals = self.others;
        for (total, top) in totals.iter_mut().zip(self.tops) {
            *total += top;
        }
        totals
    }

    /// [`Log::rest`] of each, where there is a distribution: the [pivot](Log::pivot) is the maximum.
    #[inline(always)]
    pub fn rests(&self) -> [f64; N] {
        let mut rests = [0.0; N];
        for (i, rest) in rests.iter_mut().enumerate() {
            *rest = ln_of_quotient(self.tops[i] + self.others[i], self.tops[i], self.others[i]);
        }
        rests
    }

    /// The same of one of them.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Sums {
        let others = Normalizer { shift: self.shifts.get(i), sum: self.others[i] };
        Sums { others, apart: self.maxima[i], top: self.tops[i] }
    }

    /// Reads up to `N` short segments, and sets their maxima apart.
    ///
    /// What is folded over lanes is folded for all segments at once: three times in a row, one behind the other, a segment
    /// would wait for it. Beside that, what else is wanted of their terms is learnt.
    #[inline(always)]
    pub fn of<S: Simd, E: Element, C: Scale>(
        s: S,
        segments: &[impl Span<E>],
        scale: C,
        beside: &mut impl Beside<S, C>,
    ) -> Self {
        let (mut maxima, mut degenerate) = ([[f32::NEG_INFINITY; LANES]; N], [None; N]);
        let mut magnitude = Largest::new(s, 0.0);
        for (max, segment) in maxima.iter_mut().zip(segments) {
            sums::fetch_result(s, segment.rest());
            *max = lanes::maxima_by_lane(s, segment.rest(), &mut magnitude).to_array();
        }
        let mut maxima = lanes::maxima(s, &maxima);
        let (mut shifts, mut halves, mut counts) = (Shifts::PLAIN, [[0.0; HALF]; N], [0.0; N]);
        let all_plain = scale.is_plain(magnitude.by_lane().reduce_max());
        let max = lanes::each(s, &maxima);
        let [tops] = if all_plain {
            let term = Term::<S, C, true>::new(s, Shift::PLAIN, scale);
            let fill = Term::<S, C, true>::nothing(Shift::PLAIN, scale);
            for (i, segment) in segments.iter().enumerate() {
                (halves[i], counts[i]) = beside.others(s, i, segment.rest(), fill, term, maxima[i]);
            }
            term.apply(s, [max])
        } else {
            for (i, segment) in segments.iter().enumerate() {
                match Look::at(s, segments, i, false, scale) {
                    Look::Plain => {}
                    Look::Shifted(_, shift) => shifts.set(i, shift),
                    Look::Degenerate(found) => {
                        degenerate[i] = Some(found);
                        continue;
                    }
                }
                let term = Term::<S, C, false>::new(s, shifts.get(i), scale);
                let fill = Term::<S, C, false>::nothing(shifts.get(i), scale);
                (halves[i], counts[i]) = beside.others(s, i, segment.rest(), fill, term, maxima[i]);
            }
            Term::<S, C, false>::each(s, &shifts, scale).apply(s, [max])
        };
        let mut tops = widened(tops.to_array().first_chunk::<N>().expect("up to sixteen rows"));
        let mut others = sums::sums(s, &halves);
        for i in 0..N {
            // Where there are several of the largest, but one is left.
            others[i] += (counts[i] - 1.0) * tops[i];
        }
        for i in 0..segments.len() {
            if let Some(Normalizer { shift, sum }) = degenerate[i] {
                (maxima[i], tops[i], others[i]) = (f32::NEG_INFINITY, 0.0, sum);
                shifts.set(i, shift);
            }
        }
        Self { maxima, tops, others, shifts }
    }
}

impl Apart<TOGETHER> {
    /// Reads narrow rows; or gives nothing, if one has to be looked at alone.
    #[inline(always)]
    pub fn of_narrow<S: Simd, C: Scale>(s: S, rows: &mut Narrow, scale: C) -> Option<Self> {
        let plain = scale.is_plain(rows.magnitude(s));
        let columns = rows.columns(s);
        let max = columns.max(s);
        let counts = columns.counts(s, max);
        let (shifts, [tops]) = if plain {
            let term = Term::<S, C, true>::new(s, Shift::PLAIN, scale);
            columns.map(s, &Others { term, max });
            (Shifts::PLAIN, term.apply(s, [max]))
        } else {
            let shifts = narrow_shifts(s, columns, scale);
            let term = Term::<S, C, false>::each(s, &shifts, scale);
            columns.map(s, &Others { term, max });
            (shifts, term.apply(s, [max]))
        };
        let tops = widened(&tops.to_array());
        let mut known = Self { maxima: max.to_array(), tops, others: columns.sums(s), shifts };
        for (i, count) in counts.into_iter().enumerate() {
            known.others[i] += f64::from(count - 1.0) * known.tops[i];
        }
        // There is no NaN, and not nothing but -inf.
        all_positive(&known.totals()).then_some(known)
    }
}

/// What is learnt of the terms of short rows.
pub trait Beside<S: Simd, C: Scale> {
    /// The sum of the terms of the row `i` that are not its maximum, halved, and how often the maximum is there.
    fn others<E: Element, const PLAIN: bool>(
        &mut self,
        s: S,
        i: usize,
        row: Read<'_, E>,
        fill: f32,
        term: Term<S, C, PLAIN>,
        max: f32,
    ) -> ([f64; HALF], f64);
}

/// Nothing else.
impl<S: Simd, C: Scale> Beside<S, C> for () {
    #[inline(always)]
    fn others<E: Element, const PLAIN: bool>(
        &mut self,
        s: S,
        _: usize,
        mut row: Read<'_, E>,
        fill: f32,
        term: Term<S, C, PLAIN>,
        max: f32,
    ) -> ([f64; HALF], f64) {
        let others = Others { term, max: s.splat(max) };
        let (mut terms, mut found) = ([s.splat(0.0); SHORT / LANES], 0_u64);
        for pair in terms.as_chunks_mut::<2>().0 {
            let Some(x) = row.pair(s, fill) else { break };
            found = found << (2 * LANES) | places(x, others.max);
            *pair = others.apply(s, x);
            row.put_pair::<S>(*pair);
        }
        (halved(s, terms), f64::from(found.count_ones()))
    }
}

/// Where these are in two vectors, a bit each.
#[inline(always)]
pub fn places<V: F32>(x: [V; 2], value: V) -> u64 {
    u64::from(x[0].equals(value).bits()) << LANES | u64::from(x[1].equals(value).bits())
}

/// The sum of a short row, halved.
#[inline(always)]
pub fn halved<S: Simd>(s: S, terms: [S::F32; SHORT / LANES]) -> [f64; HALF] {
    let mut sum = Sum::new(s);
    sum.add((terms[0] + terms[1]) + (terms[2] + terms[3]));
    sum.halve()
}

/// The terms of those that are not a maximum.
#[derive(Clone, Copy)]
struct Others<S: Simd, M> {
    term: M,
    max: S::F32,
}

impl<S: Simd, M: Map<S>> Map<S> for Others<S, M> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, x: [S::F32; N]) -> [S::F32; N] {
        let mut terms = self.term.apply(s, x);
        for i in 0..N {
            terms[i] = x[i].equals(self.max).select(s.splat(0.0), terms[i]);
        }
        terms
    }
}
