//! The gradient of the cross-entropy: `dl / dx_c = k p_c - b_c`.
//!
//! `b_c` is what class `c` counts in the loss `sum_c b_c (-log p_c) + s lse^2`, and `k = sum_c b_c + 2 s lse`.
//! Probabilities are those of the fused two-pass [`softmax`](super::softmax). At the target, where `k p_c` and `b_c` may be
//! nearly the same, it is `(k - b) p_t - b (1 - p_t)` in f64, with `1 - p_t` from the sum of all other terms.
//!
//! # Error
//!
//! `7 ULP` of `k p_c` and half an ULP of the result; at the target `2^-21` of the two parts, also where `1 - p_t` is small.
//! What each class has of the smoothing, `a / C`, is a float: of less than `2^-126` it is a multiple of `2^-149`.
//!
//! Where logits are [capped](super::softcap) at `c` that is the gradient with respect to capped logits, which are within `3.6 u
//! c`: of a probability `p` that makes up to `7.2 u c p (1 - p)`. It is multiplied by the slope of the cap, and rounded once
//! more.

use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::grid::Grid;
use crate::lanes::{self, Map, Same, Zip};
use crate::math::double::power_of_two;
use crate::operation::{Origin, Reduce, SEGMENT, Sides, Transform};
use crate::rows::{Rows, RowsMut};
use crate::simd::{F32, Kernel, Simd};
use crate::span::{Read, Span, Write};

use super::apart::Log;
use super::cross_entropy::CrossEntropy;
use super::factor::AnyFactor;
use super::losses::{Known, Losses, Target};
use super::normalizer::{Normalizer, Shift, Term};
use super::softcap::Softcap;
use super::targets::Targets;
use super::temperature::Unit;

/// What a gradient is that of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The sum of the losses, divided by the sum of the weights of those that count: see [`Loss::mean`](crate::Loss::mean).
    #[default]
    Mean,
    /// The sum of the losses.
    Sum,
}

impl Engine {
    /// The gradient of the [cross-entropy](Engine::cross_entropy_with), with everything that the options ask for, with
    /// respect to each logit: `(p - q) / n` for the mean over `n` rows with targets `q`.
    ///
    /// Rows that are ignored get 0. Rows without a distribution (with a NaN or +inf, or of nothing but -inf) get NaN. Logits
    /// of -inf have the gradient of their limit: `-b` where the target has `b` there, and 0 if logits are capped.
    ///
    /// # Errors
    ///
    /// As [`Engine::cross_entropy_with`], and [`Error::ShapeMismatch`] if `out` has another shape than `x`. Nothing has been
    /// written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{CrossEntropy, Engine, Reduction, Rows, RowsMut};
    ///
    /// let logits = [0.0, 0.0, 5.0, 5.0];
    /// let mut gradient = [0.0; 4];
    /// let out = RowsMut::new(&mut gradient, 2)?;
    /// let options = CrossEntropy::default();
    /// Engine::new().cross_entropy_gradient(Rows::new(&logits, 2)?, &[0, 1], &options, Reduction::Mean, out)?;
    /// assert_eq!(gradient, [-0.25, 0.25, 0.25, -0.25]);
    ///
    /// // With logits capped at 1, those of 5 have little to say: 1 - tanh^2(5) is 0.00018.
    /// let mut options = CrossEntropy::default();
    /// options.softcap = Some(1.0);
    /// let out = RowsMut::new(&mut gradient, 2)?;
    /// Engine::new().cross_entropy_gradient(Rows::new(&logits, 2)?, &[0, 1], &options, Reduction::Mean, out)?;
    /// assert!(gradient[0] == -0.25 && (gradient[2] / 0.25 - 0.00018158).abs() < 1e-8);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn cross_entropy_gradient<'a>(
        &self,
        x: Rows<'_>,
        targets: impl Into<Targets<'a>>,
        options: &CrossEntropy<'_>,
        reduction: Reduction,
        out: RowsMut<'_>,
    ) -> Result<(), Error> {
        apply(self, Grid::apart(x, out)?, targets.into(), options, reduction)
    }

    /// [`Engine::cross_entropy_gradient`] in place of the logits.
    ///
    /// # Errors
    ///
    /// As [`Engine::cross_entropy_with`].
    pub fn cross_entropy_gradient_in_place<'a>(
        &self,
        x: RowsMut<'_>,
        targets: impl Into<Targets<'a>>,
        options: &CrossEntropy<'_>,
        reduction: Reduction,
    ) -> Result<(), Error> {
        apply(self, Grid::InPlace(x), targets.into(), options, reduction)
    }
}

