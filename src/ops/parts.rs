//! Rows of which a process or a machine has a part: what each part tells, small enough to be sent, and what they tell together.
//!
//! `softmax(x)` over columns `A` and `B` needs of each the [`moments`](super::moments) `max`, `S`, `W` and `C`, with the
//! shift of their terms, and where the maximum stands first. They merge as those of segments do: each step is one of f64 that
//! are not negative, and adds less than `2^-50` to a relative error, so the bounds hold however the row is split.
//!
//! A row is merged from the left, segment by segment: addition is not associative, so the bits of the row are those of its
//! segments in this order, and of no others.

use core::ops::Range;

use crate::Engine;
use crate::element::Element;
use crate::error::Error;
use crate::lanes;
use crate::narrow::Narrow;
use crate::operation::{Origin, Reduce, SEGMENT, Sides, Summarize, TOGETHER};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::span::{Read, Span};
use crate::visit::Visit;

use super::moments::Moments;
use super::normalizer::Shift;
use super::options;
use super::short_moments::{self, ShortMoments};
use super::statistics::RowStatistics;
use super::temperature::{Scale, Temperature, Unit};

/// What some columns of a row tell, for rows whose columns are spread over processes or machines.
///
/// [`Engine::parts`] reads the columns that are here, [`RowPart::to_bytes`] is what is sent, [`RowPart::merge`] makes one of
/// two, and [`RowPart::finish`] tells of the row what [`Engine::statistics`] does, with the same bounds however it was split.
/// So vocabulary-parallel cross-entropy is the [`RowPart::loss`] of the target's logit, which one of the processes has.
///
/// Merging is not associative in the last bits of an `f64`. For the bits of [`Engine::statistics`], also on another number of
/// processes, make a part for each [`RowPart::SEGMENT`] columns from the start of the row, and merge them from the left.
///
/// The default is what no columns tell. It changes nothing that it is merged with, and neither do columns of nothing but
/// -inf. A NaN or +inf in any part leaves the row without a distribution; so do parts of different temperatures.
///
/// # Examples
///
/// ```
/// use logits::{Engine, RowPart, Rows};
///
/// // One row of 4 columns, of which two processes have 2 each.
/// let (mut left, mut right) = ([RowPart::default()], [RowPart::default()]);
/// Engine::new().parts(Rows::new(&[1.0, 2.0], 2)?, 0, 1.0, &mut left)?;
/// Engine::new().parts(Rows::new(&[4.0, 0.5], 2)?, 2, 1.0, &mut right)?;
/// let received = RowPart::from_bytes(&right[0].to_bytes());
/// let row = left[0].merge(received);
///
/// let statistics = row.finish();
/// assert_eq!((statistics.max, statistics.argmax), (4.0, 2));
/// assert!((statistics.logsumexp - 4.195_007).abs() < 1e-6);
/// // The target is column 1, whose logit is 2.
/// assert!((row.loss(2.0) - 2.195_007).abs() < 1e-6);
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowPart {
    moments: Moments,
    /// Where the maximum stands first, in the whole row.
    argmax: usize,
    temperature: f64,
}

/// What is known of nothing.
impl Default for RowPart {
    fn default() -> Self {
        Self { moments: Moments::default(), argmax: 0, temperature: 1.0 }
    }
}

impl RowPart {
    /// The columns of a segment: as many as are read before anything is merged.
    pub const SEGMENT: usize = SEGMENT;

    /// The length of [`RowPart::to_bytes`].
    pub const BYTES: usize = 64;

    /// What these columns and those to the right of them tell.
    ///
    /// # Examples
    ///
    /// The bits of the whole, of whatever processes the segments come from:
    ///
    /// ```
    /// use logits::{Engine, RowPart, RowStatistics, Rows};
    ///
    /// let x: Vec<f32> = (0..10_000).map(|i| (i % 97) as f32 * 0.1).collect();
    /// let mut row = RowPart::default();
    /// for (i, segment) in x.chunks(RowPart::SEGMENT).enumerate() {
    ///     let mut part = [RowPart::default()];
    ///     let columns = Rows::new(segment, segment.len())?;
    ///     Engine::new().parts(columns, i * RowPart::SEGMENT, 1.0, &mut part)?;
    ///     row = row.merge(part[0]);
    /// }
    /// let mut whole = [RowStatistics::default()];
    /// Engine::new().statistics(Rows::new(&x, x.len())?, &mut whole)?;
    /// assert_eq!(row.finish(), whole[0]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    #[must_use]
    pub fn merge(self, right: Self) -> Self {
        if right.is_masked() {
            return self;
        }
        if self.is_masked() {
            return right;
        }
        let (left, others) = (self.moments, right.moments);
        let moments = if self.temperature == right.temperature {
            left.merge(others, Temperature::new(self.temperature))
        } else {
            Moments::NOTHING
        };
        let argmax = if left.max > others.max {
            self.argmax
        } else if left.max < others.max {
            right.argmax
        } else {
            self.argmax.min(right.argmax)
        };
        Self { moments, argmax, ..self }
    }

