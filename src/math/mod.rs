//! Elementary functions over lanes, and powers of two.

pub mod exp;

/// `2^exponent`, for a normal one.
#[inline]
pub const fn power_of_two(exponent: i32) -> f64 {
    debug_assert!(-1022 <= exponent && exponent < 1024);
    f64::from_bits(((1023 + exponent) as u64) << 52)
}
