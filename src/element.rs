//! What rows are made of.

use core::mem::MaybeUninit;

use crate::simd::{F32, LANES, Simd};

/// An element of a row: `f32`.
///
/// Arithmetic is done in lanes of `f32` whatever the element; the trait says how elements become lanes and back. It is
/// sealed: other element types come with the crate.
pub trait Element: sealed::Lanes {}

impl Element for f32 {}

pub(crate) mod sealed {
    use super::*;

    /// Elements as lanes.
    pub trait Lanes: Copy + Send + Sync + core::fmt::Debug + PartialEq + 'static {
        /// Whether an element can keep an exponential as the kernels compute it: no coarser and no smaller than `f32`.
        const KEEPS_LANES: bool;

        fn from_f32(value: f32) -> Self;

        fn to_f32(self) -> f32;

        fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F32;

        /// The elements of a slice shorter than a vector, and `fill` behind them.
        fn load_partial<S: Simd>(s: S, from: &[Self], fill: f32) -> S::F32;

        fn store<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>; LANES]);

        /// The same [past the caches](F32::stream).
        fn stream<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>; LANES]);

        /// Stores the first lanes, as many as `to` is long: fewer than a vector has.
        fn store_partial<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>]);
    }

    impl Lanes for f32 {
        const KEEPS_LANES: bool = true;

        #[inline(always)]
        fn from_f32(value: f32) -> Self {
            value
        }

        #[inline(always)]
        fn to_f32(self) -> f32 {
            self
        }

        #[inline(always)]
        fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F32 {
            s.load(from)
        }

        #[inline(always)]
        fn load_partial<S: Simd>(s: S, from: &[Self], fill: f32) -> S::F32 {
            s.load_partial(from, fill)
        }

        #[inline(always)]
        fn store<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>; LANES]) {
            lanes.store(to);
        }

        #[inline(always)]
        fn stream<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>; LANES]) {
            lanes.stream(to);
        }

        #[inline(always)]
        fn store_partial<S: Simd>(lanes: S::F32, to: &mut [MaybeUninit<Self>]) {
            lanes.store_partial(to);
        }
    }
}
