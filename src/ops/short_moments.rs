//! [Moments](super::moments) of rows of up to 64 elements: sixteen of them at a time, for what is folded over lanes, and
//! divided, once a row; and those no longer than a vector one behind the other.
//!
//! Terms and distances are kept until the mean is known, so that no row is passed twice.

use crate::element::Element;
use crate::lanes::Map;
use crate::math::double::ln_of_quotient;
use crate::narrow::{self, COLS, Narrow};
use crate::operation::{SHORT, TOGETHER};
use crate::simd::{F32, HALF, LANES, Mask, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Terms};

use super::apart::{Apart, Beside, halved, places};
use super::moments::{Moments, Weigh};
use super::normalizer::{Shifts, Term, all_positive, narrow_shifts, widened};
use super::temperature::Scale;

/// Vectors of a short row.
const VECTORS: usize = SHORT / LANES;

/// What is known of some short rows.
pub struct ShortMoments<const N: usize> {
    maxima: [f32; N],
    shifts: Shifts<N>,
    pub tops: [f64; N],
    /// Not finite where there is no distribution, or 0 where there is nothing but -inf.
    pub others: [f64; N],
    pub weighted: [f64; N],
    spreads: [f64; N],
}

impl<const N: usize> ShortMoments<N> {
    /// Reads up to `N` short segments.
    #[inline(always)]
    pub fn of<S: Simd, E: Element, C: Scale, const VARIANCE: bool>(
        s: S,
        segments: &[impl Span<E>],
        scale: C,
    ) -> Self {
        let mut rows = Rows::<S, C, VARIANCE, N>::new(s, scale);
        let Apart { maxima, tops, others, shifts } = Apart::<N>::of(s, segments, scale, &mut rows);
        let weighted = sums::sums(s, &rows.weighted);
        let mut known = Self { maxima, shifts, tops, others, weighted, spreads: [0.0; N] };
        for weighted in &mut known.weighted {
            *weighted = -*weighted;
        }
        if VARIANCE {
            let centers = centers(&sums::sums(s, &rows.all), &weighted);
            let mut around = [[0.0; HALF]; N];
            for i in 0..segments.len() {
                around[i] = halved(s, squares(&rows.kept[i], s.splat(centers[i])));
            }
            let are_far = known.spread(&sums::sums(s, &around), &centers);
            for (i, is_far) in are_far.into_iter().enumerate() {
                if is_far {
                    let row = known.row(i);
                    let center = row.mean() as f32;
                    let [around] = sums::sums(s, &[halved(s, squares(&rows.kept[i], s.splat(center)))]);
                    (known.spreads[i], _) = row.around_mean(around, center);
                }
            }
        }
        known
    }

    /// Takes what is spread around these centers, and says where most of that is what lies between the center and the mean.
    #[inline(always)]
    fn spread(&mut self, around: &[f64; N], centers: &[f32; N]) -> [bool; N] {
        let mut are_far = [false; N];
        for i in 0..N {
            (self.spreads[i], are_far[i]) = self.row(i).around_mean(around[i], centers[i]);
        }
        are_far
    }

    /// One of them, if it has a distribution.
    #[inline(always)]
    fn row(&self, i: usize) -> Moments {
        Moments {
            max: self.maxima[i],
            shift: self.shifts.get(i),
            top: self.tops[i],
            others: self.others[i],
            weighted: self.weighted[i],
            spread: self.spreads[i],
        }
    }

    /// One of them.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Moments {
        if !self.others[i].is_finite() {
            Moments::NOTHING
        } else if self.maxima[i] == f32::NEG_INFINITY {
            Moments::default()
        } else {
            self.row(i)
        }
    }

    /// [`Moments::loss_of_max`] of each.
    #[inline(always)]
    pub fn losses_of_max(&self) -> [f64; N] {
        losses(&self.tops, &self.others)
    }
}

