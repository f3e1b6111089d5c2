//! The steps between logits and token that a command line asks for.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{ArgGroup, ValueEnum};
use logits::{Filter, History, Sampler, SamplerBuilder};

use crate::Usage;
use crate::array::{Array, ClassIds, Integer};
use crate::workers::parse_temperature;

/// The same names everywhere: those of the library's messages.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Steps")]
#[command(group(ArgGroup::new("so_far").multiple(true)))]
#[command(group(ArgGroup::new("penalties").multiple(true)))]
pub struct Steps {
    /// Whose order of steps, and whose values where none are given
    #[arg(long, value_enum, default_value_t = Preset::Hf)]
    preset: Preset,

    /// Draws from softmax(x / T): 0 is the largest logit, the first of equal ones
    #[arg(short, long, value_name = "T", value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: Option<f64>,

    /// The K most probable tokens, and those that are as probable as the last of them: 0 is
    /// all. With the preset llama-cpp exactly K
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// Tokens from the most probable on, as long as those before have less than P of the mass
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,

    /// Tokens that are at least M times as probable as the most probable
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    min_p: Option<f64>,

    /// As --top-p, from those on whose surprise is nearest to the entropy
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical: Option<f64>,

    /// Tokens with logits at most N standard deviations below the largest
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    top_n_sigma: Option<f64>,

    /// The chance that of all tokens of at least --xtc-threshold the least probable alone stays
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    xtc_chance: Option<f64>,

    /// Above 0.5 it is off [default: 0.1]
    #[arg(long, value_name = "P", requires = "xtc_chance", allow_negative_numbers = true)]
    xtc_threshold: Option<f64>,

    /// The surprise in bits that Mirostat 2 is after, from draw to draw of a row; 5 is usual
    #[arg(long, value_name = "TAU", allow_negative_numbers = true)]
    mirostat_tau: Option<f64>,

    /// How fast [default: 0.1]
    #[arg(long, value_name = "ETA", requires = "mirostat_tau", allow_negative_numbers = true)]
    mirostat_eta: Option<f64>,

    /// How many tokens each step leaves at least [default: 1]
    #[arg(long, value_name = "N")]
    min_keep: Option<usize>,

    /// Added to the logit of a token; -inf bans it
    #[arg(long, value_name = "ID=X,..", value_delimiter = ',', value_parser = parse_bias)]
    bias: Vec<(u32, f32)>,

    /// For tokens of --tokens and --prompt: x / R, or x R if x is negative
    #[arg(long, value_name = "R", group = "penalties", requires = "so_far", allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,

    /// For tokens of --tokens: x less F for each time that they occur
    #[arg(long, value_name = "F", group = "penalties", requires = "tokens", allow_negative_numbers = true)]
    frequency_penalty: Option<f64>,

    /// For tokens of --tokens: x less P
    #[arg(long, value_name = "P", group = "penalties", requires = "tokens", allow_negative_numbers = true)]
    presence_penalty: Option<f64>,

    /// The tokens drawn so far: 3,17,3 or an .npy file of integers
    #[arg(long, value_name = "IDS|FILE", group = "so_far", requires = "penalties")]
    tokens: Option<Tokens>,

    /// The tokens of the prompt, in the same way
    #[arg(long, value_name = "IDS|FILE", group = "so_far", requires = "penalties")]
    prompt: Option<Tokens>,

    /// The order of the steps, of which all that are on must be there
    #[arg(long, value_name = "STEP,..", value_delimiter = ',')]
    order: Vec<Step>,

    /// How a token is drawn from what is left
    #[arg(long, value_enum, default_value_t = Method::InverseCdf)]
    method: Method,

    /// Of what the log-probability is
    #[arg(long, value_enum, default_value_t = LogProbability::Raw)]
    log_probability: LogProbability,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// Transformers of Hugging Face: temperature, top-k, top-p, min-p, typical
    Hf,
    /// vLLM: temperature, min-p, top-k, top-p
    Vllm,
    /// llama.cpp: top-k 40, top-p 0.95, min-p 0.05, temperature 0.8 last
    LlamaCpp,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Step {
    Temperature,
    TopK,
    TopP,
    MinP,
    Typical,
    TopNSigma,
    Xtc,
    Mirostat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// By one number, in the order of the tokens
    InverseCdf,
    /// By a number for each token (Gumbel-max)
    Gumbel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogProbability {
    /// Of softmax(x), before all steps
    Raw,
    /// Of what the steps leave
    Filtered,
}

impl From<Step> for Filter {
    fn from(step: Step) -> Self {
        match step {
            Step::Temperature => Filter::Temperature,
            Step::TopK => Filter::TopK,
            Step::TopP => Filter::TopP,
            Step::MinP => Filter::MinP,
            Step::Typical => Filter::Typical,
            Step::TopNSigma => Filter::TopNSigma,
            Step::Xtc => Filter::Xtc,
            Step::Mirostat => Filter::Mirostat,
        }
    }
}

/// What `--bias` takes.
fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(token, addend)| Some((token.trim().parse().ok()?, addend.trim().parse().ok()?)));
    parsed.ok_or_else(|| "a bias is a token and a number, as in 17=-1.5".into())
}

/// Some tokens, or where they are.
#[derive(Debug, Clone)]
enum Tokens {
    Listed(Vec<u32>),
    InFile(PathBuf),
}

