//! What is to be kept of a distribution before a token is drawn: values, and the order in which they apply.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::Error;

/// One of the steps between logits and the distribution that is drawn from.
///
/// In all formulas `p` is the distribution of what the steps before have left, `p_i = exp(x_i / T) / sum_j exp(x_j / T)`, and `T` is 1
/// before [`Filter::Temperature`]. What is equally probable is told apart by its id: the lowest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// From here on `x / T`; where `T < 1e-5`, the first maximum alone.
    Temperature,
    /// The `k` largest.
    TopK,
    /// Token after token, from the most probable on, as long as those before have less than `p` of the mass (nucleus sampling).
    TopP,
    /// Those that are at least `m` times as probable as the most probable: `x_i / T >= max / T + ln m`.
    MinP,
    /// As [`Filter::TopP`], but from the most typical on, by `|-log p_i - H|` with the entropy `H` (locally typical sampling).
    Typical,
    /// Those with `x_i >= max - n sigma`, the standard deviation of all logits that are left.
    TopNSigma,
    /// With some chance, of all tokens with `p >= threshold` the least probable alone (exclude top choices).
    Xtc,
    /// Those whose surprise `-log2 p` is at most `mu`, which follows what is drawn (Mirostat 2).
    Mirostat,
}

impl Filter {
    const COUNT: usize = 8;

    /// The name that errors call it by.
    fn name(self) -> &'static str {
        match self {
            Filter::Temperature => "temperature",
            Filter::TopK => "top-k",
            Filter::TopP => "top-p",
            Filter::MinP => "min-p",
            Filter::Typical => "typical",
            Filter::TopNSigma => "top-n-sigma",
            Filter::Xtc => "XTC",
            Filter::Mirostat => "Mirostat",
        }
    }
}

/// The name that errors call it by: `top-p`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose order of steps, and whose values.
///
/// Mask, [bias](SamplerBuilder::bias) and penalties come before all others. What a library does not have itself stands at the
/// end, or for vLLM and Hugging Face between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Preset {
    /// Hugging Face Transformers: temperature, top-k, top-p, min-p, typical. Everything is off.
    #[default]
    Hf,
    /// vLLM: temperature, min-p, top-k, top-p. Everything is off.
    Vllm,
    /// llama.cpp: top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature; `k = 40`, `p = 0.95`, `m = 0.05`, `T = 0.8`.
    LlamaCpp,
}

impl Preset {
    fn order(self) -> [Filter; Filter::COUNT] {
        use Filter::*;
        match self {
            Preset::Hf => [Temperature, TopK, TopP, MinP, Typical, TopNSigma, Xtc, Mirostat],
            Preset::Vllm => [Temperature, MinP, TopK, TopP, Typical, TopNSigma, Xtc, Mirostat],
            Preset::LlamaCpp => [TopNSigma, TopK, Typical, TopP, MinP, Xtc, Temperature, Mirostat],
        }
    }
}

/// How many tokens top-k keeps where several are as large as the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TopKTies {
    /// All of these too, as Hugging Face and vLLM.
    #[default]
    Keep,
    /// `k` in all, as llama.cpp.
    LowestId,
}

/// How a token is drawn from what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Method {
    /// By one number `u`, in the order of the ids: the first token up to which there is more than `u` of the mass.
    #[default]
    InverseCdf,
    /// The largest `x_i / T - log(-log u_i)`, with a number for each token (Gumbel-max).
    Gumbel,
}

/// What the log-probability of a drawn token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogProbability {
    /// Of the logits as they are: `log softmax(x)`, before all steps.
    #[default]
    Raw,
    /// Of the distribution that is drawn from.
    Filtered,
    /// None: NaN, and no time for it.
    Skip,
}

/// XTC: with this chance, above this probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Xtc {
    pub chance: f64,
    pub threshold: f64,
}

/// The surprise that Mirostat is after, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mirostat {
    pub tau: f64,
    pub eta: f64,
}

/// What tokens pay for having occurred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Penalties {
    pub repetition: f64,
    pub frequency: f64,
    pub presence: f64,
}

impl Penalties {
    pub const NONE: Self = Self { repetition: 1.0, frequency: 0.0, presence: 0.0 };
}

