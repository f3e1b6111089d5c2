//! One `__m512`: AVX-512 F, VL, BW and DQ.
#![expect(unsafe_code, reason = "intrinsics: a token exists only where this CPU has them")]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::{HALF, Kernel, LANES, STREAM_ALIGNMENT, Simd};

/// Proof of AVX-512 F, VL, BW and DQ, and of what AVX2 is a proof of: only [`Avx512::new`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

#[derive(Debug, Clone, Copy)]
pub struct F32(__m512);

#[derive(Debug, Clone, Copy)]
pub struct F64([__m512d; 2]);

#[derive(Debug, Clone, Copy)]
pub struct Mask(__mmask16);

impl Avx512 {
    #[inline]
    pub fn new() -> Option<Self> {
        super::avx2::Avx2::new()?;
        super::has!("avx512f" && "avx512vl" && "avx512bw" && "avx512dq").then_some(Self(()))
    }
}

/// Runs intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: a token or a vector made by one is at hand, so this CPU has the instructions; the pointers, where
        // there are any, are those of arrays and slices as long as what is loaded or stored.
        unsafe { $($body)* }
    };
}

/// The same for both registers of doubles, spelt out: a closure would be a function of its own, without this backend's
/// instructions.
macro_rules! halves {
    ($i:ident => $half:expr) => {
        intrinsics! {
            [
                { const $i: usize = 0; $half },
                { const $i: usize = 1; $half },
            ]
        }
    };
}

impl Simd for Avx512 {
    const FUSED: bool = true;
    const STREAMS: bool = true;
    const IN_STEP: usize = 8;

    type F32 = F32;
    type F64 = F64;

    #[inline]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c,bmi1,bmi2,popcnt")]
        #[inline(never)]
        fn entry<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
            kernel.run(token)
        }
        intrinsics! { entry(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32(intrinsics! { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F32 {
        // By halves, which become one load where they are used as one: where they are widened it is a part of that.
        F32(intrinsics! {
            let (low, high) = (_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[HALF..].as_ptr()));
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        })
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> F32 {
        let mask = first_lanes(from.len());
        F32(intrinsics! { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, from.as_ptr()) })
    }

    #[inline(always)]
    fn splat_f64(self, value: f64) -> F64 {
        F64([intrinsics! { _mm512_set1_pd(value) }; 2])
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64; LANES]) -> F64 {
        F64(halves!(I => _mm512_loadu_pd(from[HALF * I..][..HALF].as_ptr())))
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        intrinsics! { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn fence(self) {
        intrinsics! { _mm_sfence() }
    }

    #[inline(always)]
    fn transpose(self, rows: [[f32; HALF]; HALF]) -> [[f32; HALF]; HALF] {
        intrinsics! { super::avx2::transpose(rows) }
    }

    #[inline(always)]
    fn sums(self, rows: &[[f64; HALF]; HALF]) -> [f64; HALF] {
        // At each level two vectors become one: what is left of the first in its lower half, of the second in its upper.
        macro_rules! load {
            ($row:literal) => {
                _mm512_loadu_pd(rows[$row].as_ptr())
            };
        }
        macro_rules! fold {
            ($a:expr, $b:expr, $first:literal, $second:literal) => {{
                let (a, b) = ($a, $b);
                _mm512_add_pd(_mm512_shuffle_f64x2::<$first>(a, b), _mm512_shuffle_f64x2::<$second>(a, b))
            }};
        }
        macro_rules! four {
            ($a:literal, $b:literal, $c:literal, $d:literal) => {
                fold!(
                    fold!(load!($a), load!($b), 0x44, 0xee),
                    fold!(load!($c), load!($d), 0x44, 0xee),
                    0x88,
                    0xdd
                )
            };
        }
        let mut sums = [0.0; HALF];
        intrinsics! {
            // Even rows and odd ones, so that they end in order.
            let (even, odd) = (four!(0, 2, 4, 6), four!(1, 3, 5, 7));
            let folded = _mm512_add_pd(_mm512_unpacklo_pd(even, odd), _mm512_unpackhi_pd(even, odd));
            _mm512_storeu_pd(sums.as_mut_ptr(), folded);
        }
        sums
    }

    #[inline(always)]
    fn maxima(self, rows: &[[f32; LANES]; LANES]) -> [f32; LANES] {
        macro_rules! two {
            ($row:expr) => {{
                let (a, b) = (_mm512_loadu_ps(rows[$row].as_ptr()), _mm512_loadu_ps(rows[$row + 1].as_ptr()));
                _mm512_castps_pd(_mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)))
            }};
        }
        macro_rules! four {
            ($row:expr) => {{
                let (a, b) = (two!($row), two!($row + 2));
                let (a, b) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
                _mm512_max_ps(_mm512_castpd_ps(a), _mm512_castpd_ps(b))
            }};
        }
        macro_rules! fold {
            ($a:expr, $b:expr, $first:literal, $second:literal) => {{
                let (a, b) = ($a, $b);
                _mm512_max_ps(_mm512_shuffle_f32x4::<$first>(a, b), _mm512_shuffle_f32x4::<$second>(a, b))
            }};
        }
        let mut maxima = [0.0; LANES];
        intrinsics! {
            let (first, second) = (fold!(four!(0), four!(4), 0x44, 0xee), fold!(four!(8), four!(12), 0x44, 0xee));
            _mm512_storeu_ps(maxima.as_mut_ptr(), fold!(first, second, 0x88, 0xdd));
        }
        maxima
    }
}

/// The mask of the first `len` lanes, for fewer than all.
#[inline(always)]
fn first_lanes(len: usize) -> __mmask16 {
    assert!(len < LANES);
    (1 << len) - 1
}

/// Eight registers that are needed at once.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_step([mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h]: [__m512; 8]) -> [__m512; 8] {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} {1} {2} {3} {4} {5} {6} {7} */",
            inout(zmm_reg) a, inout(zmm_reg) b, inout(zmm_reg) c, inout(zmm_reg) d,
            inout(zmm_reg) e, inout(zmm_reg) f, inout(zmm_reg) g, inout(zmm_reg) h,
            options(pure, nomem, nostack, preserves_flags));
    }
    [a, b, c, d, e, f, g, h]
}

