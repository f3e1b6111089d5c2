//! Elementary functions over lanes.

pub mod exp;
