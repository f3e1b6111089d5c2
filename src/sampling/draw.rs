//! What a draw depends on besides logits and sampler, and what comes of it.

use alloc::vec::Vec;
use core::fmt;

use super::philox::{philox, unit};

/// What one row is drawn with: random numbers, and what has gone before.
///
/// # Examples
///
/// ```
/// use logits::{Draw, History};
///
/// let mut history = History::new(&[17, 4, 4]);
/// history.push(9);
/// // The same token wherever this row stands in a batch, on any number of threads.
/// let draw = Draw::counted(2026, 5, 0).history(&history);
/// # let _ = draw;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    pub(super) source: Source,
    pub(super) history: Option<&'a History>,
    pub(super) allowed: Option<&'a [u32]>,
    pub(super) mu: Option<f64>,
}

/// Where random numbers come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Counter { seed: u64, stream: u64, position: u64 },
    Given { uniform: f64, more: u64 },
}

/// What random numbers are for: each has its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Draw = 0,
    Xtc = 1,
    Gumbel = 2,
    Accept = 3,
}

impl Source {
    /// The `index`-th four words for a purpose.
    pub fn words(self, purpose: Purpose, index: u64) -> [u64; 4] {
        match self {
            Source::Counter { seed, stream, position } => {
                philox([index, position, stream, purpose as u64], [seed, 0])
            }
            Source::Given { uniform, more } => {
                philox([index, uniform.to_bits(), more, purpose as u64], [0, 1])
            }
        }
    }

    /// The number that a token is drawn by.
    pub fn uniform(self) -> f64 {
        match self {
            Source::Counter { .. } => unit(self.words(Purpose::Draw, 0)[0]),
            Source::Given { uniform, .. } => uniform,
        }
    }
}

impl<'a> Draw<'a> {
    /// Random numbers by counting: they depend on these three alone. A seed for a request, a stream for each of its sequences and
    /// a position for each token are usual; two rows with the same three have the same luck.
    ///
    /// The generator is Philox4x64-10 with the key `[seed, 0]`; a token is drawn by the upper 53 bits of the first word for the counter
    /// `[0, position, stream, 0]`.
    #[must_use]
    pub fn counted(seed: u64, stream: u64, position: u64) -> Self {
        Self::with(Source::Counter { seed, stream, position })
    }

    /// Draws by a number of one's own, from 0 on and below 1: where anything else is random
    /// ([`Filter::Xtc`](crate::Filter::Xtc), [`Method::Gumbel`](crate::Method::Gumbel)) it follows from that number.
    #[must_use]
    pub fn uniform(uniform: f64) -> Self {
        Self::with(Source::Given { uniform, more: 0 })
    }

    /// Draws by a generator of one's own, of which two words are taken.
    #[cfg(feature = "rand")]
    #[must_use]
    pub fn random(generator: &mut (impl rand_core::RngCore + ?Sized)) -> Self {
        let uniform = unit(generator.next_u64());
        Self::with(Source::Given { uniform, more: generator.next_u64() })
    }

    fn with(source: Source) -> Self {
        Self { source, history: None, allowed: None, mu: None }
    }

    /// The same with the tokens so far, for [penalties](crate::SamplerBuilder::seen_penalties).
    #[must_use]
    pub fn history(self, history: &'a History) -> Self {
        Self { history: Some(history), ..self }
    }

    /// The same with the tokens that may be drawn now, as a grammar has them: token `i` is bit `i % 32` of word `i / 32`.
    #[must_use]
    pub fn allowed(self, mask: &'a [u32]) -> Self {
        Self { allowed: Some(mask), ..self }
    }

    /// The same with what the last draw of the sequence has made of Mirostat's `mu`: [`Token::mu`]. Without it is `2 tau`, for the first.
    #[must_use]
    pub fn mu(self, mu: Option<f64>) -> Self {
        Self { mu, ..self }
    }
}

/// The tokens of a sequence so far, each with what penalties want to know of it.
///
/// # Examples
///
/// ```
/// let mut history = logits::History::new(&[3, 1, 3]);
/// history.push(1);
/// assert_eq!(history.len(), 2); // different ones
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Ordered by their ids.
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    pub token: u32,
    pub in_prompt: bool,
    /// How often in the output.
    pub count: u32,
}

impl History {
    /// Of a prompt, and no output yet.
    #[must_use]
    pub fn new(prompt: &[u32]) -> Self {
        let mut tokens = prompt.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        let seen = tokens.into_iter().map(|token| Seen { token, in_prompt: true, count: 0 });
        Self { seen: seen.collect() }
    }

    /// One more token of the output.
    pub fn push(&mut self, token: u32) {
        match self.place(token) {
            Ok(at) => self.seen[at].count += 1,
            Err(at) => self.seen.insert(at, Seen { token, in_prompt: false, count: 1 }),
        }
    }

    /// One token of the output less: what slides out of a window, or was not accepted.
    pub fn remove(&mut self, token: u32) {
        if let Ok(at) = self.place(token) {
            let seen = &mut self.seen[at];
            seen.count = seen.count.saturating_sub(1);
            if seen.count == 0 && !seen.in_prompt {
                self.seen.remove(at);
            }
        }
    }

    /// How many different tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn place(&self, token: u32) -> Result<usize, usize> {
        self.seen.binary_search_by_key(&token, |seen| seen.token)
    }
}

/// A token that was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// Which.
    pub id: u32,
    /// `log p` of it, of what [`LogProbability`](crate::LogProbability) says. Its error is relative `4e-7` for the row, as that of
    /// [statistics](crate::Engine::statistics), and absolute `1e-10` for what is left.
    pub log_probability: f64,
    /// How many tokens are as probable or more, itself among them, before all steps: 1 is the best. 0 where
    /// [`LogProbability::Skip`](crate::LogProbability::Skip) is asked for.
    pub rank: usize,
    /// Mirostat's `mu` for the next draw.
    pub mu: Option<f64>,
}

/// One that has not been drawn.
impl Default for Token {
    fn default() -> Self {
        Self { id: 0, log_probability: f64::NAN, rank: 0, mu: None }
    }
}

/// Why there is no token for a row. The other rows of its batch are not concerned. What is no number is an error also where it is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowError {
    /// A logit is NaN.
    NotANumber {
        /// Whose.
        token: u32,
    },
    /// A logit is +inf.
    Infinite {
        /// Whose.
        token: u32,
    },
    /// No token is left: all logits are -inf, by themselves or by mask and bias.
    NothingAllowed,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowError::NotANumber { token } => write!(f, "the logit of token {token} is NaN"),
            RowError::Infinite { token } => write!(f, "the logit of token {token} is +inf"),
            RowError::NothingAllowed => f.write_str("no token may be drawn: all logits are -inf or masked"),
        }
    }
}

impl core::error::Error for RowError {}