fn apply(
    engine: &Engine,
    place: Grid<'_, f32>,
    targets: Targets<'_>,
    options: &CrossEntropy<'_>,
    reduction: Reduction,
) -> Result<(), Error> {
    let shape = place.shape();
    let losses = Losses::new(shape, targets, options)?;
    let part = match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean => {
            let weight: f64 = (0..shape.0).map(|row| losses.weight_of_row(row)).sum();
            // A mean of nothing is NaN, and so is its gradient.
            if weight > 0.0 { 1.0 / weight } else { f64::NAN }
        }
    };
    place.transform(engine, &Gradient { losses, part });
    Ok(())
}

/// The operation.
struct Gradient<'a> {
    losses: Losses<'a>,
    /// What part of the whole a row's loss is.
    part: f64,
}

impl Reduce<f32> for Gradient<'_> {
    type Partial = Known;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Known],
        _: &mut impl Sides<S>,
    ) {
        self.losses.segments(s, origin, segments, known);
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        left.merge(right)
    }
}

impl Transform<f32> for Gradient<'_> {
    const STORES: bool = false;
    /// The exponentials are those of a segment.
    const STREAMS: bool = false;
    const PIPELINE: usize = usize::MAX;
    const SHORT: bool = false;

    type Last = ();
    type LastMap<S: Simd> = Same;

    #[inline(always)]
    fn last<S: Simd>(&self, _: S, (): ()) -> Same {
        Same
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        s: S,
        rows: &[Known],
        _: Option<&[Known]>,
        origin: Origin,
        segments: &mut [impl Span<f32>],
    ) {
        for (i, segment) in segments.iter_mut().enumerate() {
            let origin = Origin { row: origin.row + i, ..origin };
            let target = self.losses.target(origin.row);
            if matches!(target, Target::Ignored) {
                lanes::fill(s, segment, 0.0);
            } else if rows[i].sums.degenerate(f32::NAN).is_some() {
                lanes::fill(s, segment, f32::NAN);
            } else {
                let part = Part { gradient: self, row: &rows[i], target, origin, segment };
                match self.losses.softcap {
                    None => s.vectorize(part),
                    Some(softcap) => s.vectorize(Capped { part, softcap }),
                }
            }
        }
    }
}

/// A segment of a row that counts and has a distribution: one copy for all ways to it.
struct Part<'p, 'a, P> {
    gradient: &'p Gradient<'a>,
    row: &'p Known,
    target: Target,
    origin: Origin,
    segment: &'p mut P,
}

impl<P: Span<f32>> Kernel for Part<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.gradient.write(s, self.row, self.target, self.origin, self.segment);
    }
}

/// The same where logits are capped: the gradient with respect to capped ones, and back from there.
struct Capped<'p, 'a, P> {
    part: Part<'p, 'a, P>,
    softcap: Softcap,
}

impl<P: Span<f32>> Kernel for Capped<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { part: Part { gradient, row, target, origin, segment }, softcap } = self;
        let (mut room, logits) = ([0.0; SEGMENT], segment.rest());
        let mut capped = Write::in_place(softcap.capped(s, logits, &mut room[..logits.len()]));
        s.vectorize(Part { gradient, row, target, origin, segment: &mut capped });
        softcap.go_back(s, segment, Read::new(capped.into_written()));
    }
}

