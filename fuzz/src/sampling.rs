//! Samplers: what filters leave against sorting, what is drawn against what has to hold of a draw, and the verification of
//! drafts.

use logits::{
    Candidate, Draw, Engine, Error, Filter, History, LogProbability, Method, Preset, RowError, RowsMut,
    Sampler, SamplerBuilder, Token, TopKTies, reference,
};

use crate::bytes::Bytes;
use crate::judge::{Kind, Table, assert_near, kind, on_all};

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 16 {
        0..=13 => sample(&mut bytes),
        14 => verify(&mut bytes),
        _ => builder(&mut bytes),
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
    /// With a chance of 1, so that the definition needs no luck.
    threshold: f64,
    tau: f64,
    min_keep: usize,
}

impl Chain {
    fn new(bytes: &mut Bytes<'_>, len: usize) -> Self {
        let mut chain = Self {
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
            min_keep: match bytes.byte() {
                0..=31 => 1 + bytes.below(len + 2),
                _ => 1,
            },
        };
        let mut filters = FILTERS.to_vec();
        for _ in 0..[0, 1, 1, 1, 2, 2, 3, 8][bytes.below(8)] {
            let filter = filters.remove(bytes.below(filters.len()));
            chain.set(filter, bytes, len);
        }
        chain
    }

    fn set(&mut self, filter: Filter, bytes: &mut Bytes<'_>, len: usize) {
        self.order.push(filter);
        match filter {
            Filter::Temperature => {
                self.temperature = match bytes.byte() {
                    0..=31 => bytes.of(&[0.0, 9e-6, 1e-5, 1e-3, 100.0, 1e6]),
                    _ => 0.05 + 3.0 * bytes.unit(),
                }
            }
            Filter::TopK => {
                self.top_k = bytes.below(len + 3);
                self.ties = bytes.of(&[TopKTies::Keep, TopKTies::LowestId]);
            }
            Filter::TopP => self.top_p = part(bytes),
            Filter::MinP => self.min_p = part(bytes),
            Filter::Typical => self.typical = part(bytes),
            Filter::TopNSigma => self.sigmas = 4.0 * part(bytes),
            Filter::Xtc => self.threshold = part(bytes),
            Filter::Mirostat => self.tau = 1e-3 + 12.0 * part(bytes),
            _ => unreachable!("a filter of another version"),
        }
    }

    fn build(&self, builder: SamplerBuilder) -> SamplerBuilder {
        let mut builder = builder
            .order(&self.order)
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
        builder
    }

    /// What is left, by sorting.
    fn plainly(&self, x: &[f32], mu: f64) -> reference::Left {
        let mut left = reference::Left::all(x);
        let keep = self.min_keep;
        for filter in &self.order {
            match filter {
                Filter::Temperature if self.temperature != 1.0 => left.temperature(self.temperature),
                Filter::TopK if self.top_k > 0 => left.top_k(self.top_k, self.ties == TopKTies::Keep, keep),
                Filter::TopP if self.top_p < 1.0 => left.top_p(self.top_p, keep),
                Filter::MinP if self.min_p > 0.0 => left.min_p(self.min_p, keep),
                Filter::Typical if self.typical < 1.0 => left.typical(self.typical, keep),
                Filter::TopNSigma if self.sigmas.is_finite() => left.top_n_sigma(self.sigmas, keep),
                Filter::Xtc if self.threshold <= 0.5 => left.xtc(self.threshold, keep),
                Filter::Mirostat => left.mirostat(mu, keep),
                _ => {}
            }
        }
        left
    }
}

/// A part of something: any, the usual ones, the ends.
fn part(bytes: &mut Bytes<'_>) -> f64 {
    match bytes.byte() {
        0..=15 => bytes.of(&[0.0, 1.0, 1e-9, 1e-20, 0.5, 0.25, f64::MIN_POSITIVE]),
        16..=47 => bytes.of(&[0.9, 0.95, 0.05, 0.1, 0.99, 0.999]),
        _ => bytes.unit(),
    }
}

/// Bias, masks and penalties.
#[derive(Debug)]
struct Changes {
    bias: Vec<(u32, f32)>,
    allowed: [Option<Vec<u32>>; 2],
    penalties: [f64; 3],
    prompt: Vec<u32>,
    output: Vec<u32>,
}

