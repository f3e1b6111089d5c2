//! Log-softmax: `log p_i = z_i - log sum_j exp(z_j)`, with `z = x / T`.
//!
//! There are two ways to the logarithm of a probability:
//!
//! - *flat*: `(z_i - c) - L` with `L = log sum_j exp(z_j - c)` and the center `c` of the [`Shift`], where no term is more than a
//!   third of the sum;
//! - *apart*: where one logit dominates, that cancels. So the largest term is set apart: with the maximum `m` and its term
//!   `e`, `(z_i - m/T) - L` with `L = log1p(S' / e)`, where `S'` is the sum of the other terms, which never contained `e`.
//!
//! Which one a segment goes shows when it has been summed: the largest sum of a lane of a group is a bound for any
//! term of it, and costs nothing. Where it must be apart, the group of the maximum is summed again
//! without it. Short rows always have their maximum set apart; few of them are flat.
//!
//! # Error
//!
//! Against the exact logarithm, relative, with `u = 2^-24`; an ULP is between `u` and `2 u` of its number:
//!
//! - a term has an error below `(1.29 + 0.3) u`, as in [`softmax`](super::softmax), and a sum of terms `3 u` more for the three
//!   levels of a group's tree: below 4.6 u;
//! - apart, `e` is computed in f64; or, of a short row, it is a term like the others, but then the tree has two levels. `log1p` does
//!   not magnify a relative error: that of `L` is below 4.6 u, or 5.2 u;
//! - flat, the error of `L` is the same 4.6 u, but absolute; the result is `-log 3` at most, so it is no more of the result;
//! - `x_i - m` rounds by u of itself at most; `x_i - c` does not round where it matters;
//! - `z_i` and `L` are taken off each other as two floats each: the first subtraction rounds by u of the result, the second
//!   by half an ULP.
//!
//! Apart, `z_i - m/T` and `-L` have one sign, so what is relative to a part is no more of the whole. `5.2 u + u` and half an ULP
//! are below 7 ULP. To that comes what is lost below the smallest term: less than `2^-126`.
//! Without fused multiply-add a term has 1.65 u: below 9 ULP.

use core::mem::MaybeUninit;

use crate::batch::{Engine, Grid, Place, Uninit};
use crate::element::Element;
use crate::error::Error;
use crate::lanes::{self, GROUP_LEN, Groups, Map, Side, Sum, Total};
use crate::math::double::{in_two, ln_of_quotient};
use crate::narrow::Narrow;
use crate::operation::{Reduce, SHORT, Sides, TOGETHER, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{F32, HALF, LANES, Mask, Simd};
use crate::span::{Read, Span, Write};

use super::normalizer::{
    Look, Normalizer, Shift, Shifts, Term, all_positive, degenerate, exp_sum, narrow_shifts,
};
use super::one_hot::OneHot;
use super::options::{Kind, Softmax};
use super::temperature::{Scale, Unit};

/// `log_softmax(x)`: each `x_i` becomes `x_i - log sum_j exp(x_j)`, the logarithm of its probability, in nats.
///
/// One row, on this thread, without allocation; an [`Engine`] does batches. The result is within 3 ULP + 2^-126 of the exact
/// one on ordinary rows and within 7 ULP + 2^-126 on any (see [Numerics](crate#numerics)): also that of a logit which
/// dominates its row, where `log(softmax(x))` gives 0.
///
/// A NaN or +inf in the row makes all of it NaN; logits of -inf stay -inf; a row of nothing but -inf becomes NaN
/// ([`MaskedRows`](crate::MaskedRows) has the other choice).
///
/// # Panics
///
/// If the lengths differ.
///
/// # Examples
///
/// ```
/// let mut y = [0.0; 2];
/// logits::log_softmax(&[30.0, 0.0], &mut y);
/// assert!((y[0] / -(-30_f32).exp() - 1.0).abs() < 1e-6);
/// ```
#[track_caller]
pub fn log_softmax(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "the lengths of input and output");
    let _ = Engine::new().serial().log_softmax(Rows::one(x), RowsMut::one(y));
}

