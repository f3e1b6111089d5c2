//! Gumbel-max: the token with the largest `x_i / T + g_i`, with `g_i = -log(-log u_i)`, is drawn from the softmax.
//!
//! Each token has 64 bits of its own, from a counter that its id is a part of: what is drawn for one does not depend on which others
//! there are. With `u = (bits + 1/2) / 2^64` and its complement `v = 1 - u`, which is as exact where `u` is near 1, `-log u` is
//! `-log1p(-v)`.
//!
//! Logarithms are taken for few: of a token whose bits are below a bound, `g_i` is too small for it to be the largest.

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

/// The bits below which `g` is below this, or somewhat lower ones.
fn bits_for(g: f64) -> u64 {
    let u = libm::exp(-libm::exp(-g));
    // Rounding may have made it larger by some places.
    ((u - 1e-13).max(0.0) * (1_u128 << 64) as f64) as u64
}

pub fn draw(survivors: &mut Survivors<'_, '_>, source: Source) -> (u32, f32) {
    let (exact, mut words, mut index) = (survivors.exact(), [0; 4], u64::MAX);
    let (mut best, mut most, mut least_bits) = ((0, f32::NEG_INFINITY), f64::NEG_INFINITY, 0);
    survivors.for_each(|id, logit| {
        let id_index = u64::from(id / 4);
        if id_index != index {
            (words, index) = (source.words(Purpose::Gumbel, id_index), id_index);
        }
        let bits = words[id as usize % 4];
        if bits < least_bits {
            return;
        }
        let value = exact.exponent(logit) + gumbel(bits);
        if value > most {
            (best, most) = ((id, logit), value);
            // No exponent is above 0.
            least_bits = bits_for(most);
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
    fn no_token_is_passed_over_that_could_be_the_largest() {
        for g in (-300..4000).map(|g| f64::from(g) / 100.0) {
            let bits = bits_for(g);
            assert!(bits == 0 || gumbel(bits - 1) < g, "{g}");
        }
    }
}
