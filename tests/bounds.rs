//! Errors against the definition in f64: on the named rows, on random rows, and on rows that were searched for.

mod common;

use common::*;
use logits::{Engine, reference};
use proptest::prelude::*;

/// What is promised on ordinary rows, in ULP: with fused multiply-add, and without.
const NAMED: [f64; 2] = [3.0, 4.0];

/// What is promised on any row, in ULP: see the documentation of softmax and log-softmax.
const ANY: [f64; 2] = [8.0, 10.0];

/// Two steps of `2^-149` are allowed where a probability is subnormal.
const SUBNORMAL: f64 = 1.0 / 2.0;

fn bound(engine: Engine, bounds: [f64; 2]) -> f64 {
    bounds[usize::from(!engine.isa().is_fused())]
}

/// Errors of the three operations on a row.
struct Errors {
    softmax: f64,
    log_softmax: f64,
    /// Absolute, less `2^-50` relative.
    logsumexp: f64,
}

fn errors(engine: Engine, x: &[f32], temperature: f64) -> Errors {
    let mut want = vec![0.0; x.len()];
    reference::softmax(x, temperature, &mut want);
    let (softmax, _) = worst(&softmax(engine, x, temperature), &want, SUBNORMAL);
    reference::log_softmax(x, temperature, &mut want);
    let (log_softmax, _) = worst_log(&log_softmax(engine, x, temperature), &want);
    let want = reference::logsumexp(x);
    let logsumexp = (logsumexp(engine, x) - want).abs() - want.abs() * 2_f64.powi(-50);
    Errors { softmax, log_softmax, logsumexp }
}

#[test]
fn named_rows_are_within_three_ulp() {
    for engine in engines() {
        let mut most = Errors { softmax: 0.0, log_softmax: 0.0, logsumexp: 0.0 };
        for len in LENGTHS.into_iter().chain([262_144, 262_145]) {
            // The scalar machine is slow, and gives the same bits.
            if len > 100_000 && engine.isa() == logits::Isa::Scalar {
                continue;
            }
            for (name, x) in named_rows(len) {
                for temperature in [1.0, 0.7, 3.0] {
                    let found = errors(engine, &x, temperature);
                    let context = format!("{}, {name}, {len} at T = {temperature}", engine.isa());
                    let named = bound(engine, NAMED);
                    assert!(found.softmax <= named, "softmax, {context}: {}", found.softmax);
                    assert!(found.log_softmax <= named, "log-softmax, {context}: {}", found.log_softmax);
                    assert!(found.logsumexp <= 4e-7, "logsumexp, {context}: {:e}", found.logsumexp);
                    most.softmax = most.softmax.max(found.softmax);
                    most.log_softmax = most.log_softmax.max(found.log_softmax);
                    most.logsumexp = most.logsumexp.max(found.logsumexp);
                }
            }
        }
        println!(
            "{:8} softmax {:.3} ULP, log-softmax {:.3} ULP, logsumexp {:.2e}",
            engine.isa(),
            most.softmax,
            most.log_softmax,
            most.logsumexp
        );
    }
}