/// [`log_softmax`] of a row in place.
///
/// # Examples
///
/// ```
/// let mut x = [5.0, f32::NEG_INFINITY];
/// logits::log_softmax_in_place(&mut x);
/// assert_eq!(x, [0.0, f32::NEG_INFINITY]);
/// ```
pub fn log_softmax_in_place(x: &mut [f32]) {
    let _ = Engine::new().serial().log_softmax_in_place(RowsMut::one(x));
}

impl Engine {
    /// [`log_softmax`] of each row.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if `out` has other rows or columns than `x`. Nothing has been written then.
    pub fn log_softmax(&self, x: Rows<'_>, out: RowsMut<'_>) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, &Softmax::default())
    }

    /// [`Engine::log_softmax`] with a temperature, or with another answer to masked rows.
    ///
    /// # Errors
    ///
    /// As [`Engine::log_softmax`], and [`Error::Temperature`] if the temperature is negative or NaN.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows, RowsMut, Softmax};
    ///
    /// let logits = [2.0, 1.0, 2.0];
    /// let mut out = [0.0; 3];
    /// let greedy = Softmax { temperature: 0.0, ..Default::default() };
    /// Engine::new().log_softmax_with(Rows::new(&logits, 3)?, RowsMut::new(&mut out, 3)?, &greedy)?;
    /// assert_eq!(out, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn log_softmax_with(&self, x: Rows<'_>, out: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, options)
    }

    /// [`log_softmax`] of each row, in place of the logits.
    ///
    /// # Errors
    ///
    /// None as yet: the signature is that of its kin.
    pub fn log_softmax_in_place(&self, x: RowsMut<'_>) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), &Softmax::default())
    }

    /// [`Engine::log_softmax_with`], in place of the logits.
    ///
    /// # Errors
    ///
    /// [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn log_softmax_in_place_with(&self, x: RowsMut<'_>, options: &Softmax) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), options)
    }

    /// [`log_softmax`] of each row into memory that need not be initialised, contiguous rows as long as those of `x`.
    ///
    /// Gives back the same memory, initialised.
    ///
    /// # Errors
    ///
    /// [`Error::RaggedRows`] or [`Error::ShapeMismatch`] if `out` does not hold just as many elements as `x` has.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// let logits = [0.0, 0.0];
    /// let mut spare = Vec::with_capacity(2);
    /// let out = Engine::new().log_softmax_uninit(Rows::new(&logits, 2)?, &mut spare.spare_capacity_mut()[..2])?;
    /// assert_eq!(out, [-std::f32::consts::LN_2; 2]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn log_softmax_uninit<'a>(
        &self,
        x: Rows<'_>,
        out: &'a mut [MaybeUninit<f32>],
    ) -> Result<&'a mut [f32], Error> {
        apply(self, Uninit::new(x, out)?, &Softmax::default())
    }

    /// [`Engine::log_softmax_uninit`] with options.
    ///
    /// # Errors
    ///
    /// As [`Engine::log_softmax_uninit`], and [`Error::Temperature`] if the temperature is negative or NaN.
    pub fn log_softmax_uninit_with<'a>(
        &self,
        x: Rows<'_>,
        out: &'a mut [MaybeUninit<f32>],
        options: &Softmax,
    ) -> Result<&'a mut [f32], Error> {
        apply(self, Uninit::new(x, out)?, options)
    }
}

/// Into its callers, so that nothing is moved for a call: a row alone would wait for it.
#[inline(always)]
fn apply<'a, P: Place<'a, f32>>(engine: &Engine, place: P, options: &Softmax) -> Result<P::Written, Error> {
    let masked = options.masked_rows.value(f32::NEG_INFINITY);
    Ok(match options.temperature()? {
        Kind::One => place.transform(engine, &AtTemperature { scale: Unit, masked }),
        Kind::Zero => place.transform(engine, &OneHot { hot: 0.0, cold: f32::NEG_INFINITY, masked }),
        Kind::Other(scale) => place.transform(engine, &AtTemperature { scale, masked }),
    })
}

