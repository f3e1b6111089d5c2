//! What entropy, varentropy and all statistics share: moments of `d_i = (m - x_i) / T` under the distribution.
//!
//! With the maximum `m` and terms `e_i` as in [`normalizer`](super::normalizer), of which that of the maximum is `e`:
//! `S = sum e_i`, without `e` where that [dominates](super::apart), `W = sum e_i d_i`, and `C = sum e_i (d_i - W/S)^2`.
//!
//! Two segments, of which the first has the larger maximum, by `delta`, and `f` makes terms of the second terms of the
//! first, merge as `S = S1 + f S2`, `W = W1 + f (W2 + delta S2)` and `C = C1 + f C2 + S1 f S2 / S (mu1 - mu2)^2` with
//! the means `mu1 = W1 / S1` and `mu2 = W2 / S2 + delta`: no part of it is negative, so nothing cancels.
//!
//! In a segment `C` is summed around the mean of its first group, and corrected for the difference of the means; where that
//! would be most of it the segment is passed once more, around its own mean.

use core::marker::PhantomData;

use crate::element::Element;
use crate::lanes::{self, Largest, Map};
use crate::math::double::ln_of_quotient;
use crate::operation::SHORT;
use crate::simd::{F32, Kernel, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, GROUP_LEN, Groups, Sum, Terms, Total, Totals};

use super::apart;
use super::normalizer::{Shift, Term};
use super::short_moments::ShortMoments;
use super::temperature::Scale;

/// What is known of some segments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// The maximum; -inf if there is nothing else, and +inf if there is no distribution.
    pub max: f32,
    pub shift: Shift,
    /// Its term.
    pub top: f64,
    /// The sum of all other terms.
    pub others: f64,
    /// The sum of `e_i d_i`.
    pub weighted: f64,
    /// The sum of `e_i (d_i - mean)^2`, where that is wanted.
    pub spread: f64,
}

/// What is known of nothing.
impl Default for Moments {
    fn default() -> Self {
        Self {
            max: f32::NEG_INFINITY,
            shift: Shift::PLAIN,
            top: 0.0,
            others: 0.0,
            weighted: 0.0,
            spread: 0.0,
        }
    }
}

impl Moments {
    /// What is known of some segments, if one of them has no distribution.
    pub const NOTHING: Self = Self {
        max: f32::INFINITY,
        shift: Shift::PLAIN,
        top: f64::NAN,
        others: f64::NAN,
        weighted: f64::NAN,
        spread: f64::NAN,
    };

    /// The sum of all terms.
    #[inline(always)]
    pub fn sum(&self) -> f64 {
        self.others + self.top
    }

    /// Whether there is a distribution.
    #[inline(always)]
    pub fn is_any(&self) -> bool {
        self.sum() > 0.0
    }

    /// `-log p` of the maximum, where there is a distribution.
    #[inline(always)]
    pub fn loss_of_max(&self) -> f64 {
        ln_of_quotient(self.sum(), self.top, self.others)
    }

    /// The mean of `d`.
    #[inline(always)]
    pub fn mean(&self) -> f64 {
        self.weighted / self.sum()
    }

    /// Its variance.
    #[inline(always)]
    pub fn variance(&self) -> f64 {
        self.spread / self.sum()
    }

    /// The spread, given that around something else, and whether most of that is what lies between it and the mean.
    #[inline(always)]
    pub fn around_mean(&self, spread: f64, pivot: f32) -> (f64, bool) {
        let apart = self.mean() - f64::from(pivot);
        let correction = self.sum() * (apart * apart);
        ((spread - correction).max(0.0), correction > 0.75 * spread)
    }

    /// What part of the sum of all segments is that of these.
    pub fn share(&self, all: &Self, scale: impl Scale) -> f64 {
        // Nothing has no shift.
        let sum = if self.sum() == 0.0 { 0.0 } else { self.shift.weight(all.shift, scale) * self.sum() };
        if all.is_any() { sum / all.sum() } else { f64::NAN }
    }

