//! What cross-entropy and its gradient share: targets and what they count, and what is learnt from the logits.

use core::ops::Range;

use crate::error::Error;
use crate::lanes;
use crate::operation::{Origin, SEGMENT, SHORT, TOGETHER};
use crate::simd::{Kernel, Simd};
use crate::span::{Read, Span};
use crate::sums::{self, Terms};

use super::apart::{Apart, Sums};
use super::cross_entropy::{CrossEntropy, Smoothed};
use super::softcap::Softcap;
use super::targets::{Kind, Targets};
use super::temperature::Unit;

/// What the rows of a batch are held against.
#[derive(Clone, Copy)]
pub struct Losses<'a> {
    targets: Targets<'a>,
    ignored: Option<i64>,
    weights: Option<&'a [f32]>,
    pub softcap: Option<Softcap>,
    pub z_loss: f64,
    /// `1 - a`, and `a/C`; where the target has less of what is spread, for both.
    pub kept: f64,
    pub share: f64,
}

/// What a row is held against.
#[derive(Clone, Copy)]
pub enum Target {
    Class(usize),
    Probabilities,
    Ignored,
}

impl<'a> Losses<'a> {
    /// For so many rows and classes.
    pub fn new(
        (rows, classes): (usize, usize),
        targets: Targets<'a>,
        options: &CrossEntropy<'a>,
    ) -> Result<Self, Error> {
        let CrossEntropy { ignore_index, label_smoothing, smoothed, weights, z_loss, softcap } = *options;
        targets.check(rows, classes, ignore_index)?;
        in_range("the label smoothing", label_smoothing, "from 0 to 1", label_smoothing <= 1.0)?;
        in_range("the z-loss", z_loss, "0 or more, and finite", z_loss < f64::INFINITY)?;
        if let Some(cap) = softcap {
            in_range("the softcap", cap, "above 0, and finite", cap > 0.0 && cap < f64::INFINITY)?;
        }
        if let Some(weights) = weights {
            if weights.len() != classes && rows > 0 {
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
            targets,
            ignored: ignore_index,
            weights,
            softcap: softcap.map(Softcap::new),
            z_loss,
            kept: 1.0 - spread,
            share: spread / all,
        })
    }

    #[inline(always)]
    pub fn target(&self, row: usize) -> Target {
        match self.targets.0 {
            Kind::Probabilities(_) => Target::Probabilities,
            Kind::Classes(classes) => match classes.unless(row, self.ignored) {
                Some(class) => Target::Class(class),
                None => Target::Ignored,
            },
        }
    }

    /// How many of these rows are not ignored.
    pub fn counted(&self) -> usize {
        match self.targets.0 {
            Kind::Probabilities(rows) => rows.rows(),
            Kind::Classes(classes) => classes.counted(self.ignored),
        }
    }

    /// Whether anything but one logit and the normaliser counts.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.share == 0.0 && matches!(self.targets.0, Kind::Classes(_))
    }

    /// The weight of a class.
    #[inline(always)]
    pub fn weight(&self, class: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[class]))
    }

    /// What a row counts in the mean.
    #[inline(always)]
    pub fn weight_of_row(&self, row: usize) -> f64 {
        self.weight_of(self.target(row))
    }

    /// What a row with this target counts in the mean.
    #[inline(always)]
    pub fn weight_of(&self, target: Target) -> f64 {
        match target {
            Target::Class(class) => self.weight(class),
            Target::Probabilities => 1.0,
            Target::Ignored => 0.0,
        }
    }

    /// The weights of some columns, if there are any.
    #[inline(always)]
    pub fn weights(&self, columns: Range<usize>) -> Option<Read<'_, f32>> {
        self.weights.map(|weights| Read::new(&weights[columns]))
    }

    /// The probabilities of some columns of a row, if that is what it is held against.
    #[inline(always)]
    pub fn probabilities(&self, row: usize, columns: Range<usize>) -> Option<Read<'_, f32>> {
        match self.targets.0 {
            Kind::Probabilities(rows) => Some(Read::new(&rows.row(row)[columns])),
            Kind::Classes(_) => None,
        }
    }
}

fn in_range(what: &'static str, value: f64, range: &'static str, is_below: bool) -> Result<(), Error> {
    if value >= 0.0 && is_below { Ok(()) } else { Err(Error::OutOfRange { what, value, range }) }
}

/// What is known of some segments.
#[derive(Clone, Copy, Default)]
pub struct Known {
    pub sums: Sums,
    pub spread: Spread,
    /// The logit of the class that is the target, if logits are capped: by the same arithmetic as the largest, so that no
    /// loss is negative.
    pub capped: Option<f32>,
}