/// The operation at some temperature.
struct AtTemperature<C> {
    scale: C,
    masked: f32,
}

/// What is known of some segments.
#[derive(Clone, Copy)]
struct Sums {
    /// The sum of all terms, but that of the logit that is set apart.
    others: Normalizer,
    /// The maximum; or -inf, if none is set apart.
    apart: f32,
    /// Its term.
    top: f64,
}

impl Sums {
    /// With nothing set apart.
    fn flat(all: Normalizer) -> Self {
        Self { others: all, apart: f32::NEG_INFINITY, top: 0.0 }
    }

    /// What a row becomes that has no distribution.
    #[inline(always)]
    fn degenerate(&self, masked: f32) -> Option<f32> {
        // Nothing but what is set apart is something.
        let apart = if self.apart > f32::NEG_INFINITY { 1.0 } else { 0.0 };
        degenerate(self.others.sum + apart, masked)
    }
}

/// What is known of nothing.
impl Default for Sums {
    fn default() -> Self {
        Self::flat(Normalizer::default())
    }
}

/// A sum of so many times its largest term is flat.
const FLAT: f64 = 3.0;

impl<E: Element, C: Scale> Reduce<E> for AtTemperature<C> {
    type Partial = Sums;
    type Narrow = NarrowSums;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: usize,
        segments: &mut [impl Span<E>],
        known: &mut [Sums],
        sides: &mut impl Sides<S>,
    ) {
        if segments.iter().all(|segment| segment.rest().len() <= SHORT) {
            for (i, known) in known.iter_mut().enumerate() {
                let Apart { maxima: [apart], tops: [top], others: [sum], shifts } =
                    self.read_short(s, &segments[i..=i]);
                *known = Sums { others: Normalizer { shift: shifts.get(0), sum }, apart, top };
            }
            return;
        }
        let all_plain = self.scale.is_plain(lanes::magnitude(s, segments));
        let mut groups = None;
        for i in 0..segments.len() {
            let segment = segments[i].rest();
            let (max, shift) = match Look::at(s, segments, i, all_plain, self.scale) {
                Look::Degenerate(found) => {
                    known[i] = Sums::flat(found);
                    continue;
                }
                Look::Plain => (None, Shift::PLAIN),
                Look::Shifted(max, shift) => (Some(max), shift),
            };
            let mut side = sides.begin(s, i);
            known[i] = self.long(s, segment, max, shift, &mut groups, &mut side);
            sides.end(s, side);
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, rows: &mut Narrow) -> Option<NarrowSums> {
        let plain = self.scale.is_plain(rows.magnitude(s));
        let columns = rows.columns(s);
        let max = columns.max(s);
        let counts = columns.counts(s, max);
        let [tops] = if plain {
            let term = Term::<S, C, true>::new(s, Shift::PLAIN, self.scale);
            columns.map(s, &Others { term, max });
            term.apply(s, [max])
        } else {
            let shifts = narrow_shifts(s, columns, self.scale);
            let term = Term::<S, C, false>::each(s, &shifts, self.scale);
            columns.map(s, &Others { term, max });
            term.apply(s, [max])
        };
        let mut known =
            NarrowSums { maxima: max.to_array(), tops: widened(&tops.to_array()), others: columns.sums(s) };
        for (i, count) in counts.into_iter().enumerate() {
            known.others[i] += f64::from(count - 1.0) * known.tops[i];
        }
        let mut totals = known.others;
        for (total, top) in totals.iter_mut().zip(known.tops) {
            *total += top;
        }
        // There is no NaN, and not nothing but -inf.
        all_positive(&totals).then_some(known)
    }

    #[inline(always)]
    fn merge(&self, left: Sums, right: Sums) -> Sums {
        let (larger, mut smaller) = if right.apart > left.apart { (right, left) } else { (left, right) };
        smaller.others.sum += smaller.top;
        let others = larger.others.merge(smaller.others, self.scale);
        let top = larger.top * larger.others.shift.weight(others.shift, self.scale);
        // The others may outweigh it; then it need not even be the maximum.
        if others.sum >= FLAT * top {
            return Sums::flat(Normalizer { sum: others.sum + top, ..others });
        }
        Sums { others, apart: larger.apart, top }
    }
}

