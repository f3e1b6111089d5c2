//! Memory for one row at a time.

use super::maxima::Maxima;
use super::sample::{self, Sample};
use super::scores::{BLOCK, Room};
use super::sweep::Places;

/// As many tokens are listed.
pub const FEW: usize = 4096;

/// Those of a sample, and as much room to sort them.
const ENTRIES: usize = 2 * sample::MOST;

/// What does not grow with the vocabulary.
pub struct Scratch {
    /// The tokens that are left, when they are few.
    pub list: Places<FEW>,
    /// What a read has gathered.
    pub found: Places<FEW>,
    pub entries: [u64; ENTRIES],
    pub weights: [f64; FEW],
    pub sample: Sample,
    pub maxima: Maxima,
    pub room: Room,
}

// The documentation of the feature `std` says how much of a stack it takes without.
const _: () = assert!(size_of::<Scratch>() <= 192 << 10);

impl Scratch {
    // Nothing but zeros, which a program need not have in its file.
    const NEW: Self = Self {
        list: Places::NEW,
        found: Places::NEW,
        entries: [0; ENTRIES],
        weights: [0.0; FEW],
        sample: Sample::NEW,
        maxima: Maxima::NEW,
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
