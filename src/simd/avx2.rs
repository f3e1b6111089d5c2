//! Two `__m256`: AVX2 with FMA.
#![expect(unsafe_code, reason = "intrinsics: a token exists only where this CPU has them")]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::{HALF, Kernel, LANES, STREAM_ALIGNMENT, Simd, TWO_52};

/// Proof of AVX2, FMA, F16C, BMI1, BMI2 and POPCNT: only [`Avx2::new`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

#[derive(Debug, Clone, Copy)]
pub struct F32([__m256; 2]);

#[derive(Debug, Clone, Copy)]
pub struct F64([__m256d; 4]);

#[derive(Debug, Clone, Copy)]
pub struct Mask([__m256; 2]);

impl Avx2 {
    #[inline]
    pub fn new() -> Option<Self> {
        super::has!("avx2" && "fma" && "f16c" && "bmi1" && "bmi2" && "popcnt").then_some(Self(()))
    }
}

/// For each set of a half's lanes their numbers, in order.
static COMPRESSIONS: [[i32; HALF]; 1 << HALF] = {
    let mut compressions = [[0; HALF]; 1 << HALF];
    let mut set = 0;
    while set < 1 << HALF {
        let (mut lane, mut len) = (0, 0);
        while lane < HALF {
            if set >> lane & 1 == 1 {
                compressions[set][len] = lane as i32;
                len += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    compressions
};

/// Runs intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: a token or a vector made by one is at hand, so this CPU has the instructions; the pointers, where
        // there are any, are those of arrays and slices as long as what is loaded or stored.
        unsafe { $($body)* }
    };
}

/// The same for both halves, spelt out: a closure would be a function of its own, without this backend's instructions.
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

/// The same for each of four registers.
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

impl Simd for Avx2 {
    const FUSED: bool = true;
    const STREAMS: bool = true;

    type F32 = F32;
    type F64 = F64;

    #[inline]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt")]
        #[inline(never)]
        fn entry<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
            kernel.run(token)
        }
        intrinsics! { entry(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32([intrinsics! { _mm256_set1_ps(value) }; 2])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F32 {
        F32(intrinsics! { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())] })
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> F32 {
        let mask = first_lanes(from.len());
        // The upper half may begin behind the slice; then its mask is empty and nothing is read.
        let start = from.as_ptr();
        F32(halves!(I => {
            let loaded = _mm256_maskload_ps(start.wrapping_add(8 * I), mask[I]);
            _mm256_blendv_ps(_mm256_set1_ps(fill), loaded, _mm256_castsi256_ps(mask[I]))
        }))
    }

    #[inline(always)]
    fn splat_f64(self, value: f64) -> F64 {
        F64([intrinsics! { _mm256_set1_pd(value) }; 4])
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64; LANES]) -> F64 {
        F64(quarters!(I => _mm256_loadu_pd(from[4 * I..][..4].as_ptr())))
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
        intrinsics! { transpose(rows) }
    }

    #[inline(always)]
    fn sums(self, rows: &[[f64; HALF]; HALF]) -> [f64; HALF] {
        macro_rules! four {
            ($row:literal) => {{
                macro_rules! load {
                    ($i:expr) => {{
                        let row = rows[$row + $i].as_ptr();
                        _mm256_add_pd(_mm256_loadu_pd(row), _mm256_loadu_pd(row.add(4)))
                    }};
                }
                macro_rules! two {
                    ($i:expr) => {{
                        let (a, b) = (load!($i), load!($i + 2));
                        _mm256_add_pd(
                            _mm256_permute2f128_pd::<0x20>(a, b),
                            _mm256_permute2f128_pd::<0x31>(a, b),
                        )
                    }};
                }
                // Rows 0 and 2, and 1 and 3, so that they end in order.
                let (even, odd) = (two!(0), two!(1));
                _mm256_add_pd(_mm256_unpacklo_pd(even, odd), _mm256_unpackhi_pd(even, odd))
            }};
        }
        let mut sums = [0.0; HALF];
        intrinsics! {
            _mm256_storeu_pd(sums.as_mut_ptr(), four!(0));
            _mm256_storeu_pd(sums[4..].as_mut_ptr(), four!(4));
        }
        sums
    }

    #[inline(always)]
    fn maxima(self, rows: &[[f32; LANES]; LANES]) -> [f32; LANES] {
        macro_rules! load {
            ($row:expr) => {{
                let row = rows[$row].as_ptr();
                _mm256_max_ps(_mm256_loadu_ps(row), _mm256_loadu_ps(row.add(8)))
            }};
        }
        macro_rules! two {
            ($row:expr) => {{
                let (a, b) = (load!($row), load!($row + 1));
                _mm256_castps_pd(_mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)))
            }};
        }
        macro_rules! four {
            ($row:expr) => {{
                let (a, b) = (two!($row), two!($row + 2));
                let (a, b) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
                _mm256_max_ps(_mm256_castpd_ps(a), _mm256_castpd_ps(b))
            }};
        }
        macro_rules! eight {
            ($row:expr) => {{
                let (a, b) = (four!($row), four!($row + 4));
                _mm256_max_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
            }};
        }
        let mut maxima = [0.0; LANES];
        intrinsics! {
            _mm256_storeu_ps(maxima.as_mut_ptr(), eight!(0));
            _mm256_storeu_ps(maxima[8..].as_mut_ptr(), eight!(8));
        }
        maxima
    }
}

