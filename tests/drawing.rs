//! What samplers draw: how often, from which rows, after which changes, and what they say of it.

mod common;
mod tables;

use common::*;
use logits::{
    Candidate, Draw, Engine, Error, Filter, History, Isa, LogProbability, Method, Preset, RowError, Rows,
    RowsMut, Sampler, SamplerBuilder, Token, TopKTies, Verified, reference,
};
use tables::{floats, number, numbers, samplings};

/// The largest number that a token can be drawn by.
const BELOW_1: f64 = 1.0 - f64::EPSILON / 2.0;

const MASKED: f32 = f32::NEG_INFINITY;

/// The instruction set that `LOGITS_ISA` names, or the best.
fn engine() -> Engine {
    match Isa::from_env().unwrap() {
        Some(isa) => Engine::new().with_isa(isa).unwrap().serial(),
        None => Engine::new().serial(),
    }
}

fn quick() -> SamplerBuilder {
    Sampler::builder().log_probability(LogProbability::Skip)
}

fn sample(engine: Engine, x: &[f32], sampler: &Sampler, draw: Draw<'_>) -> Result<Token, RowError> {
    let mut out = [Ok(Token::default())];
    engine.sample(Rows::new(x, x.len()).unwrap(), sampler, &[draw], &mut out).unwrap();
    out[0]
}

/// The ids that are drawn by some numbers.
fn ids(engine: Engine, x: &[f32], sampler: &Sampler, uniforms: &[f64]) -> Vec<usize> {
    // Rows of a batch share the memory that is set up for it.
    let at_once = (1 << 17) / x.len() + 1;
    let data: Vec<f32> = x.iter().copied().cycle().take(x.len() * at_once.min(uniforms.len())).collect();
    let mut ids = Vec::new();
    for uniforms in uniforms.chunks(at_once) {
        let draws: Vec<_> = uniforms.iter().map(|&u| Draw::uniform(u)).collect();
        let mut out = vec![Ok(Token::default()); draws.len()];
        let rows = Rows::new(&data[..x.len() * draws.len()], x.len()).unwrap();
        engine.sample(rows, sampler, &draws, &mut out).unwrap();
        ids.extend(out.into_iter().map(|token| token.unwrap().id as usize));
    }
    ids
}

/// How often each token is drawn in so many draws, or somewhat more.
fn counts(x: &[f32], sampler: &Sampler, draws: usize) -> Vec<u64> {
    let (rows, draws) = (((1 << 17) / x.len()).clamp(1, 1000), effort(draws));
    let data: Vec<f32> = x.iter().copied().cycle().take(x.len() * rows).collect();
    let (mut counts, mut out) = (vec![0; x.len()], vec![Ok(Token::default()); rows]);
    for position in 0..draws.div_ceil(rows) as u64 {
        let draws: Vec<_> = (0..rows as u64).map(|stream| Draw::counted(2026, stream, position)).collect();
        engine().sample(Rows::new(&data, x.len()).unwrap(), sampler, &draws, &mut out).unwrap();
        for token in &out {
            counts[token.unwrap().id as usize] += 1;
        }
    }
    counts
}

fn probabilities(x: &[f32], temperature: f64) -> Vec<f64> {
    let mut p = vec![0.0; x.len()];
    reference::softmax(x, temperature, &mut p);
    p
}

/// What a chi-square variable is above once in a million times (Wilson and Hilferty).
fn quantile(freedom: usize) -> f64 {
    let k = freedom as f64;
    let v = 2.0 / (9.0 * k);
    k * (1.0 - v + 4.753 * v.sqrt()).powi(3)
}

/// The test of Pearson. Bins of which less than five are expected are put together.
fn assert_distributed(counts: &[u64], p: &[f64], context: &str) {
    let draws = counts.iter().sum::<u64>() as f64;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut bins, mut bin) = (Vec::new(), (0.0, 0.0));
    for i in order {
        assert!(p[i] > 0.0 || counts[i] == 0, "{context}: {i} is drawn, which is impossible");
        bin = (bin.0 + counts[i] as f64, bin.1 + p[i] * draws);
        if bin.1 >= 5.0 {
            bins.push(std::mem::take(&mut bin));
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = (last.0 + bin.0, last.1 + bin.1);
    }
    let statistic: f64 = bins.iter().map(|(got, want)| (got - want) * (got - want) / want).sum();
    let bound = quantile(bins.len() - 1);
    assert!(statistic < bound, "{context}: {statistic} in {} bins, the bound is {bound}", bins.len());
}

/// The likelihood-ratio test of those with small probabilities, against all others together.
fn assert_tail(counts: &[u64], p: &[f64], context: &str) {
    if is_emulated() {
        // Of fewer draws there is no tail.
        return;
    }
    let draws = counts.iter().sum::<u64>() as f64;
    let (mut g, mut bins, mut others) = (0.0, 0, (0.0, 0.0));
    let mut add =
        |(got, want): (f64, f64)| g += 2.0 * (if got > 0.0 { got * (got / want).ln() } else { 0.0 });
    for (&count, &p) in counts.iter().zip(p) {
        if (1e-6..1e-4).contains(&p) {
            add((count as f64, p * draws));
            bins += 1;
        } else {
            others = (others.0 + count as f64, others.1 + p * draws);
        }
    }
    add(others);
    assert!(bins > 10 && g < quantile(bins), "{context}: {g} in {bins} bins");
}

/// 50 tokens with probabilities from 0.2 down to 1e-6, in no order.
fn steep() -> Vec<f32> {
    (0..50).map(|i| -12.2 * (i * 37 % 50) as f32 / 49.0).collect()
}

/// By sums of uniform numbers: these are the same everywhere.
fn bell(random: &mut Random, len: usize, width: f64) -> Vec<f32> {
    (0..len).map(|_| random.uniform(-width, width) + random.uniform(-width, width)).collect()
}

/// Numbers to draw by: both ends, and any.
fn uniforms(random: &mut Random, more: usize) -> Vec<f64> {
    let mut uniforms = vec![0.0, f64::MIN_POSITIVE, 1e-300, f64::EPSILON / 2.0, 1.0 - f64::EPSILON, BELOW_1];
    uniforms.extend((0..more).map(|_| random.unit()));
    uniforms.sort_by(f64::total_cmp);
    uniforms
}

// --- What is left, by others and by hand.

#[test]
fn hugging_face_lets_the_same_through() {
    for case in samplings() {
        let value = |name: &str| Some(&case[name]).filter(|value| !value.is_null()).map(number);
        let x = floats(&case["logits"]);
        let mut sampler = Sampler::preset(Preset::Hf).top_k_ties(TopKTies::Keep);
        let temperature = value("temperature").unwrap_or(1.0);
        sampler = sampler.temperature(temperature);
        sampler = sampler.top_k(value("top_k").unwrap_or(0.0) as usize);
        sampler = sampler.top_p(value("top_p").unwrap_or(1.0)).min_p(value("min_p").unwrap_or(0.0));
        sampler = sampler.typical(value("typical_p").unwrap_or(1.0));
        let repetition = value("repetition_penalty").unwrap_or(1.0);
        let sampler = sampler.seen_penalties(repetition, 0.0, 0.0).build().unwrap();
        // Which of them are prompt and which are output makes no difference.
        let tokens: Vec<u32> = numbers(&case["tokens"]).into_iter().map(|token| token as u32).collect();
        let (prompt, output) = tokens.split_at(tokens.len() / 2);
        let mut history = History::new(prompt);
        output.iter().for_each(|&token| history.push(token));
        let draw = Draw::uniform(0.0).history(&history);

        let want = numbers(&case["survivors"]);
        let probabilities = numbers(&case["probabilities"]);
        // A logit after a penalty is a float again.
        let largest = x.iter().filter(|x| x.is_finite()).fold(0.0_f32, |most, x| most.max(x.abs()));
        let penalised = f64::from(largest) * repetition.max(1.0) / temperature;
        let rounded = if repetition == 1.0 { 0.0 } else { penalised / (1 << 23) as f64 };
        let agree = |got: f64, want: f64| (got - want).abs() <= (1e-6 + rounded) * want + 1e-44;
        for engine in engines() {
            let context = format!("{}, {}", engine.isa(), case["name"]);
            let mut left = engine.survivors(&x, &sampler, &draw).unwrap().unwrap();
            left.sort_by_key(|candidate| candidate.class);
            assert_eq!(left.iter().map(|left| left.class as f64).collect::<Vec<_>>(), want, "{context}");
            for (left, &want) in left.iter().zip(&probabilities) {
                let got = left.log_probability.exp();
                assert!(agree(got, want), "{context}: {got:e} {want:e}");
            }
            let (mut y, mut count) = (x.clone(), [Ok(0)]);
            engine
                .renormalise(RowsMut::new(&mut y, x.len()).unwrap(), &sampler, &[draw], &mut count)
                .unwrap();
            assert_eq!(count, [Ok(want.len())], "{context}");
            let mut places = want.iter().zip(&probabilities).peekable();
            for (id, &y) in y.iter().enumerate() {
                let want = places.next_if(|(place, _)| **place == id as f64).map_or(0.0, |(_, p)| *p);
                assert!(agree(f64::from(y), want), "{context}, {id}: {y:e} {want:e}");
            }
        }
    }
}

