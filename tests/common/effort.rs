//! How much is tried where the CPU is emulated, which takes tens of times as long.

/// Whether `LOGITS_EMULATED` is set.
pub fn is_emulated() -> bool {
    std::env::var_os("LOGITS_EMULATED").is_some()
}

/// Of so many cases one is tried: of 1 each, or of 40 where the CPU is emulated.
///
/// Not for what is hashed: the bits have to be those of every other processor.
pub fn one_of() -> usize {
    if is_emulated() { 40 } else { 1 }
}

/// How many of so many cases are tried.
pub fn effort(cases: usize) -> usize {
    cases.div_ceil(one_of())
}
