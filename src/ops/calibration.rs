//! Calibration: whether what a classifier is sure of is right as often, and the temperature that makes it so.
//!
//! `fit_temperature` minimises the mean of `-log softmax(x / T)_t` over `s = log(1 / T)`. With the [`moments`](super::moments)
//! of `d_i = (m - x_i) / T`, its mean `mu` and its variance `v`, a row's derivatives are `d_t - mu` and `d_t - mu + v`, and
//! as the loss is convex in `1 / T` the first of them has one sign on either side of the minimum: Newton's steps, within a
//! bracket that they shrink, find it. Each takes one read of the logits.
//!
//! Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks (2017).

use core::ops::Range;

use crate::engine::Engine;
use crate::error::Error;
use crate::lanes::{self, Map};
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::{F32, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, WideTerms};

use super::moments::Moments;
use super::normalizer::{Look, Normalizer, Shift, Term};
use super::short_moments::ShortMoments;
use super::statistics::{RowStatistics, Statistics};
use super::targets::{Classes, Targets};
use super::temperature::{Scale, Temperature};
/// Bins of equal width that probabilities are sorted into.
const BINS: usize = 15;

/// Rows that are looked at together: their results are on the stack.
const BLOCK: usize = 256;

/// How good the probabilities of a classifier are.
///
/// The confidence of a row is the probability of its most probable class (the first, where there are several), and the row is
/// right if that is its label. Nothing is NaN but where no row counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Calibration {
    /// The temperature.
    pub temperature: f64,
    /// How many rows count.
    pub count: usize,
    /// The mean of `-log p` of the labels, in nats.
    pub nll: f64,
    /// Which part of the rows is right.
    pub accuracy: f64,
    /// The mean of `sum_c (p_c - [c is the label])^2`, after Brier: from 0 to 2.
    pub brier: f64,
    /// The expected calibration error: the mean of the bins' `|accuracy - confidence|`, weighted by their counts.
    pub ece: f64,
    /// The maximum calibration error: the largest of them.
    pub mce: f64,
    /// What lies between 0 and 1/15, from there to 2/15, and so on; the upper end belongs to a bin.
    pub bins: [CalibrationBin; BINS],
}

/// The rows whose confidence lies between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CalibrationBin {
    /// How many.
    pub count: usize,
    /// Their mean confidence; 0 if there are none.
    pub confidence: f64,
    /// Which part of them is right; 0 if there are none.
    pub accuracy: f64,
}