/// [`Simd::transpose`].
///
/// # Safety
///
/// This CPU has AVX.
#[inline(always)]
pub(super) unsafe fn transpose(rows: [[f32; HALF]; HALF]) -> [[f32; HALF]; HALF] {
    // The left half of a row beside the left half of the row four below, and likewise the right halves: from there on both
    // halves of a register are transposed alike.
    macro_rules! pair {
        ($row:literal, $half:literal) => {{
            let (above, below): ([[f32; 4]; 2], [[f32; 4]; 2]) =
                (bytemuck::cast(rows[$row]), bytemuck::cast(rows[$row + 4]));
            let (above, below) = (_mm_loadu_ps(above[$half].as_ptr()), _mm_loadu_ps(below[$half].as_ptr()));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(above), below)
        }};
    }
    macro_rules! half {
        ($half:literal) => {{
            let (a, b, c, d) = (pair!(0, $half), pair!(1, $half), pair!(2, $half), pair!(3, $half));
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            [
                _mm256_shuffle_ps::<0x44>(ab, cd),
                _mm256_shuffle_ps::<0xee>(ab, cd),
                _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
            ]
        }};
    }
    // SAFETY: the caller's; loads are of arrays.
    let columns: [[__m256; 4]; 2] = unsafe { [half!(0), half!(1)] };
    bytemuck::cast(columns)
}