/// What changes a row, to be carried out twice.
struct Changed {
    bias: Vec<(u32, f32)>,
    allowed: [Option<Vec<u32>>; 2],
    penalties: [f64; 3],
    prompt: Vec<u32>,
    output: Vec<u32>,
}

impl Changed {
    /// Any changes, of all blocks or of some.
    fn any(random: &mut Random, len: usize) -> Self {
        let window = [len, len.min(3), len.min(700)][random.below(3)];
        let start = random.below(len - window + 1);
        let mut tokens = |most: usize| -> Vec<u32> {
            let count = random.below(most);
            (0..count).map(|_| (start + random.below(window)) as u32).collect()
        };
        let (prompt, output, biased) = (tokens(40), tokens(60), tokens(20));
        let bias = |_| if random.below(4) == 0 { MASKED } else { random.uniform(-5.0, 5.0) };
        let mut bias: Vec<f32> = biased.iter().map(bias).collect();
        bias.truncate(biased.len());
        let mut mask = || {
            let words = len.div_ceil(32) + random.below(3);
            let part = random.unit();
            let mut bit = || u32::from(random.unit() < part);
            let mask = (0..words).map(|_| (0..32).fold(0, |word, i| word | bit() << i)).collect();
            (random.below(3) == 0).then_some(mask)
        };
        let allowed = [mask(), mask()];
        let penalties = [
            [1.0, 1.3, 0.7, 2.0][random.below(4)],
            [0.0, 0.0, 0.35, -0.2][random.below(4)],
            [0.0, 0.0, 0.9, -0.4][random.below(4)],
        ];
        Self { bias: biased.into_iter().zip(bias).collect(), allowed, penalties, prompt, output }
    }

    fn history(&self, random: &mut Random, len: usize) -> History {
        let mut history = History::new(&self.prompt);
        for &token in &self.output {
            // What is taken back leaves no trace.
            let other = random.below(len) as u32;
            history.push(other);
            history.push(token);
            history.remove(other);
        }
        history
    }

    fn plainly(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        for mask in self.allowed.iter().flatten() {
            for (i, x) in x.iter_mut().enumerate() {
                if mask[i / 32] & 1 << (i % 32) == 0 {
                    *x = MASKED;
                }
            }
        }
        for (at, &(token, addend)) in self.bias.iter().enumerate() {
            // The last number for a token counts.
            if self.bias[at + 1..].iter().all(|later| later.0 != token) {
                x[token as usize] += addend;
            }
        }
        let [repetition, frequency, presence] = self.penalties;
        for (i, x) in x.iter_mut().enumerate() {
            let is_it = |token: &&u32| **token as usize == i;
            let count = self.output.iter().filter(is_it).count();
            let mut z = f64::from(*x);
            if count > 0 || self.prompt.iter().any(|token| is_it(&token)) {
                z = if z > 0.0 { z / repetition } else { z * repetition };
            }
            if count > 0 {
                z -= count as f64 * frequency + presence;
            }
            *x = z as f32;
        }
        x
    }
}

/// Of rows with whole blocks that are as they were, too, which are read from where they are.
#[test]
fn a_changed_row_is_the_row_changed_by_hand() {
    let mut random = Random(7);
    let lens = [1, 2, 31, 33, 100, 1000, 1023, 1024, 1025, 2049, 4096, 4097, 5000, 20_000];
    let engines: Vec<Engine> = engines().collect();
    let (mut errors, mut many) = (0, 0);
    for case in 0..effort(1500).max(150) {
        let len = lens[case % lens.len()];
        let mut x = bell(&mut random, len, 4.0);
        if case % 3 == 0 {
            // Many are equal.
            x.iter_mut().for_each(|x| *x = x.round());
        }
        for i in 0..len / 7 {
            x[i * 7] = MASKED;
        }
        let changed = Changed::any(&mut random, len);
        let filters = |builder: SamplerBuilder| match case % 5 {
            0 => builder,
            1 => builder.temperature(0.7).top_k(len / 2 + 1).top_k_ties(TopKTies::LowestId),
            2 => builder.temperature(1.4).top_p(0.8),
            3 => builder.temperature(0.0),
            _ => builder.typical(0.9).min_p(1e-6).top_n_sigma(3.0),
        };
        let plain = filters(Sampler::builder()).build().unwrap();
        let [repetition, frequency, presence] = changed.penalties;
        let mut sampler = filters(Sampler::builder().bias(changed.bias.iter().copied()))
            .seen_penalties(repetition, frequency, presence);
        if let Some(mask) = &changed.allowed[0] {
            sampler = sampler.allowed(mask);
        }
        let sampler = sampler.build().unwrap();
        let history = changed.history(&mut random, len);
        let plain_draw = Draw::uniform(random.unit());
        let mut draw = plain_draw.history(&history);
        if let Some(mask) = &changed.allowed[1] {
            draw = draw.allowed(mask);
        }
        let by_hand = changed.plainly(&x);
        let engine = engines[case % engines.len()];
        let context = format!("{}, case {case}, {len} columns", engine.isa());

        let left = engine.survivors(&x, &sampler, &draw).unwrap();
        let temperature = [1.0, 0.7, 1.4, 1.0, 1.0][case % 5];
        let (mut masked, mut probabilities) = (vec![MASKED; len], vec![0.0; len]);
        match (left, engine.survivors(&by_hand, &plain, &plain_draw).unwrap()) {
            (Ok(left), Ok(want)) => {
                many += usize::from(left.len() > 4096);
                assert_eq!(left.len(), want.len(), "{context}");
                for (left, want) in left.iter().zip(&want) {
                    assert_eq!(left.class, want.class, "{context}");
                    // Blocks are summed up on their own.
                    let error = (left.log_probability - want.log_probability).abs();
                    assert!(error < 1e-12, "{context}: {error}");
                    let id = left.class;
                    masked[id] = (f64::from(by_hand[id]) / temperature) as f32;
                    probabilities[id] = left.log_probability.exp() as f32;
                }
            }
            (left, want) => {
                assert_eq!((&left, &want), (&Err(RowError::NothingAllowed), &left), "{context}");
                errors += 1;
            }
        }
        let id = |token: Result<Token, RowError>| token.map(|token| token.id);
        let token = sample(engine, &x, &sampler, draw);
        assert_eq!(id(token), id(sample(engine, &by_hand, &plain, plain_draw)), "{context}");
        for is_mask in [true, false] {
            let (mut y, mut count) = (x.clone(), [Ok(usize::MAX)]);
            let rows = RowsMut::new(&mut y, len).unwrap();
            let want = if is_mask { &masked } else { &probabilities };
            if is_mask {
                engine.mask(rows, &sampler, &[draw], &mut count).unwrap();
            } else {
                engine.renormalise(rows, &sampler, &[draw], &mut count).unwrap();
            }
            let kept = masked.iter().filter(|x| **x != MASKED).count();
            // Of nothing allowed the row stays as it was.
            let (want, left) = if kept > 0 { (want, Ok(kept)) } else { (&x, Err(RowError::NothingAllowed)) };
            assert_eq!(count, [left], "{context}");
            let agree = |got: f32, want: f32| got == want || (got - want).abs() <= 1e-6 * want.abs() + 1e-44;
            let wrong =
                y.iter().zip(want).find(|(got, want)| !agree(**got, **want) || is_mask && got != want);
            assert_eq!(wrong, None, "{context}, mask {is_mask}");
        }
    }
    assert!(errors > effort(10) && many > effort(30), "{errors} {many}");
}

