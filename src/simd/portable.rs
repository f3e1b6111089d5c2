//! Two `wide::f32x8`: whatever instructions the whole program is compiled for.
//!
//! Where those include a fused multiply-add (`cfg(portable_fma)`, set by `build.rs`) this backend has the same bits as
//! the others; elsewhere it rounds a multiply-add twice and has bounds of its own.

use core::ops::{Add, Div, Mul, Sub};

use wide::{f32x8, f64x4, u32x8, u64x4};

use super::{Kernel, LANES, Simd};

/// Always there.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

#[derive(Debug, Clone, Copy)]
pub struct F32([f32x8; 2]);

#[derive(Debug, Clone, Copy)]
pub struct F64([f64x4; 4]);

#[derive(Debug, Clone, Copy)]
pub struct Mask([f32x8; 2]);

impl Simd for Portable {
    const FUSED: bool = cfg!(portable_fma);

    type F32 = F32;
    type F64 = F64;

    #[inline(never)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32([f32x8::splat(value); 2])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F32 {
        F32(bytemuck::cast(*from))
    }

    #[inline(always)]
    fn splat_f64(self, value: f64) -> F64 {
        F64([f64x4::splat(value); 4])
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64; LANES]) -> F64 {
        F64(bytemuck::cast(*from))
    }
}

impl super::F32 for F32 {
    type F64 = F64;
    type Mask = Mask;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32([self.0[0].mul_add(b.0[0], c.0[0]), self.0[1].mul_add(b.0[1], c.0[1])])
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32([max(self.0[0], other.0[0]), max(self.0[1], other.0[1])])
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32([min(self.0[0], other.0[0]), min(self.0[1], other.0[1])])
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32([self.0[0].abs(), self.0[1].abs()])
    }

    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        F32([self.0[0].copysign(sign.0[0]), self.0[1].copysign(sign.0[1])])
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask {
        Mask([self.0[0].simd_eq(other.0[0]), self.0[1].simd_eq(other.0[1])])
    }

    #[inline(always)]
    fn exceeds(self, other: Self) -> Mask {
        Mask([self.0[0].simd_gt(other.0[0]), self.0[1].simd_gt(other.0[1])])
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        let [low, high]: [u32x8; 2] = bytemuck::cast(self.0);
        F32(bytemuck::cast([low << 23_u32, high << 23_u32]))
    }

    #[inline(always)]
    fn widen(self) -> F64 {
        let mut lanes = [0.0; LANES];
        for (wide, lane) in lanes.iter_mut().zip(self.to_array()) {
            *wide = f64::from(lane);
        }
        F64(bytemuck::cast(lanes))
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        bytemuck::cast(self.0)
    }
}

/// On x86 `fast_max` is the instruction that the trait's definition was taken from; elsewhere it may differ on NaN.
#[inline(always)]
fn max(a: f32x8, b: f32x8) -> f32x8 {
    #[cfg(target_arch = "x86_64")]
    return a.fast_max(b);
    #[cfg(not(target_arch = "x86_64"))]
    return a.simd_gt(b).select(a, b);
}

/// The same of the smaller one.
#[inline(always)]
fn min(a: f32x8, b: f32x8) -> f32x8 {
    #[cfg(target_arch = "x86_64")]
    return a.fast_min(b);
    #[cfg(not(target_arch = "x86_64"))]
    return a.simd_lt(b).select(a, b);
}

impl super::F64 for F64 {
    type F32 = F32;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F64([
            self.0[0].mul_add(b.0[0], c.0[0]),
            self.0[1].mul_add(b.0[1], c.0[1]),
            self.0[2].mul_add(b.0[2], c.0[2]),
            self.0[3].mul_add(b.0[3], c.0[3]),
        ])
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        let mut lanes = [0.0; LANES];
        for (narrow, lane) in lanes.iter_mut().zip(super::F64::to_array(self)) {
            *narrow = lane as f32;
        }
        F32(bytemuck::cast(lanes))
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        let ([a, b, c, d], mask) = (self.0, f64x4::splat(f64::INFINITY));
        F64([a & mask, b & mask, c & mask, d & mask])
    }

    #[inline(always)]
    fn exponent(self) -> Self {
        let mut bits: [u64x4; 4] = bytemuck::cast(self.0);
        for bits in &mut bits {
            *bits = (*bits >> 52_u32) | u64x4::splat(super::TWO_52.to_bits());
        }
        F64(bytemuck::cast(bits)) - F64([f64x4::splat(super::TWO_52 + 1023.0); 4])
    }

    #[inline(always)]
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let masks = [a.simd_eq(e), b.simd_eq(f), c.simd_eq(g), d.simd_eq(h)];
        let mut lanes = otherwise.0;
        for (i, mask) in masks.into_iter().enumerate() {
            lanes[i] = mask.select(if_equal.0[i], lanes[i]);
        }
        F64(lanes)
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        bytemuck::cast(self.0)
    }
}

impl super::Mask<F32> for Mask {
    #[inline(always)]
    fn select(self, if_set: F32, if_clear: F32) -> F32 {
        F32([self.0[0].select(if_set.0[0], if_clear.0[0]), self.0[1].select(if_set.0[1], if_clear.0[1])])
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        (self.0[0].to_bitmask() | self.0[1].to_bitmask() << 8) as u16
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident),*) => {$(
        impl $operator for F32 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F32([self.0[0].$method(other.0[0]), self.0[1].$method(other.0[1])])
            }
        }

        impl $operator for F64 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
                F64([a.$method(e), b.$method(f), c.$method(g), d.$method(h)])
            }
        }
    )*};
}

operators!(Add add, Sub sub, Mul mul, Div div);