impl Engine {
    /// How good `softmax(x / T)` is for these labels.
    ///
    /// Labels of -100 do not count, and neither do rows without a distribution.
    ///
    /// # Errors
    ///
    /// [`Error::TargetsMismatch`] or [`Error::Target`] for the labels; [`Error::Temperature`] or, for 0,
    /// [`Error::OutOfRange`].
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// // Nearly sure, and wrong every other time.
    /// let logits = [9.0, 0.0, 0.0, 9.0];
    /// let found = Engine::new().calibration(Rows::new(&logits, 2)?, &[0, 0], 1.0)?;
    /// assert!(found.accuracy == 0.5 && (found.ece - 0.5).abs() < 1e-3);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn calibration<'a>(
        &self,
        x: Rows<'_>,
        labels: impl Into<Classes<'a>>,
        temperature: f64,
    ) -> Result<Calibration, Error> {
        let labels = labels.into();
        let mut options = Statistics::default();
        (options.temperature, options.chosen) = (temperature, Some(labels));
        let mut found = Calibration { temperature, ..Calibration::default() };
        // The whole is refused before its first rows are read.
        Targets::from(labels).check(x.rows(), x.cols(), options.ignore_index)?;
        let mut rest = x;
        while rest.rows() > 0 {
            let rows;
            (rows, rest) = rest.split_at(rest.rows().min(BLOCK));
            let first = x.rows() - rest.rows() - rows.rows();
            options.chosen = Some(labels.part(first..first + rows.rows()));
            let (mut statistics, mut squares) = ([RowStatistics::default(); BLOCK], [0.0; BLOCK]);
            let (statistics, squares) = (&mut statistics[..rows.rows()], &mut squares[..rows.rows()]);
            self.statistics_with(rows, &options, statistics, &mut [])?;
            self.reduce(rows, squares, &Squares { scale: Temperature::new(temperature) })?;
            for (i, (row, squares)) in statistics.iter().zip(squares).enumerate() {
                found.add(row, labels.get(first + i), *squares);
            }
        }
        found.finish();
        Ok(found)
    }

    /// The temperature from 1/1000 to 1000 at which the mean of `-log softmax(x / T)` of the labels is least: of a classifier that is
    /// too sure of itself it is above 1.
    ///
    /// Labels of -100 do not count. Where every label is its row's largest logit there is no least: the answer is then a temperature
    /// at which nothing of the loss is left.
    ///
    /// # Errors
    ///
    /// [`Error::TargetsMismatch`] or [`Error::Target`] for the labels; [`Error::OutOfRange`] if the mean is not finite: with a row
    /// without a distribution, with a label that is masked, or without rows that count.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, Rows};
    ///
    /// // Sure as 9 : 1, and right three times of four.
    /// let sure = 9_f32.ln();
    /// let logits = [sure, 0.0, sure, 0.0, sure, 0.0, sure, 0.0];
    /// let temperature = Engine::new().fit_temperature(Rows::new(&logits, 2)?, &[0, 0, 0, 1])?;
    /// assert!((temperature - 9_f64.ln() / 3_f64.ln()).abs() < 1e-5);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn fit_temperature<'a>(&self, x: Rows<'_>, labels: impl Into<Classes<'a>>) -> Result<f64, Error> {
        const FARTHEST: f64 = 6.907_755_278_982_137; // ln 1000
        const STEPS: usize = 60;
        let labels = labels.into();
        let ignored = Statistics::default().ignore_index;
        Targets::from(labels).check(x.rows(), x.cols(), ignored)?;
        let (mut low, mut high, mut at) = (-FARTHEST, FARTHEST, 0.0_f64);
        for _ in 0..STEPS {
            let loss = self.loss_at(x, labels, ignored, at)?;
            if !loss.value.is_finite() {
                let (what, range) = ("the mean loss of the labels", "finite, to have a minimum");
                return Err(Error::OutOfRange { what, value: loss.value, range });
            }
            if loss.slope > 0.0 {
                high = at;
            } else {
                low = at;
            }
            let step = if loss.curvature > 0.0 { at - loss.slope / loss.curvature } else { f64::NAN };
            // Out of the bracket, or nowhere: its middle.
            let next = if step > low && step < high { step } else { 0.5 * (low + high) };
            if (next - at).abs() < 1e-10 || loss.slope == 0.0 {
                break;
            }
            at = next;
        }
        Ok(libm::exp(-at))
    }

    /// The mean loss at a temperature of `exp(-s)`, and its derivatives.
    fn loss_at(
        &self,
        x: Rows<'_>,
        labels: Classes<'_>,
        ignored: Option<i64>,
        s: f64,
    ) -> Result<Slope, Error> {
        let scale = Temperature::new(libm::exp(-s));
        let (mut sum, mut count, mut rest) = (Slope::default(), 0_usize, x);
        while rest.rows() > 0 {
            let rows;
            (rows, rest) = rest.split_at(rest.rows().min(BLOCK));
            let first = x.rows() - rest.rows() - rows.rows();
            let mut slopes = [Slope::default(); BLOCK];
            let slopes = &mut slopes[..rows.rows()];
            let part = labels.part(first..first + rows.rows());
            self.reduce(rows, slopes, &Slopes { x: rows, labels: part, ignored, scale })?;
            for (row, slope) in slopes.iter().enumerate() {
                if ignored.is_none_or(|ignored| part.get(row) != i128::from(ignored)) {
                    sum.value += slope.value;
                    sum.slope += slope.slope;
                    sum.curvature += slope.curvature;
                    count += 1;
                }
            }
        }
        let count = count as f64;
        Ok(Slope { value: sum.value / count, slope: sum.slope / count, curvature: sum.curvature / count })
    }
}

impl Calibration {
    /// Counts a row, given `sum_c p_c^2`. Means are sums as yet.
    fn add(&mut self, row: &RowStatistics, label: i128, squares: f64) {
        let Some(chosen) = row.chosen.filter(|_| !row.max.is_nan()) else { return };
        let confidence = libm::exp(row.max_log_probability);
        let is_right = f64::from(u8::from(row.argmax as i128 == label));
        self.count += 1;
        self.nll -= chosen.log_probability;
        self.accuracy += is_right;
        self.brier += squares - 2.0 * libm::exp(chosen.log_probability) + 1.0;
        let bin = (libm::ceil(confidence * BINS as f64) as usize).clamp(1, BINS) - 1;
        let bin = &mut self.bins[bin];
        bin.count += 1;
        bin.confidence += confidence;
        bin.accuracy += is_right;
    }

    /// Makes means of sums.
    fn finish(&mut self) {
        let all = self.count as f64;
        for mean in [&mut self.nll, &mut self.accuracy, &mut self.brier] {
            *mean /= all;
        }
        for bin in self.bins.iter_mut().filter(|bin| bin.count > 0) {
            let count = bin.count as f64;
            bin.confidence /= count;
            bin.accuracy /= count;
            let gap = (bin.accuracy - bin.confidence).abs();
            self.ece += gap * count / all;
            self.mce = self.mce.max(gap);
        }
        if self.count == 0 {
            (self.ece, self.mce) = (f64::NAN, f64::NAN);
        }
    }
}