impl<C: Scale> AtTemperature<C> {
    /// Reads up to `N` short segments, and sets their maxima apart.
    ///
    /// What is folded over lanes is folded for all segments at once: three times in a row, one behind the other, a segment
    /// would wait for it.
    #[inline(always)]
    fn read_short<S: Simd, E: Element, const N: usize>(&self, s: S, segments: &[impl Span<E>]) -> Apart<N> {
        let (mut maxima, mut degenerate) = ([[f32::NEG_INFINITY; LANES]; N], [None; N]);
        for (max, segment) in maxima.iter_mut().zip(segments) {
            lanes::fetch_result(s, segment.rest());
            *max = lanes::maxima_by_lane(s, segment.rest()).to_array();
        }
        let mut maxima = lanes::maxima(s, &maxima);
        let (mut shifts, mut halves, mut counts) = (Shifts::PLAIN, [[0.0; HALF]; N], [0.0; N]);
        let all_plain = self.scale.is_plain(lanes::magnitude(s, segments));
        let max = lanes::each(s, &maxima);
        let [tops] = if all_plain {
            let term = Term::<S, C, true>::new(s, Shift::PLAIN, self.scale);
            let fill = Term::<S, C, true>::nothing(Shift::PLAIN, self.scale);
            for (i, segment) in segments.iter().enumerate() {
                (halves[i], counts[i]) = others(s, segment.rest(), fill, term, maxima[i]);
            }
            term.apply(s, [max])
        } else {
            for (i, segment) in segments.iter().enumerate() {
                match Look::at(s, segments, i, false, self.scale) {
                    Look::Plain => {}
                    Look::Shifted(_, shift) => shifts.set(i, shift),
                    Look::Degenerate(found) => {
                        degenerate[i] = Some(found);
                        continue;
                    }
                }
                let term = Term::<S, C, false>::new(s, shifts.get(i), self.scale);
                (halves[i], counts[i]) = others(s, segment.rest(), f32::NEG_INFINITY, term, maxima[i]);
            }
            Term::<S, C, false>::each(s, &shifts, self.scale).apply(s, [max])
        };
        let mut tops = widened(tops.to_array().first_chunk::<N>().expect("up to sixteen rows"));
        let mut others = lanes::sums(s, &halves);
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
        Apart { maxima, tops, others, shifts }
    }

    /// Reads any segment, whose maximum may be known, with room for its groups.
    #[inline(always)]
    fn long<S: Simd, E: Element>(
        &self,
        s: S,
        segment: Read<'_, E>,
        max: Option<f32>,
        shift: Shift,
        groups: &mut Option<Groups<S>>,
        side: &mut impl Side<S>,
    ) -> Sums {
        // Short rows are not to wait until it has been cleared.
        let groups = match groups {
            Some(groups) => groups,
            None => groups.insert(Groups::new(s)),
        };
        groups.clear();
        exp_sum(s, &mut { segment }, max.is_none(), shift, self.scale, groups, side);
        let sum = groups.sum(s);
        if sum.is_nan() || sum >= FLAT * f64::from(groups.bound(s)) {
            return Sums::flat(Normalizer { shift, sum });
        }
        // The group of the maximum is replaced by its others, and by those that are as large.
        let max = max.unwrap_or_else(|| lanes::max_reduce(s, segment));
        let at = lanes::position(s, segment, max) / GROUP_LEN;
        let (_, rest) = segment.split_at(at * GROUP_LEN);
        let (with, _) = rest.split_at(rest.len().min(GROUP_LEN));
        let term = Term::<S, C, false>::new(s, shift, self.scale);
        let mut others = Groups::new(s);
        let terms = Others { term, max: s.splat(max) };
        lanes::map_sum(s, &mut { with }, f32::NEG_INFINITY, terms, &mut others, &mut ());
        let top = shift.term(max, self.scale);
        groups.replace(at, &others);
        let sum = groups.sum(s) + f64::from(lanes::count(s, with, max) - 1) * top;
        Sums { others: Normalizer { shift, sum }, apart: max, top }
    }
}

