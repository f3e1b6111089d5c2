//! Cross-entropy: `-sum_c q_c log p_c`, with `p = softmax(x)` and targets `q`.
//!
//! With the class `t` for a target that is `log sum_j exp(x_j) - x_t`, its negative log-likelihood. The logarithm comes as
//! `m + L`, with the largest logit `m` [set apart](super::apart) where it dominates, and the loss is `(m - x_t) + L`:
//! a sum of two that are not negative, so a small loss is as exact as a large one.
//!
//! What is given to other classes, by smoothing or by probabilities for targets, is `sum_c b_c (m - x_c)` and `L sum_c
//! b_c`, with the maximum `m` of each segment: again nothing cancels. Segments merge by `b (m - m')` for the one with the
//! smaller maximum.
//!
//! # Error
//!
//! Relative, with `u = 2^-24`: `L` is within 5.2 u, as in [`log_softmax`](super::log_softmax). The product `b_c (m - x_c)`
//! is within 2 u, or 3 u with weights, and a group's tree adds 3 u: 6 u. A sum of numbers that are not negative has no
//! larger relative error than the worst of them: below `4e-7`.

use crate::batch::Engine;
use crate::error::Error;
use crate::lanes;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::{F32, Mask, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Terms};

use super::apart::{Log, NarrowSums, Sums};
use super::targets::{Kind, Targets};
use super::temperature::Unit;

/// Options of [`Engine::cross_entropy_with`]; the defaults are the plain operation.
///
/// The loss of a row with the class `t` is `w_t ((1 - a) nll_t) + a/C sum_c w_c nll_c + s lse^2`, with `nll_c = -log p_c`,
/// the label smoothing `a` over `C` classes, the [weights](Self::weights) `w`, and the [z-loss](Self::z_loss) `s`. With
/// probabilities `q` for a target it is `sum_c w_c ((1 - a) q_c + a/C) nll_c + s lse^2`. All of it is as in PyTorch, but
/// that a class of weight or probability 0 adds nothing even where its logit is -inf.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CrossEntropy<'a> {
    /// Rows with this class do not count: -100 by default, which no unsigned type has.
    pub ignore_index: Option<i64>,
    /// `a`: what of the target is spread over the classes; 0 by default, at most 1.
    pub label_smoothing: f64,
    /// Over which classes it is spread.
    pub smoothed: Smoothed,
    /// `w`: a weight for each class, not negative; all 1 by default.
    pub weights: Option<&'a [f32]>,
    /// `s`: how much of the square of each counting row's logsumexp is added, which keeps it near 0; 0 by default.
    pub z_loss: f64,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        Self {
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            smoothed: Smoothed::default(),
            weights: None,
            z_loss: 0.0,
        }
    }
}

/// Over which classes a label is smoothed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Smoothed {
    /// Over all, the target among them, which is left with `1 - a + a/C`: as in PyTorch.
    #[default]
    All,
    /// Over the others, each of which gets `a/(C-1)`; the target is left with `1 - a`: as in Megatron-LM.
    Others,
}

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowLoss {
    /// The cross-entropy in nats, with everything that was asked for; 0 if the row is ignored.
    pub loss: f64,
    /// What the row counts in the mean: the weight of its class, 1 with probabilities for a target, 0 if it is ignored.
    pub weight: f64,
    /// `log sum_j exp(x_j)`; 0 if the row is ignored.
    pub logsumexp: f64,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// The sum of the losses, in nats.
    pub sum: f64,
    /// The sum of the weights.
    pub weight: f64,
    /// How many rows count.
    pub count: usize,
}

impl Loss {
    /// `sum / weight`, as PyTorch's `reduction="mean"`: NaN if nothing has any weight.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { f64::NAN }
    }

    /// [`Loss::mean`], or something else if no row counts.
    #[must_use]
    pub fn mean_or(&self, empty: f64) -> f64 {
        if self.count == 0 { empty } else { self.mean() }
    }

    /// `exp` of the [mean](Loss::mean): of a corpus with a row a token this is its perplexity.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        libm::exp(self.mean())
    }

    /// Of two batches together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            weight: self.weight + other.weight,
            count: self.count + other.count,
        }
    }
}