impl Changes {
    fn new(bytes: &mut Bytes<'_>, len: usize) -> Self {
        let form = bytes.byte();
        let mut tokens = |on: bool, most: usize| -> Vec<u32> {
            let count = if on { bytes.below(most) } else { 0 };
            (0..count).map(|_| bytes.below(len) as u32).collect()
        };
        let (prompt, output) = (tokens(form & 1 == 0, 5), tokens(form & 1 == 0, 6));
        let biased = tokens(form & 6 == 0, 5);
        let bias = biased.iter().map(|&token| {
            let addend = bytes.special();
            (token, if addend.is_nan() || addend == f32::INFINITY { -1.5 } else { addend })
        });
        let bias = bias.collect();
        let mut mask = |on: bool| {
            on.then(|| (0..len.div_ceil(32) + 1).map(|_| bytes.word() as u32 | bytes.word() as u32).collect())
        };
        let allowed = [mask(form & 24 == 0), mask(form & 40 == 0)];
        let penalties = if form & 1 == 0 {
            [
                [1.0, 1.3, 0.5, 2.0][bytes.below(4)],
                [0.0, 0.35, -0.25, 1.0][bytes.below(4)],
                [0.0, 0.5, -0.4, 1e9][bytes.below(4)],
            ]
        } else {
            [1.0, 0.0, 0.0]
        };
        Self { bias, allowed, penalties, prompt, output }
    }

    fn build(&self, builder: SamplerBuilder) -> SamplerBuilder {
        let [repetition, frequency, presence] = self.penalties;
        let builder = builder.bias(self.bias.iter().copied()).seen_penalties(repetition, frequency, presence);
        match &self.allowed[0] {
            Some(mask) => builder.allowed(mask),
            None => builder,
        }
    }

    fn history(&self) -> History {
        let mut history = History::new(&self.prompt);
        self.output.iter().for_each(|&token| history.push(token));
        history
    }

