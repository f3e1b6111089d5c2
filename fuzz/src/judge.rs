//! What is common to all targets: the instruction sets, threads, rows with gaps between them, and comparisons.

use std::fmt::Debug;
use std::sync::LazyLock;

use logits::{Engine, Error, Isa, Rows, RowsMut, Softmax, reference};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// `2^-24`.
pub const U: f64 = 1.0 / (1 << 24) as f64;

/// From so many elements on threads share them.
const SHARED: usize = 1 << 15;

static ENGINES: LazyLock<Vec<Engine>> =
    LazyLock::new(|| Isa::available().map(|isa| Engine::new().with_isa(isa).unwrap().serial()).collect());

static POOL: LazyLock<ThreadPool> =
    LazyLock::new(|| ThreadPoolBuilder::new().num_threads(3).build().expect("threads"));

/// One on each instruction set that is here, all on this thread.
pub fn engines() -> &'static [Engine] {
    &ENGINES
}

/// Runs something on the best instruction set and on others, and judges what comes of it. On fused ones that has to be the
/// same, down to the bits, and also where threads share the elements, if there are so many, or results are written past the
/// caches. `luck` says which others: all of them, or one.
pub fn on_all<T: PartialEq + Debug + Send>(
    luck: u64,
    elements: usize,
    run: impl Fn(Engine) -> T + Sync,
    judge: impl Fn(&T, bool, &dyn Debug),
) {
    let (mut fused, luck) = (None, luck >> 16);
    let (others, turn) = (engines().len() - 1, luck as usize / 4);
    for (i, &engine) in engines().iter().enumerate() {
        // The scalar machine comes first, and takes ten times as long as all others together.
        let chosen = if luck % 4 == 0 || others == 1 { 0 } else { 1 + turn % (others - 1) };
        if i < others && i != chosen && luck % 32 != 0 {
            continue;
        }
        let got = run(engine);
        if !engine.isa().is_fused() {
            judge(&got, false, &engine.isa());
            continue;
        }
        match &fused {
            None => {
                judge(&got, true, &engine.isa());
                fused = Some(got);
            }
            Some(want) => assert!(got == *want, "{} has other bits: {got:?} and not {want:?}", engine.isa()),
        }
    }
    let best = Engine::new();
    let Some(want) = fused.filter(|_| best.isa().is_fused()) else { return };
    if luck & 0x30_0000 == 0 {
        assert!(run(best.serial().stream_from(0)) == want, "past the caches there are other bits");
    }
    if elements >= SHARED {
        assert!(POOL.install(|| run(best)) == want, "threads have other bits");
        assert!(POOL.install(|| run(best.stream_from(0))) == want, "threads have other bits past the caches");
    }
}

/// Rows with gaps between them.
#[derive(Debug)]
pub struct Table {
    pub data: Vec<f32>,
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
}

impl Table {
    /// What is in the gaps, which nobody may read or write: of no row, and told from any NaN that is computed.
    const GAP: u32 = 0xffc0_1234;

    pub fn new((rows, cols): (usize, usize), gap: usize, mut row: impl FnMut(usize) -> Vec<f32>) -> Self {
        let stride = cols + gap;
        let mut data = Vec::with_capacity(rows * stride);
        for _ in 0..rows {
            data.extend(row(cols));
            data.resize(data.len() + gap, f32::from_bits(Self::GAP));
        }
        Self { data, rows, cols, stride }
    }

    /// The same shape, to be written.
    pub fn filled(&self, gap: usize, value: f32) -> Self {
        Self::new((self.rows, self.cols), gap, |cols| vec![value; cols])
    }

    pub fn view(&self) -> Rows<'_> {
        Rows::strided(&self.data, self.cols, self.stride).expect("a shape")
    }

    pub fn view_mut(&mut self) -> RowsMut<'_> {
        RowsMut::strided(&mut self.data, self.cols, self.stride).expect("a shape")
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride..][..self.cols]
    }

    pub fn each(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.rows).map(|row| self.row(row))
    }

    /// The rows alone, as bits; nothing else may have been written.
    pub fn bits(&self) -> Vec<u32> {
        for row in self.data.chunks(self.stride) {
            let gap = row[self.cols.min(row.len())..].iter();
            assert!(gap.clone().all(|x| x.to_bits() == Self::GAP), "something was written between the rows");
        }
        self.each().flatten().map(|x| x.to_bits()).collect()
    }
}