/// The sum of the terms of a short row that are not its maximum, halved, and how often the maximum is there.
#[inline(always)]
fn others<S: Simd, E: Element>(
    s: S,
    mut row: Read<'_, E>,
    fill: f32,
    term: impl Map<S>,
    max: f32,
) -> ([f64; HALF], f64) {
    let others = Others { term, max: s.splat(max) };
    let (mut terms, mut found) = ([s.splat(0.0); SHORT / LANES], 0_u64);
    for pair in terms.as_chunks_mut::<2>().0 {
        let Some(x) = row.pair(s, fill) else { break };
        for x in x {
            found = found << LANES | u64::from(x.equals(others.max).bits());
        }
        *pair = others.apply(s, x);
        row.put_pair::<S>(*pair);
    }
    let mut sum = Sum::new(s);
    sum.add((terms[0] + terms[1]) + (terms[2] + terms[3]));
    (sum.halve(), f64::from(found.count_ones()))
}

#[inline(always)]
fn widened<const N: usize>(floats: &[f32; N]) -> [f64; N] {
    let mut wide = [0.0; N];
    for i in 0..N {
        wide[i] = f64::from(floats[i]);
    }
    wide
}

/// What is known of short segments, which all have their maximum set apart; or else it is -inf, and `others` says why.
struct Apart<const N: usize> {
    maxima: [f32; N],
    tops: [f64; N],
    others: [f64; N],
    shifts: Shifts<N>,
}

/// What is known of narrow rows, which all have their maximum set apart.
struct NarrowSums {
    maxima: [f32; TOGETHER],
    tops: [f64; TOGETHER],
    others: [f64; TOGETHER],
}

/// What becomes of the rows' logits.
#[inline(always)]
fn losses(rows: &[Sums]) -> [Loss; TOGETHER] {
    let mut losses = [Loss::default(); TOGETHER];
    if let [row] = rows {
        losses[0] = loss(row.others.sum, row.top, row.apart, row.others.shift);
        return losses;
    }
    // First apart, field by field: of loops that pick fields from rows some turns are not vectorised.
    let (mut sums, mut tops, mut aparts) = ([1.0; TOGETHER], [1.0; TOGETHER], [0.0; TOGETHER]);
    let mut shifts = Shifts::<TOGETHER>::PLAIN;
    for (i, row) in rows.iter().enumerate() {
        (sums[i], tops[i], aparts[i]) = (row.others.sum, row.top, row.apart);
        shifts.set(i, row.others.shift);
    }
    for i in 0..TOGETHER {
        losses[i] = loss(sums[i], tops[i], aparts[i], shifts.get(i));
    }
    losses
}

/// What becomes of a row's logits, without branches, so that a loop over rows is vectorised.
#[inline(always)]
fn loss(sum: f64, top: f64, apart: f32, shift: Shift) -> Loss {
    let is_apart = apart > f32::NEG_INFINITY;
    let flat = sum * shift.unit();
    let (all, part) = if is_apart { (top + sum, top) } else { (flat, 1.0) };
    let (hi, lo) = in_two(ln_of_quotient(all, part, if is_apart { sum } else { flat - 1.0 }));
    Loss { pivot: if is_apart { apart } else { shift.center }, hi, lo }
}

/// The logarithm of a probability is `(x - pivot) / T - (hi + lo)`.
#[derive(Clone, Copy, Default)]
struct Loss {
    pivot: f32,
    hi: f32,
    lo: f32,
}