/// How tokens are drawn: what is kept of a distribution, in which order, and what is reported.
///
/// Made by a [builder](Sampler::builder), which checks it; drawn with by [`Engine::sample`](crate::Engine::sample). What changes from
/// row to row and from token to token is in a [`Draw`](crate::Draw).
///
/// # Examples
///
/// ```
/// use logits::{Preset, Sampler};
///
/// let nucleus = Sampler::builder().temperature(0.7).top_p(0.9).build()?;
/// let local = Sampler::preset(Preset::LlamaCpp).seen_penalties(1.1, 0.0, 0.0).build()?;
/// assert!(Sampler::builder().top_p(-0.1).build().is_err());
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    pub(super) temperature: f64,
    pub(super) top_k: usize,
    pub(super) top_k_ties: TopKTies,
    pub(super) top_p: f64,
    pub(super) min_p: f64,
    pub(super) typical: f64,
    pub(super) top_n_sigma: f64,
    pub(super) xtc: Xtc,
    pub(super) mirostat: Option<Mirostat>,
    pub(super) penalties: Penalties,
    /// Ordered by their ids, of which there is one of each.
    pub(super) bias: Vec<(u32, f32)>,
    pub(super) allowed: Option<Box<[u32]>>,
    pub(super) min_keep: usize,
    pub(super) order: Vec<Filter>,
    pub(super) method: Method,
    pub(super) log_probability: LogProbability,
}

/// Draws from `softmax(x)`.
impl Default for Sampler {
    fn default() -> Self {
        Self::with_order(&Preset::Hf.order())
    }
}

/// Below this a temperature means the largest logit.
pub(super) const GREEDY: f64 = 1e-5;

impl Sampler {
    fn with_order(order: &[Filter]) -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_k_ties: TopKTies::Keep,
            top_p: 1.0,
            min_p: 0.0,
            typical: 1.0,
            top_n_sigma: f64::INFINITY,
            xtc: Xtc { chance: 0.0, threshold: 0.1 },
            mirostat: None,
            penalties: Penalties::NONE,
            bias: Vec::new(),
            allowed: None,
            min_keep: 1,
            order: order.into(),
            method: Method::InverseCdf,
            log_probability: LogProbability::Raw,
        }
    }

    /// A builder with everything off, and the order of [`Preset::Hf`].
    pub fn builder() -> SamplerBuilder {
        Self::preset(Preset::Hf)
    }

    /// A builder with the order and the values of a library.
    pub fn preset(preset: Preset) -> SamplerBuilder {
        let sampler = Self::with_order(&preset.order());
        let builder = SamplerBuilder { sampler, bad_bias: None };
        match preset {
            Preset::Hf | Preset::Vllm => builder,
            Preset::LlamaCpp => {
                builder.temperature(0.8).top_k(40).top_k_ties(TopKTies::LowestId).top_p(0.95).min_p(0.05)
            }
        }
    }

    /// The largest logit, the lowest id of equal ones.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether a step does anything.
    fn is_on(&self, filter: Filter) -> bool {
        match filter {
            Filter::Temperature => self.temperature != 1.0,
            Filter::TopK => self.top_k > 0,
            Filter::TopP => self.top_p < 1.0,
            Filter::MinP => self.min_p > 0.0,
            Filter::Typical => self.typical < 1.0,
            Filter::TopNSigma => self.top_n_sigma < f64::INFINITY,
            Filter::Xtc => self.xtc.chance > 0.0 && self.xtc.threshold <= 0.5,
            Filter::Mirostat => self.mirostat.is_some(),
        }
    }

    /// The steps that do anything, in their order.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Filter, Preset, Sampler};
    ///
    /// let sampler = Sampler::preset(Preset::LlamaCpp).min_p(0.0).build()?;
    /// assert!(sampler.steps().eq([Filter::TopK, Filter::TopP, Filter::Temperature]));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn steps(&self) -> impl Iterator<Item = Filter> {
        self.order.iter().copied().filter(|filter| self.is_on(*filter))
    }

    /// The same with so many of its [steps](Sampler::steps) alone: what is left by each of them is the difference between two of these.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, Sampler};
    ///
    /// let sampler = Sampler::builder().top_k(3).min_p(0.2).build()?;
    /// let (engine, draw) = (Engine::new(), Draw::uniform(0.0));
    /// let left = [0, 1, 2].map(|steps| {
    ///     engine.survivors(&[0.0, 3.0, 1.0, 2.0], &sampler.first_steps(steps), &draw).map(|left| left.map(|left| left.len()))
    /// });
    /// assert_eq!(left, [Ok(Ok(4)), Ok(Ok(3)), Ok(Ok(2))]);
    /// # Ok::<(), logits::Error>(())
    /// ```
    #[must_use]
    pub fn first_steps(&self, steps: usize) -> Self {
        Self { order: self.steps().take(steps).collect(), ..self.clone() }
    }

    /// A step with its values, as people write them: `top-p 0.9`.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Preset, Sampler};
    ///
    /// let sampler = Sampler::preset(Preset::LlamaCpp).build()?;
    /// let steps: Vec<_> = sampler.steps().map(|step| sampler.describe(step)).collect();
    /// assert_eq!(steps.join(", "), "top-k 40, top-p 0.95, min-p 0.05, temperature 0.8");
    /// # Ok::<(), logits::Error>(())
    /// ```
    #[must_use]
    pub fn describe(&self, step: Filter) -> String {
        let value = match step {
            Filter::Temperature => self.temperature,
            Filter::TopK => self.top_k as f64,
            Filter::TopP => self.top_p,
            Filter::MinP => self.min_p,
            Filter::Typical => self.typical,
            Filter::TopNSigma => self.top_n_sigma,
            Filter::Xtc => {
                let Xtc { chance, threshold } = self.xtc;
                return format!("{step} {threshold} with chance {chance}");
            }
            Filter::Mirostat => {
                let Some(Mirostat { tau, eta }) = self.mirostat else { return step.to_string() };
                return format!("{step} with tau {tau} and eta {eta}");
            }
        };
        format!("{step} {value}")
    }
}