/// What the frequency is of: how often a token occurs in the output, and not what was taken back, or is prompt.
#[test]
fn penalties_know_what_is_output() {
    let mut history = History::new(&[1, 1, 2]);
    for token in [0, 0, 0, 2, 3] {
        history.push(token);
    }
    for token in [3, 0, 1, 9] {
        history.remove(token);
    }
    assert_eq!(history.len(), 3);
    let sampler = Sampler::builder().seen_penalties(2.0, 0.25, 0.125).build().unwrap();
    let mut x = [4.0, 4.0, -4.0, 4.0, MASKED];
    let draw = Draw::uniform(0.0).history(&history);
    engine().mask(RowsMut::new(&mut x, 5).unwrap(), &sampler, &[draw], &mut [Ok(0)]).unwrap();
    assert_eq!(x, [2.0 - 0.5 - 0.125, 2.0, -8.0 - 0.25 - 0.125, 4.0, MASKED]);
}

// --- How often.

#[test]
fn tokens_are_drawn_as_often_as_they_should() {
    let (x, p) = (steep(), probabilities(&steep(), 1.0));
    let drawn = counts(&x, &quick().build().unwrap(), 8_500_000);
    assert_distributed(&drawn, &p, "inverse CDF");
    assert_tail(&drawn, &p, "inverse CDF");
    let drawn = counts(&x, &quick().method(Method::Gumbel).build().unwrap(), 1_500_000);
    assert_distributed(&drawn, &p, "Gumbel");
    assert_tail(&drawn, &p, "Gumbel");
}

/// Where they are not listed, by bins of neighbours, of tokens that are apart, and of those that are about as probable.
#[test]
fn tokens_of_many_are_drawn_as_often_as_they_should() {
    let mut random = Random(5);
    let mut x = bell(&mut random, 9000, 3.0);
    x[..2000].iter_mut().step_by(3).for_each(|x| *x = MASKED);
    let all = quick().temperature(1.5);
    let some = quick().top_k(5000).temperature(1.5);
    for (name, builder, draws) in [
        ("inverse CDF", all.clone(), 100_000),
        ("inverse CDF of some", some.clone(), 20_000),
        ("Gumbel", all.method(Method::Gumbel), 15_000),
        ("Gumbel of some", some.method(Method::Gumbel), 5_000),
    ] {
        let sampler = builder.build().unwrap();
        let left = engine().survivors(&x, &sampler, &Draw::uniform(0.0)).unwrap().unwrap();
        assert!(left.len() > 4096, "{name}");
        let drawn = counts(&x, &sampler, draws);
        let mut bins = [const { (Vec::new(), Vec::new()) }; 3];
        for (rank, left) in left.iter().enumerate() {
            let (id, p) = (left.class, left.log_probability.exp());
            for ((counts, ps), bin) in bins.iter_mut().zip([id / 50, id % 101, rank / 50]) {
                ps.resize(ps.len().max(bin + 1), 0.0);
                counts.resize(ps.len(), 0);
                ps[bin] += p;
                counts[bin] += drawn[id];
            }
        }
        for ((counts, ps), what) in bins.iter().zip(["neighbours", "ids apart", "equally probable"]) {
            // Nothing is drawn that is not left.
            assert_eq!(counts.iter().sum::<u64>(), drawn.iter().sum::<u64>(), "{name}");
            assert_distributed(counts, ps, &format!("{name}, {what}"));
        }
    }
}

// --- Which.

/// Half a vocabulary out of reach is what came of tables of noise.
#[test]
fn every_token_of_a_flat_row_is_within_reach() {
    for len in [17, 4096, 5000] {
        let all: Vec<usize> = (0..len).step_by(one_of()).collect();
        let uniforms: Vec<f64> = all.iter().map(|&i| (i as f64 + 0.5) / len as f64).collect();
        for engine in engines() {
            if len > 4096 && engine.isa() != self::engine().isa() {
                continue;
            }
            let drawn = ids(engine, &vec![7.25; len], &quick().build().unwrap(), &uniforms);
            assert!(drawn == all, "{} {len}", engine.isa());
        }
    }
    // Where two meet it is the second, as there is not more than that before it.
    for len in [4, 4096, 8192] {
        let uniforms: Vec<f64> = (0..len).step_by(len / 4).map(|i| i as f64 / len as f64).collect();
        let drawn = ids(engine(), &vec![7.25; len], &quick().build().unwrap(), &uniforms);
        assert_eq!(drawn, [0, len / 4, len / 2, len / 4 * 3]);
    }
    // Some neighbours at both ends and within, and some everywhere: all of them take a minute.
    let len = 1 << 18;
    let (x, sampler) = (vec![7.25; len], quick().build().unwrap());
    let tokens = (0..1000).chain(99_900..100_900).chain(len - 1000..len).chain((0..len).step_by(127));
    let tokens: Vec<usize> = tokens.step_by(one_of()).collect();
    let uniforms: Vec<f64> = tokens.iter().map(|&i| (i as f64 + 0.5) / len as f64).collect();
    assert!(ids(engine(), &x, &sampler, &uniforms) == tokens);
}

#[test]
#[ignore = "a minute"]
fn every_token_of_a_large_flat_row_is_within_reach() {
    let len = 1 << 18;
    let uniforms: Vec<f64> = (0..len).map(|i| (i as f64 + 0.5) / len as f64).collect();
    let drawn = ids(engine(), &vec![7.25; len], &quick().build().unwrap(), &uniforms);
    assert!(drawn.iter().enumerate().all(|(i, &id)| i == id));
}

/// As it is documented, so that others can draw the same: Philox4x64-10, written down once more.
/// A generator of `rand` is asked for two words a draw, of which the first draws the token.
#[test]
fn generators_of_ones_own_are_asked() {
    struct Asked(Random, usize);
    impl rand_core::RngCore for Asked {
        fn next_u32(&mut self) -> u32 {
            self.next_u64() as u32
        }

        fn next_u64(&mut self) -> u64 {
            self.1 += 1;
            self.0.bits()
        }

        fn fill_bytes(&mut self, _: &mut [u8]) {
            unreachable!("words are asked for");
        }
    }
    let (mut generator, mut same) = (Asked(Random(4), 0), Random(4));
    let x = [0.0_f32; 16];
    for draw in 1..1000 {
        let token = sample(engine(), &x, &quick().build().unwrap(), Draw::random(&mut generator)).unwrap();
        assert_eq!((u64::from(token.id), generator.1), (same.bits() >> 60, 2 * draw));
        same.bits();
    }
}

#[test]
fn counted_numbers_are_those_of_philox() {
    let philox = |mut c: [u64; 4], mut key: [u64; 2]| {
        for _ in 0..10 {
            let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
            let (a, b) = (product(0xd2e7_470e_e14c_6c93, c[0]), product(0xca5a_8263_9512_1157, c[2]));
            c = [(b >> 64) as u64 ^ c[1] ^ key[0], b as u64, (a >> 64) as u64 ^ c[3] ^ key[1], a as u64];
            key = [key[0].wrapping_add(0x9e37_79b9_7f4a_7c15), key[1].wrapping_add(0xbb67_ae85_84ca_a73b)];
        }
        c[0]
    };
    let (x, sampler) = (vec![1.0; 1 << 17], quick().build().unwrap());
    for n in 0..32_u64 {
        let (seed, stream, position) = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n * n, 7 * n);
        let token = sample(engine(), &x, &sampler, Draw::counted(seed, stream, position)).unwrap();
        assert_eq!(u64::from(token.id), philox([0, position, stream, 0], [seed, 0]) >> (64 - 17), "{n}");
    }
}

/// Rows with masks at their ends and elsewhere, listed and not.
fn masked_rows(random: &mut Random) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    for len in [2, 5, 33, 100, 1000, 4096, 4097, 9000, 20_000, 300_000] {
        let patterns: [&dyn Fn(usize) -> bool; 6] = [
            &|i| i == 0,
            &|i| i + 1 == len,
            &|i| i < len / 3 || i >= len - len / 4,
            &|i| i % 2 == 0,
            &|i| i % 97 != 1,
            &|i| i != len / 2,
        ];
        for (pattern, is_masked) in patterns.into_iter().enumerate() {
            if len > 9000 && pattern % 2 == 1 {
                continue;
            }
            let mut x = bell(random, len, [0.01, 2.0, 40.0][pattern % 3]);
            if pattern >= 3 {
                // Many are equal.
                x.iter_mut().for_each(|x| *x = (*x * 4.0).round() / 4.0);
            }
            (0..len).filter(|&i| is_masked(i)).for_each(|i| x[i] = MASKED);
            rows.push(x);
        }
    }
    rows
}

