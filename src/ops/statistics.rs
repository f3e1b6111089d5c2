//! What a row tells: its maximum and where that is, normaliser, entropy and varentropy, the places of chosen classes and
//! of the most probable ones.
//!
//! Sums come of the [`parts`](super::parts) that a row is, in one read. What is found by place is looked up in the row afterwards,
//! block by block, while it is in the caches: that takes comparisons alone.
//!
//! Logarithms of probabilities are `(x_i - m) / T - log(S / e)`, with the maximum `m` and its term `e`: a sum of two
//! that are not positive.

use core::cmp::Ordering;

use crate::element::Element;
use crate::error::Error;
use crate::rows::Rows;
use crate::simd::{F32, LANES, Mask, Simd};
use crate::span::{Read, Span};
use crate::visit::Visit;
use crate::{Engine, lanes};

use super::targets::{Classes, Targets};
use super::temperature::Temperature;
use super::{options, parts};

/// Options of [`Engine::statistics_with`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Statistics<'a> {
    /// `T` in `softmax(x / T)`, above 0: 1 by default.
    pub temperature: f64,
    /// A class for each row, whose log-probability and rank are wanted.
    pub chosen: Option<Classes<'a>>,
    /// Rows with this class have none chosen: -100 by default, which no unsigned type has.
    pub ignore_index: Option<i64>,
}

impl Default for Statistics<'_> {
    fn default() -> Self {
        Self { temperature: 1.0, chosen: None, ignore_index: Some(-100) }
    }
}

/// What a row tells. All of it is NaN, and places are 0, for a row without a distribution: with a NaN or +inf in it, or of
/// nothing but -inf.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowStatistics {
    /// The largest logit.
    pub max: f32,
    /// Where it stands first.
    pub argmax: usize,
    /// `log p` of it.
    pub max_log_probability: f64,
    /// `log sum_j exp(x_j / T)`.
    pub logsumexp: f64,
    /// `-sum_i p_i log p_i`, in nats.
    pub entropy: f64,
    /// The variance of `-log p`, in nats squared.
    pub varentropy: f64,
    /// What there is to say of the chosen class, if one was.
    pub chosen: Option<Chosen>,
}

impl RowStatistics {
    pub(super) const NOTHING: Self = Self {
        max: f32::NAN,
        argmax: 0,
        max_log_probability: f64::NAN,
        logsumexp: f64::NAN,
        entropy: f64::NAN,
        varentropy: f64::NAN,
        chosen: None,
    };

    /// The logarithm of a logit's probability.
    pub(super) fn log_probability(&self, x: f32, temperature: f64) -> f64 {
        (f64::from(x) - f64::from(self.max)) / temperature + self.max_log_probability
    }
}

/// Of a row that has not been looked at.
impl Default for RowStatistics {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// A class that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Chosen {
    /// `log p` of it.
    pub log_probability: f64,
    /// How many classes are as probable or more, itself among them: 1 is the best.
    pub rank: usize,
}

/// A class that is among the most probable.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Candidate {
    /// Which.
    pub class: usize,
    /// `log p` of it.
    pub log_probability: f64,
}

impl Engine {
    /// [What each row tells](RowStatistics), in one read.
    ///
    /// Errors are those of [`Engine::entropy`] and [`Engine::varentropy`]; of logarithms of probabilities, relative `4e-7`;
    /// of `logsumexp`, absolute `3e-7`.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `out` does not hold one result for each row.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Engine, RowStatistics, Rows};
    ///
    /// let mut out = [RowStatistics::default()];
    /// Engine::new().statistics(Rows::new(&[0.0, 2.0, 2.0, 1.0], 4)?, &mut out)?;
    /// assert_eq!((out[0].max, out[0].argmax), (2.0, 1));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn statistics(&self, x: Rows<'_>, out: &mut [RowStatistics]) -> Result<(), Error> {
        self.statistics_with(x, &Statistics::default(), out, &mut [])
    }

    /// [`Engine::statistics`] with [options](Statistics), and with the most probable classes of each row.
    ///
    /// `top` is for the same number of candidates of each row, one row behind the other: the most probable first, of those
    /// that are equal the one with the lowest index. It may be empty. Candidates of a row without a distribution are the
    /// class 0 with NaN.
    ///
    /// # Errors
    ///
    /// As [`Engine::statistics`]; [`Error::Temperature`] or, for 0, [`Error::OutOfRange`]; [`Error::TargetsMismatch`] or
    /// [`Error::Target`] for the chosen classes; [`Error::RaggedRows`] if `top` is not for the same number of candidates of
    /// each row, [`Error::OutOfRange`] if that is more than there are columns. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Candidate, Classes, Engine, RowStatistics, Rows, Statistics};
    ///
    /// let logits = [0.0, 2.0, 2.0, 1.0];
    /// let (mut out, mut top) = ([RowStatistics::default()], [Candidate::default(); 3]);
    /// let mut options = Statistics::default();
    /// options.chosen = Some(Classes::from(&[3]));
    /// Engine::new().statistics_with(Rows::new(&logits, 4)?, &options, &mut out, &mut top)?;
    /// assert_eq!(top.map(|candidate| candidate.class), [1, 2, 3]);
    /// assert_eq!(out[0].chosen.map(|chosen| chosen.rank), Some(3));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn statistics_with(
        &self,
        x: Rows<'_>,
        options: &Statistics<'_>,
        out: &mut [RowStatistics],
        top: &mut [Candidate],
    ) -> Result<(), Error> {
        let Statistics { temperature, chosen, ignore_index } = *options;
        let scale = options::above_zero("the temperature of statistics", temperature)?;
        let temperature = scale.map_or(1.0, Temperature::get);
        if let Some(classes) = chosen {
            Targets::from(classes).check(x.rows(), x.cols(), ignore_index)?;
        }
        self.check_results(x, out)?;
        let most = candidates_of_each(x, top)?;
        let block = self.block(x);
        let (mut rest, mut first) = (x, 0);
        let blocks = out.chunks_mut(block);
        let mut tops = top.chunks_mut((most * block).max(1));
        for out in blocks {
            let rows;
            (rows, rest) = rest.split_at(out.len());
            parts::read(self, rows, scale, out, |part, loss| part.statistics(loss))?;
            self.visit(rows, 1, out, &Places { first, chosen, ignore_index, temperature });
            if most > 0 {
                let top = tops.next().expect("candidates for each row");
                self.visit(rows, most, top, &Top { statistics: out, temperature });
            }
            first += out.len();
        }
        Ok(())
    }
}

