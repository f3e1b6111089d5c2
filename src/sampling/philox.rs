//! Random numbers by counting: what is drawn for a place does not depend on what was drawn before.
//!
//! Philox4x64-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011), the generator that
//! NumPy and Random123 have under this name: ten rounds of two multiplications turn a counter of 256 bits and a key of 128
//! into 256 random bits.

const MULTIPLIERS: [u64; 2] = [0xd2e7_470e_e14c_6c93, 0xca5a_8263_9512_1157];
const WEYL: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];
const ROUNDS: usize = 10;

/// The random bits of a counter.
#[inline]
pub fn philox(mut counter: [u64; 4], mut key: [u64; 2]) -> [u64; 4] {
    for _ in 0..ROUNDS {
        let [a, b, c, d] = counter;
        let (first, second) = (product(MULTIPLIERS[0], a), product(MULTIPLIERS[1], c));
        counter = [second.0 ^ b ^ key[0], second.1, first.0 ^ d ^ key[1], first.1];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The high and the low half of a product.
#[inline]
fn product(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64, product as u64)
}

/// A multiple of `2^-53` from 0 on and below 1.
#[inline]
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123, and what NumPy draws: `Philox(counter=[0, 2, 3, 4], key=[5, 6])`, which
    /// counts before it draws.
    #[test]
    fn known_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x1655_4d9e_ca36_314c, 0xdb20_fe9d_672d_0fdc, 0xd7e7_72ce_e186_176b, 0x7e68_b68a_ec7b_a23b]
        );
        assert_eq!(
            philox([u64::MAX; 4], [u64::MAX; 2]),
            [0x87b0_92c3_013f_e90b, 0x438c_3c67_be8d_0224, 0x9cc7_d7c6_9cd7_77b6, 0xa09c_aebf_594f_0ba0]
        );
        assert_eq!(
            philox([1, 2, 3, 4], [5, 6]),
            [0xa39b_5519_339f_e354, 0xaceb_1228_efc2_5196, 0xa0a2_e3c2_5aa5_f4fc, 0x08d0_cfa9_3327_20df]
        );
    }

    #[test]
    fn units_are_below_one() {
        assert_eq!(unit(0), 0.0);
        assert_eq!(unit(u64::MAX), 1.0 - f64::EPSILON / 2.0);
    }
}