    /// What the row tells, once this is all of it.
    #[must_use]
    pub fn finish(&self) -> RowStatistics {
        self.statistics(self.moments.loss_of_max())
    }

    /// The same, given `-log p` of the maximum.
    #[inline(always)]
    pub(super) fn statistics(&self, loss: f64) -> RowStatistics {
        let known = &self.moments;
        if !known.is_any() {
            return RowStatistics::NOTHING;
        }
        RowStatistics {
            // Of zeros it may be the other one.
            max: known.max + 0.0,
            argmax: self.argmax,
            max_log_probability: 0.0 - loss,
            logsumexp: f64::from(known.max) / self.temperature + loss,
            entropy: loss + known.mean(),
            varentropy: known.variance(),
            chosen: None,
        }
    }

    /// The varentropy of the row, or NaN.
    #[inline(always)]
    pub(super) fn varentropy(&self) -> f64 {
        if self.moments.is_any() { self.moments.variance() } else { f64::NAN }
    }

    /// `log p` of a logit of the row, within `4e-7` of its size: -inf for one that is masked, and NaN where there is no
    /// distribution.
    #[must_use]
    pub fn log_probability(&self, x: f32) -> f64 {
        self.finish().log_probability(x, self.temperature)
    }

    /// `-log p` of a logit of the row: the cross-entropy, if it is the target's. Otherwise as [`RowPart::log_probability`].
    #[must_use]
    pub fn loss(&self, x: f32) -> f64 {
        0.0 - self.log_probability(x)
    }

    /// What part of the mass of the whole row, which was merged of this and others, these columns have: relative error
    /// below `6e-7`. The softmax of the row is the softmax of these columns times this.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, RowPart, Rows};
    ///
    /// let mut parts = [RowPart::default(); 2];
    /// Engine::new().parts(Rows::new(&[7.0, 7.0, 7.0, 6.0], 2)?, 0, 1.0, &mut parts)?;
    /// let whole = parts[0].merge(parts[1]);
    /// assert!((parts[0].share(&whole) - 2.0 / (3.0 + (-1_f64).exp())).abs() < 1e-6);
    /// # Ok::<(), logits::Error>(())
    /// ```
    #[must_use]
    pub fn share(&self, whole: &Self) -> f64 {
        self.moments.share(&whole.moments, Temperature::new(whole.temperature))
    }

    /// What [`RowPart::from_bytes`] makes the same part of, on any machine.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let known = &self.moments;
        let two = |low: f32, high: f32| u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32;
        let words = [
            two(known.max, known.shift.center),
            two(known.shift.exponent, 0.0),
            self.argmax as u64,
            known.top.to_bits(),
            known.others.to_bits(),
            known.weighted.to_bits(),
            known.spread.to_bits(),
            self.temperature.to_bits(),
        ];
        let mut bytes = [0; Self::BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    /// The part that these bytes are of. Of other bytes it is one that means nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; Self::BYTES / 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [extremes, exponent, argmax, sums @ ..] = words;
        let [top, others, weighted, spread, temperature] = sums.map(f64::from_bits);
        let float = |bits: u64| f32::from_bits(bits as u32);
        let shift = Shift { center: float(extremes >> 32), exponent: float(exponent) };
        let moments = Moments { max: float(extremes), shift, top, others, weighted, spread };
        // Powers of two of other exponents are none.
        let moments = if shift.exponent.abs() < 500.0 { moments } else { Moments::NOTHING };
        Self { moments, argmax: argmax as usize, temperature }
    }

    /// Whether there is nothing but -inf.
    fn is_masked(&self) -> bool {
        self.moments.max == f32::NEG_INFINITY
    }
}