/// Bits of many numbers.
pub fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

pub fn at(temperature: f64) -> Softmax {
    Softmax { temperature, ..Softmax::default() }
}

/// The temperature that one stands for: between `2^-160` and `2^160`.
pub fn effective(temperature: f64) -> f64 {
    temperature.clamp(2_f64.powi(-160), 2_f64.powi(160))
}

/// Whether a temperature is one.
pub fn is_temperature(temperature: f64) -> bool {
    temperature >= 0.0
}

/// What a temperature that is none has to be answered with.
pub fn assert_refused<T: Debug>(result: Result<T, Error>, temperature: f64) {
    match result {
        Err(Error::Temperature { temperature: named }) => {
            assert!(named == temperature || named.is_nan() && temperature.is_nan());
        }
        other => panic!("temperature {temperature}: {other:?}"),
    }
}

/// What a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A distribution.
    Fine,
    Nan,
    Infinite,
    Masked,
}

pub fn kind(x: &[f32]) -> Kind {
    let mut kind = Kind::Masked;
    for &x in x {
        if x.is_nan() {
            return Kind::Nan;
        } else if x == f32::INFINITY {
            kind = Kind::Infinite;
        } else if x > f32::NEG_INFINITY && kind == Kind::Masked {
            kind = Kind::Fine;
        }
    }
    kind
}

/// Where the first maximum is.
pub fn first_maximum(x: &[f32]) -> usize {
    (0..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}

/// Logarithms of probabilities, of logits in f64 that have a distribution: exact also where all of them are large.
pub fn log_probabilities(x: &[f64], temperature: f64) -> Vec<f64> {
    let top = (0..x.len()).fold(0, |top, i| if x[i] > x[top] { i } else { top });
    let z: Vec<f64> = x.iter().map(|z| (z - x[top]) / temperature).collect();
    let rest: f64 = z.iter().enumerate().filter(|(i, _)| *i != top).map(|(_, z)| z.exp()).sum();
    z.iter().map(|z| z - rest.ln_1p()).collect()
}

/// A number that should be another one, within a bound; of what is no number, or infinite, there is but one.
#[track_caller]
pub fn assert_near(got: f64, want: f64, bound: f64, context: impl FnOnce() -> String) {
    let near = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= bound;
    assert!(
        near,
        "{got:e} and not {want:e}, off by {:e} where {bound:e} is allowed: {}",
        (got - want).abs(),
        context()
    );
}

/// The NaN that is written is always the same.
#[track_caller]
pub fn assert_one_nan(got: &[f32]) {
    assert!(got.iter().all(|y| y.to_bits() == f32::NAN.to_bits()), "not the one NaN: {got:?}");
}

/// Whether probabilities are within some ULP, or steps where they are subnormal.
#[track_caller]
pub fn assert_within(got: &[f32], want: &[f64], ulp: f64, steps: f64, context: impl Fn() -> String) {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let bound = if want < f64::from(f32::MIN_POSITIVE) { steps } else { ulp };
        let error = reference::ulp_error(got, want);
        assert!(error <= bound, "element {i} is {got:e} and not {want:e}, off by {error} ULP: {}", context());
    }
}

/// How many rows a slice has, as their documentation has it, if it has any shape.
pub fn rows_of(len: usize, cols: usize, stride: usize) -> Option<usize> {
    if stride < cols || cols == 0 && len > 0 {
        return None;
    }
    if len == 0 {
        return Some(0);
    }
    // Of the last row there may be no gap, or a part of one.
    match len % stride {
        0 => Some(len / stride),
        last if last >= cols => Some(len / stride + 1),
        _ => None,
    }
}