/// By sums in f64: the token that is drawn is the one whose part of the mass the number lies in. It is not masked then, and a larger
/// number draws no token before it.
#[test]
fn a_token_is_drawn_by_the_numbers_in_its_part() {
    let mut random = Random(11);
    let samplers = [
        quick(),
        quick().temperature(0.7).top_p(0.9),
        quick().top_k(5000).temperature(2.0),
        quick().top_k(4999).top_k_ties(TopKTies::LowestId).temperature(9.0),
        quick().temperature(1.3).typical(0.97).min_p(1e-9),
        quick().xtc(1.0, 1e-3),
    ];
    let engines: Vec<Engine> = engines().collect();
    for (row, x) in masked_rows(&mut random).into_iter().enumerate() {
        for (i, sampler) in samplers.iter().enumerate() {
            if x.len() > 20_000 && (i > 0 || is_emulated()) {
                continue;
            }
            let sampler = sampler.clone().build().unwrap();
            let engine = engines[(row + i) % engines.len()];
            let context = format!("{}, row {row} of {} columns, {sampler:?}", engine.isa(), x.len());
            let mut left = engine.survivors(&x, &sampler, &Draw::uniform(0.0)).unwrap().unwrap();
            left.sort_by_key(|left| left.class);
            let mut end = 0.0;
            let mut parts = vec![None; x.len()];
            let mut ends = Vec::new();
            for left in &left {
                let start = end;
                end += left.log_probability.exp();
                parts[left.class] = Some((start, end));
                ends.push(end);
            }
            let mut by = uniforms(&mut random, effort(40));
            // Where parts meet, rounding shows.
            for _ in 0..8 {
                let end = ends[random.below(ends.len())];
                by.extend([end.next_down(), end, end.next_up(), end - 1e-9, end + 1e-9]);
            }
            by.retain(|u| (0.0..1.0).contains(u));
            by.sort_by(f64::total_cmp);
            let drawn = ids(engine, &x, &sampler, &by);
            assert!(drawn.is_sorted(), "{context}: not monotone");
            // Sums of floats where they are not listed.
            let rounding = if x.len() > 4096 { 4e-7 } else { 1e-12 };
            for (&id, &u) in drawn.iter().zip(&by) {
                let Some((start, end)) = parts[id] else { panic!("{context}: {id} is drawn by {u}") };
                assert!(start - rounding <= u && u <= end + rounding, "{context}: {id} is drawn by {u}");
            }
        }
    }
}

/// And what is drawn for a token does not depend on the others: without some of those that are not drawn, the same is.
#[test]
fn gumbel_draws_nothing_masked_and_keeps_its_numbers() {
    let mut random = Random(12);
    let sampler = quick().method(Method::Gumbel).temperature(2.0).build().unwrap();
    for mut x in masked_rows(&mut random) {
        for position in 0..if x.len() > 9000 { 3 } else { 40 } {
            let draw = Draw::counted(3, x.len() as u64, position);
            let id = sample(engine(), &x, &sampler, draw).unwrap().id;
            assert!(x[id as usize] != MASKED, "{id} of {}", x.len());
            let others = (0..x.len()).filter(|&i| i != id as usize && i % 3 == position as usize % 3);
            let without: Vec<(usize, f32)> = others.map(|i| (i, x[i])).collect();
            without.iter().for_each(|&(i, _)| x[i] = MASKED);
            assert_eq!(sample(engine(), &x, &sampler, draw).unwrap().id, id, "of {}", x.len());
            without.into_iter().for_each(|(i, logit)| x[i] = logit);
        }
    }
}

// --- The same, everywhere.

/// Samplers of all kinds, for rows of at least five columns.
fn all_kinds() -> Vec<Sampler> {
    let everything = |preset| {
        let builder =
            Sampler::preset(preset).temperature(0.9).top_k(200).top_p(0.95).min_p(1e-3).typical(0.97);
        builder.seen_penalties(1.2, 0.1, 0.2).bias([(4, 1.5), (0, MASKED)])
    };
    let not_these: Vec<u32> = vec![0xffdf_fff7; 70_000_usize.div_ceil(32)];
    let filtered = |builder: SamplerBuilder| builder.log_probability(LogProbability::Filtered);
    [
        Sampler::builder(),
        Sampler::builder().temperature(0.0),
        Sampler::builder().temperature(2.5),
        filtered(Sampler::builder().temperature(1.7).top_p(0.999)),
        everything(Preset::Hf),
        everything(Preset::Vllm).allowed(&not_these),
        filtered(everything(Preset::LlamaCpp).xtc(0.5, 0.05).top_n_sigma(2.0)),
        Sampler::preset(Preset::LlamaCpp),
        Sampler::builder().method(Method::Gumbel).temperature(3.0),
        filtered(everything(Preset::Hf).method(Method::Gumbel)),
        Sampler::builder().mirostat(3.0, 0.1).min_keep(2),
        Sampler::builder().xtc(0.9, 0.01).typical(0.6),
        Sampler::builder().top_n_sigma(1.0).log_probability(LogProbability::Skip),
        Sampler::builder().top_k(4500).temperature(4.0),
        filtered(Sampler::builder().typical(0.9).temperature(5.0)),
        Sampler::builder().seen_penalties(1.5, -0.5, 0.3),
    ]
    .map(|builder| builder.build().unwrap())
    .into()
}

/// Rows, for each a sampler and what it is drawn with.
struct Batch {
    cols: usize,
    data: Vec<f32>,
    samplers: Vec<Sampler>,
    histories: Vec<History>,
    masks: Vec<Vec<u32>>,
}

impl Batch {
    const COLS: [usize; 10] = [5, 17, 100, 1000, 1025, 4096, 4097, 9000, 33_000, 70_000];

    fn new(cols: usize) -> Self {
        let (mut random, samplers) = (Random(cols as u64), all_kinds());
        let mut data = Vec::new();
        let (mut histories, mut masks) = (Vec::new(), Vec::new());
        for row in 0..samplers.len() {
            data.extend(bell(&mut random, cols, [3.0, 0.5, 8.0][row % 3]));
            let mut token = || (random.unit() * random.unit() * cols as f64) as u32;
            let mut history = History::new(&[token(), token()]);
            (0..60).for_each(|_| history.push(token()));
            histories.push(history);
            masks.push((0..cols.div_ceil(32)).map(|_| random.bits() as u32 | 2).collect());
        }
        Self { cols, data, samplers, histories, masks }
    }

    fn draws(&self) -> Vec<Draw<'_>> {
        let parts = self.histories.iter().zip(&self.masks).enumerate();
        let draws = parts.map(|(row, (history, mask))| {
            let draw = Draw::counted(row as u64 / 3, row as u64, self.cols as u64).history(history);
            if row % 3 == 1 { draw.allowed(mask) } else { draw }
        });
        draws.collect()
    }

    fn drawn(&self, engine: Engine) -> Vec<Token> {
        let mut out = vec![Ok(Token::default()); self.samplers.len()];
        let rows = Rows::new(&self.data, self.cols).unwrap();
        engine.sample(rows, &self.samplers, &self.draws(), &mut out).unwrap();
        out.into_iter().map(Result::unwrap).collect()
    }
}

fn bits(token: &Token) -> [u64; 4] {
    [token.id.into(), token.log_probability.to_bits(), token.rank as u64, token.mu.map_or(0, f64::to_bits)]
}

/// Of all tokens: change it only with a change that is meant to draw other ones, and say so in CHANGELOG.
const HASH: u64 = 0xa0da_5263_c4c9_ce04;

#[test]
fn one_hash_for_all_instruction_sets_and_threads() {
    let batches = Batch::COLS.map(Batch::new);
    let all = |engine: Engine| batches.iter().flat_map(|batch| batch.drawn(engine)).collect::<Vec<_>>();
    let mut first: Option<Vec<Token>> = None;
    let mut check = |got: Vec<Token>, context: String| {
        let hash = hash(got.iter().map(|token| u64::from(token.id)));
        assert_eq!(hash, HASH, "{context}: {hash:#x}");
        let want = first.get_or_insert_with(|| got.clone());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert_eq!(bits(got), bits(want), "{context}, row {i}: {got:?} {want:?}");
        }
    };
    for engine in fused() {
        check(all(engine), format!("{}", engine.isa()));
        let parallel = Engine::new().with_isa(engine.isa()).unwrap();
        if engine.isa() == self::engine().isa() {
            for pool in pools(1..=3) {
                let threads = pool.current_num_threads();
                check(pool.install(|| all(parallel)), format!("{} on {threads} threads", engine.isa()));
            }
        }
        // This thread is in no pool.
        check(all(parallel), format!("{} from outside the pool", engine.isa()));
    }
}