/// Any floats that have a distribution.
fn any_row() -> impl Strategy<Value = Vec<f32>> {
    let finite = prop_oneof![
        4 => -20.0_f32..20.0,
        2 => -300.0_f32..300.0,
        1 => proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO,
        1 => Just(f32::NEG_INFINITY),
    ];
    (proptest::collection::vec(finite, 1..300), -1e5_f32..1e5).prop_map(|(mut row, first)| {
        row[0] = first;
        row
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_row_is_within_the_derived_bounds(x in any_row(), temperature in prop_oneof![Just(1.0), 0.01..100.0_f64, 1e-30..1e30]) {
        for engine in engines() {
            let found = errors(engine, &x, temperature);
            prop_assert!(found.softmax <= bound(engine, ANY), "{}: softmax {}", engine.isa(), found.softmax);
            prop_assert!(found.log_softmax <= bound(engine, ANY), "{}: log-softmax {}", engine.isa(), found.log_softmax);
            prop_assert!(found.logsumexp <= 5e-7, "{}: logsumexp {:e}", engine.isa(), found.logsumexp);
        }
    }

    /// The scalar machine is the reference for every bit.
    #[test]
    fn fused_instruction_sets_have_the_bits_of_the_scalar_one(x in any_row(), temperature in prop_oneof![Just(1.0), 0.01..100.0_f64]) {
        let bits = |engine: Engine| {
            let softmax = softmax(engine, &x, temperature);
            let log_softmax = log_softmax(engine, &x, temperature);
            let floats: Vec<u32> = softmax.iter().chain(&log_softmax).map(|y| y.to_bits()).collect();
            (floats, logsumexp(engine, &x).to_bits())
        };
        let engines: Vec<_> = fused().collect();
        let want = bits(engines[0]);
        for &engine in &engines[1..] {
            prop_assert_eq!(&bits(engine), &want, "{}", engine.isa());
        }
    }
}

/// Hill climbing: rows are changed a little at a time, and a change is kept if it makes the error larger.
fn search(tries: usize, error: impl Fn(&[f32]) -> f64 + Sync) -> f64 {
    const ROW_TRIES: usize = 4000;
    let climb = |start: usize| {
        let mut random = Random(start as u64);
        let len = 1 + random.below(if start.is_multiple_of(4) { 2000 } else { 140 });
        let scale = [0.5, 5.0, 40.0, 110.0][random.below(4)];
        let offset = [0.0, 0.0, 250.0, -3000.0, 1e4][random.below(5)];
        let mut row: Vec<f32> = (0..len).map(|_| random.uniform(-scale, 0.0) + offset).collect();
        let mut most = error(&row);
        for _ in 0..ROW_TRIES {
            let i = random.below(len);
            let kept = row.clone();
            match random.below(4) {
                0 => row[i] = random.uniform(-scale, 0.0) + offset,
                1 => row[i] = f32::from_bits(row[i].to_bits().wrapping_add(random.below(64) as u32)),
                2 => {
                    // Terms of one size lose most to rounding.
                    let j = random.below(len);
                    row[i] = row[j];
                }
                _ => {
                    let by = random.uniform(-0.1, 0.1);
                    for x in &mut row[i.saturating_sub(16)..=i] {
                        *x += by;
                    }
                }
            }
            let found = error(&row);
            if found >= most {
                most = found;
            } else {
                row = kept;
            }
        }
        most
    };
    let starts = tries / ROW_TRIES;
    let (climb, threads) = (&climb, std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || (thread..starts).step_by(threads).map(climb).fold(0.0, f64::max))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(0.0, f64::max)
    })
}

fn search_all(tries: usize) {
    let engine = Engine::new().serial();
    let found = search(tries, |x| {
        let mut want = vec![0.0; x.len()];
        reference::softmax(x, 1.0, &mut want);
        worst(&softmax(engine, x, 1.0), &want, SUBNORMAL).0
    });
    println!("softmax: {found:.3} ULP");
    assert!(found <= bound(engine, ANY), "softmax {found}");
    let found = search(tries, |x| {
        let mut want = vec![0.0; x.len()];
        reference::log_softmax(x, 1.0, &mut want);
        worst_log(&log_softmax(engine, x, 1.0), &want).0
    });
    println!("log-softmax: {found:.3} ULP");
    assert!(found <= bound(engine, ANY), "log-softmax {found}");
    let found = search(tries, |x| {
        let want = reference::logsumexp(x);
        (logsumexp(engine, x) - want).abs() - want.abs() * 2_f64.powi(-50)
    });
    println!("logsumexp: {found:.3e}");
    assert!(found <= 5e-7, "logsumexp {found:e}");
}

#[test]
fn a_short_search_does_not_break_the_bounds() {
    search_all(40_000);
}

#[test]
#[ignore = "a million tries an operation: minutes"]
fn a_long_search_does_not_break_the_bounds() {
    search_all(1_000_000);
}
