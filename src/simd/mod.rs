//! One machine of 16 lanes, and the instruction sets that it is made of.
//!
//! A kernel is written once, against [`Simd`]; every backend gives it vectors of 16 lanes, in as many registers as
//! that takes. Lane operations are IEEE-exact and every order of additions is fixed here, so a kernel gives the same
//! bits on every backend that fuses multiply and add ([`Simd::FUSED`]).
//!
//! A backend is a token, a type without data that exists only where its instructions do: [`isa`] makes tokens after
//! asking the CPU, vectors are made by tokens and by each other, and that is the whole argument for the `unsafe` in
//! the backend files.

use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

/// Whether this CPU has features: asked at run time with `std`, else what the program was compiled for.
#[cfg(target_arch = "x86_64")]
macro_rules! has {
    ($($feature:tt)&&+) => {
        $({
            #[cfg(feature = "std")]
            { std::is_x86_feature_detected!($feature) }
            #[cfg(not(feature = "std"))]
            { cfg!(target_feature = $feature) }
        })&&+
    };
}
#[cfg(target_arch = "x86_64")]
use has;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod isa;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod portable;
mod scalar;
mod tests;

/// The lanes of a vector.
pub const LANES: usize = 16;

/// Half of them.
pub const HALF: usize = LANES / 2;

/// A line of the caches, which is written whole where it passes them.
pub const STREAM_ALIGNMENT: usize = 64;

/// `2^52`: an integer in its low bits is an integer that is added to it. So a biased exponent becomes a float.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// Work that runs on any backend: what a closure would be, if closures could be generic.
pub trait Kernel {
    type Output;

    /// Implementations are `#[inline(always)]`: everything below the entry of a backend must end up inside it, or it
    /// is compiled without the backend's instructions.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// A token for an instruction set, and the source of its vectors.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Whether [`F32::mul_add`] rounds once.
    const FUSED: bool;

    /// Whether [`F32::stream`] is anything but a store.
    const STREAMS: bool = false;

    /// Whether elementary functions are calls, for the sake of whoever compiles them.
    const OUTLINES: bool = false;

    /// How many vectors go [in step](F32::in_step) where there are many: 8 if there are registers for them, else 2.
    const IN_STEP: usize = 2;

    type F32: F32<F64 = Self::F64>;
    type F64: F64<F32 = Self::F32>;

    /// Runs a kernel as a function of its own, compiled for this instruction set: also within another kernel, which is then
    /// so much smaller.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, value: f32) -> Self::F32;

    fn load(self, from: &[f32; LANES]) -> Self::F32;

    /// The elements of a slice shorter than a vector, and `fill` behind them.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F32 {
        let mut lanes = [fill; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    fn splat_f64(self, value: f64) -> Self::F64;

    fn load_f64(self, from: &[f64; LANES]) -> Self::F64;

    #[inline(always)]
    fn zero_f64(self) -> Self::F64 {
        self.splat_f64(0.0)
    }

    /// Has the memory at `address`, if there is any, fetched into the first-level cache.
    #[inline(always)]
    fn prefetch<T>(self, _address: *const T) {}

    /// Puts what has been [streamed](F32::stream) before everything that follows.
    #[inline(always)]
    fn fence(self) {}

    /// Rows as columns.
    #[inline(always)]
    fn transpose(self, rows: [[f32; HALF]; HALF]) -> [[f32; HALF]; HALF] {
        let mut columns = rows;
        for (i, column) in columns.iter_mut().enumerate() {
            for (j, row) in rows.iter().enumerate() {
                column[j] = row[i];
            }
        }
        columns
    }

    /// The sum of each row: what [`F64::reduce_add`] does after [`F64::halve`], for several at once.
    #[inline(always)]
    fn sums(self, rows: &[[f64; HALF]; HALF]) -> [f64; HALF] {
        let mut sums = [0.0; HALF];
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = sum_of_halves(row);
        }
        sums
    }

    /// The largest number of each row: what [`F32::reduce_max`] does, for several at once.
    #[inline(always)]
    fn maxima(self, rows: &[[f32; LANES]; LANES]) -> [f32; LANES] {
        let mut maxima = [0.0; LANES];
        for (max, row) in maxima.iter_mut().zip(rows) {
            *max = self.load(row).reduce_max();
        }
        maxima
    }
}