impl Engine {
    /// The cross-entropy of each row with its target, in nats, and their sum: `-log softmax(x)_t` for the class `t`,
    /// `-sum_c q_c log softmax(x)_c` for probabilities `q`.
    ///
    /// Rows with the class -100 are ignored. The relative error is below `4e-7`, also of a loss close to 0.
    ///
    /// | a row with | loss |
    /// |---|---|
    /// | any NaN, a +inf, or nothing but -inf | NaN |
    /// | -inf where the target has no probability | as if it were absent |
    /// | -inf where it has some | +inf |
    /// | a target probability that is negative or NaN | NaN |
    ///
    /// # Errors
    ///
    /// [`Error::TargetsMismatch`], or [`Error::Target`] if a target is none of the classes; [`Error::LengthMismatch`] if
    /// `out` does not hold one result for each row. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, RowLoss, Rows};
    ///
    /// let logits = [1.0, 1.0, 9.0, 9.0];
    /// let mut rows = [RowLoss::default(); 2];
    /// let loss = Engine::new().cross_entropy(Rows::new(&logits, 2)?, &[1, -100], &mut rows)?;
    /// assert!((loss.mean() - 2_f64.ln()).abs() < 1e-6 && loss.count == 1);
    /// assert_eq!(loss.sum, rows[0].loss);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn cross_entropy<'a>(
        &self,
        x: Rows<'_>,
        targets: impl Into<Targets<'a>>,
        out: &mut [RowLoss],
    ) -> Result<Loss, Error> {
        self.cross_entropy_with(x, targets, &CrossEntropy::default(), out)
    }

    /// [`Engine::cross_entropy`] with [options](CrossEntropy).
    ///
    /// # Errors
    ///
    /// As [`Engine::cross_entropy`]; [`Error::ColumnsMismatch`] if there is not a weight for each class, and
    /// [`Error::OutOfRange`] for a weight or z-loss that is negative or NaN, or a smoothing that is not between 0 and 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{CrossEntropy, Engine, RowLoss, Rows};
    ///
    /// let mut options = CrossEntropy::default();
    /// options.label_smoothing = 0.1;
    /// let mut rows = [RowLoss::default()];
    /// let loss = Engine::new().cross_entropy_with(Rows::new(&[4.0, 0.0], 2)?, &[0_u8], &options, &mut rows)?;
    /// assert!((loss.mean() - (0.95 * 0.0181499 + 0.05 * 4.0181499)).abs() < 1e-6);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn cross_entropy_with<'a>(
        &self,
        x: Rows<'_>,
        targets: impl Into<Targets<'a>>,
        options: &CrossEntropy<'_>,
        out: &mut [RowLoss],
    ) -> Result<Loss, Error> {
        let losses = Losses::new(x, targets.into(), options)?;
        self.reduce(x, out, &losses)?;
        let mut loss = Loss::default();
        for (row, result) in out.iter().enumerate() {
            let count = usize::from(!matches!(losses.target(row), Target::Ignored));
            loss = loss.merge(Loss { sum: result.loss, weight: result.weight, count });
        }
        Ok(loss)
    }
}

/// The operation.
struct Losses<'a> {
    x: Rows<'a>,
    targets: Targets<'a>,
    ignored: Option<i64>,
    weights: Option<&'a [f32]>,
    z_loss: f64,
    /// `1 - a`, and `a/C`; where the target has less of what is spread, for both.
    kept: f64,
    share: f64,
}

/// What a row is held against.
enum Target {
    Class(usize),
    Probabilities,
    Ignored,
}

impl<'a> Losses<'a> {
    fn new(x: Rows<'a>, targets: Targets<'a>, options: &CrossEntropy<'a>) -> Result<Self, Error> {
        let CrossEntropy { ignore_index, label_smoothing, smoothed, weights, z_loss } = *options;
        let classes = x.cols();
        targets.check(x.rows(), classes, ignore_index)?;
        in_range("the label smoothing", label_smoothing, "from 0 to 1", label_smoothing <= 1.0)?;
        in_range("the z-loss", z_loss, "0 or more, and finite", z_loss < f64::INFINITY)?;
        if let Some(weights) = weights {
            if weights.len() != classes && x.rows() > 0 {
                return Err(Error::ColumnsMismatch { what: "weights", cols: classes, len: weights.len() });
            }
            for &weight in weights {
                in_range(
                    "a class weight",
                    f64::from(weight),
                    "0 or more, and finite",
                    weight < f32::INFINITY,
                )?;
            }
        }
        let all = classes as f64;
        let spread = match smoothed {
            Smoothed::All => label_smoothing,
            // Of one class there are no others.
            Smoothed::Others => label_smoothing * all / (all - 1.0).max(1.0),
        };
        Ok(Self {
            x,
            targets,
            ignored: ignore_index,
            weights,
            z_loss,
            kept: 1.0 - spread,
            share: spread / all,
        })
    }

    #[inline(always)]
    fn target(&self, row: usize) -> Target {
        match self.targets.0 {
            Kind::Probabilities(_) => Target::Probabilities,
            Kind::Classes(classes) => {
                let class = classes.get(row);
                if self.ignored.is_some_and(|ignored| class == i128::from(ignored)) {
                    Target::Ignored
                } else {
                    Target::Class(class as usize)
                }
            }
        }
    }

