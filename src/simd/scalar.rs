//! The reference machine: an array and core's arithmetic. It runs under any checker and judges the other backends.
//!
//! Operations on lanes are calls: nobody waits for this machine, but everybody would for the compiler, which otherwise
//! unrolls sixteen lanes at each of the hundreds of places where a kernel has one of them.

use core::ops::{Add, Div, Mul, Sub};

use super::{Kernel, LANES, Simd};

/// Always there.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

#[derive(Debug, Clone, Copy)]
pub struct F32([f32; LANES]);

#[derive(Debug, Clone, Copy)]
pub struct F64([f64; LANES]);

#[derive(Debug, Clone, Copy)]
pub struct Mask([bool; LANES]);

#[inline(always)]
fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    core::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    const FUSED: bool = true;
    const OUTLINES: bool = true;

    type F32 = F32;
    type F64 = F64;

    #[inline(never)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32([value; LANES])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F32 {
        F32(*from)
    }

    #[inline(always)]
    fn splat_f64(self, value: f64) -> F64 {
        F64([value; LANES])
    }

    fn load_f64(self, from: &[f64; LANES]) -> F64 {
        F64(*from)
    }
}

impl super::F32 for F32 {
    type F64 = F64;
    type Mask = Mask;

    #[inline(never)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32(core::array::from_fn(|i| mul_add(self.0[i], b.0[i], c.0[i])))
    }

    #[inline(never)]
    fn max(self, other: Self) -> Self {
        F32(zip(self.0, other.0, |a, b| if a > b { a } else { b }))
    }

    #[inline(never)]
    fn min(self, other: Self) -> Self {
        F32(zip(self.0, other.0, |a, b| if a < b { a } else { b }))
    }

    #[inline(never)]
    fn abs(self) -> Self {
        F32(self.0.map(f32::abs))
    }

    #[inline(never)]
    fn copy_sign(self, sign: Self) -> Self {
        F32(zip(self.0, sign.0, f32::copysign))
    }

    #[inline(never)]
    fn equals(self, other: Self) -> Mask {
        Mask(zip(self.0, other.0, |a, b| a == b))
    }

    #[inline(never)]
    fn exceeds(self, other: Self) -> Mask {
        Mask(zip(self.0, other.0, |a, b| a > b))
    }

    #[inline(never)]
    fn low_bits_to_exponent(self) -> Self {
        F32(self.0.map(|x| f32::from_bits(x.to_bits() << 23)))
    }

    #[inline(never)]
    fn widen(self) -> F64 {
        F64(self.0.map(f64::from))
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }
}

/// The fused operation of the standard library where there is one: the same result, sooner.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fmaf(a, b, c);
}

/// The same of f64.
#[inline(always)]
fn mul_add_f64(a: f64, b: f64, c: f64) -> f64 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fma(a, b, c);
}

impl super::F64 for F64 {
    type F32 = F32;

    #[inline(never)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F64(core::array::from_fn(|i| mul_add_f64(self.0[i], b.0[i], c.0[i])))
    }

    #[inline(never)]
    fn narrow(self) -> F32 {
        F32(self.0.map(|x| x as f32))
    }

    #[inline(never)]
    fn power_of_two(self) -> Self {
        F64(self.0.map(|x| f64::from_bits(x.to_bits() & f64::INFINITY.to_bits())))
    }

    #[inline(never)]
    fn exponent(self) -> Self {
        F64(self.0.map(|x| f64::from((x.to_bits() >> 52) as u32) - 1023.0))
    }

    #[inline(never)]
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self {
        let equal = zip(self.0, other.0, |a, b| a == b);
        F64(core::array::from_fn(|i| if equal[i] { if_equal.0[i] } else { otherwise.0[i] }))
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        self.0
    }
}

impl super::Mask<F32> for Mask {
    #[inline(never)]
    fn select(self, if_set: F32, if_clear: F32) -> F32 {
        F32(core::array::from_fn(|i| if self.0[i] { if_set.0[i] } else { if_clear.0[i] }))
    }

    #[inline(never)]
    fn bits(self) -> u16 {
        (0..LANES).fold(0, |bits, i| bits | u16::from(self.0[i]) << i)
    }
}

macro_rules! operators {
    ($($vector:ident: $($operator:ident $method:ident),*;)*) => {$($(
        impl $operator for $vector {
            type Output = Self;

            #[inline(never)]
            fn $method(self, other: Self) -> Self {
                $vector(zip(self.0, other.0, |a, b| a.$method(b)))
            }
        }
    )*)*};
}

operators! {
    F32: Add add, Sub sub, Mul mul, Div div;
    F64: Add add, Sub sub, Mul mul, Div div;
}