/// How many candidates there are of each row.
///
/// # Errors
///
/// If they are not as many of each, or more than columns.
pub(crate) fn candidates_of_each(x: Rows<'_>, top: &[Candidate]) -> Result<usize, Error> {
    let most = top.len().checked_div(x.rows()).unwrap_or(0);
    if most * x.rows() != top.len() {
        return Err(Error::RaggedRows { len: top.len(), cols: x.rows(), stride: x.rows() });
    }
    if most > x.cols() {
        let (what, range) = ("the number of candidates", "at most the number of columns");
        return Err(Error::OutOfRange { what, value: most as f64, range });
    }
    Ok(most)
}

/// Where the maximum and the chosen class stand.
struct Places<'a> {
    /// The first of the rows, in the whole batch.
    first: usize,
    chosen: Option<Classes<'a>>,
    ignore_index: Option<i64>,
    temperature: f64,
}

impl<E: Element> Visit<E> for Places<'_> {
    type Output = RowStatistics;

    #[inline(always)]
    fn visit<S: Simd>(&self, s: S, row: usize, elements: Read<'_, E>, out: &mut [RowStatistics]) {
        let [out] = out else { return };
        let class = self.chosen.map(|classes| classes.get(self.first + row));
        let class =
            class.filter(|class| self.ignore_index.is_none_or(|ignored| *class != i128::from(ignored)));
        if out.max.is_nan() {
            out.chosen = class.map(|_| Chosen { log_probability: f64::NAN, rank: 0 });
            return;
        }
        out.argmax = lanes::position(s, elements, out.max);
        out.chosen = class.map(|class| {
            let x = elements.get(class as usize);
            let rank = lanes::count_at_least(s, elements, x);
            Chosen { log_probability: out.log_probability(x, self.temperature), rank }
        });
    }
}

/// The most probable classes.
struct Top<'o> {
    statistics: &'o [RowStatistics],
    temperature: f64,
}

impl<E: Element> Visit<E> for Top<'_> {
    type Output = Candidate;

    #[inline(always)]
    fn visit<S: Simd>(&self, s: S, row: usize, elements: Read<'_, E>, out: &mut [Candidate]) {
        let statistics = &self.statistics[row];
        if statistics.max.is_nan() {
            return out.fill(Candidate { class: 0, log_probability: f64::NAN });
        }
        select(s, elements, out);
        for candidate in out {
            candidate.log_probability =
                statistics.log_probability(candidate.log_probability as f32, self.temperature);
        }
    }
}

/// The largest elements, in order. Until it is known what they mean, they stand for the logarithms of their probabilities.
///
/// Those found so far are a heap with the least of them on top, which is what others have to exceed.
#[inline(always)]
fn select<S: Simd, E: Element>(s: S, mut elements: Read<'_, E>, out: &mut [Candidate]) {
    const CHUNK: usize = 4;
    let len = elements.len();
    for (class, candidate) in out.iter_mut().enumerate() {
        *candidate = Candidate { class, log_probability: f64::from(elements.get(class)) };
    }
    for root in (0..out.len() / 2).rev() {
        sift_down(out, root);
    }
    // Those are there already.
    let first = out.len();
    while let Some(x) = elements.front::<S, CHUNK>(s) {
        let (at, least) = (len - elements.len(), s.splat(out[0].log_probability as f32));
        let mut found = 0_u64;
        for (i, x) in x.iter().enumerate() {
            found |= u64::from(!x.max(least).equals(least).bits()) << (LANES * i);
        }
        while found != 0 {
            let place = found.trailing_zeros() as usize;
            if at + place >= first {
                consider(out, at + place, elements.get(place));
            }
            found &= found - 1;
        }
        elements.put::<S, CHUNK>(x);
    }
    let at = len - elements.len();
    for place in first.saturating_sub(at)..elements.len() {
        consider(out, at + place, elements.get(place));
    }
    out.sort_unstable_by(|a, b| order(b, a));
}

/// Takes an element into a heap, if it exceeds the least.
fn consider(heap: &mut [Candidate], class: usize, x: f32) {
    if f64::from(x) > heap[0].log_probability {
        heap[0] = Candidate { class, log_probability: f64::from(x) };
        sift_down(heap, 0);
    }
}

/// Whether a candidate is less than another: of equal ones the later is.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    let by_logit = a.log_probability.partial_cmp(&b.log_probability).unwrap_or(Ordering::Equal);
    by_logit.then(b.class.cmp(&a.class))
}

fn sift_down(heap: &mut [Candidate], mut root: usize) {
    loop {
        let Some(left) = heap.get(2 * root + 1) else { return };
        let right_is_less = heap.get(2 * root + 2).is_some_and(|right| order(right, left).is_lt());
        let child = 2 * root + 1 + usize::from(right_is_less);
        if order(&heap[root], &heap[child]).is_le() {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}
