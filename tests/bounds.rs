//! Errors against the definition in f64: on the named rows, on random rows, and on rows that were searched for.

mod common;

use common::*;
use logits::{Engine, reference};
use proptest::prelude::*;

/// What is promised, with fused multiply-add and without.
struct Promise {
    softmax: Worst,
    /// In ULP, beyond `2^-126`.
    log_softmax: f64,
    /// Absolute, beyond `2^-50` relative.
    logsumexp: f64,
    /// Relative; of what is below `1e-6`, as if it were that.
    entropy: f64,
}

/// On ordinary rows.
const NAMED: [Promise; 2] = [
    Promise { softmax: Worst { ulp: 3.0, steps: 2.0 }, log_softmax: 3.0, logsumexp: 1e-7, entropy: 5e-7 },
    Promise { softmax: Worst { ulp: 4.0, steps: 2.0 }, log_softmax: 4.0, logsumexp: 1e-7, entropy: 5e-7 },
];

/// On any row: derived in the sources of softmax, log-softmax and logsumexp.
const ANY: [Promise; 2] = [
    Promise { softmax: Worst { ulp: 7.0, steps: 5.0 }, log_softmax: 7.0, logsumexp: 3e-7, entropy: 1e-6 },
    Promise { softmax: Worst { ulp: 9.0, steps: 7.0 }, log_softmax: 9.0, logsumexp: 3e-7, entropy: 1e-6 },
];

fn promised(engine: Engine, promises: &[Promise; 2]) -> &Promise {
    &promises[usize::from(!engine.isa().is_fused())]
}

/// Errors of the operations on a row.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    softmax: Worst,
    log_softmax: f64,
    logsumexp: f64,
    entropy: f64,
}

impl Errors {
    fn and(self, other: Self) -> Self {
        Self {
            softmax: self.softmax.and(other.softmax),
            log_softmax: self.log_softmax.max(other.log_softmax),
            logsumexp: self.logsumexp.max(other.logsumexp),
            entropy: self.entropy.max(other.entropy),
        }
    }

    /// Whether a promise is kept. Not so by NaN.
    fn keep(&self, promise: &Promise) -> bool {
        self.softmax.ulp <= promise.softmax.ulp
            && self.softmax.steps <= promise.softmax.steps
            && self.log_softmax <= promise.log_softmax
            && self.logsumexp <= promise.logsumexp
            && self.entropy <= promise.entropy
    }
}

fn exact_softmax(x: &[f32], temperature: f64) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    reference::softmax(x, temperature, &mut y);
    y
}

fn exact_log_softmax(x: &[f32], temperature: f64) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    reference::log_softmax(x, temperature, &mut y);
    y
}

/// What the definition says of a row.
struct Definition {
    softmax: Vec<f64>,
    log_softmax: Vec<f64>,
    logsumexp: f64,
    entropy: f64,
}

impl Definition {
    fn of(x: &[f32], temperature: f64) -> Self {
        Self {
            softmax: exact_softmax(x, temperature),
            log_softmax: exact_log_softmax(x, temperature),
            logsumexp: reference::logsumexp(x),
            entropy: reference::entropy(x, temperature),
        }
    }

    fn errors(&self, engine: Engine, x: &[f32], temperature: f64) -> Errors {
        Errors {
            softmax: worst(&softmax(engine, x, temperature), &self.softmax),
            log_softmax: worst_log(&log_softmax(engine, x, temperature), &self.log_softmax),
            logsumexp: logsumexp_error(logsumexp(engine, x), self.logsumexp),
            entropy: entropy_error(entropy(engine, x, temperature), self.entropy),
        }
    }
}

fn logsumexp_error(got: f64, want: f64) -> f64 {
    let error = (got - want).abs() - want.abs() * 2_f64.powi(-50);
    if error.is_nan() { f64::INFINITY } else { error }
}

fn entropy_error(got: f64, want: f64) -> f64 {
    let error = (got - want).abs() / want.max(1e-6);
    if error.is_nan() { f64::INFINITY } else { error }
}

#[test]
fn named_rows_are_within_three_ulp() {
    let mut most = engines_with_worst::<Errors>();
    for len in lengths(&[262_144, 262_145]) {
        for (name, x) in named_rows(len) {
            for temperature in [1.0, 0.7, 3.0] {
                let want = Definition::of(&x, temperature);
                for (engine, most) in most.iter_mut().filter(|(engine, _)| suits(*engine, len)) {
                    let found = want.errors(*engine, &x, temperature);
                    let isa = engine.isa();
                    assert!(
                        found.keep(promised(*engine, &NAMED)),
                        "{isa}: {name}, {len} at T = {temperature}: {found:?}"
                    );
                    *most = most.and(found);
                }
            }
        }
    }
    for (engine, most) in most {
        println!("{:8} {most:?}", engine.isa());
    }
}

