//! How one of two distributions is read: as logits, or as probabilities.

use core::mem::MaybeUninit;

use crate::lanes;
use crate::math::ln;
use crate::narrow::Columns;
use crate::operation::SEGMENT;
use crate::simd::{F32, Kernel, Simd};
use crate::span::{Read, Slots, Write};
use crate::sums::{self, Sum, Terms};

use super::normalizer::{Kept, Look, NarrowNormalizers, Normalizer, Shift, exp_sum};
use super::temperature::{Scale, Temperature, Unit};

/// How one of the two distributions is read.
pub trait Side: Copy + Send + Sync {
    /// The terms of a segment, whose sum is known then: in `room`, or the segment itself.
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>);

    /// Whether [`Side::kept`] and [`Side::narrow`] are there.
    const KEEPS: bool = false;

    /// The terms of up to `N` short rows.
    #[inline(always)]
    fn kept<S: Simd, const N: usize>(self, _: S, _: &[Read<'_, f32>]) -> Kept<S, N> {
        unreachable!("a side that keeps no terms")
    }

    /// Replaces narrow rows by their terms; or gives nothing, if one has to be looked at alone.
    #[inline(always)]
    fn narrow<S: Simd>(self, _: S, _: &mut Columns) -> Option<NarrowNormalizers> {
        unreachable!("a side that has no way of its own for narrow rows")
    }

    /// Logarithms of terms, and of what else is common to all, which merges as logits do.
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64;

    /// A difference of centers, as one of logarithms.
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer;

    /// What makes terms with a shift terms with another.
    fn weight(self, from: Shift, to: Shift) -> f64;

    /// The logarithm of a sum of terms.
    fn logsumexp(self, terms: Normalizer) -> f64;

    /// What makes probabilities of terms with a shift.
    fn factor(self, row: &Normalizer, shift: Shift) -> f64;
}

/// Logits, at some temperature.
#[derive(Clone, Copy)]
pub struct Logits<C>(pub C);

impl<C: Scale> Side for Logits<C> {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        s.vectorize(TermsOf { scale: self.0, segment, room })
    }

    const KEEPS: bool = true;

    #[inline(always)]
    fn kept<S: Simd, const N: usize>(self, s: S, rows: &[Read<'_, f32>]) -> Kept<S, N> {
        Kept::of(s, rows, self.0)
    }

    #[inline(always)]
    fn narrow<S: Simd>(self, s: S, rows: &mut Columns) -> Option<NarrowNormalizers> {
        NarrowNormalizers::of_columns(s, rows, self.0)
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64 {
        self.0.exact_lanes(s, x.widen())
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        left.merge(right, self.0)
    }

    #[inline(always)]
    fn weight(self, from: Shift, to: Shift) -> f64 {
        from.weight(to, self.0)
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        terms.logsumexp(self.0)
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, shift: Shift) -> f64 {
        row.factor(shift, self.0)
    }
}

/// One copy for all sides that are logits.
struct TermsOf<'r, C> {
    scale: C,
    segment: &'r [f32],
    room: &'r mut [MaybeUninit<f32>; SEGMENT],
}

impl<'r, C: Scale> Kernel for TermsOf<'r, C> {
    type Output = (Normalizer, Read<'r, f32>);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (Normalizer, Read<'r, f32>) {
        let Self { scale, segment, room } = self;
        let read = Read::new(segment);
        let all_plain = scale.is_plain(lanes::magnitude(s, &[read]));
        let (plain, shift) = match Look::at(s, &[read], 0, all_plain, scale) {
            Look::Plain => (true, Shift::PLAIN),
            Look::Shifted(_, shift) => (false, shift),
            // Nothing is read of terms where there is no sum.
            Look::Degenerate(found) => return (found, read),
        };
        let (mut terms, mut sum) =
            (Write::apart(segment, Slots::new(&mut room[..segment.len()])), Sum::new(s));
        exp_sum(s, &mut terms, plain, shift, scale, &mut sum, &mut ());
        (Normalizer { shift, sum: sum.sum() }, Read::new(terms.into_written()))
    }
}

/// Probabilities, at temperature 1: they are terms themselves.
#[derive(Clone, Copy)]
pub struct Probabilities;

impl Side for Probabilities {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        _: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        let segment = Read::new(segment);
        let [sum] = sums::sums_of(s, [segment], [0.0], &mut NotNegative);
        (Normalizer { shift: Shift::PLAIN, sum }, segment)
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, p: S::F32) -> S::F64 {
        ln::ln(s, p)
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        Normalizer { shift: Shift::PLAIN, sum: left.sum + right.sum }
    }

    #[inline(always)]
    fn weight(self, _: Shift, _: Shift) -> f64 {
        1.0
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        terms.logsumexp(Unit)
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, _: Shift) -> f64 {
        1.0 / row.sum
    }
}

/// Either, at a temperature that is 1 for probabilities: one copy of the code for all pairs of which not both are logits at
/// temperature 1.
#[derive(Clone, Copy)]
pub enum Any {
    Logits(Logits<Temperature>),
    Probabilities,
}

macro_rules! either {
    ($any:expr, $side:ident => $value:expr) => {
        match $any {
            Any::Logits($side) => $value,
            Any::Probabilities => {
                let $side = Probabilities;
                $value
            }
        }
    };
}

impl Side for Any {
    #[inline(always)]
    fn terms<'r, S: Simd>(
        self,
        s: S,
        segment: &'r [f32],
        room: &'r mut [MaybeUninit<f32>; SEGMENT],
    ) -> (Normalizer, Read<'r, f32>) {
        either!(self, side => side.terms(s, segment, room))
    }

    #[inline(always)]
    fn logarithms<S: Simd>(self, s: S, x: S::F32) -> S::F64 {
        either!(self, side => side.logarithms(s, x))
    }

    #[inline(always)]
    fn merge(self, left: Normalizer, right: Normalizer) -> Normalizer {
        either!(self, side => side.merge(left, right))
    }

    #[inline(always)]
    fn weight(self, from: Shift, to: Shift) -> f64 {
        either!(self, side => side.weight(from, to))
    }

    #[inline(always)]
    fn logsumexp(self, terms: Normalizer) -> f64 {
        either!(self, side => side.logsumexp(terms))
    }

    #[inline(always)]
    fn factor(self, row: &Normalizer, shift: Shift) -> f64 {
        either!(self, side => side.factor(row, shift))
    }
}

/// Numbers, or NaN for those that are negative.
struct NotNegative;

impl<S: Simd> Terms<S, 1, 1> for NotNegative {
    #[inline(always)]
    fn apply<const N: usize>(&mut self, s: S, [mut p]: [[S::F32; N]; 1]) -> [[S::F32; N]; 1] {
        for p in &mut p {
            *p = lanes::not_negative(s, *p);
        }
        [p]
    }
}