/// Alone, and in a batch of 64 with rows that are apart.
#[test]
fn the_place_in_a_batch_makes_no_difference() {
    for cols in [5, 1025, 4097, 9000] {
        let batch = Batch::new(cols);
        let (alone, draws) = (batch.drawn(engine()), batch.draws());
        let mut random = Random(cols as u64);
        let order: Vec<usize> = (0..64).map(|_| random.below(alone.len())).collect();
        let stride = cols + 7;
        let mut data = vec![f32::NAN; 64 * stride];
        for (row, &of) in order.iter().enumerate() {
            data[row * stride..][..cols].copy_from_slice(&batch.data[of * cols..][..cols]);
        }
        let samplers: Vec<_> = order.iter().map(|&of| batch.samplers[of].clone()).collect();
        let in_order: Vec<_> = order.iter().map(|&of| draws[of]).collect();
        let mut out = [Ok(Token::default()); 64];
        for engine in [engine(), Engine::new().with_isa(engine().isa()).unwrap()] {
            let rows = Rows::strided(&data, cols, stride).unwrap();
            engine.sample(rows, &samplers, &in_order, &mut out).unwrap();
            for (row, (token, &of)) in out.iter().zip(&order).enumerate() {
                assert_eq!(
                    bits(&token.unwrap()),
                    bits(&alone[of]),
                    "row {row} of {cols} columns, sampler {of}"
                );
            }
        }
        for (row, token) in alone.iter().enumerate() {
            let x = &batch.data[row * cols..][..cols];
            let single = sample(engine(), x, &batch.samplers[row], draws[row]).unwrap();
            assert_eq!(bits(&single), bits(token), "row {row} of {cols} columns");
        }
    }
}

// --- Rows and callers that are wrong.