    /// What is known of neighbours.
    #[inline(always)]
    pub fn merge(self, right: Self, scale: impl Scale) -> Self {
        let (larger, smaller) = if right.max > self.max { (right, self) } else { (self, right) };
        // Nothing has a distance of infinity.
        if smaller.max == f32::NEG_INFINITY {
            return larger;
        }
        let weight = smaller.shift.weight(larger.shift, scale);
        let distance = scale.exact(f64::from(larger.max) - f64::from(smaller.max));
        let sum = weight * smaller.sum();
        let difference = smaller.mean() + distance - larger.mean();
        let between = larger.sum() * sum / (larger.sum() + sum) * (difference * difference);
        Self {
            others: larger.others + sum,
            weighted: larger.weighted + (weight * smaller.weighted + distance * sum),
            spread: larger.spread + (weight * smaller.spread + between),
            ..larger
        }
    }

    /// Reads segments, and learns their variances if that is wanted.
    #[inline(always)]
    pub fn of_segments<S: Simd, E: Element, C: Scale, const VARIANCE: bool>(
        s: S,
        segments: &[impl Span<E>],
        known: &mut [Self],
        scale: C,
    ) {
        s.vectorize(OfSegments::<_, E, C, VARIANCE> { segments, known, scale, element: PhantomData });
    }

    #[inline(always)]
    fn of<S: Simd, E: Element, C: Scale, const VARIANCE: bool>(
        s: S,
        segment: Read<'_, E>,
        scale: C,
        room: &mut Option<Groups<S>>,
    ) -> Self {
        let mut magnitude = Largest::new(s, 0.0);
        let max = lanes::maxima_by_lane(s, segment, &mut magnitude).reduce_max();
        if !max.is_finite() {
            let masked = max == f32::NEG_INFINITY && !lanes::has_nan(s, segment);
            return if masked { Self::default() } else { Self::NOTHING };
        }
        // Of variances there is but one form, which is half as much code.
        let is_plain = scale.is_plain(magnitude.by_lane().reduce_max());
        if !VARIANCE && is_plain {
            return Self::around::<S, E, C, true, VARIANCE>(s, segment, max, Shift::PLAIN, scale, room);
        }
        let shift = if is_plain { Shift::PLAIN } else { Shift::new(max, scale) };
        Self::around::<S, E, C, false, VARIANCE>(s, segment, max, shift, scale, room)
    }

    #[inline(always)]
    fn around<S: Simd, E: Element, C: Scale, const PLAIN: bool, const VARIANCE: bool>(
        s: S,
        segment: Read<'_, E>,
        max: f32,
        shift: Shift,
        scale: C,
        room: &mut Option<Groups<S>>,
    ) -> Self {
        let term = Term::<S, C, PLAIN>::new(s, shift, scale);
        let weigh = Weigh::new(s, term, scale, s.splat(scale.minus(max)));
        let fill = [Term::<S, C, PLAIN>::nothing(shift, scale)];
        let pivot = if VARIANCE {
            let (first, _) = segment.split_at(segment.len().min(GROUP_LEN));
            let [sum, weighted] = sums::sums_of(s, [first], fill, &mut First(weigh));
            if sum > 0.0 { -weighted / sum } else { 0.0 }
        } else {
            0.0
        };
        let pivot = pivot as f32;
        let mut squares = Squares { weigh, pivot: s.splat(pivot) };
        let groups = room.get_or_insert_with(|| Groups::new(s));
        groups.clear();
        let mut sums = Around { groups, weighted: Sum::new(s), spread: Sum::new(s) };
        if VARIANCE {
            sums::totals_of(s, [segment], fill, &mut squares, &mut sums);
        } else {
            sums::totals_of(s, [segment], fill, &mut First(weigh), &mut sums);
        }
        let (weighted, spread) = (sums.weighted.sum(), sums.spread.sum());
        let sum = groups.sum(s);
        let (others, top) = if sum.is_nan() {
            (sum, sum)
        } else if apart::is_flat(s, sum, groups) {
            let top = shift.term(max, scale);
            (sum - top, top)
        } else {
            apart::set_apart(s, segment, max, shift, scale, groups)
        };
        if others.is_nan() {
            return Self::NOTHING;
        }
        let mut known = Self { max, shift, top, others, weighted: -weighted, spread };
        if VARIANCE {
            let is_most;
            (known.spread, is_most) = known.around_mean(spread, pivot);
            if is_most {
                let pivot = known.mean() as f32;
                let mut squares = Squares { weigh, pivot: s.splat(pivot) };
                let [_, _, spread] = sums::sums_of(s, [segment], fill, &mut squares);
                (known.spread, _) = known.around_mean(spread, pivot);
            }
        }
        known
    }
}

