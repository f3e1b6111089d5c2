//! Four `float32x4_t`: NEON on 64-bit Arm.
#![expect(unsafe_code, reason = "intrinsics: this module is compiled only where NEON is part of the target")]

use core::arch::aarch64::*;
use core::ops::{Add, Div, Mul, Sub};

use super::{Kernel, LANES, Simd, TWO_52};

/// Proof of NEON: only [`Neon::new`] makes one, and it is compiled only for targets that have NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

#[derive(Debug, Clone, Copy)]
pub struct F32([float32x4_t; 4]);

#[derive(Debug, Clone, Copy)]
pub struct F64([float64x2_t; 8]);

#[derive(Debug, Clone, Copy)]
pub struct Mask([uint32x4_t; 4]);

impl Neon {
    #[inline]
    pub fn new() -> Option<Self> {
        Some(Self(()))
    }
}

/// Runs intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: the target has NEON, or this module would not be compiled; the pointers, where there are any, are
        // those of arrays as long as what is loaded or stored.
        unsafe { $($body)* }
    };
}

/// The same for each of four registers, spelt out: a closure would be a function of its own.
macro_rules! quarters {
    ($i:ident => $quarter:expr) => {
        intrinsics! {
            [
                { const $i: usize = 0; $quarter },
                { const $i: usize = 1; $quarter },
                { const $i: usize = 2; $quarter },
                { const $i: usize = 3; $quarter },
            ]
        }
    };
}

/// The same for each of eight.
macro_rules! eighths {
    ($i:ident => $eighth:expr) => {
        intrinsics! {
            [
                { const $i: usize = 0; $eighth },
                { const $i: usize = 1; $eighth },
                { const $i: usize = 2; $eighth },
                { const $i: usize = 3; $eighth },
                { const $i: usize = 4; $eighth },
                { const $i: usize = 5; $eighth },
                { const $i: usize = 6; $eighth },
                { const $i: usize = 7; $eighth },
            ]
        }
    };
}

impl Simd for Neon {
    const FUSED: bool = true;

    type F32 = F32;
    type F64 = F64;

    #[inline(never)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32([intrinsics! { vdupq_n_f32(value) }; 4])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F32 {
        F32(quarters!(I => vld1q_f32(from[4 * I..].as_ptr())))
    }

    #[inline(always)]
    fn splat_f64(self, value: f64) -> F64 {
        F64([intrinsics! { vdupq_n_f64(value) }; 8])
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64; LANES]) -> F64 {
        let mut lanes = self.splat_f64(0.0);
        for (pair, from) in lanes.0.iter_mut().zip(from.as_chunks::<2>().0) {
            *pair = intrinsics! { vld1q_f64(from.as_ptr()) };
        }
        lanes
    }
}

impl super::F32 for F32 {
    type F64 = F64;
    type Mask = Mask;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32(quarters!(I => vfmaq_f32(c.0[I], self.0[I], b.0[I])))
    }

    // Not `vmaxq_f32`, which has its own rules for NaN and zeros.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32(quarters!(I => vbslq_f32(vcgtq_f32(self.0[I], other.0[I]), self.0[I], other.0[I])))
    }

    // Nor `vminq_f32`.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32(quarters!(I => vbslq_f32(vcltq_f32(self.0[I], other.0[I]), self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32(quarters!(I => vabsq_f32(self.0[I])))
    }

    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        F32(quarters!(I => vbslq_f32(vdupq_n_u32(1 << 31), sign.0[I], self.0[I])))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask {
        Mask(quarters!(I => vceqq_f32(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn exceeds(self, other: Self) -> Mask {
        Mask(quarters!(I => vcgtq_f32(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        F32(quarters!(I => vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(self.0[I])))))
    }

    #[inline(always)]
    fn widen(self) -> F64 {
        let pairs = quarters!(I => [vcvt_f64_f32(vget_low_f32(self.0[I])), vcvt_high_f64_f32(self.0[I])]);
        F64([
            pairs[0][0],
            pairs[0][1],
            pairs[1][0],
            pairs[1][1],
            pairs[2][0],
            pairs[2][1],
            pairs[3][0],
            pairs[3][1],
        ])
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (quarter, lanes) in self.0.into_iter().zip(lanes.as_chunks_mut::<4>().0) {
            intrinsics! { vst1q_f32(lanes.as_mut_ptr(), quarter) }
        }
        lanes
    }
}

impl super::F64 for F64 {
    type F32 = F32;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F64(eighths!(I => vfmaq_f64(c.0[I], self.0[I], b.0[I])))
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        F32(quarters!(I => vcvt_high_f32_f64(vcvt_f32_f64(self.0[2 * I]), self.0[2 * I + 1])))
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        F64(eighths!(I => {
            let bits = vreinterpretq_u64_f64(self.0[I]);
            vreinterpretq_f64_u64(vandq_u64(bits, vdupq_n_u64(f64::INFINITY.to_bits())))
        }))
    }

    #[inline(always)]
    fn exponent(self) -> Self {
        F64(eighths!(I => {
            let biased = vshrq_n_u64::<52>(vreinterpretq_u64_f64(self.0[I]));
            let biased = vorrq_u64(biased, vdupq_n_u64(TWO_52.to_bits()));
            vsubq_f64(vreinterpretq_f64_u64(biased), vdupq_n_f64(TWO_52 + 1023.0))
        }))
    }

    #[inline(always)]
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self {
        F64(eighths!(I => vbslq_f64(vceqq_f64(self.0[I], other.0[I]), if_equal.0[I], otherwise.0[I])))
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        let mut lanes = [0.0; LANES];
        for (pair, lanes) in self.0.into_iter().zip(lanes.as_chunks_mut::<2>().0) {
            intrinsics! { vst1q_f64(lanes.as_mut_ptr(), pair) }
        }
        lanes
    }
}

impl super::Mask<F32> for Mask {
    #[inline(always)]
    fn select(self, if_set: F32, if_clear: F32) -> F32 {
        F32(quarters!(I => vbslq_f32(self.0[I], if_set.0[I], if_clear.0[I])))
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        const WEIGHTS: [u32; 4] = [1, 2, 4, 8];
        let nibbles = quarters!(I => vaddvq_u32(vandq_u32(self.0[I], vld1q_u32(WEIGHTS.as_ptr()))));
        (nibbles[0] | nibbles[1] << 4 | nibbles[2] << 8 | nibbles[3] << 12) as u16
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $intrinsic:ident $double:ident),*) => {$(
        impl $operator for F32 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F32(quarters!(I => $intrinsic(self.0[I], other.0[I])))
            }
        }

        impl $operator for F64 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F64(eighths!(I => $double(self.0[I], other.0[I])))
            }
        }
    )*};
}

operators! {
    Add add vaddq_f32 vaddq_f64,
    Sub sub vsubq_f32 vsubq_f64,
    Mul mul vmulq_f32 vmulq_f64,
    Div div vdivq_f32 vdivq_f64
}