    /// Whether anything but one logit and the normaliser counts.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.share == 0.0 && matches!(self.targets.0, Kind::Classes(_))
    }

    #[inline(always)]
    fn loss(&self, row: usize, log: Log, sum: f64, spread: &Spread) -> RowLoss {
        // The logarithm of what is not a sum may be anything; and there is but one NaN.
        let pivot = f64::from(log.pivot);
        let rest = if sum > 0.0 && sum < f64::INFINITY { log.rest } else { f64::NAN };
        let (mut loss, mut weight) = (0.0, 1.0);
        match self.target(row) {
            Target::Ignored => return RowLoss::default(),
            Target::Probabilities => loss += spread.target.loss(self.kept, spread.pivot, pivot, rest),
            Target::Class(class) => {
                weight = self.weights.map_or(1.0, |weights| f64::from(weights[class]));
                let kept = self.kept * weight;
                if kept != 0.0 {
                    loss += kept * ((pivot - f64::from(self.x.row(row)[class])) + rest);
                }
            }
        }
        loss += spread.classes.loss(self.share, spread.pivot, pivot, rest);
        let logsumexp = pivot + rest;
        if self.z_loss != 0.0 {
            loss += self.z_loss * logsumexp * logsumexp;
        }
        RowLoss { loss: if rest.is_nan() { f64::NAN } else { loss }, weight, logsumexp }
    }
}

fn in_range(what: &'static str, value: f64, range: &'static str, is_below: bool) -> Result<(), Error> {
    if value >= 0.0 && is_below { Ok(()) } else { Err(Error::OutOfRange { what, value, range }) }
}

/// What is known of some segments.
#[derive(Clone, Copy, Default)]
struct Known {
    sums: Sums,
    spread: Spread,
}

/// What more than one class of some segments has a part in.
#[derive(Clone, Copy)]
struct Spread {
    /// The maximum; or -inf.
    pivot: f32,
    /// With `b_c` the probabilities of the target, and with the classes' weights, or 1.
    target: Weighted,
    classes: Weighted,
}

/// `sum_c b_c`, and `sum_c b_c (pivot - x_c)`.
#[derive(Clone, Copy, Default)]
struct Weighted {
    mass: f64,
    distance: f64,
}

/// Of nothing.
impl Default for Spread {
    fn default() -> Self {
        Self { pivot: f32::NEG_INFINITY, target: Weighted::default(), classes: Weighted::default() }
    }
}

impl Weighted {
    /// `factor sum_c b_c (log - x_c)`, with the logarithm of the normaliser in two.
    #[inline(always)]
    fn loss(self, factor: f64, pivot: f32, log_pivot: f64, rest: f64) -> f64 {
        // Where nothing counts distances may be infinite.
        if factor == 0.0 || self.mass == 0.0 && self.distance == 0.0 {
            return 0.0;
        }
        factor * (self.distance + self.mass * ((log_pivot - f64::from(pivot)) + rest))
    }

    fn merge(self, smaller: Self, distance: f64) -> Self {
        // From nothing there is no distance but an infinite one.
        let moved = if distance.is_finite() { smaller.mass * distance } else { 0.0 };
        Self { mass: self.mass + smaller.mass, distance: self.distance + (smaller.distance + moved) }
    }
}

impl Spread {
    fn merge(self, other: Self) -> Self {
        let (larger, smaller) = if other.pivot > self.pivot { (other, self) } else { (self, other) };
        let distance = f64::from(larger.pivot) - f64::from(smaller.pivot);
        Self {
            pivot: larger.pivot,
            target: larger.target.merge(smaller.target, distance),
            classes: larger.classes.merge(smaller.classes, distance),
        }
    }
}

