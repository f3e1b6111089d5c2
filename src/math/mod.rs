//! Elementary functions: over lanes, and of the single numbers that a row comes down to.

pub mod double;
pub mod exp;
pub mod exp_wide;
pub mod ln;
pub mod phi;
pub mod tanh;
pub mod trial;
