//! Logarithms of one `f64`, for what is computed once a row.
//!
//! They are made of additions, multiplications, divisions and bits alone: no fused multiply-add, no table, no branch. So
//! they give the same bits everywhere, and a loop over some rows is vectorised.
//!
//! Relative errors are below `2^-39` (`tests` below): nothing beside those of the sums of `f32` that go in.

use core::f64::consts::LN_2;

/// `2^exponent`, for a normal one.
#[inline]
pub const fn power_of_two(exponent: i32) -> f64 {
    debug_assert!(-1022 <= exponent && exponent < 1024);
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// The same of an integer that is a float, in a loop over rows, where a conversion would not be vectorised.
#[inline(always)]
pub fn power_of_two_float(exponent: f32) -> f64 {
    // An integer in the low bits of the sum, as the exponent of exp is found.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    f64::from_bits((f64::from(exponent) + (ROUND + 1023.0)).to_bits() << 52)
}

/// A number as the sum of two floats.
#[inline(always)]
pub fn in_two(x: f64) -> (f32, f32) {
    let hi = x as f32;
    (hi, (x - f64::from(hi)) as f32)
}

/// `ln(x)` for a positive normal `x`. Anything for any other.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    ln_of_quotient(x, 1.0, x - 1.0)
}

/// `ln(x / y)` for positive normal `x` and `y`, given `x - y`, which may be known better than it follows from them: it
/// is all that counts where they are close. Anything for any others.
///
/// `x / y = 2^k m` and `ln(m) = 2 artanh(s)` with `s = (x - 2^k y) / (x + 2^k y)`: one division in all. The bits of a
/// number are a logarithm to base 2, wrong by 0.087 at most, and that is good enough for `k`: with `0.66 < m < 1.51`
/// the series up to `s^15` has what is promised.
#[inline(always)]
pub fn ln_of_quotient(x: f64, y: f64, difference: f64) -> f64 {
    const HALF: u64 = 1 << 51;
    const BIAS: u64 = 1023 << 52;
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    // k + 1023, which is not negative; as the low bits of 2^52 it becomes a float by itself.
    let biased = x.to_bits().wrapping_sub(y.to_bits()).wrapping_add(BIAS + HALF) >> 52;
    let k = f64::from_bits(TWO_52.to_bits() | biased) - (TWO_52 + 1023.0);
    let y = f64::from_bits(y.to_bits().wrapping_add(biased << 52).wrapping_sub(BIAS));
    let s = if biased == BIAS >> 52 { difference } else { x - y } / (x + y);
    // From here on terms go side by side as far as they can: a row alone waits for them.
    let square = s * s;
    let fourth = square * square;
    let eighth = fourth * fourth;
    let even = (2.0 + 2.0 / 5.0 * fourth) + (2.0 / 9.0 + 2.0 / 13.0 * fourth) * eighth;
    let odd = (2.0 / 3.0 + 2.0 / 7.0 * fourth) + (2.0 / 11.0 + 2.0 / 15.0 * fourth) * eighth;
    k * LN_2 + s * (even + square * odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_RELATIVE: f64 = power_of_two(-39);

    /// The relative error of `got`, against a function that is right within a unit of the last place.
    fn relative(got: f64, want: f64) -> f64 {
        if got == want { 0.0 } else { (got / want - 1.0).abs() }
    }

    /// Numbers from `low` to `high`, evenly on a logarithmic scale.
    fn between(low: f64, high: f64) -> impl Iterator<Item = f64> {
        (0..100_000).map(move |i| (low.ln() + (high.ln() - low.ln()) * f64::from(i) / 1e5).exp())
    }

    #[test]
    fn powers_of_two() {
        for exponent in -1022..1024 {
            let power = power_of_two(exponent);
            assert_eq!(power, 2_f64.powi(exponent));
            assert_eq!(power_of_two_float(exponent as f32), power);
        }
    }

    #[test]
    fn two_floats_are_a_number() {
        for x in between(1e-9, 1e9).flat_map(|x| [x, -x]) {
            let (hi, lo) = in_two(x);
            assert_eq!(hi, x as f32);
            assert_eq!(lo, (x - f64::from(hi)) as f32);
            assert!(lo.abs() <= hi.abs() * f32::EPSILON, "{x} as {hi} and {lo}");
        }
    }

    #[test]
    fn logarithms() {
        for x in between(1e-300, 1e300) {
            assert!(relative(ln(x), libm::log(x)) < MAX_RELATIVE, "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn logarithms_of_quotients() {
        let of = |rest: f64, y: f64| ln_of_quotient(y + rest, y, rest);
        for rest in between(1e-300, 1e300) {
            assert!(relative(of(rest, 1.0), libm::log1p(rest)) < MAX_RELATIVE, "{rest}");
            let y = 1.0 + rest.fract();
            assert!(relative(of(rest * y, y), libm::log1p(rest)) < MAX_RELATIVE, "{rest} * {y}");
        }
        assert_eq!(of(0.0, 1.7), 0.0);
    }
}
