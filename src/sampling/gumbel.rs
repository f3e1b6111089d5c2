//! Gumbel-max: the token with the largest `x_i / T + g_i`, with `g_i = -log(-log u_i)`, is drawn from the softmax.
//!
//! Each token has 64 bits of its own, from a counter that its id is a part of: what is drawn for one does not depend on which others
//! there are. With `u = (bits + 1/2) / 2^64` and its complement `v = 1 - u`, which is as exact where `u` is near 1, `-log u` is
//! `-log1p(-v)`.
//!
//! Logarithms are taken for few: as `-log u >= v`, `g_i` is at most `-log v`, which is below `(n + 1) log 2` if `v` begins with `n` zeros;
//! and that is not enough for most.

use super::draw::{Purpose, Source};
use super::survivors::Survivors;

/// `-log(-log u)` for `u = (bits + 1/2) / 2^64`.
fn gumbel(bits: u64) -> f64 {
    const UNIT: f64 = 1.0 / (1_u128 << 64) as f64;
    // Near 1 as 1 - v: there are more floats near 0.
    let negative_log = if bits >> 63 == 0 {
        -libm::log((bits as f64 + 0.5) * UNIT)
    } else {
        -libm::log1p(-((!bits) as f64 + 0.5) * UNIT)
    };
    -libm::log(negative_log)
}

/// A number that `g` is not above.
fn most(bits: u64) -> f64 {
    f64::from((!bits).leading_zeros() + 1) * core::f64::consts::LN_2
}

pub fn draw(survivors: &mut Survivors<'_, '_>, source: Source) -> (u32, f32) {
    let (exact, mut words, mut index) = (survivors.exact(), [0; 4], u64::MAX);
    let (mut best, mut largest) = ((0, f32::NEG_INFINITY), f64::NEG_INFINITY);
    survivors.for_each(|id, logit| {
        let id_index = u64::from(id / 4);
        if id_index != index {
            (words, index) = (source.words(Purpose::Gumbel, id_index), id_index);
        }
        let bits = words[id as usize % 4];
        let exponent = exact.exponent(logit);
        if exponent + most(bits) < largest {
            return;
        }
        let value = exponent + gumbel(bits);
        if value > largest {
            (best, largest) = ((id, logit), value);
        }
    });
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_at_both_ends() {
        assert!((gumbel(0) - -(65.0 * core::f64::consts::LN_2).ln()).abs() < 1e-12);
        assert!((gumbel(u64::MAX) - 65.0 * core::f64::consts::LN_2).abs() < 1e-12);
        assert!((gumbel(1 << 63) - -core::f64::consts::LN_2.ln()).abs() < 1e-12);
    }

    #[test]
    fn numbers_are_not_above_what_is_said() {
        for shift in 0..64 {
            for bits in
                [u64::MAX << shift, !(u64::MAX >> shift), u64::MAX >> shift, 1 << shift, !(1 << shift)]
            {
                assert!(gumbel(bits) <= most(bits), "{bits:x}: {} {}", gumbel(bits), most(bits));
            }
        }
    }
}
