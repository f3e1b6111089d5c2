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
//! larger relative error than the worst of them: below `4e-7`. The square of a z-loss is not among them: `log sum_j exp(x_j)` has
//! an absolute error of `3e-7`, also where it is near 0, which adds `6e-7 s |lse|`.
//!
//! [Capped](super::softcap) logits are within `3.6 u c` for the cap `c`, and `-log p_t` changes by at most `2 (1 - p_t)` times
//! what its logits do: that adds `4.3e-7 c` at most, as often as the row counts, and to `log sum_j exp(x_j)` half of it. As
//! `1 - p_t <= -log p_t` it is a relative error, too, where `u c` is small.

use core::ops::Range;

use crate::engine::Engine;
use crate::error::Error;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::span::{Read, Span};

use super::apart::{Apart, Log};
use super::losses::{Known, Losses, Target};
use super::targets::Targets;
use super::temperature::Unit;

/// Options of [`Engine::cross_entropy_with`]; the defaults are the plain operation.
///
/// The loss of a row with the class `t` is `w_t ((1 - a) nll_t) + a/C sum_c w_c nll_c + s lse^2`, with `nll_c = -log p_c`,
/// the label smoothing `a` over `C` classes, the [weights](Self::weights) `w`, and the [z-loss](Self::z_loss) `s`. With
/// probabilities `q` for a target it is `sum_c w_c ((1 - a) q_c + a/C) nll_c + s lse^2`. All of it is as in PyTorch, but
/// that a class of weight or probability 0 adds nothing even where its logit is -inf.
///
/// With a [softcap](Self::softcap) `x` stands for capped logits in all of that.
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
    /// `c`: `c tanh(x / c)` takes the place of each logit, above 0 and finite; none by default.
    ///
    /// A logit of -inf stays -inf, so that what is masked stays masked, where the formula by itself would give `-c`; +inf
    /// becomes `c`. Gradients are those with respect to the logits before the cap. What is no normal float is taken for the
    /// nearest one.
    pub softcap: Option<f64>,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        Self {
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            smoothed: Smoothed::default(),
            weights: None,
            z_loss: 0.0,
            softcap: None,
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
    ///
    /// Where that is less than each of the others gets, for `a > 1 - 1/C`, the error is relative to `a/(C-1) sum_c nll_c` over all
    /// classes: the target's part is taken off that.
    Others,
}

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowLoss {
    /// The cross-entropy in nats, with everything that was asked for; 0 if the row is ignored.
    pub loss: f64,
    /// What the row counts in the mean: the weight of its class, 1 with probabilities for a target, 0 if it is ignored.
    pub weight: f64,
    /// `log sum_j exp(x_j)`, of capped logits if they are capped; 0 if the row is ignored.
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
    /// Rows with the class -100 are ignored. The relative error is below `4e-7`, also of a loss close to 0; with a z-loss `s` or a softcap
    /// `c`, `6e-7 s |lse|` and `4.3e-7 c` come to that. Probabilities by weights that are below `2^-126` round to multiples of `2^-149`.
    ///
    /// | a row with | loss |
    /// |---|---|
    /// | any NaN, a +inf (without a softcap), or nothing but -inf | NaN |
    /// | -inf where the target has no probability | as if it were absent |
    /// | -inf where it has some | +inf |
    /// | a target probability that is negative or NaN | NaN |
    /// | one that is +inf | +inf or NaN |
    /// | several classes with a part in the loss, and logits so far apart that sums of distances are no floats | +inf |
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
    /// With a cap `c` the error is larger by `4.3e-7 c` at most, for a row that counts as 1.
    ///
    /// # Errors
    ///
    /// As [`Engine::cross_entropy`]; [`Error::ColumnsMismatch`] if there is not a weight for each class, and
    /// [`Error::OutOfRange`] for a weight or z-loss that is negative or NaN, a smoothing that is not between 0 and 1, or a cap
    /// that is not above 0 and finite.
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
    ///
    /// // A logit of 400 is not more than 30, nor is one of -400 less than -30.
    /// let mut options = CrossEntropy::default();
    /// options.softcap = Some(30.0);
    /// let logits = [400.0, -400.0, f32::NEG_INFINITY];
    /// let loss = Engine::new().cross_entropy_with(Rows::new(&logits, 3)?, &[1], &options, &mut rows)?;
    /// assert_eq!(loss.mean(), 60.0);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn cross_entropy_with<'a>(
        &self,
        x: Rows<'_>,
        targets: impl Into<Targets<'a>>,
        options: &CrossEntropy<'_>,
        out: &mut [RowLoss],
    ) -> Result<Loss, Error> {
        let losses = Losses::new((x.rows(), x.cols()), targets.into(), options)?;
        self.reduce(x, out, &OfRows { x, losses })?;
        let mut loss = Loss { count: losses.counted(), ..Loss::default() };
        for result in out {
            loss = loss.merge(Loss { sum: result.loss, weight: result.weight, count: 0 });
        }
        Ok(loss)
    }
}

