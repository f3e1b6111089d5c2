//! What samplers keep, held against sorting in f64: each filter alone, and any of them in any order.

mod common;

use common::*;
use logits::{Draw, Engine, Filter, Preset, Sampler, SamplerBuilder, TopKTies, reference};

/// What is set, to be carried out twice.
#[derive(Debug, Clone)]
struct Chain {
    order: Vec<Filter>,
    temperature: f64,
    top_k: usize,
    ties: TopKTies,
    top_p: f64,
    min_p: f64,
    typical: f64,
    sigmas: f64,
    threshold: f64,
    tau: f64,
    min_keep: usize,
}

impl Chain {
    fn off() -> Self {
        Self {
            order: Vec::new(),
            temperature: 1.0,
            top_k: 0,
            ties: TopKTies::Keep,
            top_p: 1.0,
            min_p: 0.0,
            typical: 1.0,
            sigmas: f64::INFINITY,
            threshold: 1.0,
            tau: 0.0,
            min_keep: 1,
        }
    }

    fn sampler(&self) -> Sampler {
        self.build(Sampler::builder().order(&self.order))
    }

    fn build(&self, builder: SamplerBuilder) -> Sampler {
        let mut builder = builder
            .temperature(self.temperature)
            .top_k(self.top_k)
            .top_k_ties(self.ties)
            .top_p(self.top_p)
            .min_p(self.min_p)
            .typical(self.typical)
            .top_n_sigma(self.sigmas)
            .min_keep(self.min_keep);
        if self.order.contains(&Filter::Xtc) {
            builder = builder.xtc(1.0, self.threshold);
        }
        if self.order.contains(&Filter::Mirostat) {
            builder = builder.mirostat(self.tau, 0.1);
        }
        builder.build().unwrap()
    }

    fn plainly(&self, x: &[f32]) -> reference::Left {
        let mut left = reference::Left::all(x);
        for filter in &self.order {
            match filter {
                Filter::Temperature => left.temperature(self.temperature),
                Filter::TopK if self.top_k > 0 => {
                    left.top_k(self.top_k, self.ties == TopKTies::Keep, self.min_keep)
                }
                Filter::TopP if self.top_p < 1.0 => left.top_p(self.top_p, self.min_keep),
                Filter::MinP if self.min_p > 0.0 => left.min_p(self.min_p, self.min_keep),
                Filter::Typical if self.typical < 1.0 => left.typical(self.typical, self.min_keep),
                Filter::TopNSigma if self.sigmas.is_finite() => left.top_n_sigma(self.sigmas, self.min_keep),
                Filter::Xtc if self.threshold <= 0.5 => left.xtc(self.threshold, self.min_keep),
                Filter::Mirostat => left.mirostat(2.0 * self.tau, self.min_keep),
                _ => {}
            }
        }
        left
    }
}

const FILTERS: [Filter; 8] = [
    Filter::Temperature,
    Filter::TopK,
    Filter::TopP,
    Filter::MinP,
    Filter::Typical,
    Filter::TopNSigma,
    Filter::Xtc,
    Filter::Mirostat,
];

/// A row of some kind: random, peaked, flat, tied, masked.
fn any_row(random: &mut Random, len: usize) -> Vec<f32> {
    let sigma = [0.01, 0.3, 1.0, 2.5, 5.0, 20.0][random.below(6)];
    let mut x: Vec<f32> = match random.below(7) {
        0 => (0..len).map(|_| random.uniform(-sigma, sigma)).collect(),
        1 => vec![random.normal(10.0); len],
        // Few values, each many times.
        2 => (0..len).map(|_| (random.normal(sigma) * 2.0).round() / 2.0).collect(),
        3 => (0..len).map(|i| -(sigma as f32) * ((i + 1) as f32).ln()).collect(),
        _ => (0..len).map(|_| random.normal(sigma)).collect(),
    };
    if random.below(4) == 0 {
        let leader = random.below(len);
        x[leader] += random.uniform(1.0, 40.0);
    }
    if random.below(4) == 0 {
        let part = random.unit();
        for x in &mut x {
            if random.unit() < part {
                *x = f32::NEG_INFINITY;
            }
        }
        let kept = random.below(len);
        x[kept] = 0.0;
    }
    if random.below(5) == 0 {
        let offset = random.uniform(-3000.0, 3000.0);
        x.iter_mut().for_each(|x| *x += offset);
    }
    x
}