/// A loss and its derivatives.
#[derive(Clone, Copy, Default)]
struct Slope {
    value: f64,
    slope: f64,
    curvature: f64,
}

/// Those of each row's label.
struct Slopes<'a> {
    x: Rows<'a>,
    labels: Classes<'a>,
    ignored: Option<i64>,
    scale: Temperature,
}

impl Reduce<f32> for Slopes<'_> {
    type Partial = Moments;
    type Together = ShortMoments<TOGETHER>;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [Moments],
        _: &mut impl Sides<S>,
    ) {
        Moments::of_segments::<S, f32, Temperature, true>(s, segments, known, self.scale);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<ShortMoments<TOGETHER>> {
        ShortMoments::of_narrow::<S, Temperature, true>(s, rows, self.scale)
    }

    #[inline(always)]
    fn merge(&self, left: Moments, right: Moments) -> Moments {
        left.merge(right, self.scale)
    }
}

impl Summarize<f32> for Slopes<'_> {
    type Output = Slope;

    const SHORT: bool = true;

    #[inline(always)]
    fn short<S: Simd>(&self, s: S, _: usize, rows: &[Read<'_, f32>]) -> Option<ShortMoments<TOGETHER>> {
        Some(ShortMoments::of::<S, f32, Temperature, true>(s, rows, self.scale))
    }

    #[inline(always)]
    fn results_together(&self, rows: Range<usize>, known: &ShortMoments<TOGETHER>) -> [Slope; TOGETHER] {
        let mut results = [Slope::default(); TOGETHER];
        for (i, row) in rows.enumerate() {
            results[i] = self.result(row, known.get(i));
        }
        results
    }

    #[inline(always)]
    fn result(&self, row: usize, known: Moments) -> Slope {
        let label = self.labels.get(row);
        if self.ignored.is_some_and(|ignored| label == i128::from(ignored)) {
            return Slope::default();
        }
        if !known.is_any() {
            return Slope { value: f64::NAN, ..Slope::default() };
        }
        let x = self.x.row(row)[label as usize];
        let distance = self.scale.exact(f64::from(known.max) - f64::from(x));
        let slope = distance - known.mean();
        Slope { value: distance + known.loss_of_max(), slope, curvature: slope + known.variance() }
    }
}

/// `sum_c p_c^2`.
struct Squares {
    scale: Temperature,
}

/// What is known of some segments: with the sum of squares of terms.
#[derive(Clone, Copy, Default)]
struct OfSquares {
    normalizer: Normalizer,
    squares: f64,
}

impl Reduce<f32> for Squares {
    type Partial = OfSquares;
    type Together = ();

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<f32>],
        known: &mut [OfSquares],
        _: &mut impl Sides<S>,
    ) {
        let all_plain = self.scale.is_plain(lanes::magnitude(s, segments));
        for (i, known) in known.iter_mut().enumerate() {
            let shift = match Look::at(s, segments, i, all_plain, self.scale) {
                Look::Plain => Shift::PLAIN,
                Look::Shifted(_, shift) => shift,
                Look::Degenerate(normalizer) => {
                    *known = OfSquares { normalizer, squares: 0.0 };
                    continue;
                }
            };
            let mut terms = WithSquares { term: Term::<S, Temperature, false>::new(s, shift, self.scale) };
            let [sum, squares] = sums::wide_sums_of(s, [segments[i].rest()], [f32::NEG_INFINITY], &mut terms);
            *known = OfSquares { normalizer: Normalizer { shift, sum }, squares };
        }
    }

    #[inline(always)]
    fn merge(&self, left: OfSquares, right: OfSquares) -> OfSquares {
        let normalizer = left.normalizer.merge(right.normalizer, self.scale);
        let part = |known: OfSquares| {
            // Of nothing there is no weight.
            if known.squares == 0.0 {
                return 0.0;
            }
            let weight = known.normalizer.shift.weight(normalizer.shift, self.scale);
            known.squares * (weight * weight)
        };
        OfSquares { normalizer, squares: part(left) + part(right) }
    }
}

impl Summarize<f32> for Squares {
    type Output = f64;

    #[inline(always)]
    fn result(&self, _: usize, known: OfSquares) -> f64 {
        known.squares / (known.normalizer.sum * known.normalizer.sum)
    }
}

/// Terms, and their squares.
struct WithSquares<S: Simd> {
    term: Term<S, Temperature, false>,
}

impl<S: Simd> WideTerms<S, 1, 2> for WithSquares<S> {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [x]: [[S::F32; N]; 1]) -> [[S::F64; N]; 2] {
        let (terms, mut sums) = (self.term.apply(s, x), [[s.zero_f64(); N]; 2]);
        for i in 0..N {
            sums[0][i] = terms[i].widen();
            sums[1][i] = sums[0][i] * sums[0][i];
        }
        sums
    }
}