/// The error names the token, the other rows are drawn from, and what was to be written over stays.
#[test]
fn a_bad_row_is_an_error_of_its_own() {
    let mut random = Random(13);
    for cols in [1, 20, 1500, 5000] {
        let last = cols - 1;
        let good = bell(&mut random, cols, 2.0);
        let with = |changes: &[(usize, f32)]| {
            let mut x = good.clone();
            changes.iter().for_each(|&(at, value)| x[at] = value);
            x
        };
        let none = vec![0; cols.div_ceil(32)];
        let ban_all = Sampler::builder().bias((0..cols as u32).map(|token| (token, MASKED))).build().unwrap();
        let (plain, draw) = (Sampler::builder().top_p(0.8).build().unwrap(), Draw::counted(1, 2, 3));
        let nan = |token: usize| Err(RowError::NotANumber { token: token as u32 });
        let infinite = |token: usize| Err(RowError::Infinite { token: token as u32 });
        let history = History::new(&[last as u32]);
        let penalties = Sampler::builder().seen_penalties(1.5, 0.0, 0.0).build().unwrap();
        let drawn = sample(engine(), &good, &plain, draw);
        assert!(drawn.is_ok());
        let rows = [
            (good.clone(), &plain, draw, drawn),
            (with(&[(0, f32::NAN)]), &plain, draw, nan(0)),
            (with(&[(last, -f32::NAN)]), &plain, draw, nan(last)),
            (with(&[(0, f32::INFINITY), (last, f32::NAN)]), &plain, draw, nan(last)),
            (with(&[(last, f32::NAN)]), &penalties, draw.history(&history), nan(last)),
            (good.clone(), &plain, draw, drawn),
            (with(&[(last / 2, f32::INFINITY)]), &plain, draw, infinite(last / 2)),
            (with(&[(last, f32::INFINITY)]), &penalties, draw.history(&history), infinite(last)),
            (vec![MASKED; cols], &plain, draw, Err(RowError::NothingAllowed)),
            (good.clone(), &plain, draw.allowed(&none), Err(RowError::NothingAllowed)),
            (good.clone(), &ban_all, draw, Err(RowError::NothingAllowed)),
            (good.clone(), &plain, draw, drawn),
        ];
        let count = rows.len();
        let samplers: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
        let draws: Vec<_> = rows.iter().map(|row| row.2).collect();
        let data: Vec<f32> = rows.iter().flat_map(|row| [&row.0[..], &[77.0]].concat()).collect();
        for engine in engines() {
            let (mut out, mut top) = (vec![Ok(Token::default()); count], vec![Candidate::default(); count]);
            let batch = Rows::strided(&data, cols, cols + 1).unwrap();
            engine.sample_with(batch, &samplers, &draws, &mut out, &mut top).unwrap();
            for (row, (got, want)) in out.iter().zip(&rows).enumerate() {
                let id = |token: &Result<Token, RowError>| token.map(|token| token.id);
                assert_eq!(id(got), id(&want.3), "{}, {cols} columns, row {row}", engine.isa());
                if got.is_err() {
                    assert!(top[row].class == 0 && top[row].log_probability.is_nan());
                }
            }
            for is_mask in [true, false] {
                let (mut y, mut left) = (data.clone(), vec![Ok(0); count]);
                let batch = RowsMut::strided(&mut y, cols, cols + 1).unwrap();
                if is_mask {
                    engine.mask(batch, &samplers, &draws, &mut left).unwrap();
                } else {
                    engine.renormalise(batch, &samplers, &draws, &mut left).unwrap();
                }
                for (row, (got, want)) in left.iter().zip(&rows).enumerate() {
                    let context = format!("{}, {cols} columns, row {row}, mask {is_mask}", engine.isa());
                    assert_eq!(got.err(), want.3.err(), "{context}");
                    let both = [&y, &data].map(|data| &data[row * (cols + 1)..][..cols + 1]);
                    let [after, before] = both.map(|row| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
                    assert_eq!(after[cols], before[cols], "{context}: between the rows");
                    let same = got.is_err() || is_mask && cols == 1;
                    assert_eq!(after == before, same, "{context}");
                }
            }
        }
    }
    let error = sample(engine(), &[0.0, f32::NAN], &Sampler::default(), Draw::uniform(0.5)).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 1 is NaN");
}

/// Whatever is wrong with the last row only is found before anything is written.
#[test]
fn what_callers_do_wrong_is_refused_and_nothing_is_written() {
    let plain = Sampler::default();
    let with = |sampler: SamplerBuilder| [plain.clone(), sampler.build().unwrap()];
    let (draw, long, short) = (Draw::uniform(0.5), History::new(&[40]), [u32::MAX]);
    let mut longer = History::default();
    longer.push(41);
    let plains = with(Sampler::builder());
    let cases: Vec<(Vec<Sampler>, Vec<Draw<'_>>, &str)> = vec![
        (plains.to_vec(), vec![draw], "2 rows but 1 draws"),
        (plains.to_vec(), vec![draw; 3], "2 rows but 3 draws"),
        (plains[..1].to_vec(), vec![draw; 2], "2 rows but 1 samplers"),
        (plains.to_vec(), vec![draw, draw.allowed(&short)], "mask of row 1 has 1 words"),
        (with(Sampler::builder().allowed(&short)).to_vec(), vec![draw; 2], "mask of row 1 has 1 words"),
        (with(Sampler::builder().bias([(40, 1.0)])).to_vec(), vec![draw; 2], "bias of row 1 names token 40"),
        (plains.to_vec(), vec![draw, draw.history(&long)], "history of row 1 names token 40"),
        (plains.to_vec(), vec![draw, draw.history(&longer)], "history of row 1 names token 41"),
        (plains.to_vec(), vec![draw, Draw::uniform(1.0)], "the number to draw by is 1"),
        (plains.to_vec(), vec![draw, Draw::uniform(f64::NAN)], "the number to draw by is NaN"),
        (plains.to_vec(), vec![draw, draw.mu(Some(f64::NAN))], "mu of Mirostat is NaN"),
        (plains.to_vec(), vec![draw, Draw::uniform(-1e-300)], "the number to draw by is -0"),
    ];
    let data: Vec<f32> = (0..80).map(|i| i as f32 / 10.0).collect();
    let rows = Rows::new(&data, 40).unwrap();
    let token = Ok(Token { id: 7, log_probability: 1.0, rank: 7, mu: Some(1.0) });
    let candidate = Candidate { class: 7, log_probability: 1.0 };
    let (mut out, mut top, mut left, mut y) = ([token; 2], [candidate; 7], [Ok(7); 2], data.clone());
    for (samplers, draws, message) in &cases {
        let mut errors = vec![engine().sample(rows, samplers, draws, &mut out)];
        errors.push(engine().sample_with(rows, samplers, draws, &mut out, &mut top[..2]));
        errors.push(engine().mask(RowsMut::new(&mut y, 40).unwrap(), samplers, draws, &mut left));
        errors.push(engine().renormalise(RowsMut::new(&mut y, 40).unwrap(), samplers, draws, &mut left));
        for error in errors {
            let error = error.expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
    let error = engine().survivors(&data[..40], &plains[0], &Draw::uniform(1.0)).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { .. }));
    let draws = [draw; 2];
    assert!(engine().sample(rows, &plain, &draws, &mut out[..1]).is_err());
    assert!(engine().mask(RowsMut::new(&mut y, 40).unwrap(), &plain, &draws, &mut left[..1]).is_err());
    assert!(engine().renormalise(RowsMut::new(&mut y, 40).unwrap(), &plain, &draws, &mut left[..1]).is_err());
    let error = engine().sample_with(rows, &plain, &draws, &mut out, &mut top).unwrap_err();
    assert!(matches!(error, Error::RaggedRows { .. }), "{error}");
    let mut many = [candidate; 82];
    let error = engine().sample_with(rows, &plain, &draws, &mut out, &mut many).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    assert_eq!((out, left), ([token; 2], [Ok(7); 2]));
    assert!(top.iter().chain(&many).all(|top| *top == candidate) && y == data);
    // No rows are nothing to do.
    engine().sample(Rows::new(&[], 40).unwrap(), &plain, &[], &mut []).unwrap();
}

#[test]
fn samplers_that_make_no_sense_are_not_built() {
    let bad = [
        Sampler::builder().temperature(-0.1),
        Sampler::builder().temperature(f64::NAN),
        Sampler::builder().top_p(1.1),
        Sampler::builder().min_p(f64::NAN),
        Sampler::builder().typical(-0.1),
        Sampler::builder().top_n_sigma(-1.0),
        Sampler::builder().xtc(1.5, 0.1),
        Sampler::builder().xtc(0.5, -0.1),
        Sampler::builder().mirostat(0.0, 0.1),
        Sampler::builder().mirostat(5.0, f64::INFINITY),
        Sampler::builder().seen_penalties(0.0, 0.0, 0.0),
        Sampler::builder().seen_penalties(1.0, f64::NAN, 0.0),
        Sampler::builder().seen_penalties(1.0, 0.0, f64::INFINITY),
        Sampler::builder().bias([(0, f32::INFINITY), (0, 0.0)]),
        Sampler::builder().bias([(0, f32::NAN)]),
        Sampler::builder().min_keep(0),
        Sampler::builder().order(&[Filter::TopK, Filter::TopP, Filter::TopK]),
        Sampler::builder().top_p(0.5).order(&[Filter::TopK]),
    ];
    for (i, builder) in bad.into_iter().enumerate() {
        assert!(builder.build().is_err(), "{i}");
    }
}

// --- What is said of a token.

#[test]
fn log_probabilities_are_those_of_the_row_or_of_what_is_left() {
    let mut random = Random(14);
    for (case, len) in
        [1, 2, 5, 100, 1025, 4096, 4097, 6000, 20_000].into_iter().cycle().take(effort(180)).enumerate()
    {
        let mut x = bell(&mut random, len, [2.0, 10.0, 0.1][case % 3]);
        if case % 2 == 0 {
            // Equal ones make ranks and candidates interesting.
            x.iter_mut().for_each(|x| *x = (*x * 4.0).round() / 4.0);
        }
        if case % 7 == 0 {
            // Far from 0 a logit less a logarithm would be noise.
            x.iter_mut().for_each(|x| *x *= 1e20);
            x.iter_mut().step_by(2).for_each(|x| *x = 1e30);
        }
        if case % 5 == 0 {
            x.iter_mut().step_by(3).skip(1).for_each(|x| *x = MASKED);
        }
        let mut want = vec![0.0; len];
        reference::log_softmax(&x, 1.0, &mut want);
        let mut order: Vec<usize> = (0..len).filter(|&i| x[i] != MASKED).collect();
        order.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap().then(a.cmp(&b)));

        let mut left = reference::Left::all(&x);
        let mut builder = Sampler::builder().temperature(1.6);
        left.temperature(1.6);
        match case % 4 {
            0 => {
                builder = builder.top_p(0.9);
                left.top_p(0.9, 1);
            }
            1 => {
                builder = builder.top_k(len / 3 + 1).typical(0.8);
                left.top_k(len / 3 + 1, true, 1);
                left.typical(0.8, 1);
            }
            2 => {
                builder = builder.min_p(0.02);
                left.min_p(0.02, 1);
            }
            _ => {}
        }
        let left = left.probabilities();
        for engine in engines() {
            let draw = Draw::uniform(random.unit());
            let context = format!("{}, case {case}, {len} columns", engine.isa());
            let token = |of| {
                let sampler = builder.clone().log_probability(of).build().unwrap();
                sample(engine, &x, &sampler, draw).unwrap()
            };
            let (raw, filtered) = (token(LogProbability::Raw), token(LogProbability::Filtered));
            let (skipped, id) = (token(LogProbability::Skip), raw.id as usize);
            assert_eq!([filtered.id, skipped.id], [raw.id; 2], "{context}");
            let agree = |got: f64, want: f64| (got - want).abs() <= 4e-7 * want.abs() + 1e-12;
            assert!(agree(raw.log_probability, want[id]), "{context}: {raw:?} {}", want[id]);
            let p = left.iter().find(|left| left.0 == id).unwrap().1;
            assert!((filtered.log_probability - p.ln()).abs() < 1e-10, "{context}: {filtered:?} {}", p.ln());
            assert!(skipped.log_probability.is_nan() && skipped.rank == 0 && raw.mu.is_none(), "{context}");
            let rank = x.iter().filter(|other| **other >= x[id]).count();
            assert_eq!([raw.rank, filtered.rank], [rank; 2], "{context}");

            let most = [1, 5, len, 5000][random.below(4)].min(len);
            let sampler = builder.clone().build().unwrap();
            let candidate = Candidate { class: 7, log_probability: 7.0 };
            let (mut out, mut top) = ([Ok(Token::default())], vec![candidate; most]);
            engine.sample_with(Rows::new(&x, len).unwrap(), &sampler, &[draw], &mut out, &mut top).unwrap();
            assert_eq!(bits(&out[0].unwrap()), bits(&raw), "{context}");
            let mut ids = order.iter();
            for top in &top {
                match ids.next() {
                    Some(&id) => {
                        assert_eq!(top.class, id, "{context}, {most} candidates");
                        assert!(agree(top.log_probability, want[id]), "{context}: {top:?}");
                    }
                    None => assert_eq!(top.log_probability, f64::NEG_INFINITY, "{context}: {top:?}"),
                }
            }
        }
    }
}

/// Raw means before penalties, bias and masks too.
#[test]
fn raw_is_before_all_changes() {
    let x = [1.0_f32, 2.0, 3.0, 0.0];
    let history = History::new(&[2, 1]);
    let sampler = Sampler::builder().seen_penalties(9.0, 0.0, 0.0).bias([(0, -5.0)]).temperature(0.0);
    let draw = Draw::uniform(0.0).history(&history).allowed(&[0b1011]);
    let mut want = [0.0; 4];
    reference::log_softmax(&x, 1.0, &mut want);
    let token = sample(engine(), &x, &sampler.build().unwrap(), draw).unwrap();
    assert_eq!((token.id, token.rank), (1, 2));
    assert!((token.log_probability - want[1]).abs() < 1e-6);
}