impl Engine {
    /// [What these columns of each row tell](RowPart), where other processes have the others.
    ///
    /// `x` is the columns from `first_column` on, and `temperature` the `T` of `softmax(x / T)`, above 0. All processes have
    /// to give the same one.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one part for each row; [`Error::Temperature`] or, for 0,
    /// [`Error::OutOfRange`].
    ///
    /// # Examples
    ///
    /// A part for each segment of the columns that are here, for the same bits on any number of processes:
    ///
    /// ```
    /// use logits::{Engine, RowPart, Rows};
    ///
    /// let (rows, cols, first_column) = (3, 10_000, 5 * RowPart::SEGMENT);
    /// let x = vec![0.5_f32; rows * cols];
    /// let mut parts = vec![RowPart::default(); cols.div_ceil(RowPart::SEGMENT) * rows];
    /// for (i, out) in parts.chunks_mut(rows).enumerate() {
    ///     let at = i * RowPart::SEGMENT;
    ///     let columns = Rows::strided(&x[at..], RowPart::SEGMENT.min(cols - at), cols)?;
    ///     Engine::new().parts(columns, first_column + at, 1.0, out)?;
    /// }
    /// assert_eq!(parts[0].merge(parts[3]).finish().argmax, first_column);
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn parts(
        &self,
        x: Rows<'_>,
        first_column: usize,
        temperature: f64,
        out: &mut [RowPart],
    ) -> Result<(), Error> {
        let scale = options::above_zero("the temperature of parts", temperature)?;
        self.check_results(x, out)?;
        let mut rest = x;
        for out in out.chunks_mut(self.block(x)) {
            let rows;
            (rows, rest) = rest.split_at(out.len());
            read(self, rows, scale, out, |part, _| part)?;
            self.visit(rows, 1, out, &Place { first_column });
        }
        Ok(())
    }
}

/// Reads rows, and leaves what their parts become, given `-log p` of their maximum. Where that stands is not known yet.
pub fn read<O: Copy + Default + Send>(
    engine: &Engine,
    x: Rows<'_>,
    scale: Option<Temperature>,
    out: &mut [O],
    becomes: impl Fn(RowPart, f64) -> O + Sync,
) -> Result<(), Error> {
    match scale {
        None => engine.reduce(x, out, &Part { scale: Unit, temperature: 1.0, becomes }),
        Some(scale) => engine.reduce(x, out, &Part { scale, temperature: scale.get(), becomes }),
    }
}

struct Part<C, F> {
    scale: C,
    temperature: f64,
    becomes: F,
}

impl<C: Scale, O, F: Fn(RowPart, f64) -> O> Part<C, F> {
    #[inline(always)]
    fn becomes(&self, moments: Moments, loss_of_max: f64) -> O {
        (self.becomes)(RowPart { moments, argmax: 0, temperature: self.temperature }, loss_of_max)
    }
}

impl<E: Element, C: Scale, F: Sync> Reduce<E> for Part<C, F> {
    type Partial = Moments;
    type Together = ShortMoments<TOGETHER>;

    const ALONE: bool = true;

    #[inline(always)]
    fn segments<S: Simd>(
        &self,
        s: S,
        _: Origin,
        segments: &mut [impl Span<E>],
        known: &mut [Moments],
        _: &mut impl Sides<S>,
    ) {
        Moments::of_segments::<S, E, C, true>(s, segments, known, self.scale);
    }

    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, _: usize, rows: &mut Narrow) -> Option<ShortMoments<TOGETHER>> {
        ShortMoments::of_narrow::<S, C, true>(s, rows, self.scale)
    }

    #[inline(always)]
    fn merge(&self, left: Moments, right: Moments) -> Moments {
        left.merge(right, self.scale)
    }
}

impl<E: Element, C: Scale, O: Copy + Default + Send, F: Fn(RowPart, f64) -> O + Sync> Summarize<E>
    for Part<C, F>
{
    type Output = O;

    const SHORT: bool = true;

    #[inline(always)]
    fn result(&self, _: usize, moments: Moments) -> O {
        self.becomes(moments, moments.loss_of_max())
    }

    #[inline(always)]
    fn results(&self, _: usize, known: &[Moments]) -> [O; TOGETHER] {
        let (losses, mut results) = (short_moments::losses_of_max(known), [O::default(); TOGETHER]);
        for (i, moments) in known.iter().enumerate() {
            results[i] = self.becomes(*moments, losses[i]);
        }
        results
    }

    #[inline(always)]
    fn short<S: Simd>(&self, s: S, _: usize, rows: &[Read<'_, E>]) -> Option<ShortMoments<TOGETHER>> {
        Some(ShortMoments::of::<S, E, C, true>(s, rows, self.scale))
    }

    #[inline(always)]
    fn results_together(&self, _: Range<usize>, rows: &ShortMoments<TOGETHER>) -> [O; TOGETHER] {
        let (losses, mut results) = (rows.losses_of_max(), [O::default(); TOGETHER]);
        for (i, result) in results.iter_mut().enumerate() {
            *result = self.becomes(rows.get(i), losses[i]);
        }
        results
    }
}

/// Where the maximum stands.
struct Place {
    first_column: usize,
}

impl<E: Element> Visit<E> for Place {
    type Output = RowPart;

    #[inline(always)]
    fn visit<S: Simd>(&self, s: S, _: usize, elements: Read<'_, E>, out: &mut [RowPart]) {
        let [part] = out else { return };
        if part.moments.is_any() {
            part.argmax = self.first_column + lanes::position(s, elements, part.moments.max);
        }
    }
}