impl std::str::FromStr for Tokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') {
            return Ok(Self::InFile(text.into()));
        }
        let listed: Result<_, _> = text.split(',').map(str::parse).collect();
        listed.map(Self::Listed).map_err(|error| format!("tokens are numbers, as in 3,17,3: {error}"))
    }
}

impl Tokens {
    fn file(&self) -> Option<&Path> {
        if let Self::InFile(path) = self { Some(path) } else { None }
    }

    /// Them all; `what` is how messages call them.
    fn read(&self, what: &str, logits: &Array) -> Result<Vec<u32>> {
        let (from, ids) = match self {
            Self::Listed(tokens) => (format!("--{what}"), tokens.iter().copied().map(i128::from).collect()),
            Self::InFile(path) => {
                let mut array = Array::<Integer>::open_npy(path, "tokens")?;
                let ids: Vec<i128> = match array.read_classes(array.rows())? {
                    ClassIds::Signed(ids) => ids.into_iter().map(i128::from).collect(),
                    ClassIds::Unsigned(ids) => ids.into_iter().map(i128::from).collect(),
                };
                (array.name, ids)
            }
        };
        ids.into_iter().map(|id| token(&from, id, logits)).collect()
    }
}

/// A token that is named somewhere, if it is one.
fn token(from: &str, id: i128, logits: &Array) -> Result<u32> {
    let token = u32::try_from(id).ok().filter(|&token| (token as usize) < logits.cols());
    token.ok_or_else(|| {
        anyhow!("{from}: names token {id}, but the rows of {} have {} columns", logits.name, logits.cols())
    })
}

impl Steps {
    /// The files that are read for them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.tokens.iter().chain(&self.prompt).filter_map(Tokens::file)
    }

    pub fn sampler(&self) -> Result<Sampler> {
        self.build(self.xtc_chance.unwrap_or(0.0))
    }

    /// What a row is drawn with, whatever the luck: samplers without chances of their own, each with its share of draws.
    pub fn without_luck(&self) -> Result<Vec<(f64, Sampler)>> {
        let chance = self.xtc_chance.unwrap_or(0.0);
        let shares = [(1.0 - chance, 0.0), (chance, 1.0)].into_iter().filter(|(share, _)| *share > 0.0);
        shares.map(|(share, chance)| Ok((share, self.build(chance)?))).collect()
    }

    /// Whether each draw of a row depends on those before.
    pub fn follow_draws(&self) -> bool {
        self.mirostat_tau.is_some()
    }

    /// Whether logits are changed before all steps.
    pub fn change_logits(&self) -> bool {
        let penalties = [self.repetition_penalty, self.frequency_penalty, self.presence_penalty];
        !self.bias.is_empty() || penalties.iter().any(Option::is_some)
    }

    fn build(&self, xtc_chance: f64) -> Result<Sampler> {
        fn set<T>(
            builder: SamplerBuilder,
            value: Option<T>,
            set: impl FnOnce(SamplerBuilder, T) -> SamplerBuilder,
        ) -> SamplerBuilder {
            match value {
                None => builder,
                Some(value) => set(builder, value),
            }
        }
        let builder = Sampler::preset(match self.preset {
            Preset::Hf => logits::Preset::Hf,
            Preset::Vllm => logits::Preset::Vllm,
            Preset::LlamaCpp => logits::Preset::LlamaCpp,
        });
        let builder = set(builder, self.temperature, SamplerBuilder::temperature);
        let builder = set(builder, self.top_k, SamplerBuilder::top_k);
        let builder = set(builder, self.top_p, SamplerBuilder::top_p);
        let builder = set(builder, self.min_p, SamplerBuilder::min_p);
        let builder = set(builder, self.typical, SamplerBuilder::typical);
        let builder = set(builder, self.top_n_sigma, SamplerBuilder::top_n_sigma);
        let builder = set(builder, self.min_keep, SamplerBuilder::min_keep);
        let builder = set(builder, self.mirostat_tau, |builder, tau| {
            builder.mirostat(tau, self.mirostat_eta.unwrap_or(0.1))
        });
        let order: Vec<Filter> = self.order.iter().copied().map(Filter::from).collect();
        let builder = if order.is_empty() { builder } else { builder.order(&order) };
        let builder = builder
            .xtc(xtc_chance, self.xtc_threshold.unwrap_or(0.1))
            .seen_penalties(
                self.repetition_penalty.unwrap_or(1.0),
                self.frequency_penalty.unwrap_or(0.0),
                self.presence_penalty.unwrap_or(0.0),
            )
            .bias(self.bias.iter().copied())
            .method(match self.method {
                Method::InverseCdf => logits::Method::InverseCdf,
                Method::Gumbel => logits::Method::Gumbel,
            })
            .log_probability(match self.log_probability {
                LogProbability::Raw => logits::LogProbability::Raw,
                LogProbability::Filtered => logits::LogProbability::Filtered,
            });
        builder.build().map_err(|error| anyhow!(Usage(error.to_string())))
    }

    /// The tokens so far, once all tokens that are named are known to be some of these logits.
    pub fn history(&self, logits: &Array) -> Result<History> {
        for &(id, _) in &self.bias {
            token("--bias", id.into(), logits)?;
        }
        let read = |tokens: &Option<Tokens>, what| match tokens {
            None => Ok(Vec::new()),
            Some(tokens) => tokens.read(what, logits),
        };
        let mut history = History::new(&read(&self.prompt, "prompt")?);
        for token in read(&self.tokens, "tokens")? {
            history.push(token);
        }
        Ok(history)
    }
}