/// The operation.
struct OfRows<'a> {
    x: Rows<'a>,
    losses: Losses<'a>,
}

/// What a row's own class has to do with its loss.
#[derive(Clone, Copy)]
struct Own {
    /// What it counts in the loss, and in the mean.
    kept: f64,
    weight: f64,
    logit: f32,
    ignored: bool,
}

impl OfRows<'_> {
    /// Whether nothing is wanted of a row but its normaliser.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.losses.is_plain() && self.losses.softcap.is_none()
    }

    /// Of a row held against a class; nothing, if it is held against probabilities.
    #[inline(always)]
    fn own(&self, row: usize, capped: Option<f32>) -> Own {
        let losses = &self.losses;
        let target = losses.target(row);
        let weight = losses.weight_of(target);
        let none = Own { kept: 0.0, weight, logit: 0.0, ignored: false };
        match target {
            Target::Ignored => Own { ignored: true, ..none },
            Target::Probabilities => none,
            Target::Class(class) => {
                let logit = match capped {
                    Some(capped) => capped,
                    None => self.x.get(row, class),
                };
                Own { kept: losses.kept * weight, logit, ..none }
            }
        }
    }

    /// Given the logarithm of the normaliser in two, the sum that it is of, and the loss of what several classes have a part in. Without
    /// branches, so that a loop over rows is vectorised.
    #[inline(always)]
    fn loss(&self, own: Own, log: Log, sum: f64, spread: f64) -> RowLoss {
        // The logarithm of what is not a sum may be anything; and there is but one NaN.
        let pivot = f64::from(log.pivot);
        let rest = if sum > 0.0 && sum < f64::INFINITY { log.rest } else { f64::NAN };
        let distance = (pivot - f64::from(own.logit)) + rest;
        let mut loss = if own.kept == 0.0 { 0.0 } else { own.kept * distance } + spread;
        let logsumexp = pivot + rest;
        if self.losses.z_loss != 0.0 {
            loss += self.losses.z_loss * logsumexp * logsumexp;
        }
        let loss = if rest.is_nan() || loss.is_nan() { f64::NAN } else { loss };
        let (loss, logsumexp) = if own.ignored { (0.0, 0.0) } else { (loss, logsumexp) };
        RowLoss { loss, weight: own.weight, logsumexp }
    }

    #[inline(always)]
    fn loss_of(&self, row: usize, log: Log, known: &Known) -> RowLoss {
        let (losses, spread) = (&self.losses, &known.spread);
        let (pivot, log_pivot, rest) = (spread.pivot, f64::from(log.pivot), log.rest);
        let target = match losses.target(row) {
            Target::Probabilities => spread.target.loss(losses.kept, pivot, log_pivot, rest),
            Target::Class(_) | Target::Ignored => 0.0,
        };
        let classes = spread.classes.loss(losses.share, pivot, log_pivot, rest);
        self.loss(self.own(row, known.capped), log, known.sums.total(), target + classes)
    }
}

impl Reduce<f32> for OfRows<'_> {
    type Partial = Known;
    type Together = Apart<TOGETHER>;

    const ALONE: bool = true;

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
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<Apart<TOGETHER>> {
        if self.is_plain() { Apart::of_narrow(s, rows, Unit) } else { None }
    }

    #[inline(always)]
    fn merge(&self, left: Known, right: Known) -> Known {
        left.merge(right)
    }
}

impl Summarize<f32> for OfRows<'_> {
    type Output = RowLoss;

    const SHORT: bool = true;

    #[inline(always)]
    fn short<S: Simd>(&self, s: S, _: usize, rows: &[Read<'_, f32>]) -> Option<Apart<TOGETHER>> {
        if self.is_plain() { Some(Apart::of(s, rows, Unit, &mut ())) } else { None }
    }

    #[inline(always)]
    fn result(&self, row: usize, known: Known) -> RowLoss {
        self.loss_of(row, Log::of(&known.sums), &known)
    }

    #[inline(always)]
    fn results(&self, row: usize, known: &[Known]) -> [RowLoss; TOGETHER] {
        let (logs, mut results) =
            (Log::of_rows(known.iter().map(|known| &known.sums)), [RowLoss::default(); TOGETHER]);
        for (i, known) in known.iter().enumerate() {
            results[i] = self.loss_of(row + i, logs[i], known);
        }
        results
    }

    #[inline(always)]
    fn results_together(&self, rows: Range<usize>, known: &Apart<TOGETHER>) -> [RowLoss; TOGETHER] {
        let (rests, totals) = (known.rests(), known.totals());
        let mut own = [Own { kept: 0.0, weight: 0.0, logit: 0.0, ignored: true }; TOGETHER];
        for (own, row) in own.iter_mut().zip(rows) {
            *own = self.own(row, None);
        }
        let mut results = [RowLoss::default(); TOGETHER];
        for (i, result) in results.iter_mut().enumerate() {
            let log = Log { pivot: known.maxima[i], rest: rests[i] };
            *result = self.loss(own[i], log, totals[i], 0.0);
        }
        results
    }
}