/// The masks of the first `len` lanes, for fewer than all: a window on ones, then zeros.
#[inline(always)]
fn first_lanes(len: usize) -> [__m256i; 2] {
    const WINDOW: [i32; 2 * LANES] = {
        let mut window = [0; 2 * LANES];
        let mut i = 0;
        while i < LANES {
            window[i] = -1;
            i += 1;
        }
        window
    };
    assert!(len < LANES);
    let window = &WINDOW[LANES - len..][..LANES];
    intrinsics! {
        [
            _mm256_loadu_si256(window.as_ptr().cast()),
            _mm256_loadu_si256(window[8..].as_ptr().cast()),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn in_step([mut a, mut b, mut c, mut d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} {1} {2} {3} */", inout(ymm_reg) a, inout(ymm_reg) b, inout(ymm_reg) c, inout(ymm_reg) d,
            options(pure, nomem, nostack, preserves_flags));
    }
    [a, b, c, d]
}

impl super::F32 for F32 {
    type F64 = F64;
    type Mask = Mask;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32(halves!(I => _mm256_fmadd_ps(self.0[I], b.0[I], c.0[I])))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32(halves!(I => _mm256_max_ps(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32(halves!(I => _mm256_min_ps(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32(halves!(I => _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0[I])))
    }

    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        F32(halves!(I => {
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, self.0[I]), _mm256_and_ps(bit, sign.0[I]))
        }))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask {
        Mask(halves!(I => _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn exceeds(self, other: Self) -> Mask {
        Mask(halves!(I => _mm256_cmp_ps::<_CMP_GT_OQ>(self.0[I], other.0[I])))
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        F32(halves!(I => _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[I])))))
    }

    #[inline(always)]
    fn in_step<const N: usize>(mut vectors: [Self; N]) -> [Self; N] {
        if N == 2 {
            let registers = [vectors[0].0[0], vectors[0].0[1], vectors[1].0[0], vectors[1].0[1]];
            let [a, b, c, d] = intrinsics! { in_step(registers) };
            vectors[0] = F32([a, b]);
            vectors[1] = F32([c, d]);
        }
        vectors
    }

    #[inline(always)]
    fn widen(self) -> F64 {
        let [low, high] = self.0;
        F64(intrinsics! {
            [
                _mm256_cvtps_pd(_mm256_castps256_ps128(low)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(low)),
                _mm256_cvtps_pd(_mm256_castps256_ps128(high)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(high)),
            ]
        })
    }

    #[inline(always)]
    fn compress(self, bits: u16, to: &mut [f32; LANES]) {
        let [low, high] = bits.to_le_bytes().map(usize::from);
        let behind = low.count_ones() as usize;
        intrinsics! {
            let lanes = _mm256_loadu_si256(COMPRESSIONS[low].as_ptr().cast());
            _mm256_storeu_ps(to.as_mut_ptr(), _mm256_permutevar8x32_ps(self.0[0], lanes));
            let lanes = _mm256_loadu_si256(COMPRESSIONS[high].as_ptr().cast());
            _mm256_storeu_ps(to[behind..][..HALF].as_mut_ptr(), _mm256_permutevar8x32_ps(self.0[1], lanes));
        }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        intrinsics! {
            _mm256_storeu_ps(lanes.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(lanes[8..].as_mut_ptr(), self.0[1]);
        }
        lanes
    }

    #[inline(always)]
    fn store(self, to: &mut [MaybeUninit<f32>; LANES]) {
        intrinsics! {
            _mm256_storeu_ps(to.as_mut_ptr().cast(), self.0[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr().cast(), self.0[1]);
        }
    }

    #[inline(always)]
    fn stream(self, to: &mut [MaybeUninit<f32>; LANES]) {
        if !to.as_ptr().addr().is_multiple_of(STREAM_ALIGNMENT) {
            return self.store(to);
        }
        let to: *mut f32 = to.as_mut_ptr().cast();
        intrinsics! {
            _mm256_stream_ps(to, self.0[0]);
            _mm256_stream_ps(to.add(8), self.0[1]);
        }
    }

    #[inline(always)]
    fn store_partial(self, to: &mut [MaybeUninit<f32>]) {
        // Masked stores are slow on some processors, and hold up the load that follows: so by halves of halves.
        assert!(to.len() < LANES);
        let mut at: *mut f32 = to.as_mut_ptr().cast();
        intrinsics! {
            let mut eight = self.0[0];
            if to.len() & 8 != 0 {
                _mm256_storeu_ps(at, eight);
                (at, eight) = (at.add(8), self.0[1]);
            }
            let mut four = _mm256_castps256_ps128(eight);
            if to.len() & 4 != 0 {
                _mm_storeu_ps(at, four);
                (at, four) = (at.add(4), _mm256_extractf128_ps::<1>(eight));
            }
            if to.len() & 2 != 0 {
                _mm_storel_epi64(at.cast(), _mm_castps_si128(four));
                (at, four) = (at.add(2), _mm_movehl_ps(four, four));
            }
            if to.len() & 1 != 0 {
                _mm_store_ss(at, four);
            }
        }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        intrinsics! {
            let x = _mm256_max_ps(self.0[0], self.0[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }
}

impl super::F64 for F64 {
    type F32 = F32;

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F64(quarters!(I => _mm256_fmadd_pd(self.0[I], b.0[I], c.0[I])))
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        let [a, b, c, d] = self.0;
        F32(intrinsics! {
            [
                _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a)),
                _mm256_set_m128(_mm256_cvtpd_ps(d), _mm256_cvtpd_ps(c)),
            ]
        })
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        let mut lanes = [0.0; LANES];
        for (quarter, lanes) in self.0.into_iter().zip(lanes.as_chunks_mut::<4>().0) {
            intrinsics! { _mm256_storeu_pd(lanes.as_mut_ptr(), quarter) }
        }
        lanes
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        F64(quarters!(I => _mm256_and_pd(self.0[I], _mm256_set1_pd(f64::INFINITY))))
    }

    #[inline(always)]
    fn exponent(self) -> Self {
        F64(quarters!(I => {
            let biased = _mm256_castsi256_pd(_mm256_srli_epi64::<52>(_mm256_castpd_si256(self.0[I])));
            let biased = _mm256_or_pd(biased, _mm256_set1_pd(TWO_52));
            _mm256_sub_pd(biased, _mm256_set1_pd(TWO_52 + 1023.0))
        }))
    }

    #[inline(always)]
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self {
        F64(quarters!(I => {
            let equal = _mm256_cmp_pd::<_CMP_EQ_OQ>(self.0[I], other.0[I]);
            _mm256_blendv_pd(otherwise.0[I], if_equal.0[I], equal)
        }))
    }

    #[inline(always)]
    fn halve(self) -> [f64; HALF] {
        let [a, b, c, d] = self.0;
        let mut sums = [0.0; HALF];
        intrinsics! {
            _mm256_storeu_pd(sums.as_mut_ptr(), _mm256_add_pd(a, c));
            _mm256_storeu_pd(sums[4..].as_mut_ptr(), _mm256_add_pd(b, d));
        }
        sums
    }

    #[inline(always)]
    fn reduce_add(self) -> f64 {
        let [a, b, c, d] = self.0;
        intrinsics! {
            let x = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
            let x = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
            _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
        }
    }
}

impl super::Mask<F32> for Mask {
    #[inline(always)]
    fn select(self, if_set: F32, if_clear: F32) -> F32 {
        F32(halves!(I => _mm256_blendv_ps(if_clear.0[I], if_set.0[I], self.0[I])))
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        let [low, high] = halves!(I => _mm256_movemask_ps(self.0[I]));
        (low | high << 8) as u16
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $intrinsic:ident $double:ident),*) => {$(
        impl $operator for F32 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F32(halves!(I => $intrinsic(self.0[I], other.0[I])))
            }
        }

        impl $operator for F64 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                F64(quarters!(I => $double(self.0[I], other.0[I])))
            }
        }
    )*};
}

operators! {
    Add add _mm256_add_ps _mm256_add_pd,
    Sub sub _mm256_sub_ps _mm256_sub_pd,
    Mul mul _mm256_mul_ps _mm256_mul_pd,
    Div div _mm256_div_ps _mm256_div_pd
}