/// Where squares are around, given the sums of terms and of their distances.
#[inline(always)]
fn centers<const N: usize>(sums: &[f64; N], weighted: &[f64; N]) -> [f32; N] {
    let mut centers = [0.0; N];
    for i in 0..N {
        let mean = -weighted[i] / sums[i];
        centers[i] = if sums[i] > 0.0 { mean } else { 0.0 } as f32;
    }
    centers
}

/// [`Moments::loss_of_max`] of some rows.
#[inline(always)]
pub fn losses_of_max(known: &[Moments]) -> [f64; TOGETHER] {
    // Field by field: so the loop over rows is vectorised.
    let (mut tops, mut others) = ([1.0; TOGETHER], [1.0; TOGETHER]);
    for (i, row) in known.iter().enumerate() {
        (tops[i], others[i]) = (row.top, row.others);
    }
    losses(&tops, &others)
}

#[inline(always)]
fn losses<const N: usize>(tops: &[f64; N], others: &[f64; N]) -> [f64; N] {
    let mut losses = [0.0; N];
    for i in 0..N {
        losses[i] = ln_of_quotient(others[i] + tops[i], tops[i], others[i]);
    }
    losses
}

/// A vector of terms, and of `-d`.
type Weighed<V> = [V; 2];

/// `e (d - center)^2`.
#[inline(always)]
fn squares<V: F32, const N: usize>(kept: &[Weighed<V>; N], center: V) -> [V; N] {
    let mut squares = [center; N];
    for (square, [term, minus_d]) in squares.iter_mut().zip(kept) {
        let by = *minus_d + center;
        *square = *term * by * by;
    }
    squares
}

/// What is learnt of short rows beside what is apart.
struct Rows<S: Simd, C, const VARIANCE: bool, const N: usize> {
    scale: C,
    /// Sums of `-e_i d_i`, and of all terms, halved.
    weighted: [[f64; HALF]; N],
    all: [[f64; HALF]; N],
    kept: [[Weighed<S::F32>; VECTORS]; N],
}

impl<S: Simd, C: Scale, const VARIANCE: bool, const N: usize> Rows<S, C, VARIANCE, N> {
    #[inline(always)]
    fn new(s: S, scale: C) -> Self {
        let nothing = [[0.0; HALF]; N];
        Self { scale, weighted: nothing, all: nothing, kept: [[[s.splat(0.0); 2]; VECTORS]; N] }
    }
}

impl<S: Simd, C: Scale, const VARIANCE: bool, const N: usize> Beside<S, C> for Rows<S, C, VARIANCE, N> {
    #[inline(always)]
    fn others<E: Element, const PLAIN: bool>(
        &mut self,
        s: S,
        i: usize,
        mut row: Read<'_, E>,
        fill: f32,
        term: Term<S, C, PLAIN>,
        max: f32,
    ) -> ([f64; HALF], f64) {
        let weigh = Weigh::new(s, term, self.scale, s.splat(self.scale.minus(max)));
        let (zero, max, mut found) = (s.splat(0.0), s.splat(max), 0_u64);
        let (mut others, mut all, mut weighted) = ([zero; VECTORS], [zero; VECTORS], [zero; VECTORS]);
        for at in (0..VECTORS).step_by(2) {
            let Some(x) = row.pair(s, fill) else { break };
            found = found << (2 * LANES) | places(x, max);
            let [terms, minus_d] = weigh.apply(s, x);
            for j in 0..2 {
                others[at + j] = x[j].equals(max).select(zero, terms[j]);
                weighted[at + j] = terms[j] * minus_d[j];
                if VARIANCE {
                    all[at + j] = terms[j];
                    self.kept[i][at + j] = [terms[j], minus_d[j]];
                }
            }
            row.put_pair::<S>(x);
        }
        self.weighted[i] = halved(s, weighted);
        if VARIANCE {
            self.all[i] = halved(s, all);
        }
        (halved(s, others), f64::from(found.count_ones()))
    }
}