impl Losses<'_> {
    #[inline(always)]
    fn spread<S: Simd>(&self, s: S, origin: Origin, segment: Read<'_, f32>) -> Spread {
        let max = lanes::max_reduce(s, segment);
        // Of a row without a distribution nothing of this is needed; of a masked segment it is 0 or infinite.
        let pivot = if max.is_finite() { max } else { 0.0 };
        let columns = origin.at..origin.at + segment.len();
        let weights = self.weights.map(|weights| Read::new(&weights[columns.clone()]));
        let (pivot_lanes, mut spread) = (s.splat(pivot), Spread { pivot, ..Spread::default() });
        let weighted = |[distance, mass]: [f64; 2]| Weighted { mass, distance };
        if let Kind::Probabilities(rows) = self.targets.0 {
            let target = Read::new(&rows.row(origin.row)[columns]);
            spread.target = weighted(match weights {
                None => sums::sums_of(s, [segment, target], [pivot, 0.0], &mut ByOne { pivot: pivot_lanes }),
                Some(weights) => {
                    let spans = [segment, target, weights];
                    sums::sums_of(s, spans, [pivot, 0.0, 0.0], &mut ByTwo { pivot: pivot_lanes })
                }
            });
        }
        if self.share != 0.0 {
            spread.classes = match weights {
                None => {
                    let [distance] = sums::sums_of(s, [segment], [pivot], &mut ByNone { pivot: pivot_lanes });
                    Weighted { mass: segment.len() as f64, distance }
                }
                Some(weights) => weighted(sums::sums_of(
                    s,
                    [segment, weights],
                    [pivot, 0.0],
                    &mut ByOne { pivot: pivot_lanes },
                )),
            };
        }
        if max == f32::NEG_INFINITY {
            // No distance from it but an infinite one.
            spread.pivot = max;
            for weighted in [&mut spread.target, &mut spread.classes] {
                weighted.mass = if weighted.distance == 0.0 { 0.0 } else { weighted.mass };
            }
        }
        spread
    }
}

/// The distances from the pivot.
struct ByNone<V> {
    pivot: V,
}

impl<S: Simd> Terms<S, 1, 1> for ByNone<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, _: S, [mut x]: [[S::F32; N]; 1]) -> [[S::F32; N]; 1] {
        for x in &mut x {
            *x = self.pivot - *x;
        }
        [x]
    }
}

/// The distances, and 1, by factors.
struct ByOne<V> {
    pivot: V,
}

impl<S: Simd> Terms<S, 2, 2> for ByOne<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [mut x, mut factors]: [[S::F32; N]; 2]) -> [[S::F32; N]; 2] {
        for i in 0..N {
            factors[i] = not_negative(s, factors[i]);
            x[i] = product(s, factors[i], self.pivot - x[i]);
        }
        [x, factors]
    }
}

/// The same by the products of factors.
struct ByTwo<V> {
    pivot: V,
}

impl<S: Simd> Terms<S, 3, 2> for ByTwo<S::F32> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x, mut a, b]: [[S::F32; N]; 3]) -> [[S::F32; N]; 2] {
        for i in 0..N {
            a[i] = not_negative(s, a[i]) * b[i];
        }
        ByOne { pivot: self.pivot }.apply(s, [x, a])
    }
}

/// A number, or NaN if it is negative.
#[inline(always)]
fn not_negative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    x.equals(x.abs()).select(x, s.splat(f32::NAN))
}

/// Nothing of whatever distance is nothing.
#[inline(always)]
fn product<S: Simd>(s: S, factor: S::F32, distance: S::F32) -> S::F32 {
    let zero = s.splat(0.0);
    factor.equals(zero).select(zero, factor * distance)
}

impl Reduce<f32> for Losses<'_> {
    type Partial = Known;
    type Narrow = NarrowSums;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        origin: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Known],
        sides: &mut impl Sides<S>,
    ) {
        let mut sums = [Sums::default(); TOGETHER];
        Sums::of_segments(s, segments, &mut sums[..known.len()], Unit, sides);
        for (known, sums) in known.iter_mut().zip(sums) {
            known.sums = sums;
        }
        if !self.is_plain() {
            for (i, known) in known.iter_mut().enumerate() {
                let origin = Origin { row: origin.row + i, ..origin };
                known.spread = self.spread(s, origin, segments[i].rest());
            }
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, rows: &mut Narrow) -> Option<NarrowSums> {
        if self.is_plain() { NarrowSums::of(s, rows, Unit) } else { None }
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        Known { sums: left.sums.merge(right.sums, Unit), spread: left.spread.merge(right.spread) }
    }
}

impl Summarize<f32> for Losses<'_> {
    type Output = RowLoss;

    #[inline(always)]
    fn result(&self, row: usize, known: Known) -> RowLoss {
        self.loss(row, Log::of(&known.sums), known.sums.total(), &known.spread)
    }

    #[inline(always)]
    fn results(&self, row: usize, known: &[Known]) -> [RowLoss; TOGETHER] {
        let (logs, mut results) =
            (Log::of_rows(known.iter().map(|known| &known.sums)), [RowLoss::default(); TOGETHER]);
        for (i, known) in known.iter().enumerate() {
            results[i] = self.loss(row + i, logs[i], known.sums.total(), &known.spread);
        }
        results
    }

    #[inline(always)]
    fn narrow_results(&self, row: usize, known: &NarrowSums) -> [RowLoss; TOGETHER] {
        let (logs, mut results) = (known.logs(), [RowLoss::default(); TOGETHER]);
        for (i, result) in results.iter_mut().enumerate() {
            *result = self.loss(row + i, logs[i], known.others[i] + known.tops[i], &Spread::default());
        }
        results
    }
}