fn any_len(random: &mut Random) -> usize {
    match random.below(64) {
        0..=4 => 1 + random.below(4),
        5..=34 => 1 + random.below(100),
        35..=51 => 1 + random.below(1500),
        52..=56 => 4090 + random.below(12),
        57..=61 => 4097 + random.below(6000),
        62 => 5000 + random.below(60_000),
        _ => 60_000 + random.below(202_145),
    }
}

/// Sets a filter to something.
fn set(chain: &mut Chain, filter: Filter, random: &mut Random, len: usize) {
    chain.order.push(filter);
    match filter {
        Filter::Temperature => chain.temperature = [0.0, 0.1, 0.7, 0.8, 1.3, 4.0][random.below(6)],
        Filter::TopK => {
            chain.top_k = match random.below(3) {
                0 => 1 + random.below(60),
                _ => 1 + random.below(len),
            };
            chain.ties = [TopKTies::Keep, TopKTies::LowestId][random.below(2)];
        }
        Filter::TopP => chain.top_p = [random.unit(), 0.9, 0.95, 0.5, 0.999, 0.0, 1e-9][random.below(7)],
        Filter::MinP => chain.min_p = [random.unit(), 0.05, 0.001, 1e-20, 1.0][random.below(5)],
        Filter::Typical => chain.typical = [random.unit(), 0.9, 0.2, 0.0][random.below(4)],
        Filter::TopNSigma => chain.sigmas = [1.0, 0.5, 2.5, 0.0, random.unit()][random.below(5)],
        Filter::Xtc => chain.threshold = [0.1, 0.01, 1e-4, 1e-5, random.unit() / 2.0][random.below(5)],
        Filter::Mirostat => chain.tau = [5.0, 0.5, 2.0, 1e-3, 20.0 * random.unit() + 1e-6][random.below(5)],
        _ => unreachable!(),
    }
}

fn assert_survivors(engine: Engine, x: &[f32], chain: &Chain, context: &str) {
    assert_survivors_of(engine, x, &chain.sampler(), chain, context);
}

fn assert_survivors_of(engine: Engine, x: &[f32], sampler: &Sampler, chain: &Chain, context: &str) {
    let left = engine.survivors(x, sampler, &Draw::uniform(0.5)).unwrap().unwrap();
    let mut got: Vec<usize> = left.iter().map(|candidate| candidate.class).collect();
    got.sort_unstable();
    let want = chain.plainly(x).ids();
    let differ = got.iter().zip(&want).position(|(got, want)| got != want);
    assert!(
        got == want,
        "{context}, {}: {} of {} are left, but should {}; the first that differs is {differ:?}; {chain:?}",
        engine.isa(),
        got.len(),
        x.len(),
        want.len()
    );
}

/// Each filter alone, on every instruction set in turn.
fn one_filter(filter: Filter) {
    let mut random = Random(filter as u64 + 1);
    let engines: Vec<Engine> = engines().collect();
    for case in 0..effort(CASES) {
        let len = any_len(&mut random);
        let x = any_row(&mut random, len);
        let mut chain = Chain::off();
        if random.below(3) == 0 {
            set(&mut chain, Filter::Temperature, &mut random, len);
            if filter == Filter::Temperature {
                continue;
            }
        }
        set(&mut chain, filter, &mut random, len);
        chain.min_keep = [1, 1, 1, 2, 10][random.below(5)].min(len);
        assert_survivors(engines[case % engines.len()], &x, &chain, &format!("case {case}"));
    }
}