/// Sets the values of a [`Sampler`], which are checked when it is built.
#[derive(Debug, Clone)]
#[must_use]
pub struct SamplerBuilder {
    sampler: Sampler,
    /// A bias that is none.
    bad_bias: Option<f32>,
}

impl SamplerBuilder {
    /// `T` of [`Filter::Temperature`]: 1 by default, and greedy below `1e-5`.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.sampler.temperature = temperature;
        self
    }

    /// `k` of [`Filter::TopK`]: 0, which is off, by default.
    pub fn top_k(mut self, k: usize) -> Self {
        self.sampler.top_k = k;
        self
    }

    /// What [`Filter::TopK`] does about ties.
    pub fn top_k_ties(mut self, ties: TopKTies) -> Self {
        self.sampler.top_k_ties = ties;
        self
    }

    /// `p` of [`Filter::TopP`]: 1, which is off, by default.
    pub fn top_p(mut self, p: f64) -> Self {
        self.sampler.top_p = p;
        self
    }

    /// `m` of [`Filter::MinP`]: 0, which is off, by default.
    pub fn min_p(mut self, m: f64) -> Self {
        self.sampler.min_p = m;
        self
    }

    /// The mass of [`Filter::Typical`]: 1, which is off, by default.
    pub fn typical(mut self, mass: f64) -> Self {
        self.sampler.typical = mass;
        self
    }

    /// `n` of [`Filter::TopNSigma`]: infinite, which is off, by default.
    pub fn top_n_sigma(mut self, n: f64) -> Self {
        self.sampler.top_n_sigma = n;
        self
    }

    /// The chance and the threshold of [`Filter::Xtc`]: off by default, and with a threshold above 0.5.
    pub fn xtc(mut self, chance: f64, threshold: f64) -> Self {
        self.sampler.xtc = Xtc { chance, threshold };
        self
    }

    /// The surprise `tau` that [`Filter::Mirostat`] is after, in bits, and the part `eta` of the difference that `mu` moves by:
    /// 5 and 0.1 are usual. Off by default.
    pub fn mirostat(mut self, tau: f64, eta: f64) -> Self {
        self.sampler.mirostat = Some(Mirostat { tau, eta });
        self
    }

    /// What tokens pay that a [`History`](crate::History) has: `x / r` or, if that is negative, `x r` for those of prompt and output;
    /// and for those of the output alone `x - count frequency - presence`. 1, 0, 0 by default.
    pub fn seen_penalties(mut self, repetition: f64, frequency: f64, presence: f64) -> Self {
        self.sampler.penalties = Penalties { repetition, frequency, presence };
        self
    }

    /// Adds numbers to the logits of some tokens, before the penalties: -inf bans one. For a token that is named more than once
    /// the last number counts.
    pub fn bias(mut self, bias: impl IntoIterator<Item = (u32, f32)>) -> Self {
        for (token, addend) in bias {
            if addend.is_nan() || addend == f32::INFINITY {
                self.bad_bias = Some(addend);
            }
            match self.sampler.bias.binary_search_by_key(&token, |entry| entry.0) {
                Ok(at) => self.sampler.bias[at].1 = addend,
                Err(at) => self.sampler.bias.insert(at, (token, addend)),
            }
        }
        self
    }

    /// The tokens that may be drawn, one bit each: token `i` is bit `i % 32` of word `i / 32`. All by default. A
    /// [`Draw`](crate::Draw) can have a mask too; then both count.
    pub fn allowed(mut self, mask: &[u32]) -> Self {
        self.sampler.allowed = Some(mask.into());
        self
    }

    /// How many tokens each filter leaves at least, if there are as many: 1 by default.
    pub fn min_keep(mut self, tokens: usize) -> Self {
        self.sampler.min_keep = tokens;
        self
    }

    /// The order of the steps. One that is left out must be off.
    pub fn order(mut self, order: &[Filter]) -> Self {
        self.sampler.order = order.into();
        self
    }

    /// How a token is drawn: [`Method::InverseCdf`] by default.
    pub fn method(mut self, method: Method) -> Self {
        self.sampler.method = method;
        self
    }

    /// What is reported of a token: [`LogProbability::Raw`] by default.
    pub fn log_probability(mut self, of: LogProbability) -> Self {
        self.sampler.log_probability = of;
        self
    }

    /// The sampler.
    ///
    /// # Errors
    ///
    /// [`Error::Temperature`] for one that is negative or NaN, [`Error::OutOfRange`] for any other value that makes no sense,
    /// [`Error::Order`] if a step stands in the order twice, or is on and not there.
    pub fn build(self) -> Result<Sampler, Error> {
        let Self { sampler, bad_bias } = self;
        let Sampler { temperature, top_p, min_p, typical, top_n_sigma, xtc, mirostat, penalties, .. } =
            sampler;
        if temperature.is_nan() || temperature < 0.0 {
            return Err(Error::Temperature { temperature });
        }
        let unit = |what, value: f64| check(what, value, (0.0..=1.0).contains(&value), "from 0 to 1");
        unit("top-p", top_p)?;
        unit("min-p", min_p)?;
        unit("the mass of typical sampling", typical)?;
        unit("the chance of XTC", xtc.chance)?;
        unit("the threshold of XTC", xtc.threshold)?;
        check("top-n-sigma", top_n_sigma, top_n_sigma >= 0.0, "0 or more")?;
        if let Some(Mirostat { tau, eta }) = mirostat {
            check("tau of Mirostat", tau, tau > 0.0 && tau.is_finite(), "above 0")?;
            check("eta of Mirostat", eta, eta >= 0.0 && eta.is_finite(), "0 or more")?;
        }
        let Penalties { repetition, frequency, presence } = penalties;
        let is_factor = repetition > 0.0 && repetition.is_finite();
        check("the repetition penalty", repetition, is_factor, "above 0 and finite")?;
        check("the frequency penalty", frequency, frequency.is_finite(), "finite")?;
        check("the presence penalty", presence, presence.is_finite(), "finite")?;
        if let Some(bias) = bad_bias {
            check("a bias", f64::from(bias), false, "a number or -inf")?;
        }
        check("min-keep", sampler.min_keep as f64, sampler.min_keep > 0, "1 or more")?;
        for (i, filter) in sampler.order.iter().enumerate() {
            if sampler.order[..i].contains(filter) {
                return Err(Error::Order { filter: filter.name(), problem: "twice in the order" });
            }
        }
        for filter in Preset::Hf.order() {
            if sampler.is_on(filter) && !sampler.order.contains(&filter) {
                return Err(Error::Order { filter: filter.name(), problem: "on, but not in the order" });
            }
        }
        Ok(sampler)
    }
}

fn check(what: &'static str, value: f64, is_right: bool, range: &'static str) -> Result<(), Error> {
    if is_right { Ok(()) } else { Err(Error::OutOfRange { what, value, range }) }
}
