//! What the tests of this folder share: rows with names, and every form of every operation.
#![allow(dead_code, reason = "each test uses a part")]

mod effort;

pub use effort::*;
use logits::{Engine, Isa, Rows, RowsMut, Softmax, reference};
use proptest::test_runner::Config;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Elements of a segment, which the library does not tell.
pub const SEGMENT: usize = 4096;

/// The lengths at which something begins or ends: a vector, a group, a segment, a window.
pub const LENGTHS: [usize; 26] = [
    1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 255, 1000, 4095, 4096, 4097, 8191, 8192,
    8193, 12287, 12288,
];

/// These, and longer ones where the CPU is not emulated.
pub fn lengths(longer: &[usize]) -> impl Iterator<Item = usize> {
    LENGTHS.into_iter().chain(longer.iter().copied().filter(|_| !is_emulated()))
}

/// So many random cases, as far as [`effort`] goes.
pub fn random_cases(cases: usize) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(effort(cases) as u32) }
}

/// Pools of so many threads each; none where there are no threads.
pub fn pools(threads: impl IntoIterator<Item = usize>) -> impl Iterator<Item = ThreadPool> {
    let threads = threads.into_iter().filter(|_| !cfg!(target_family = "wasm"));
    threads.map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Uniform numbers from a counter (SplitMix64): the same on every run.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn uniform(&mut self, from: f64, to: f64) -> f32 {
        (from + (to - from) * self.unit()) as f32
    }

    pub fn normal(&mut self, sigma: f64) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (sigma * radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// The named rows of a length: the shapes of logits that have gone wrong somewhere.
pub fn named_rows(len: usize) -> Vec<(&'static str, Vec<f32>)> {
    let random = || Random(len as u64 ^ 0x5eed);
    let rows = |f: &mut dyn FnMut(usize, &mut Random) -> f32| {
        let mut random = random();
        (0..len).map(|i| f(i, &mut random)).collect::<Vec<f32>>()
    };
    let lead = len / 3;
    vec![
        ("uniform", rows(&mut |_, r| r.uniform(-10.0, 10.0))),
        ("normal", rows(&mut |_, r| r.normal(1.0))),
        ("wide normal", rows(&mut |_, r| r.normal(5.0))),
        ("leading by 20", rows(&mut |i, r| if i == lead { 20.0 } else { r.uniform(-1.0, 0.0) })),
        ("leading by 60", rows(&mut |i, r| if i == lead { 60.0 } else { r.uniform(-1.0, 0.0) })),
        ("leading by 100", rows(&mut |i, r| if i == lead { 30.0 } else { r.uniform(-71.0, -70.0) })),
        ("constant", vec![0.1; len]),
        ("offset 3000", rows(&mut |_, r| 3000.0 + r.uniform(-10.0, 10.0))),
        ("offset -3000", rows(&mut |_, r| -3000.0 + r.uniform(-10.0, 10.0))),
        ("offset 1e5", rows(&mut |_, r| 1e5 + r.uniform(-10.0, 10.0))),
        ("offset 1e30", rows(&mut |_, r| 1e30 * r.uniform(0.9999, 1.0))),
        ("around 256", rows(&mut |_, r| 256.0 + r.uniform(-3.0, 3.0))),
        ("around -256", rows(&mut |_, r| -256.0 + r.uniform(-3.0, 3.0))),
        ("below 256", rows(&mut |_, r| 255.9 - r.uniform(0.0, 90.0))),
        ("ties one place apart", rows(&mut |i, _| f32::from_bits(5_f32.to_bits() + (i % 2) as u32))),
        ("to -100", rows(&mut |_, r| r.uniform(-100.0, 0.0))),
        ("to -1000", rows(&mut |_, r| r.uniform(-1000.0, 0.0))),
        ("rising", rows(&mut |i, _| i as f32 * 0.05)),
        ("falling", rows(&mut |i, _| -(i as f32) * 0.05)),
        ("tiny", rows(&mut |_, r| r.uniform(-1e-30, 1e-30))),
        (
            "some masked",
            rows(&mut |i, r| if i % 3 == 1 { f32::NEG_INFINITY } else { r.uniform(-10.0, 10.0) }),
        ),
        ("one not masked", rows(&mut |i, _| if i == lead { -7.0 } else { f32::NEG_INFINITY })),
    ]
}

/// The instruction sets that are available, or the one that `LOGITS_ISA` names.
pub fn tested() -> Vec<Isa> {
    match Isa::from_env().unwrap() {
        Some(isa) => vec![isa],
        None => Isa::available().collect(),
    }
}

pub fn engines() -> impl Iterator<Item = Engine> {
    tested().into_iter().map(|isa| Engine::new().with_isa(isa).unwrap().serial())
}

/// Whether an engine is quick enough for rows of so many elements: the scalar one is slow, and gives the same bits as another.
pub fn suits(engine: Engine, len: usize) -> bool {
    engine.isa() != Isa::Scalar || len <= if is_emulated() { 1000 } else { 9000 }
}

/// The best of these instruction sets, and the portable one if it is among them, which may round otherwise.
pub fn best_and_portable() -> impl Iterator<Item = Engine> {
    let best = tested().pop();
    engines().filter(move |engine| Some(engine.isa()) == best || engine.isa() == Isa::Portable)
}

/// Each of them, with the worst that has been seen of it.
pub fn engines_with_worst<T: Default>() -> Vec<(Engine, T)> {
    engines().map(|engine| (engine, T::default())).collect()
}

pub fn fused() -> impl Iterator<Item = Engine> {
    engines().filter(|engine| engine.isa().is_fused())
}

pub fn at(temperature: f64) -> Softmax {
    Softmax { temperature, ..Default::default() }
}

/// One row through an engine.
pub fn softmax(engine: Engine, x: &[f32], temperature: f64) -> Vec<f32> {
    let mut y = vec![0.5; x.len()];
    let rows = Rows::new(x, x.len()).unwrap();
    engine.softmax_with(rows, RowsMut::new(&mut y, x.len()).unwrap(), &at(temperature)).unwrap();
    y
}

pub fn log_softmax(engine: Engine, x: &[f32], temperature: f64) -> Vec<f32> {
    let mut y = vec![0.5; x.len()];
    let rows = Rows::new(x, x.len()).unwrap();
    engine.log_softmax_with(rows, RowsMut::new(&mut y, x.len()).unwrap(), &at(temperature)).unwrap();
    y
}

pub fn logsumexp(engine: Engine, x: &[f32]) -> f64 {
    let mut out = [0.0];
    engine.logsumexp(Rows::new(x, x.len()).unwrap(), &mut out).unwrap();
    out[0]
}

pub fn entropy(engine: Engine, x: &[f32], temperature: f64) -> f64 {
    let mut out = [0.0];
    engine.entropy_with(Rows::new(x, x.len()).unwrap(), &mut out, &at(temperature)).unwrap();
    out[0]
}

/// The worst errors of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Worst {
    /// In units in the last place, of results of at least `2^-126`.
    pub ulp: f64,
    /// In steps of `2^-149`, of smaller ones.
    pub steps: f64,
}

impl Worst {
    pub fn and(self, other: Self) -> Self {
        Self { ulp: self.ulp.max(other.ulp), steps: self.steps.max(other.steps) }
    }
}

/// The worst errors of a softmax. NaN where a probability should be is infinitely wrong.
pub fn worst(got: &[f32], want: &[f64]) -> Worst {
    let mut worst = Worst::default();
    for (&got, &want) in got.iter().zip(want) {
        let error = reference::ulp_error(got, want);
        let of = if want < f64::from(f32::MIN_POSITIVE) { &mut worst.steps } else { &mut worst.ulp };
        *of = of.max(error);
    }
    worst
}

/// The worst error of a log-softmax in units in the last place, where `2^-126` is allowed on top.
pub fn worst_log(got: &[f32], want: &[f64]) -> f64 {
    let error = |(&got, &want): (&f32, &f64)| {
        let small = (f64::from(got) - want).abs() <= f64::from(f32::MIN_POSITIVE);
        if small { 0.0 } else { reference::ulp_error(got, want) }
    };
    got.iter().zip(want).map(error).fold(0.0, f64::max)
}

/// A hash of bits (FNV-1a).
pub fn hash(bits: impl IntoIterator<Item = u64>) -> u64 {
    bits.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, bits| (hash ^ bits).wrapping_mul(0x100_0000_01b3))
}