/// `mu` goes up by `eta (tau - surprise)`, and what was more surprising than it is gone.
#[test]
fn mirostat_follows_what_is_drawn() {
    let mut random = Random(15);
    let (tau, eta, temperature) = (3.0, 0.2, 1.3);
    for (len, log_probability) in [(50, LogProbability::Skip), (6000, LogProbability::Raw)] {
        let sampler = Sampler::builder().mirostat(tau, eta).temperature(temperature);
        let sampler = sampler.log_probability(log_probability).build().unwrap();
        let (mut mu, mut draw_mu, mut filtered) = (2.0 * tau, None, 0);
        for position in 0..200 {
            let x = bell(&mut random, len, 4.0);
            let draw = Draw::counted(9, 9, position).mu(draw_mu);
            let token = sample(engine(), &x, &sampler, draw).unwrap();
            let mut left = reference::Left::all(&x);
            left.temperature(temperature);
            left.mirostat(mu, 1);
            filtered += usize::from(left.ids().len() < len);
            let p = left.probabilities().into_iter().find(|left| left.0 == token.id as usize);
            let Some((_, p)) = p else { panic!("{position}: {token:?} is not left") };
            mu -= eta * (-p.log2() - tau);
            assert!((token.mu.unwrap() - mu).abs() < 1e-9, "{position}: {token:?} {mu}");
            draw_mu = token.mu;
        }
        assert!(filtered > 100 && mu != 2.0 * tau, "{filtered}");
    }
}

/// As often as the chance says, and by another number than the token: what is drawn without it is drawn from all.
#[test]
fn exclusion_of_top_choices_has_its_chance() {
    let x = [0.5_f32.ln(), 0.3_f32.ln(), 0.19_f32.ln(), 0.01_f32.ln()];
    let (chance, draws) = (0.3, effort(100_000) as u64);
    let sampler = quick().xtc(chance, 0.1).build().unwrap();
    let (mut applied, mut with, mut without) = (0, [0; 4], [0; 4]);
    for position in 0..draws {
        let draw = Draw::counted(4, 4, position);
        let left = engine().survivors(&x, &sampler, &draw).unwrap().unwrap();
        let is_applied = left.len() == 2;
        assert!(is_applied || left.len() == 4, "{left:?}");
        applied += u64::from(is_applied);
        let id = sample(engine(), &x, &sampler, draw).unwrap().id;
        (if is_applied { &mut with } else { &mut without })[id as usize] += 1;
    }
    assert_distributed(&[applied, draws - applied], &[chance, 1.0 - chance], "the chance");
    assert_distributed(&with, &[0.0, 0.0, 0.95, 0.05], "with");
    assert_distributed(&without, &[0.5, 0.3, 0.19, 0.01], "without");
}

// --- Drafts.

fn verify(p: &[f32], q: Option<&[f32]>, cols: usize, tokens: &[u32], draw: Draw<'_>) -> Verified {
    let rows = |data| Rows::new(data, cols).unwrap();
    engine().verify(rows(p), q.map(rows), tokens, &draw).unwrap()
}

/// Whatever the draft is drawn from, with the same counter as it is verified with; each position has its own luck.
#[test]
fn verified_tokens_are_distributed_as_the_target() {
    const DRAWS: u64 = 60_000;
    let mut random = Random(16);
    let cols = 8;
    // The first is never right, and the second never proposed.
    let mut rows = |masked: usize, count: usize| -> (Vec<f32>, Vec<f32>) {
        // Near each other, so that little is certain.
        let mut x = bell(&mut random, cols * count, 0.7);
        x.iter_mut().skip(masked).step_by(cols).for_each(|x| *x = MASKED);
        let p = x.chunks(cols).flat_map(|x| probabilities(x, 1.0)).map(|p| p as f32).collect();
        (x, p)
    };
    let ((_, p), (draft_logits, q)) = (rows(0, 4), rows(1, 3));
    let of = |row: usize, data: &[f32]| -> Vec<f64> {
        data[row * cols..][..cols].iter().map(|p| f64::from(*p)).collect()
    };
    let sampler = quick().build().unwrap();
    let (mut drawn, mut accepted) = ([[0; 8]; 4], [0; 4]);
    for n in 0..DRAWS {
        let draws = [0, 1, 2].map(|row| Draw::counted(8, row, n));
        let mut drafts = [Ok(Token::default()); 3];
        engine().sample(Rows::new(&draft_logits, cols).unwrap(), &sampler, &draws, &mut drafts).unwrap();
        let tokens = drafts.map(|token| token.unwrap().id);
        let verified = verify(&p, Some(&q), cols, &tokens, draws[0]);
        accepted[verified.accepted] += 1;
        for (row, &token) in tokens[..verified.accepted].iter().chain([&verified.next]).enumerate() {
            drawn[row][token as usize] += 1;
        }
    }
    for (row, drawn) in drawn.iter().enumerate() {
        assert!(drawn.iter().sum::<u64>() > 500);
        assert_distributed(drawn, &of(row, &p), &format!("token {row}"));
    }
    let rates: Vec<f64> =
        (0..3).map(|row| of(row, &p).iter().zip(of(row, &q)).map(|(p, q)| p.min(q)).sum()).collect();
    let (mut lengths, mut all) = (Vec::new(), 1.0);
    for rate in rates {
        lengths.push(all * (1.0 - rate));
        all *= rate;
    }
    lengths.push(all);
    assert_distributed(&accepted, &lengths, "accepted");

    // What is proposed with certainty, by a lookup.
    for token in [0, 1, 5] {
        let (mut drawn, mut bonus) = ([0; 8], [0; 8]);
        for n in 0..DRAWS {
            let verified = verify(&p[..2 * cols], None, cols, &[token], Draw::counted(8, 0, n));
            if verified.accepted == 1 {
                drawn[token as usize] += 1;
                bonus[verified.next as usize] += 1;
            } else {
                drawn[verified.next as usize] += 1;
            }
        }
        assert_distributed(&drawn, &of(0, &p), &format!("token {token} is proposed"));
        if token != 0 {
            assert_distributed(&bonus, &of(1, &p), &format!("behind token {token}"));
        }
    }

    // A draft from the target itself is right, and a token of no probability never.
    let mut bonus = [0; 8];
    for n in 0..DRAWS {
        let tokens = [1 + n as u32 % 7, 1 + n as u32 % 5];
        let verified = verify(&p[..3 * cols], Some(&p[..2 * cols]), cols, &tokens, Draw::counted(9, 9, n));
        assert_eq!(verified.accepted, 2);
        bonus[verified.next as usize] += 1;
    }
    assert_distributed(&bonus, &of(2, &p), "one more");
    // No draft at all is a draw.
    assert_eq!(
        verify(&[0.0, 1.0, 0.0], None, 3, &[], Draw::counted(1, 1, 1)),
        Verified { accepted: 0, next: 1 }
    );
    let neither = verify(&[0.0, 1.0, 0.0, 1.0], Some(&[0.0, 1.0]), 2, &[0], Draw::counted(1, 1, 1));
    assert_eq!(neither, Verified { accepted: 0, next: 1 });
}

/// Not even if the draft says that it has less than none.
#[test]
fn a_token_without_probability_is_not_verified() {
    let (p, q) = ([0.0, 0.25, 0.75, 0.0, 0.5, 0.5], [-5.0, 0.25, 1.75]);
    for n in 0..200 {
        let verified = verify(&p, Some(&q), 3, &[2], Draw::counted(3, 0, n));
        let row = &p[3 * verified.accepted..][..3];
        assert!(row[verified.next as usize] > 0.0, "{verified:?}");
    }
}

#[test]
fn drafts_that_make_no_sense_are_refused() {
    let (p, q, draw) = ([0.25_f32; 12], [0.25_f32; 8], Draw::counted(1, 1, 1));
    let verify = |p: &[f32], q: &[f32], cols, draft_cols, tokens: &[u32]| {
        let (p, q) = (Rows::new(p, cols).unwrap(), Rows::new(q, draft_cols).unwrap());
        engine().verify(p, Some(q), tokens, &draw)
    };
    assert!(verify(&p, &q, 4, 4, &[0, 3]).is_ok());
    assert!(matches!(verify(&p, &q, 4, 4, &[0]), Err(Error::RowsMismatch { .. })));
    assert!(matches!(verify(&p, &q[..4], 4, 4, &[0, 3]), Err(Error::ShapesDiffer { .. })));
    assert!(matches!(verify(&p, &q, 4, 2, &[0, 3]), Err(Error::ShapesDiffer { .. })));
    assert!(matches!(verify(&p, &q, 4, 4, &[0, 4]), Err(Error::Token { row: 1, token: 4, .. })));
    for bad in [-0.1, f32::NAN, f32::INFINITY] {
        let (mut p, mut q) = (p, q);
        p[7] = bad;
        assert!(matches!(verify(&p, &q, 4, 4, &[0, 3]), Err(Error::OutOfRange { .. })), "{bad}");
        p[7] = 0.25;
        q[7] = bad;
        assert!(matches!(verify(&p, &q, 4, 4, &[0, 3]), Err(Error::OutOfRange { .. })), "{bad}");
    }
}