impl Gradient<'_> {
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        s: S,
        row: &Known,
        target: Target,
        origin: Origin,
        segment: &mut impl Span<f32>,
    ) {
        let (losses, part) = (&self.losses, self.part);
        let log = Log::of(&row.sums);
        // What all classes count.
        // Where nothing counts masses may be infinite.
        let count = |factor: f64, mass: f64| if factor == 0.0 { 0.0 } else { factor * mass };
        let spread = count(losses.share, row.spread.classes.mass);
        let mut mass = spread;
        let mut mark = Mark { place: None, value: 0.0 };
        match target {
            Target::Class(class) => mass += losses.kept * losses.weight(class),
            _ => mass += count(losses.kept, row.spread.target.mass),
        }
        let from_square = 2.0 * losses.z_loss * (f64::from(log.pivot) + log.rest);
        let len = segment.rest().len();
        if let Target::Class(class) = target
            && let Some(place) = class.checked_sub(origin.at)
            && place < len
        {
            let x = segment.rest().get(place);
            let (probability, other) = row.probability(log, x);
            let weight = losses.weight(class);
            let own = losses.kept * weight + losses.share * weight;
            // What is spread over the others.
            let others = spread - losses.share * weight;
            let value = (others + from_square) * probability - own * other;
            mark = Mark { place: Some(place), value: (part * value) as f32 };
        }
        // Where all is masked there is a shift as good as any.
        let shift = Shift::of(s, segment, Unit).unwrap_or(row.sums.others.shift);
        let normalizer = Normalizer { sum: row.sums.total(), shift: row.sums.others.shift };
        let factor = normalizer.factor(shift, Unit) * (mass + from_square) * part;
        let columns = origin.at..origin.at + len;
        let (weights, probabilities) =
            (losses.weights(columns.clone()), losses.probabilities(origin.row, columns));
        let (kept, share) = (losses.kept * part, losses.share * part);
        // Of a mean by weights that are no normal floats this may be none either, and what it makes of the weights is one.
        let last = if share.abs() > LARGE { power_of_two(64) } else { 1.0 };
        let gradient = |kept: f64, share: f64, last: f64| Subtract {
            term: Term::<S, Unit, false>::new(s, shift, Unit),
            factor: AnyFactor::new(s, factor),
            kept: s.splat(kept as f32),
            share: s.splat(share as f32),
            last: s.splat(last as f32),
            mark,
        };
        let fill = f32::NEG_INFINITY;
        match (probabilities, weights) {
            (None, None) => lanes::zip(s, segment, [], fill, gradient(0.0, share, 1.0)),
            (None, Some(weights)) => {
                lanes::zip(s, segment, [weights], fill, gradient(share / last, 0.0, last))
            }
            (Some(probabilities), None) => {
                lanes::zip(s, segment, [probabilities], fill, gradient(kept, share, 1.0));
            }
            (Some(probabilities), Some(weights)) => {
                lanes::zip(s, segment, [probabilities, weights], fill, gradient(kept, share, 1.0));
            }
        }
    }
}

impl Known {
    /// The probability of a logit, and of all others together.
    fn probability(&self, log: Log, x: f32) -> (f64, f64) {
        let (top, others) = (self.sums.top, self.sums.others.sum);
        if x == self.sums.apart {
            return (top / (top + others), others / (top + others));
        }
        let probability = libm::exp((f64::from(x) - f64::from(log.pivot)) - log.rest);
        (probability, 1.0 - probability)
    }
}

/// What is written in one place, counted from the start of the segment.
#[derive(Clone, Copy)]
struct Mark {
    place: Option<usize>,
    value: f32,
}

/// From here on factors are given in two.
const LARGE: f64 = power_of_two(96);

/// The last pass: `k p_c - b_c`, with `b_c = last (kept q_c + share) w_c` of other rows' elements.
struct Subtract<S: Simd> {
    term: Term<S, Unit, false>,
    factor: AnyFactor<S::F32>,
    kept: S::F32,
    share: S::F32,
    last: S::F32,
    mark: Mark,
}

impl<S: Simd, const OTHERS: usize> Zip<S, OTHERS> for Subtract<S> {
    #[inline(always)]
    fn apply<const N: usize>(
        &self,
        s: S,
        at: usize,
        x: [S::F32; N],
        others: [[S::F32; N]; OTHERS],
    ) -> [S::F32; N] {
        let mut y = self.factor.apply(s, self.term.apply(s, x));
        for i in 0..N {
            let mut count = self.share;
            if let Some(first) = others.first() {
                count = first[i].mul_add(self.kept, count);
            }
            if let Some(second) = others.get(1) {
                count = count * second[i];
            }
            y[i] = y[i] - if OTHERS == 0 { count } else { count * self.last };
        }
        lanes::with(s, at, y, self.mark.place, self.mark.value)
    }
}