    /// The row, changed by hand. What is no number stays what it is.
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        for mask in self.allowed.iter().flatten() {
            for (i, x) in x.iter_mut().enumerate() {
                if mask[i / 32] & 1 << (i % 32) == 0 && *x < f32::INFINITY {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        for (at, &(token, addend)) in self.bias.iter().enumerate() {
            let is_last = self.bias[at + 1..].iter().all(|later| later.0 != token);
            let x = &mut x[token as usize];
            if is_last && *x < f32::INFINITY {
                *x += addend;
            }
        }
        let [repetition, frequency, presence] = self.penalties;
        if self.penalties == [1.0, 0.0, 0.0] {
            return x;
        }
        for (i, x) in x.iter_mut().enumerate() {
            let is_it = |token: &&u32| **token as usize == i;
            let count = self.output.iter().filter(is_it).count();
            let mut z = f64::from(*x);
            if count > 0 || self.prompt.iter().any(|token| is_it(&token)) {
                z = if z > 0.0 { z / repetition } else { z * repetition };
                if count > 0 {
                    z -= count as f64 * frequency + presence;
                }
                *x = z as f32;
            }
        }
        x
    }
}

/// What a row has that cannot be drawn from.
fn unfit(x: &[f32]) -> Option<RowError> {
    let token = |is_it: fn(&f32) -> bool| x.iter().position(is_it).unwrap_or_default() as u32;
    match kind(x) {
        Kind::Fine => None,
        Kind::Nan => Some(RowError::NotANumber { token: token(|x| x.is_nan()) }),
        Kind::Infinite => Some(RowError::Infinite { token: token(|x| *x == f32::INFINITY) }),
        Kind::Masked => Some(RowError::NothingAllowed),
    }
}

fn sample(bytes: &mut Bytes<'_>) {
    let (rows, cols) = bytes.shape();
    let x = Table::new((rows.min(40), cols), bytes.below(3), |cols| bytes.row(cols));
    let (chain, changes) = (Chain::new(bytes, cols), Changes::new(bytes, cols));
    let form = bytes.byte();
    let method = if form & 1 == 0 { Method::InverseCdf } else { Method::Gumbel };
    let of =
        [LogProbability::Raw, LogProbability::Filtered, LogProbability::Skip][usize::from(form >> 1) % 3];
    let builder = changes.build(chain.build(Sampler::builder()));
    let sampler = builder.method(method).log_probability(of).build().expect("nothing to refuse");
    let most = bytes.below(cols.min(4) + 1);
    let (history, seed) = (changes.history(), bytes.word());
    let mu = if form & 64 == 0 { None } else { Some(chain.tau * 4.0 * part(bytes)) };
    let draws: Vec<Draw<'_>> = (0..x.rows)
        .map(|row| {
            let draw = match bytes.byte() {
                0..=63 => Draw::counted(seed, row as u64, 1),
                64..=79 => Draw::uniform(bytes.of(&[0.0, f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0, 0.5])),
                _ => Draw::uniform(bytes.unit()),
            };
            let draw = draw.history(&history).mu(mu);
            match &changes.allowed[1] {
                Some(mask) => draw.allowed(mask),
                None => draw,
            }
        })
        .collect();
    let changed: Vec<Vec<f32>> = x.each().map(|x| changes.apply(x)).collect();
    on_all(
        bytes.luck,
        x.rows * cols,
        |engine| {
            let mut tokens = vec![Ok(Token::default()); x.rows];
            let mut top = vec![Candidate::default(); most * x.rows];
            engine.sample_with(x.view(), &sampler, &draws, &mut tokens, &mut top).expect("nothing to refuse");
            let rows = x.each().zip(&draws);
            let left: Vec<_> = rows
                .map(|(x, draw)| engine.survivors(x, &sampler, draw).expect("nothing to refuse").map(bits_of))
                .collect();
            let mut masked = Table { data: x.data.clone(), ..x };
            let mut counts = vec![Ok(7); x.rows];
            engine.mask(masked.view_mut(), &sampler, &draws, &mut counts).expect("nothing to refuse");
            let mut probabilities = Table { data: x.data.clone(), ..x };
            let mut others = vec![Ok(7); x.rows];
            let rows: RowsMut<'_> = probabilities.view_mut();
            engine.renormalise(rows, &sampler, &draws, &mut others).expect("nothing to refuse");
            assert_eq!(counts, others);
            let tokens: Vec<_> = tokens
                .into_iter()
                .map(|token| {
                    token.map(|token| {
                        (token.id, token.log_probability.to_bits(), token.rank, token.mu.map(f64::to_bits))
                    })
                })
                .collect();
            (tokens, bits_of(top), left, counts, masked.bits(), probabilities.bits())
        },
        |(tokens, top, left, counts, masked, probabilities), fused, isa| {
            for row in 0..x.rows {
                let (raw, x) = (x.row(row), &changed[row]);
                let context =
                    || format!("{isa:?}, {chain:?}, {changes:?}, draw {:?}, row {raw:?}", draws[row]);
                let at = row * cols..(row + 1) * cols;
                let (masked, probabilities) = (floats(&masked[at.clone()]), floats(&probabilities[at]));
                if let Some(error) = unfit(x) {
                    assert_eq!(tokens[row], Err(error), "{}", context());
                    assert_eq!(left[row], Err(error), "{}", context());
                    assert_eq!(counts[row], Err(error), "{}", context());
                    let stays = |y: &[f32]| y.iter().zip(raw).all(|(y, x)| y.to_bits() == x.to_bits());
                    assert!(stays(&masked) && stays(&probabilities), "a bad row was changed: {}", context());
                    continue;
                }
                let want = chain.plainly(x, mu.unwrap_or(2.0 * chain.tau)).probabilities();
                let got = left[row].as_ref().expect("something is left");
                if !judge_survivors(got, &want, x, &context) {
                    assert!(
                        is_open(&chain, x, mu.unwrap_or(2.0 * chain.tau)),
                        "{got:?} are left, and not {want:?}: {}",
                        context()
                    );
                    continue;
                }
                assert_eq!(counts[row], Ok(want.len()), "{}", context());
                judge_written(&masked, &probabilities, got, x, &chain, fused, &context);
                let (id, log_probability, rank, mu) = tokens[row].expect("a token");
                let drawn = got.iter().find(|left| left.0 == id as usize);
                let (_, filtered) =
                    *drawn.unwrap_or_else(|| panic!("{id} is drawn, but not left: {}", context()));
                let log_probability = f64::from_bits(log_probability);
                match of {
                    LogProbability::Raw => {
                        let mut logs = vec![0.0; cols];
                        if kind(raw) == Kind::Fine {
                            reference::log_softmax(raw, 1.0, &mut logs);
                            let want = logs[id as usize];
                            assert_near(log_probability, want, 4e-7 * want.abs() + 1e-50, context);
                        }
                    }
                    LogProbability::Filtered => {
                        assert_near(log_probability, f64::from_bits(filtered), 1e-10, context);
                    }
                    _ => assert!(log_probability.is_nan(), "{}", context()),
                }
                if of != LogProbability::Skip && kind(raw) == Kind::Fine {
                    let better = raw.iter().filter(|&&other| other >= raw[id as usize]).count();
                    assert_eq!(rank, better, "{}", context());
                }
                assert_eq!(mu.is_some(), chain.order.contains(&Filter::Mirostat), "{}", context());
                if method == Method::InverseCdf {
                    judge_draw(&draws[row], id, &want, &context);
                }
                let top = &top[row * most..][..most];
                if kind(raw) == Kind::Fine {
                    let mut order: Vec<usize> = (0..cols).collect();
                    order.sort_by(|&a, &b| raw[b].partial_cmp(&raw[a]).expect("numbers").then(a.cmp(&b)));
                    assert!(
                        top.iter().zip(&order).all(|(top, want)| top.0 == *want),
                        "{top:?}: {}",
                        context()
                    );
                }
            }
        },
    );
}

fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().map(|&bits| f32::from_bits(bits)).collect()
}

fn bits_of(candidates: Vec<Candidate>) -> Vec<(usize, u64)> {
    candidates.into_iter().map(|left| (left.class, left.log_probability.to_bits())).collect()
}

/// Whether they are the same tokens as sorting leaves; they have to be in the same order then, and as probable.
fn judge_survivors(
    got: &[(usize, u64)],
    want: &[(usize, f64)],
    x: &[f32],
    context: &dyn Fn() -> String,
) -> bool {
    let ids = |of: &[usize]| -> Vec<usize> {
        let mut ids = of.to_vec();
        ids.sort_unstable();
        ids
    };
    let (got_ids, want_ids): (Vec<usize>, Vec<usize>) =
        (got.iter().map(|left| left.0).collect(), want.iter().map(|left| left.0).collect());
    if ids(&got_ids) != ids(&want_ids) {
        return false;
    }
    let ordered = |pair: &[usize]| x[pair[0]] > x[pair[1]] || x[pair[0]] == x[pair[1]] && pair[0] < pair[1];
    assert!(got_ids.windows(2).all(ordered), "{got_ids:?} are out of order: {}", context());
    let mut probabilities = vec![0.0; x.len()];
    want.iter().for_each(|&(id, probability)| probabilities[id] = probability);
    for &(id, log_probability) in got {
        let (got, want) = (f64::from_bits(log_probability).exp(), probabilities[id]);
        assert_near(got, want, 1e-10 * want + 1e-300, context);
    }
    true
}

/// Whether a step is so near its bound that the rounding of f64 decides, which depends on the order of a sum.
fn is_open(chain: &Chain, x: &[f32], mu: f64) -> bool {
    const CLOSE: f64 = 1e-12;
    // What is less probable than `e^-87` has no part in the mean that typical sampling goes by.
    const LEAST: f64 = 1e-34 / CLOSE;
    let near = |a: f64, b: f64, size: f64| (a - b).abs() <= CLOSE * size;
    let mut temperature = 1.0;
    for (step, filter) in chain.order.iter().enumerate() {
        let before = Chain { order: chain.order[..step].to_vec(), ..chain.clone() };
        let left = before.plainly(x, mu).probabilities();
        let logit = |place: usize| f64::from(x[left[place].0]);
        let exponent = |place: usize| (logit(place) - logit(0)) / temperature;
        let log_mass = -left[0].1.ln();
        // Whether the mass of some, in their order, comes near a part of it.
        let meets = |order: &[usize], part: f64| {
            let mut mass = 0.0;
            order.iter().any(|&place| {
                mass += left[place].1;
                near(mass, part, 1.0)
            })
        };
        let all: Vec<usize> = (0..left.len()).collect();
        let is_open = match filter {
            Filter::Temperature => {
                temperature = if chain.temperature < 1e-5 { 1.0 } else { chain.temperature };
                false
            }
            Filter::TopP => meets(&all, chain.top_p),
            Filter::MinP => {
                all.iter().any(|&i| near(exponent(i), chain.min_p.ln(), 1.0 + chain.min_p.ln().abs()))
            }
            Filter::Typical => {
                let mean: f64 =
                    all.iter().filter(|&&i| left[i].1 > 0.0).map(|&i| left[i].1 * exponent(i)).sum();
                let key = |place: usize| (exponent(place) - mean).abs();
                let mut order = all.clone();
                order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
                let ties = order.windows(2).any(|pair| {
                    logit(pair[0]) != logit(pair[1])
                        && near(key(pair[0]), key(pair[1]), mean.abs() + exponent(pair[0]).abs() + LEAST)
                });
                ties || meets(&order, chain.typical)
            }
            Filter::TopNSigma => {
                let count = left.len() as f64;
                let center = all.iter().map(|&i| logit(i)).sum::<f64>() / count;
                let sigma = (all.iter().map(|&i| (logit(i) - center).powi(2)).sum::<f64>() / count).sqrt();
                let least = logit(0) - chain.sigmas * sigma;
                all.iter().any(|&i| near(logit(i), least, logit(0).abs() + chain.sigmas * sigma))
            }
            Filter::Xtc | Filter::Mirostat => {
                let least = match filter {
                    Filter::Xtc => chain.threshold.ln(),
                    _ => -mu * std::f64::consts::LN_2,
                };
                all.iter().any(|&i| near(exponent(i), least + log_mass, 1.0 + least.abs() + log_mass))
            }
            _ => false,
        };
        if is_open {
            return true;
        }
    }
    false
}

/// Masked logits, and probabilities, are those of what is left.
fn judge_written(
    masked: &[f32],
    probabilities: &[f32],
    left: &[(usize, u64)],
    x: &[f32],
    chain: &Chain,
    fused: bool,
    context: &dyn Fn() -> String,
) {
    let mut is_left = vec![None; x.len()];
    for &(id, log_probability) in left {
        is_left[id] = Some(f64::from_bits(log_probability));
    }
    let ulp = if fused { 7.0 } else { 9.0 };
    let temperature = if chain.temperature < 1e-5 { 1.0 } else { chain.temperature };
    let beyond = x.iter().any(|&x| x.is_finite() && (f64::from(x) / temperature).abs() > f64::from(f32::MAX));
    for (i, is_left) in is_left.into_iter().enumerate() {
        let Some(log_probability) = is_left else {
            assert!(masked[i] == f32::NEG_INFINITY, "{i} is left: {}", context());
            assert!(probabilities[i].to_bits() == 0, "{i} is left: {}", context());
            continue;
        };
        if !beyond {
            let want = (f64::from(x[i]) / temperature) as f32;
            assert!(masked[i] == want, "{i} is {} and not {want}: {}", masked[i], context());
        }
        let want = log_probability.exp();
        let error = reference::ulp_error(probabilities[i], want);
        assert!(error <= ulp + 1e-2, "{i} has {:e} and not {want:e}: {}", probabilities[i], context());
    }
}

/// By one number, in the order of the ids: the first token up to which there is more than that part of the mass.
fn judge_draw(draw: &Draw<'_>, id: u32, left: &[(usize, f64)], context: &dyn Fn() -> String) {
    let Some(uniform) = given(draw) else { return };
    let mass = |until: &dyn Fn(usize) -> bool| -> f64 {
        left.iter().filter(|left| until(left.0)).map(|left| left.1).sum()
    };
    let (before, with) = (mass(&|other| other < id as usize), mass(&|other| other <= id as usize));
    let close = 1e-10;
    assert!(
        before <= uniform + close && uniform < with + close,
        "{uniform} is not from {before} to {with}: {}",
        context()
    );
}

/// The number that a draw was given, which it does not tell but to those who debug.
fn given(draw: &Draw<'_>) -> Option<f64> {
    let text = format!("{draw:?}");
    let number = text.split("uniform: ").nth(1)?.split(',').next()?;
    number.parse().ok()
}

fn verify(bytes: &mut Bytes<'_>) {
    let (cols, drafted) = (1 + bytes.below(9), bytes.below(4));
    let table = |bytes: &mut Bytes<'_>, rows| {
        Table::new((rows, cols), bytes.below(2), |cols| bytes.probabilities(cols))
    };
    let (target, draft) = (table(bytes, drafted + 1), table(bytes, drafted));
    let with_draft = !bytes.byte().is_multiple_of(4);
    let tokens: Vec<u32> = (0..drafted)
        .map(|_| if bytes.byte() == 0 { cols as u32 } else { bytes.below(cols) as u32 })
        .collect();
    let draw = Draw::counted(bytes.word(), 0, 0);
    let run = |engine: Engine| engine.verify(target.view(), with_draft.then(|| draft.view()), &tokens, &draw);
    let result = run(Engine::new());
    for &engine in crate::judge::engines() {
        assert!(format!("{:?}", run(engine)) == format!("{result:?}"), "{} says other", engine.isa());
    }
    let context = || format!("{target:?} {draft:?} {tokens:?} {draw:?}");
    let verified = match result {
        Ok(verified) => verified,
        Err(Error::Token { .. } | Error::OutOfRange { .. }) => return,
        Err(error) => panic!("{error}: {}", context()),
    };
    assert!(tokens.iter().all(|&token| (token as usize) < cols), "a token that is none: {}", context());
    assert!(verified.accepted <= drafted && (verified.next as usize) < cols, "{verified:?}: {}", context());
    for (row, &token) in tokens[..verified.accepted].iter().enumerate() {
        assert!(target.row(row)[token as usize] > 0.0, "an impossible token is accepted: {}", context());
    }
    let p = target.row(verified.accepted);
    let next = verified.next as usize;
    assert!(p[next] > 0.0, "an impossible token is drawn: {verified:?}: {}", context());
    if verified.accepted < drafted && with_draft {
        let q = draft.row(verified.accepted);
        let more = |i: usize| p[i] > q[i].max(0.0);
        assert!(more(next) || !(0..cols).any(more), "{next} has no more than the draft: {}", context());
    }
}