// --- Ends of ranges.

#[test]
fn one_column_is_always_drawn() {
    // A bias names more columns.
    for sampler in all_kinds().into_iter().filter(|sampler| !format!("{sampler:?}").contains("bias: [(")) {
        for uniform in [0.0, 0.5, BELOW_1] {
            let token = sample(engine(), &[-3.5], &sampler, Draw::uniform(uniform)).unwrap();
            let skipped = token.rank == 0 && token.log_probability.is_nan();
            let is_sure = token.log_probability.abs() < 1e-6 && token.rank == 1;
            assert!(skipped || is_sure, "{token:?} {sampler:?}");
            assert_eq!(token.id, 0);
        }
    }
}

/// Among them those that differ in the sign of zero.
#[test]
fn greedy_is_the_first_of_the_largest() {
    let mut wide = vec![-1.0; 9000];
    [3001, 3000, 8999].iter().for_each(|&i| wide[i] = 0.25);
    let mut zeros = vec![-1.0; 9000];
    [4000, 7000].iter().for_each(|&i| zeros[i] = -0.0);
    [5000, 6000].iter().for_each(|&i| zeros[i] = 0.0);
    let rows: [(&[f32], u32); 6] = [
        (&[1.0, 3.0, 2.0, 3.0, 3.0], 1),
        (&[-1.0, -0.0, 0.0, -0.0], 1),
        (&[0.0, -0.0], 0),
        (&[1e30, 1e30, -1e30], 0),
        (&wide, 3000),
        (&zeros, 4000),
    ];
    for (x, want) in rows {
        for preset in [Preset::Hf, Preset::Vllm, Preset::LlamaCpp] {
            for method in [Method::InverseCdf, Method::Gumbel] {
                for temperature in [0.0, 1e-6] {
                    let sampler =
                        Sampler::preset(preset).temperature(temperature).method(method).build().unwrap();
                    for engine in engines() {
                        let token = sample(engine, x, &sampler, Draw::uniform(BELOW_1)).unwrap();
                        let context = format!("{} {preset:?} {method:?}", engine.isa());
                        assert_eq!(token.id, want, "{context} {temperature}");
                    }
                }
            }
        }
    }
}

/// What is as large as the last of top-k, whatever the sign of a zero.
#[test]
fn zeros_of_both_signs_are_equal() {
    let mut random = Random(17);
    for (len, k) in [(3, 2), (100, 30), (9000, 50), (9000, 5000)] {
        let x: Vec<f32> = (0..len).map(|_| [0.0, -0.0][random.below(2)]).collect();
        for (ties, kept) in [(TopKTies::Keep, len), (TopKTies::LowestId, k)] {
            let sampler = quick().top_k(k).top_k_ties(ties).build().unwrap();
            for engine in engines() {
                let left = engine.survivors(&x, &sampler, &Draw::uniform(0.0)).unwrap().unwrap();
                let ids: Vec<usize> = left.iter().map(|left| left.class).collect();
                assert!(ids == (0..kept).collect::<Vec<_>>(), "{} {len} {k} {ties:?}", engine.isa());
            }
        }
    }
}

/// All that are not masked are equally probable then.
#[test]
fn at_infinite_temperature_all_are_equal() {
    let mut random = Random(18);
    for len in [4, 100, 6000] {
        let mut x = bell(&mut random, len, 1e30);
        x.iter_mut().step_by(4).for_each(|x| *x = MASKED);
        let allowed: Vec<usize> = (0..len).filter(|i| i % 4 > 0).collect();
        let n = allowed.len() as f64;
        // All of a long row take seconds.
        let step = if len > 4096 { 45 } else { 1 };
        let uniforms: Vec<f64> = (0..allowed.len()).step_by(step).map(|i| (i as f64 + 0.5) / n).collect();
        for method in [Method::InverseCdf, Method::Gumbel] {
            let sampler =
                quick().temperature(f64::INFINITY).top_p(1.0 - 1e-9).method(method).build().unwrap();
            for engine in engines() {
                let context = format!("{} {len} {method:?}", engine.isa());
                let drawn = ids(engine, &x, &sampler, &uniforms);
                match method {
                    Method::Gumbel => assert!(drawn.iter().all(|id| id % 4 > 0), "{context}"),
                    _ => assert!(drawn.iter().eq(allowed.iter().step_by(step)), "{context}"),
                }
                let left = engine.survivors(&x, &sampler, &Draw::uniform(0.0)).unwrap().unwrap();
                assert_eq!(left.len(), allowed.len(), "{context}");
                assert!(left.iter().all(|left| (left.log_probability + n.ln()).abs() < 1e-12), "{context}");
                for is_mask in [true, false] {
                    let (mut y, mut count, draws) = (x.clone(), [Ok(0)], [Draw::uniform(0.0)]);
                    let rows = RowsMut::new(&mut y, len).unwrap();
                    if is_mask {
                        engine.mask(rows, &sampler, &draws, &mut count).unwrap();
                    } else {
                        engine.renormalise(rows, &sampler, &draws, &mut count).unwrap();
                    }
                    let want = |i| match (is_mask, i % 4) {
                        (true, 0) => MASKED,
                        (false, 0) | (true, _) => 0.0,
                        _ => (1.0 / n) as f32,
                    };
                    let wrong = y
                        .iter()
                        .enumerate()
                        .find(|(i, y)| !((**y - want(*i)).abs() < 1e-7 || **y == want(*i)));
                    assert_eq!(wrong, None, "{context}, mask {is_mask}");
                }
            }
        }
    }
}

/// A float as far below the largest as `e^-87` takes may not be there.
#[test]
fn what_is_far_below_is_never_drawn() {
    let largest = 1.5 * 2_f32.powi(30);
    for (x, temperature) in [
        ([largest, largest - 128.0, 0.0], 1.0),
        ([3e9, 2e9, 0.0], 1.0),
        ([20_000.0, 19_999.0, 0.0], 1e-5),
        ([-20_000.0, -20_001.0, -3e4], 1e-5),
        ([1e4, 9999.0, 0.0], 1e-4),
        ([1e5, 99_999.0, 0.0], 1e-3),
    ] {
        for len in [3, 9000] {
            let mut row = vec![x[2]; len];
            row[..2].copy_from_slice(&x[..2]);
            for builder in [quick(), quick().top_p(0.9), quick().typical(0.9)] {
                let sampler = builder.temperature(temperature).build().unwrap();
                for engine in engines() {
                    let context = format!("{} {x:?} of {len}, {sampler:?}", engine.isa());
                    assert_eq!(ids(engine, &row, &sampler, &[0.0, 0.5, BELOW_1]), [0; 3], "{context}");
                    let left = engine.survivors(&row, &sampler, &Draw::uniform(0.5)).unwrap().unwrap();
                    assert!(left[0].class == 0 && left[0].log_probability == 0.0, "{context}: {:?}", left[0]);
                }
            }
        }
    }
}

#[test]
fn huge_logits_are_as_good_as_others() {
    let huge = 1e30_f32;
    let mut wide = vec![-huge; 9000];
    [77, 5000].iter().for_each(|&i| wide[i] = huge);
    for x in [vec![-huge, huge, 0.0, huge, -1.0], wide] {
        let largest: Vec<usize> = (0..x.len()).filter(|&i| x[i] == huge).collect();
        // Two are equally typical, and one has half of the mass.
        for (builder, second) in
            [(quick(), 1), (quick().top_p(0.9), 1), (quick().typical(0.5).top_n_sigma(3.0), 0)]
        {
            for temperature in [1e-5, 0.7, 1.0, 1e9] {
                let sampler = builder.clone().temperature(temperature).build().unwrap();
                for engine in engines() {
                    let drawn = ids(engine, &x, &sampler, &[1e-9, 0.25, 0.49, 0.51, 0.75, BELOW_1]);
                    let want = [[largest[0]; 3], [largest[second]; 3]].concat();
                    assert_eq!(drawn, want, "{} {sampler:?}", engine.isa());
                }
            }
        }
    }
}
