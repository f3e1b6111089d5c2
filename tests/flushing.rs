//! What a program gets that has its processor flush subnormal numbers to zero (FTZ and DAZ on x86-64, FZ on 64-bit Arm).
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

mod common;

use std::arch::asm;
use std::hint::black_box;

use common::*;
use logits::Engine;

/// What says how this thread computes.
fn control() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut control = 0_u32;
        // SAFETY: stores four bytes where there are four.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack)) };
        u64::from(control)
    }
    #[cfg(target_arch = "aarch64")]
    {
        let control;
        // SAFETY: reads a register that every program may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) control, options(nostack)) };
        control
    }
}

fn set_control(control: u64) {
    // SAFETY: but for the bits of flushing these are the values that were there before; what is computed with those bits set is
    // what these tests are about.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &(control as u32), options(nostack, readonly))
    };
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("msr fpcr, {}", in(reg) control, options(nostack))
    };
}

/// FTZ and DAZ; FZ.
const FLUSH: u64 = if cfg!(target_arch = "x86_64") { 1 << 15 | 1 << 6 } else { 1 << 24 };

/// With flushing, on this thread.
#[inline(never)]
fn flushing<T>(work: impl FnOnce() -> T) -> T {
    let before = control();
    set_control(before | FLUSH);
    let result = work();
    set_control(before);
    result
}

#[test]
fn subnormal_numbers_are_flushed_here() {
    let half = |x: f32| black_box(black_box(x) * 0.5);
    assert_eq!(half(f32::MIN_POSITIVE), f32::MIN_POSITIVE / 2.0);
    assert_eq!(flushing(|| half(f32::MIN_POSITIVE)).to_bits(), 0);
}

struct Results {
    floats: Vec<f32>,
    doubles: [u64; 2],
}

fn results(engine: Engine, x: &[f32], temperature: f64) -> Results {
    let mut floats = softmax(engine, x, temperature);
    floats.extend(log_softmax(engine, x, temperature));
    let doubles = [logsumexp(engine, x), entropy(engine, x, temperature)];
    Results { floats, doubles: doubles.map(f64::to_bits) }
}

/// From here on a result has a second term that is not subnormal: the `e lo` of `y = e hi + e lo`, which is `2^-24` of it.
const UNTOUCHED: f32 = f32::MIN_POSITIVE * (1 << 25) as f32;

/// Results that are subnormal are 0 instead. Of other small ones the last place may be another; all others have the same bits.
#[test]
fn small_results_are_flushed_and_others_are_not() {
    let (mut flushed, mut moved) = (0, 0);
    for engine in engines() {
        for len in [1, 17, 64, 65, 1000, 5000] {
            let mut rows = named_rows(len);
            // Logits that are subnormal themselves.
            rows.push((
                "subnormal",
                (0..len).map(|i| f32::from_bits(1 + 77_777 * (i as u32 % 100))).collect(),
            ));
            for (name, x) in rows {
                for temperature in [1.0, 0.7, 3.0] {
                    let want = results(engine, &x, temperature);
                    let got = flushing(|| results(engine, &x, temperature));
                    let context = format!("{}: {name}, {len} at {temperature}", engine.isa());
                    assert_eq!(got.doubles, want.doubles, "{context}");
                    for (got, want) in got.floats.iter().zip(&want.floats) {
                        let context = format!("{context}: {got:e} {want:e}");
                        if got.to_bits() == want.to_bits() {
                            continue;
                        }
                        if *got == 0.0 {
                            assert!(want.is_subnormal(), "{context}");
                            flushed += 1;
                        } else {
                            let places = got.to_bits().abs_diff(want.to_bits());
                            assert!(want.abs() < UNTOUCHED && places == 1, "{context}");
                            moved += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{flushed} results are flushed, and {moved} are another float");
    assert!(flushed > 100);
}