impl Loss {
    #[inline(always)]
    fn subtract<S: Simd, C: Scale>(self, s: S, scale: C) -> Subtract<S, C> {
        let minus_pivot = s.splat(scale.minus(self.pivot));
        Subtract { scale, minus_pivot, hi: s.splat(self.hi), lo: s.splat(self.lo) }
    }
}

impl<E: Element, C: Scale> Transform<E> for AtTemperature<C> {
    const STORES: bool = false;
    const STREAMS: bool = true;
    /// Below that it shows that some rows are flat and others are not, which is hard to foresee: more would be begun in vain.
    const PIPELINE: usize = 256;
    const SHORT: bool = true;

    type Last = Loss;
    type LastMap<S: Simd> = Subtract<S, C>;

    #[inline(always)]
    fn lasts(&self, rows: &[Sums]) -> [Option<Loss>; TOGETHER] {
        let losses = losses(rows);
        let mut lasts = [None; TOGETHER];
        for (i, row) in rows.iter().enumerate() {
            if row.degenerate(self.masked).is_none() {
                lasts[i] = Some(losses[i]);
            }
        }
        lasts
    }

    #[inline(always)]
    fn last<S: Simd>(&self, s: S, loss: Loss) -> Subtract<S, C> {
        loss.subtract(s, self.scale)
    }

    #[inline(always)]
    fn short<S: Simd, const N: usize>(&self, s: S, rows: &mut [Write<'_, E>]) {
        let Apart { maxima, tops, others, .. } = self.read_short::<S, E, N>(s, rows);
        let (mut hi, mut lo) = ([0.0; N], [0.0; N]);
        for i in 0..N {
            (hi[i], lo[i]) = in_two(ln_of_quotient(tops[i] + others[i], tops[i], others[i]));
        }
        for (i, row) in rows.iter_mut().enumerate() {
            match degenerate(others[i] + tops[i], self.masked) {
                Some(value) => lanes::fill(s, row, value),
                None => {
                    let loss = Loss { pivot: maxima[i], hi: hi[i], lo: lo[i] };
                    lanes::map(s, row, 0.0, loss.subtract(s, self.scale));
                }
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Sums],
        _: Option<&[Sums]>,
        _: usize,
        segments: &mut [impl Span<E>],
    ) {
        let losses = losses(rows);
        for (i, segment) in segments.iter_mut().enumerate() {
            match rows[i].degenerate(self.masked) {
                Some(value) => lanes::fill(s, segment, value),
                None => lanes::map(s, segment, 0.0, losses[i].subtract(s, self.scale)),
            }
        }
    }

    #[inline(always)]
    fn finish_narrow<S: Simd>(&self, s: S, known: &NarrowSums, rows: &mut Narrow) {
        let (mut hi, mut lo) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for i in 0..TOGETHER {
            (hi[i], lo[i]) =
                in_two(ln_of_quotient(known.tops[i] + known.others[i], known.tops[i], known.others[i]));
        }
        rows.finish(s, |row| {
            Loss { pivot: known.maxima[row], hi: hi[row], lo: lo[row] }.subtract(s, self.scale)
        });
    }
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

/// The last pass.
struct Subtract<S: Simd, C> {
    scale: C,
    minus_pivot: S::F32,
    hi: S::F32,
    lo: S::F32,
}

impl<S: Simd, C: Scale> Map<S> for Subtract<S, C> {
    #[inline(always)]
    fn apply<const N: usize>(&self, s: S, mut lanes: [S::F32; N]) -> [S::F32; N] {
        for x in &mut lanes {
            let (z, rest) = self.scale.divide(s, self.scale.shift(s, *x, self.minus_pivot));
            *x = match rest {
                None => (z - self.hi) - self.lo,
                Some(rest) => {
                    // The rest of an infinite z is NaN.
                    let y = (z - self.hi) + (rest - self.lo);
                    z.equals(s.splat(f32::NEG_INFINITY)).select(z, y)
                }
            };
        }
        lanes
    }
}
