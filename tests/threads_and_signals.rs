//! What may go from thread to thread, and what a signal handler may call.

mod common;

use logits::{
    Calibration, Candidate, CrossEntropy, Distribution, Draw, Engine, Error, History, Isa, Loss, RowError,
    RowLoss, RowPart, RowStatistics, Rows, RowsMut, Sampler, SamplerBuilder, Samplers, Softmax, Statistics,
    Targets, Token, Verified,
};

#[test]
fn everything_may_go_to_another_thread() {
    fn goes<T: Send + Sync>() {}
    goes::<(Engine, Error, Isa, Softmax, Statistics<'_>)>();
    goes::<(Rows<'_>, RowsMut<'_>, Targets<'_>, Distribution<'_>, CrossEntropy<'_>)>();
    goes::<(Loss, RowLoss, RowPart, RowStatistics, Candidate, Calibration)>();
    goes::<(Sampler, SamplerBuilder, Samplers<'_>, Draw<'_>, History, Token, RowError, Verified)>();
}

/// A row that is interrupted by others stays what it is, and so do they: nothing is left in memory that calls share.
#[cfg(unix)]
#[test]
fn a_signal_handler_may_compute_a_row() {
    use std::ffi::{c_int, c_long};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    const SHORT: usize = 700;
    const SIGALRM: c_int = 14;
    static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    static WANT: AtomicU64 = AtomicU64::new(0);

    unsafe extern "C" {
        fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
        fn setitimer(which: c_int, every: &[c_long; 4], before: Option<&mut [c_long; 4]>) -> c_int;
    }

    fn short() -> u64 {
        let mut row = [0.0; SHORT];
        row.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 50) as f32 * 0.3);
        logits::softmax_in_place(&mut row);
        common::hash(row.iter().map(|y| u64::from(y.to_bits()))) ^ logits::logsumexp(&row).to_bits()
    }

    extern "C" fn interrupt(_: c_int) {
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        if short() != WANT.load(Ordering::Relaxed) {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
    }

    WANT.store(short(), Ordering::Relaxed);
    let x = &common::named_rows(20_000)[2].1;
    let mut want = vec![0.0; x.len()];
    logits::softmax(x, &mut want);
    let every = |microseconds| {
        // SAFETY: two times of two numbers each; the handler allocates nothing, locks nothing, and leaves nothing behind.
        unsafe { setitimer(0, &[0, microseconds, 0, microseconds], None) };
    };
    // SAFETY: as above.
    unsafe { signal(SIGALRM, interrupt) };
    every(300);
    let mut y = vec![0.0; x.len()];
    while INTERRUPTS.load(Ordering::Relaxed) < common::effort(500) {
        logits::softmax(x, &mut y);
        assert!(y == want, "after {} interrupts", INTERRUPTS.load(Ordering::Relaxed));
    }
    every(0);
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
}