/// One copy for all operations that want the same.
struct OfSegments<'p, P, E, C, const VARIANCE: bool> {
    segments: &'p [P],
    known: &'p mut [Moments],
    scale: C,
    element: PhantomData<E>,
}

impl<P: Span<E>, E: Element, C: Scale, const VARIANCE: bool> Kernel for OfSegments<'_, P, E, C, VARIANCE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { segments, known, scale, .. } = self;
        if segments.iter().all(|segment| segment.rest().len() <= SHORT) {
            for (segment, known) in segments.iter().zip(known) {
                let segment = core::slice::from_ref(segment);
                *known = ShortMoments::<1>::of::<S, E, C, VARIANCE>(s, segment, scale).get(0);
            }
            return;
        }
        let mut room = None;
        for (segment, known) in segments.iter().zip(known) {
            *known = Moments::of::<S, E, C, VARIANCE>(s, segment.rest(), scale, &mut room);
        }
    }
}

/// The sums of a segment's terms: of the first by groups.
struct Around<'g, S: Simd> {
    groups: &'g mut Groups<S>,
    weighted: Sum<S>,
    spread: Sum<S>,
}

impl<S: Simd> Totals<S, 2> for Around<'_, S> {
    #[inline(always)]
    fn add(&mut self, [term, weighted]: [S::F32; 2]) {
        self.groups.add(term);
        self.weighted.add(weighted);
    }
}

impl<S: Simd> Totals<S, 3> for Around<'_, S> {
    #[inline(always)]
    fn add(&mut self, [term, weighted, spread]: [S::F32; 3]) {
        self.groups.add(term);
        self.weighted.add(weighted);
        self.spread.add(spread);
    }
}

/// A `-d` whose term is 0, so that it does not matter that it should be lower.
const LOWEST: f32 = -150.0;

/// Terms and distances.
#[derive(Clone, Copy)]
pub struct Weigh<S: Simd, C: Scale, const PLAIN: bool> {
    term: Term<S, C, PLAIN>,
    scale: C,
    minus_max: S::F32,
    lowest: S::F32,
}

impl<S: Simd, C: Scale, const PLAIN: bool> Weigh<S, C, PLAIN> {
    #[inline(always)]
    pub fn new(s: S, term: Term<S, C, PLAIN>, scale: C, minus_max: S::F32) -> Self {
        Self { term, scale, minus_max, lowest: s.splat(LOWEST) }
    }

    /// `e_i`, and `-d_i`.
    #[inline(always)]
    pub fn apply<const N: usize>(&self, s: S, mut x: [S::F32; N]) -> [[S::F32; N]; 2] {
        let terms = self.term.apply(s, x);
        for x in &mut x {
            let (minus_d, _) = self.scale.divide(s, self.scale.shift(s, *x, self.minus_max));
            *x = if PLAIN { minus_d } else { self.lowest.max(minus_d) };
        }
        [terms, x]
    }
}

/// `e_i`, and `-e_i d_i`.
struct First<W>(W);

impl<S: Simd, C: Scale, const PLAIN: bool> Terms<S, 1, 2> for First<Weigh<S, C, PLAIN>> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 2] {
        let [terms, mut weighted] = self.0.apply(s, x);
        for i in 0..N {
            weighted[i] = terms[i] * weighted[i];
        }
        [terms, weighted]
    }
}

/// `e_i`, `-e_i d_i`, and `e_i (d_i - pivot)^2`.
struct Squares<W, V> {
    weigh: W,
    pivot: V,
}

impl<S: Simd, C: Scale, const PLAIN: bool> Terms<S, 1, 3> for Squares<Weigh<S, C, PLAIN>, S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 3] {
        let [terms, mut weighted] = self.weigh.apply(s, x);
        let mut squares = terms;
        for i in 0..N {
            let by = weighted[i] + self.pivot;
            weighted[i] = terms[i] * weighted[i];
            squares[i] = terms[i] * by * by;
        }
        [terms, weighted, squares]
    }
}