/// 16 lanes of `f32`.
pub trait F32:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    type F64: F64;
    type Mask: Mask<Self>;

    /// `self * b + c`, rounded once if [`Simd::FUSED`].
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// `if self > other { self } else { other }`: `other` where either is NaN, and where both are zeros.
    fn max(self, other: Self) -> Self;

    /// `if self < other { self } else { other }`: `other` where either is NaN, and where both are zeros.
    fn min(self, other: Self) -> Self;

    /// Each lane without its sign.
    fn abs(self) -> Self;

    /// Each lane with the sign of the other.
    fn copy_sign(self, sign: Self) -> Self;

    /// Equal lanes; NaN equals nothing and -0 equals +0.
    fn equals(self, other: Self) -> Self::Mask;

    /// Greater lanes; NaN is not greater than anything, nor is anything than it.
    fn exceeds(self, other: Self) -> Self::Mask;

    /// The low nine bits of each lane's representation, moved up to where sign and exponent stand.
    ///
    /// Of the sum of an integer and `1.5 * 2^23` this makes the power of two whose biased exponent is that integer.
    fn low_bits_to_exponent(self) -> Self;

    fn widen(self) -> Self::F64;

    /// The same vectors, for which the compiler believes to need all of them at once: so that it computes them side by
    /// side and not one behind the other, which few processors would reorder far enough. No instruction comes of it.
    #[inline(always)]
    fn in_step<const N: usize>(vectors: [Self; N]) -> [Self; N] {
        vectors
    }

    fn to_array(self) -> [f32; LANES];

    #[inline(always)]
    fn store(self, to: &mut [MaybeUninit<f32>; LANES]) {
        *to = self.to_array().map(MaybeUninit::new);
    }

    /// Stores the lanes whose bits are set, in their order, and behind them anything.
    #[inline(always)]
    fn compress(self, bits: u16, to: &mut [f32; LANES]) {
        let mut len = 0;
        for (i, lane) in self.to_array().into_iter().enumerate() {
            // Written in any case, and passed only if it counts: no branch to guess.
            to[len % LANES] = lane;
            len += usize::from(bits >> i & 1);
        }
    }

    /// Stores past the caches, if there is a way to and `to` begins at a multiple of [`STREAM_ALIGNMENT`] bytes.
    ///
    /// Nobody may look at what has been stored before [`Simd::fence`].
    #[inline(always)]
    fn stream(self, to: &mut [MaybeUninit<f32>; LANES]) {
        self.store(to);
    }

    /// Stores the first lanes, as many as `to` is long: fewer than a vector has.
    #[inline(always)]
    fn store_partial(self, to: &mut [MaybeUninit<f32>]) {
        for (to, lane) in to.iter_mut().zip(self.to_array()) {
            to.write(lane);
        }
    }

    /// The largest lane, in no particular order: NaN and the sign of zero are the caller's.
    #[inline(always)]
    fn reduce_max(self) -> f32 {
        let lanes = self.to_array();
        fold(lanes, |a, b| if a > b { a } else { b })
    }
}

/// 16 lanes of `f64`.
pub trait F64:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    type F32;

    /// `self * b + c`, rounded once if [`Simd::FUSED`].
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// Rounds each lane to the nearest float.
    fn narrow(self) -> Self::F32;

    /// The exponent of each lane, with a plus and without its mantissa: the greatest power of two that is not above a
    /// normal positive number. Of an infinity and of NaN it is +inf.
    fn power_of_two(self) -> Self;

    /// The `k` of `2^k <= x < 2^(k + 1)`, for a normal positive `x`. Anything for any other.
    fn exponent(self) -> Self;

    /// `if_equal` where lanes are equal, `otherwise` elsewhere.
    fn select_equal(self, other: Self, if_equal: Self, otherwise: Self) -> Self;

    fn to_array(self) -> [f64; LANES];

    /// The sums of lanes that are eight apart.
    #[inline(always)]
    fn halve(self) -> [f64; HALF] {
        let (lanes, mut sums) = (self.to_array(), [0.0; HALF]);
        for i in 0..HALF {
            sums[i] = lanes[i] + lanes[i + HALF];
        }
        sums
    }

    /// The sum of the lanes, folded 16 -> 8 -> 4 -> 2 -> 1.
    #[inline(always)]
    fn reduce_add(self) -> f64 {
        fold(self.to_array(), |a, b| a + b)
    }
}

/// One bit for each lane.
pub trait Mask<V>: Copy {
    /// `if_set` where the mask is set, `if_clear` elsewhere.
    fn select(self, if_set: V, if_clear: V) -> V;

    /// The mask as bits, lane 0 lowest.
    fn bits(self) -> u16;
}

/// One of [`Simd::sums`].
#[inline(always)]
pub fn sum_of_halves([a, b, c, d, e, f, g, h]: &[f64; HALF]) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}