impl ShortMoments<TOGETHER> {
    /// Reads narrow rows; or gives nothing, if one has to be looked at alone.
    #[inline(always)]
    pub fn of_narrow<S: Simd, C: Scale, const VARIANCE: bool>(
        s: S,
        rows: &mut Narrow,
        scale: C,
    ) -> Option<Self> {
        let columns = rows.columns(s);
        let (max, shifts) = (columns.max(s), narrow_shifts(s, columns, scale));
        let term = Term::<S, C, false>::each(s, &shifts, scale);
        let [tops] = term.apply(s, [max]);
        let maxima = max.to_array();
        let mut minus_maxima = maxima;
        for max in &mut minus_maxima {
            *max = scale.minus(*max);
        }
        let weigh = Weigh::new(s, term, scale, s.load(&minus_maxima));
        let mut keep = Keep { weigh, max, kept: [[s.splat(0.0); 2]; COLS], len: 0 };
        let (others, weighted, around, centers);
        if VARIANCE {
            let all;
            [others, weighted, all] = narrow::sums_of(s, [&*columns], &mut keep);
            centers = self::centers(&all, &weighted);
            let mut squares = Around { kept: &keep.kept, center: s.load(&centers), len: 0 };
            [around] = narrow::sums_of(s, [&*columns], &mut squares);
        } else {
            [others, weighted] = narrow::sums_of(s, [&*columns], &mut keep);
            (around, centers) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        }
        let (counts, tops) = (columns.counts(s, max), widened(&tops.to_array()));
        let mut known = Self { maxima, shifts, tops, others, weighted, spreads: [0.0; TOGETHER] };
        let mut totals = [0.0; TOGETHER];
        for i in 0..TOGETHER {
            known.weighted[i] = -weighted[i];
            // Where there are several of the largest, but one is left.
            known.others[i] += f64::from(counts[i] - 1.0) * tops[i];
            totals[i] = known.others[i] + tops[i];
        }
        let mut is_any_far = false;
        if VARIANCE {
            for is_far in known.spread(&around, &centers) {
                is_any_far |= is_far;
            }
        }
        // There is no NaN, and not nothing but -inf.
        (all_positive(&totals) & !is_any_far).then_some(known)
    }
}

/// Terms and distances, which are kept as they come.
struct Keep<S: Simd, C: Scale> {
    weigh: Weigh<S, C, false>,
    max: S::F32,
    kept: [Weighed<S::F32>; COLS],
    len: usize,
}

impl<S: Simd, C: Scale> Keep<S, C> {
    /// The terms of those that are not a maximum, `-e_i d_i`, and `e_i`.
    #[inline(always)]
    fn next<const N: usize>(&mut self, s: S, x: [S::F32; N]) -> [[S::F32; N]; 3] {
        let [terms, mut weighted] = self.weigh.apply(s, x);
        let mut others = terms;
        for i in 0..N {
            self.kept[self.len + i] = [terms[i], weighted[i]];
            others[i] = x[i].equals(self.max).select(s.splat(0.0), terms[i]);
            weighted[i] = terms[i] * weighted[i];
        }
        self.len += N;
        [others, weighted, terms]
    }
}

impl<S: Simd, C: Scale> Terms<S, 1, 2> for Keep<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 2] {
        let [others, weighted, _] = self.next(s, x);
        [others, weighted]
    }
}

impl<S: Simd, C: Scale> Terms<S, 1, 3> for Keep<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 3] {
        self.next(s, x)
    }
}

/// `e_i (d_i - center)^2`, of what was kept.
struct Around<'k, V> {
    kept: &'k [Weighed<V>; COLS],
    center: V,
    len: usize,
}

impl<S: Simd> Terms<S, 1, 1> for Around<'_, S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, _: S, _: [[S::F32; N]; 1]) -> [[S::F32; N]; 1] {
        let kept = self.kept[self.len..].first_chunk::<N>().expect("as many as were kept");
        self.len += N;
        [squares(kept, self.center)]
    }
}
