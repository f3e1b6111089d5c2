//! Memory for one row at a time.

use super::parts::Parts;
use super::places::{FEW, Places, TOLD};
use super::sample::Sample;
use super::scores::{BLOCK, Room};

/// What does not grow with the vocabulary.
pub struct Scratch {
    /// The tokens that are left, when they are few.
    pub list: Places,
    /// What a read has gathered.
    pub found: Places,
    /// Numbers of some of these.
    pub numbers: [u32; FEW],
    /// The weights of some of these.
    pub weights: [f64; FEW + TOLD],
    pub sample: Sample,
    pub parts: Parts,
    pub room: Room,
}

// The documentation of the feature `std` says how much of a stack it takes without.
const _: () = assert!(size_of::<Scratch>() <= 192 << 10);

impl Scratch {
    // Nothing but zeros, which a program need not have in its file.
    const NEW: Self = Self {
        list: Places::NEW,
        found: Places::NEW,
        numbers: [0; FEW],
        weights: [0.0; FEW + TOLD],
        sample: Sample::NEW,
        parts: Parts::NEW,
        room: [0.0; BLOCK],
    };
}

/// Lends the memory to some work: each thread has its own, which is not cleared for every call.
#[cfg(feature = "std")]
pub fn lend<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    use std::cell::RefCell;
    std::thread_local! {
        static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::NEW) };
    }
    SCRATCH.with_borrow_mut(work)
}

/// Lends memory on the stack.
#[cfg(not(feature = "std"))]
pub fn lend<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = Scratch::NEW;
    work(&mut scratch)
}