impl super::F32 for F32 {
    type F64 = F64;
    type Mask = Mask;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32(intrinsics! { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32(intrinsics! { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32(intrinsics! { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32(intrinsics! { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        // A bit of the first says whether that of the second is taken, or that of the third.
        const SELECT: i32 = 0xca;
        F32(intrinsics! {
            let (magnitude, sign) = (_mm512_castps_si512(self.0), _mm512_castps_si512(sign.0));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<SELECT>(_mm512_set1_epi32(i32::MIN), sign, magnitude))
        })
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask {
        Mask(intrinsics! { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) })
    }

    #[inline(always)]
    fn exceeds(self, other: Self) -> Mask {
        Mask(intrinsics! { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        F32(intrinsics! { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0))) })
    }

    #[inline(always)]
    fn in_step<const N: usize>(mut vectors: [Self; N]) -> [Self; N] {
        if let Some(eight) = vectors.first_chunk_mut::<8>() {
            let [a, b, c, d, e, f, g, h] = *eight;
            let registers = intrinsics! { in_step([a.0, b.0, c.0, d.0, e.0, f.0, g.0, h.0]) };
            for (vector, register) in eight.iter_mut().zip(registers) {
                vector.0 = register;
            }
        }
        vectors
    }

    #[inline(always)]
    fn widen(self) -> F64 {
        F64(intrinsics! {
            [
                _mm512_cvtps_pd(_mm512_castps512_ps256(self.0)),
                _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0)),
            ]
        })
    }

    #[inline(always)]
    fn compress(self, bits: u16, to: &mut [f32; LANES]) {
        // All lanes are stored: to store some takes much longer.
        intrinsics! { _mm512_storeu_ps(to.as_mut_ptr(), _mm512_maskz_compress_ps(bits, self.0)) }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        intrinsics! { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }

    #[inline(always)]
    fn store(self, to: &mut [MaybeUninit<f32>; LANES]) {
        intrinsics! { _mm512_storeu_ps(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn stream(self, to: &mut [MaybeUninit<f32>; LANES]) {
        if !to.as_ptr().addr().is_multiple_of(STREAM_ALIGNMENT) {
            return self.store(to);
        }
        intrinsics! { _mm512_stream_ps(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn store_partial(self, to: &mut [MaybeUninit<f32>]) {
        let mask = first_lanes(to.len());
        intrinsics! { _mm512_mask_storeu_ps(to.as_mut_ptr().cast(), mask, self.0) }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        intrinsics! { _mm512_reduce_max_ps(self.0) }
    }
}

impl super::F64 for F64 {
    type F32 = F32;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F64(intrinsics! {
            [_mm512_fmadd_pd(self.0[0], b.0[0], c.0[0]), _mm512_fmadd_pd(self.0[1], b.0[1], c.0[1])]
        })
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        F32(intrinsics! {
            let (low, high) = (_mm512_cvtpd_ps(self.0[0]), _mm512_cvtpd_ps(self.0[1]));
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        F64(halves!(I => _mm512_and_pd(self.0[I], _mm512_set1_pd(f64::INFINITY))))
    }

    #[inline(always)]
    fn exponent(self) -> Self {
        F64(halves!(I => _mm512_getexp_pd(self.0[I])))
    }

    #[inline(always)]
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self {
        F64(halves!(I => {
            let equal = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0[I], other.0[I]);
            _mm512_mask_blend_pd(equal, otherwise.0[I], if_equal.0[I])
        }))
    }

    #[inline(always)]
    fn halve(self) -> [f64; HALF] {
        let mut sums = [0.0; HALF];
        intrinsics! { _mm512_storeu_pd(sums.as_mut_ptr(), _mm512_add_pd(self.0[0], self.0[1])) };
        sums
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        let mut lanes = [0.0; LANES];
        intrinsics! {
            _mm512_storeu_pd(lanes.as_mut_ptr(), self.0[0]);
            _mm512_storeu_pd(lanes[8..].as_mut_ptr(), self.0[1]);
        }
        lanes
    }

    #[inline(always)]
    fn reduce_add(self) -> f64 {
        intrinsics! {
            let x = _mm512_add_pd(self.0[0], self.0[1]);
            let x = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd::<1>(x));
            let x = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
            _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
        }
    }
}

impl super::Mask<F32> for Mask {
    #[inline(always)]
    fn select(self, if_set: F32, if_clear: F32) -> F32 {
        F32(intrinsics! { _mm512_mask_blend_ps(self.0, if_clear.0, if_set.0) })
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        self.0
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $intrinsic:ident $double:ident),*) => {$(
        impl $operator for F32 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F32(intrinsics! { $intrinsic(self.0, other.0) })
            }
        }

        impl $operator for F64 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F64(halves!(I => $double(self.0[I], other.0[I])))
            }
        }
    )*};
}

operators! {
    Add add _mm512_add_ps _mm512_add_pd,
    Sub sub _mm512_sub_ps _mm512_sub_pd,
    Mul mul _mm512_mul_ps _mm512_mul_pd,
    Div div _mm512_div_ps _mm512_div_pd
}