/// What more than one class of some segments has a part in.
#[derive(Clone, Copy)]
pub struct Spread {
    /// The maximum; or -inf.
    pub pivot: f32,
    /// With `b_c` the probabilities of the target, and with the classes' weights, or 1.
    pub target: Weighted,
    pub classes: Weighted,
}

/// `sum_c b_c`, and `sum_c b_c (pivot - x_c)`.
#[derive(Clone, Copy, Default)]
pub struct Weighted {
    pub mass: f64,
    pub distance: f64,
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
    pub fn loss(self, factor: f64, pivot: f32, log_pivot: f64, rest: f64) -> f64 {
        // Where nothing counts distances may be infinite.
        if factor == 0.0 {
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
        let weights = self.weights(columns.clone());
        let (pivot_lanes, mut spread) = (s.splat(pivot), Spread { pivot, ..Spread::default() });
        let weighted = |[distance, mass]: [f64; 2]| Weighted { mass, distance };
        if let Some(target) = self.probabilities(origin.row, columns) {
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
            // What counts here is infinitely far from any pivot, and what does not has no mass.
            spread.pivot = max;
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
            factors[i] = lanes::not_negative(s, factors[i]);
            x[i] = factors[i] * lanes::unless_zero(s, factors[i], self.pivot - x[i]);
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
            a[i] = lanes::not_negative(s, a[i]) * b[i];
        }
        ByOne { pivot: self.pivot }.apply(s, [x, a])
    }
}

impl Losses<'_> {
    /// Reads segments.
    #[inline(always)]
    pub fn segments<S: Simd>(&self, s: S, origin: Origin, segments: &[impl Span<f32>], known: &mut [Known]) {
        match self.softcap {
            None => s.vectorize(OfSegments { losses: self, origin, segments, known }),
            Some(softcap) => s.vectorize(OfCapped { losses: self, softcap, origin, segments, known }),
        }
    }

    #[inline(always)]
    fn of_segments<S: Simd>(&self, s: S, origin: Origin, segments: &[impl Span<f32>], known: &mut [Known]) {
        if segments.len() > 1 && segments.iter().all(|segment| segment.rest().len() <= SHORT) {
            let sums = Apart::<TOGETHER>::of(s, segments, Unit, &mut ());
            for (i, known) in known.iter_mut().enumerate() {
                known.sums = sums.get(i);
            }
        } else {
            Sums::of_segments(s, segments, known, Unit, &mut ());
        }
        if !self.is_plain() {
            for (i, known) in known.iter_mut().enumerate() {
                let origin = Origin { row: origin.row + i, ..origin };
                known.spread = self.spread(s, origin, segments[i].rest());
            }
        }
    }
}

/// One copy for losses and gradients.
struct OfSegments<'p, P> {
    losses: &'p Losses<'p>,
    origin: Origin,
    segments: &'p [P],
    known: &'p mut [Known],
}

impl<P: Span<f32>> Kernel for OfSegments<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.losses.of_segments(s, self.origin, self.segments, self.known);
    }
}

/// With room for a segment, or for rows that are not longer together.
struct OfCapped<'p, P> {
    losses: &'p Losses<'p>,
    softcap: Softcap,
    origin: Origin,
    segments: &'p [P],
    known: &'p mut [Known],
}

impl<P: Span<f32>> Kernel for OfCapped<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { losses, softcap, origin, segments, known } = self;
        let (mut room, mut capped) = ([0.0; SEGMENT], [Read::default(); TOGETHER]);
        let mut room = &mut room[..];
        for (capped, segment) in capped.iter_mut().zip(segments) {
            let segment = segment.rest();
            let (own, others) = room.split_at_mut(segment.len());
            *capped = Read::new(softcap.capped(s, segment, own));
            room = others;
        }
        let segments = &capped[..segments.len()];
        s.vectorize(OfSegments { losses, origin, segments, known: &mut *known });
        for (i, (known, segment)) in known.iter_mut().zip(segments).enumerate() {
            if let Target::Class(class) = losses.target(origin.row + i)
                && let Some(place) = class.checked_sub(origin.at)
                && place < segment.len()
            {
                known.capped = Some(segment.get(place));
            }
        }
    }
}

impl AsMut<Sums> for Known {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut Sums {
        &mut self.sums
    }
}

impl Known {
    /// What is known of neighbours.
    #[inline(always)]
    pub fn merge(self, other: Self) -> Self {
        Self {
            sums: self.sums.merge(other.sums, Unit),
            spread: self.spread.merge(other.spread),
            capped: self.capped.or(other.capped),
        }
    }
}