const CASES: usize = 10_000;

#[test]
fn top_k_keeps_what_sorting_keeps() {
    one_filter(Filter::TopK);
}

#[test]
fn top_p_keeps_what_sorting_keeps() {
    one_filter(Filter::TopP);
}

#[test]
fn min_p_keeps_what_sorting_keeps() {
    one_filter(Filter::MinP);
}

#[test]
fn typical_keeps_what_sorting_keeps() {
    one_filter(Filter::Typical);
}

/// Masked tokens, and those that stand for none at the end of a row, have no part in the mean.
#[test]
fn typical_of_nearly_the_same_keeps_what_sorting_keeps() {
    let mut chain = Chain::off();
    (chain.order, chain.typical) = (vec![Filter::Typical], 0.4);
    for engine in engines() {
        for spread in [1e-30_f32, 1e-34, 1e-38, 1e-42] {
            for masked in [0, 3, 5000] {
                let mut x: Vec<f32> =
                    [0.0, -1.0, -4.0, -9.0, -16.0].iter().map(|step| step * spread).collect();
                x.extend(vec![f32::NEG_INFINITY; masked]);
                assert_survivors(engine, &x, &chain, &format!("{spread:e}, {masked} masked"));
            }
        }
    }
}

#[test]
fn top_n_sigma_keeps_what_sorting_keeps() {
    one_filter(Filter::TopNSigma);
}

#[test]
fn xtc_keeps_what_sorting_keeps() {
    one_filter(Filter::Xtc);
}

#[test]
fn mirostat_keeps_what_sorting_keeps() {
    one_filter(Filter::Mirostat);
}

#[test]
fn any_order_keeps_what_sorting_keeps() {
    let mut random = Random(99);
    let engines: Vec<Engine> = engines().collect();
    for case in 0..effort(CASES) {
        let len = any_len(&mut random);
        let x = any_row(&mut random, len);
        let mut chain = Chain::off();
        let mut filters = FILTERS.to_vec();
        for _ in 0..2 + random.below(5) {
            let filter = filters.swap_remove(random.below(filters.len()));
            set(&mut chain, filter, &mut random, len);
        }
        chain.min_keep = [1, 1, 1, 2, 10][random.below(5)].min(len);
        assert_survivors(engines[case % engines.len()], &x, &chain, &format!("case {case}"));
    }
}

/// The orders as the libraries document them: with some of their filters on, and some of ours.
fn a_preset(preset: Preset, order: &[Filter]) {
    let mut random = Random(preset as u64 + 7);
    let engines: Vec<Engine> = engines().collect();
    for case in 0..effort(CASES) {
        let len = any_len(&mut random);
        let x = any_row(&mut random, len);
        let mut chain = Chain::off();
        for filter in FILTERS {
            if random.below(2) == 0 {
                set(&mut chain, filter, &mut random, len);
            }
        }
        let is_on = |filter: &&Filter| chain.order.contains(filter);
        chain.order = order.iter().filter(is_on).copied().collect();
        // What is off here would be on in the preset.
        let sampler = chain.build(Sampler::preset(preset));
        assert_survivors_of(engines[case % engines.len()], &x, &sampler, &chain, &format!("case {case}"));
    }
}

#[test]
fn hugging_face_keeps_what_sorting_keeps() {
    use Filter::*;
    a_preset(Preset::Hf, &[Temperature, TopK, TopP, MinP, Typical, TopNSigma, Xtc, Mirostat]);
}

#[test]
fn vllm_keeps_what_sorting_keeps() {
    use Filter::*;
    a_preset(Preset::Vllm, &[Temperature, MinP, TopK, TopP, Typical, TopNSigma, Xtc, Mirostat]);
}

#[test]
fn llama_cpp_keeps_what_sorting_keeps() {
    use Filter::*;
    a_preset(Preset::LlamaCpp, &[TopNSigma, TopK, Typical, TopP, MinP, Xtc, Temperature, Mirostat]);
}