/// Samplers of any numbers: those that make no sense are refused, the others draw.
fn builder(bytes: &mut Bytes<'_>) {
    let mut number = || match bytes.byte() {
        0..=7 => bytes.double(),
        8..=15 => bytes.of(&[f64::NAN, f64::INFINITY, -0.0, -1.0, 2.0, 1.0, 0.0]),
        _ => bytes.unit(),
    };
    let [temperature, top_p, min_p, typical, sigmas, chance, threshold, tau] =
        std::array::from_fn(|_| number());
    let [eta, repetition, frequency, presence] = std::array::from_fn(|_| number());
    let preset = bytes.of(&[Preset::Hf, Preset::Vllm, Preset::LlamaCpp]);
    let (top_k, min_keep) = (bytes.below(12), bytes.below(5));
    let order: Vec<Filter> = (0..bytes.below(10)).map(|_| bytes.of(&FILTERS)).collect();
    let with_order = bytes.byte().is_multiple_of(4);
    let mut builder = Sampler::preset(preset)
        .temperature(temperature)
        .top_k(top_k)
        .top_p(top_p)
        .min_p(min_p)
        .typical(typical)
        .top_n_sigma(sigmas)
        .xtc(chance, threshold)
        .mirostat(tau, eta)
        .seen_penalties(repetition, frequency, presence)
        .min_keep(min_keep);
    if with_order {
        builder = builder.order(&order);
    }
    let unit = |value: f64| (0.0..=1.0).contains(&value);
    let makes_sense = temperature >= 0.0
        && [top_p, min_p, typical, chance, threshold].into_iter().all(unit)
        && sigmas >= 0.0
        && (tau > 0.0 && tau.is_finite() && eta >= 0.0 && eta.is_finite())
        && (repetition > 0.0 && repetition.is_finite() && frequency.is_finite() && presence.is_finite())
        && min_keep > 0;
    let built = builder.build();
    if !with_order {
        assert_eq!(built.is_ok(), makes_sense, "{built:?}");
    }
    let Ok(sampler) = built else { return };
    assert!(makes_sense, "{sampler:?}");
    let steps: Vec<Filter> = sampler.steps().collect();
    assert!(steps.iter().all(|step| !sampler.describe(*step).is_empty()));
    let (_, cols) = bytes.shape();
    let x = Table::new((1, cols.min(300)), 0, |cols| bytes.row(cols));
    let draw = Draw::counted(bytes.word(), 1, 2);
    on_all(
        bytes.luck,
        cols.min(300),
        |engine| {
            let mut token = [Ok(Token::default())];
            engine.sample(x.view(), &sampler, &[draw], &mut token).expect("nothing to refuse");
            let left = engine.survivors(x.row(0), &sampler, &draw).expect("nothing to refuse");
            (token[0].map(|token| token.id), left.map(bits_of))
        },
        |(token, left), _, isa| {
            let context = || format!("{isa:?}, {sampler:?}, row {:?}", x.row(0));
            match (token, left) {
                (Ok(id), Ok(left)) => {
                    assert!(
                        left.iter().any(|left| left.0 == *id as usize),
                        "{id} is not left: {}",
                        context()
                    );
                }
                (token, left) => {
                    let want = unfit(x.row(0));
                    assert!(
                        want.is_some() && token.err() == want && left.clone().err() == want,
                        "{}",
                        context()
                    );
                }
            }
        },
    );
}