/// A row whose smallest probability is wrong by more than two steps: what is promised of any row has to be more.
#[test]
fn a_subnormal_probability_may_be_off_by_some_steps() {
    let terms =
        [-93.294304, -93.27002, -92.61179, -92.55215, -93.057915, -92.77676, -92.60369, -93.134575_f32];
    let mut x: Vec<f32> = terms.iter().flat_map(|&x| [x; 16]).collect();
    x.push(-175.35985);
    let want = exact_softmax(&x, 1.0);
    for engine in fused() {
        let found = worst(&softmax(engine, &x, 1.0), &want);
        assert!(found.steps > 2.0 && found.steps <= ANY[0].softmax.steps, "{}: {found:?}", engine.isa());
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
    #![proptest_config(random_cases(2000))]

    #[test]
    fn any_row_is_within_the_derived_bounds(
        x in any_row(),
        temperature in prop_oneof![Just(1.0), 0.01..100.0_f64, 1e-30..1e30, 1e-48..1e-30],
    ) {
        let want = Definition::of(&x, temperature);
        for engine in engines() {
            let found = want.errors(engine, &x, temperature);
            prop_assert!(found.keep(promised(engine, &ANY)), "{}: {found:?}", engine.isa());
        }
    }

    /// The scalar machine is the reference for every bit.
    #[test]
    fn fused_instruction_sets_have_the_bits_of_the_scalar_one(x in any_row(), temperature in prop_oneof![Just(1.0), 0.01..100.0_f64]) {
        let bits = |engine: Engine| {
            let softmax = softmax(engine, &x, temperature);
            let log_softmax = log_softmax(engine, &x, temperature);
            let floats: Vec<u32> = softmax.iter().chain(&log_softmax).map(|y| y.to_bits()).collect();
            (floats, logsumexp(engine, &x).to_bits(), entropy(engine, &x, temperature).to_bits())
        };
        let mut engines = fused();
        let want = engines.next().map(bits);
        for engine in engines {
            prop_assert_eq!(Some(bits(engine)), want.clone(), "{}", engine.isa());
        }
    }
}

/// Hill climbing: rows are changed a little at a time, and a change is kept if it makes the error larger.
fn search<T: Send>(
    tries: usize,
    nothing: fn() -> T,
    error: impl Fn(&[f32], f64) -> T + Sync,
    size: fn(&T) -> f64,
    and: fn(T, T) -> T,
) -> T {
    const ROW_TRIES: usize = 4000;
    let climb = |start: usize| {
        let mut random = Random(start as u64);
        // Many rows of some groups, some of a segment, a few that are merged.
        let len = match start % 8 {
            0 => 4097 + random.below(300),
            1 | 2 => 1 + random.below(2000),
            _ => 1 + random.below(140),
        };
        let temperature = [1.0, 1.0, 0.7, 3.0][random.below(4)];
        let scale = [0.5, 5.0, 40.0, 110.0][random.below(4)];
        let offset = [0.0, 0.0, 250.0, -3000.0, 1e4][random.below(5)];
        let mut row: Vec<f32> = (0..len).map(|_| random.uniform(-scale, 0.0) + offset).collect();
        let mut most = error(&row, temperature);
        for _ in 0..effort(ROW_TRIES) {
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
            let found = error(&row, temperature);
            if size(&found) >= size(&most) {
                most = found;
            } else {
                row = kept;
            }
        }
        most
    };
    let starts = tries.div_ceil(ROW_TRIES);
    let (climb, threads) = (&climb, std::thread::available_parallelism().map_or(1, usize::from));
    let work = |thread: usize| (thread..starts).step_by(threads).map(climb).fold(nothing(), and);
    // This thread works too: where there are no others it is the only one.
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        others.into_iter().map(|other| other.join().unwrap()).fold(work(0), and)
    })
}

/// Searches on the best instruction set here, and on the portable one.
fn search_all(tries: usize) {
    for engine in best_and_portable() {
        let isa = engine.isa();
        let promise = promised(engine, &ANY);
        let found = search(
            tries,
            Worst::default,
            |x, temperature| worst(&softmax(engine, x, temperature), &exact_softmax(x, temperature)),
            // Steps of subnormal numbers are found by the way.
            |worst| worst.ulp,
            Worst::and,
        );
        println!("{isa:8} softmax {:.3} ULP, {:.3} steps", found.ulp, found.steps);
        assert!(found.ulp <= promise.softmax.ulp && found.steps <= promise.softmax.steps, "softmax, {isa}");
        let float = |tries, error: &(dyn Fn(&[f32], f64) -> f64 + Sync)| {
            search(tries, || 0.0, error, |&error| error, f64::max)
        };
        let found = float(tries, &|x, temperature| {
            worst_log(&log_softmax(engine, x, temperature), &exact_log_softmax(x, temperature))
        });
        println!("{isa:8} log-softmax {found:.3} ULP");
        assert!(found <= promise.log_softmax, "log-softmax, {isa}");
        let found = float(tries, &|x, _| logsumexp_error(logsumexp(engine, x), reference::logsumexp(x)));
        println!("{isa:8} logsumexp {found:.3e}");
        assert!(found <= promise.logsumexp, "logsumexp, {isa}");
        let found = float(tries, &|x, temperature| {
            entropy_error(entropy(engine, x, temperature), reference::entropy(x, temperature))
        });
        println!("{isa:8} entropy {found:.3e}");
        assert!(found <= promise.entropy, "entropy, {isa}");
    }
}

#[test]
fn a_short_search_does_not_break_the_bounds() {
    search_all(32_000);
}

#[test]
#[ignore = "a million tries an operation: minutes"]
fn a_long_search_does_not_break_the_bounds() {
    search_all(1_000_000);
}
