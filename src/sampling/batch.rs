//! Sampling over the rows of a batch.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ops::statistics::candidates_of_each;
use crate::ops::{Candidate, Classes, RowStatistics, Softmax, Statistics};
use crate::rows::{Rows, RowsMut};
use crate::simd::isa::Machine;
use crate::{Engine, Error};

use super::chain;
use super::draw::{Draw, RowError, Source, Token};
use super::per_row;
use super::sampler::{GREEDY, LogProbability, Sampler};
use super::scratch::{self, Scratch};

/// One sampler for all rows, or one for each.
///
/// # Examples
///
/// ```
/// use logits::{Sampler, Samplers};
///
/// let sampler = Sampler::greedy();
/// let for_all = Samplers::from(&sampler);
/// let samplers = [Sampler::greedy(), Sampler::default()];
/// let for_each = Samplers::from(&samplers);
/// # let _ = (for_all, for_each);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Samplers<'a>(Kind<'a>);

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    One(&'a Sampler),
    Each(&'a [Sampler]),
}

impl<'a> From<&'a Sampler> for Samplers<'a> {
    fn from(sampler: &'a Sampler) -> Self {
        Self(Kind::One(sampler))
    }
}

impl<'a> From<&'a [Sampler]> for Samplers<'a> {
    fn from(samplers: &'a [Sampler]) -> Self {
        Self(Kind::Each(samplers))
    }
}

impl<'a, const N: usize> From<&'a [Sampler; N]> for Samplers<'a> {
    fn from(samplers: &'a [Sampler; N]) -> Self {
        Self(Kind::Each(samplers))
    }
}

impl<'a> From<&'a Vec<Sampler>> for Samplers<'a> {
    fn from(samplers: &'a Vec<Sampler>) -> Self {
        Self(Kind::Each(samplers))
    }
}

impl<'a> Samplers<'a> {
    fn of_row(self, row: usize) -> &'a Sampler {
        match self.0 {
            Kind::One(sampler) => sampler,
            Kind::Each(samplers) => &samplers[row],
        }
    }
}

impl Engine {
    /// Draws a token for each row of logits.
    ///
    /// What is drawn depends on a row, its sampler and its draw alone, not on its place in the batch, threads or, among fused ones
    /// ([`Isa::is_fused`](crate::Isa::is_fused)), the instruction set. Nothing is allocated, and no row is copied or sorted; each thread that
    /// draws keeps some 200 KB.
    ///
    /// Rows of which nothing can be drawn get a [`RowError`]; the others are not concerned.
    ///
    /// # Errors
    ///
    /// [`Error::RowsMismatch`] if `samplers` (where there is one for each row) or `draws` are not as many as rows,
    /// [`Error::LengthMismatch`] if `out` is not; [`Error::Token`] for a bias or a history with a token that is no column,
    /// [`Error::MaskTooShort`] for a mask that does not have a bit for each, [`Error::OutOfRange`] for a
    /// [number of one's own](Draw::uniform) that is not from 0 on and below 1, for a [`mu`](Draw::mu) that is NaN, and for rows of 2^32 columns or
    /// more. Nothing has been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, Rows, Sampler, Token};
    ///
    /// let logits = [0.0, 3.0, 1.0, f32::NAN, 0.0, 0.0];
    /// let sampler = Sampler::builder().temperature(0.7).top_p(0.9).build()?;
    /// let draws = [Draw::counted(1, 0, 0), Draw::counted(1, 1, 0)];
    /// let mut tokens = [Ok(Token::default()); 2];
    /// Engine::new().sample(Rows::new(&logits, 3)?, &sampler, &draws, &mut tokens)?;
    /// assert_eq!(tokens[0].map(|token| token.id), Ok(1));
    /// assert_eq!(tokens[1].unwrap_err().to_string(), "the logit of token 0 is NaN");
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn sample<'a>(
        &self,
        logits: Rows<'_>,
        samplers: impl Into<Samplers<'a>>,
        draws: &[Draw<'_>],
        out: &mut [Result<Token, RowError>],
    ) -> Result<(), Error> {
        self.sample_with(logits, samplers, draws, out, &mut [])
    }

    /// [`Engine::sample`], and the most probable tokens of each row with their log-probabilities, before all steps.
    ///
    /// `top` is for the same number of candidates of each row, one row behind the other, as for
    /// [`Engine::statistics_with`](crate::Engine::statistics_with). Those of rows without a token are the class 0 with NaN.
    ///
    /// # Errors
    ///
    /// As [`Engine::sample`]; [`Error::RaggedRows`] if `top` is not for the same number of candidates of each row,
    /// [`Error::OutOfRange`] if that is more than there are columns.
    pub fn sample_with<'a>(
        &self,
        logits: Rows<'_>,
        samplers: impl Into<Samplers<'a>>,
        draws: &[Draw<'_>],
        out: &mut [Result<Token, RowError>],
        top: &mut [Candidate],
    ) -> Result<(), Error> {
        let samplers = samplers.into();
        check(logits.rows(), logits.cols(), samplers, draws)?;
        self.check_results(logits, out)?;
        let most = candidates_of_each(logits, top)?;
        let engine = self.serial();
        per_row::run(self, logits, most, out, top, &|machine, row, logits: &[f32], scratch, out, top| {
            let (sampler, draw) = (samplers.of_row(row), &draws[row]);
            top.fill(Candidate { class: 0, log_probability: f64::NAN });
            *out = token(engine, machine, logits, sampler, draw, scratch, top);
        });
        Ok(())
    }

    /// Writes -inf over the logits of all tokens that the steps of a sampler do not leave, and makes the others what the
    /// steps make of them: `softmax` of the row is then the distribution that [`Engine::sample`] draws from.
    ///
    /// For each row it says how many are left; rows of which nothing can be drawn are as they were. Below `T = 1e-5` the one that is left
    /// keeps its logit.
    ///
    /// # Errors
    ///
    /// As [`Engine::sample`].
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, RowsMut, Sampler};
    ///
    /// let mut logits = [0.0, 3.0, 1.0, 2.0];
    /// let sampler = Sampler::builder().top_k(2).build()?;
    /// let mut left = [Ok(0)];
    /// Engine::new().mask(RowsMut::new(&mut logits, 4)?, &sampler, &[Draw::uniform(0.0)], &mut left)?;
    /// assert_eq!((left, logits), ([Ok(2)], [f32::NEG_INFINITY, 3.0, f32::NEG_INFINITY, 2.0]));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn mask<'a>(
        &self,
        logits: RowsMut<'_>,
        samplers: impl Into<Samplers<'a>>,
        draws: &[Draw<'_>],
        out: &mut [Result<usize, RowError>],
    ) -> Result<(), Error> {
        self.filter(logits, samplers.into(), draws, out, |logits, temperature| {
            let scaled = |x: f32| f64::from(x) / temperature;
            let top = logits.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
            // Beyond the floats all are made less by as much, which is the same distribution.
            let is_beyond = |x: f32| x.is_finite() && (scaled(x) as f32).is_infinite();
            let minus = if logits.iter().any(|&x| is_beyond(x)) { scaled(top) } else { 0.0 };
            for x in logits.iter_mut().filter(|x| x.is_finite()) {
                *x = ((scaled(*x) - minus) as f32).max(f32::MIN);
            }
        })
    }

    /// Makes logits the probabilities that [`Engine::sample`] draws from: 0 where the steps of a sampler leave nothing.
    ///
    /// For each row it says how many are left; rows of which nothing can be drawn are as they were.
    ///
    /// # Errors
    ///
    /// As [`Engine::sample`].
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, RowsMut, Sampler};
    ///
    /// let mut logits = [0.0, 3.0, 1.0, 3.0];
    /// let sampler = Sampler::builder().top_k(2).build()?;
    /// let mut left = [Ok(0)];
    /// Engine::new().renormalise(RowsMut::new(&mut logits, 4)?, &sampler, &[Draw::uniform(0.0)], &mut left)?;
    /// assert_eq!((left, logits), ([Ok(2)], [0.0, 0.5, 0.0, 0.5]));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn renormalise<'a>(
        &self,
        logits: RowsMut<'_>,
        samplers: impl Into<Samplers<'a>>,
        draws: &[Draw<'_>],
        out: &mut [Result<usize, RowError>],
    ) -> Result<(), Error> {
        let engine = self.serial();
        self.filter(logits, samplers.into(), draws, out, |logits, temperature| {
            let options = Softmax { temperature, ..Softmax::default() };
            // One row has one shape.
            let _ = engine.softmax_in_place_with(RowsMut::one(logits), &options);
        })
    }

    /// The tokens that the steps of a sampler leave of one row, the most probable first and of equal ones the one with the lowest id,
    /// with the logarithms of the probabilities that [`Engine::sample`] draws them with.
    ///
    /// # Errors
    ///
    /// As [`Engine::sample`]; for a row of which nothing can be drawn the inner [`RowError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, Sampler};
    ///
    /// let sampler = Sampler::builder().min_p(0.3).build()?;
    /// let left = Engine::new().survivors(&[0.0, 3.0, 1.0, 3.0], &sampler, &Draw::uniform(0.0))?.unwrap();
    /// assert_eq!(left.iter().map(|candidate| candidate.class).collect::<Vec<_>>(), [1, 3]);
    /// assert_eq!(left[0].log_probability, 0.5_f64.ln());
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn survivors(
        &self,
        logits: &[f32],
        sampler: &Sampler,
        draw: &Draw<'_>,
    ) -> Result<Result<Vec<Candidate>, RowError>, Error> {
        check(1, logits.len(), sampler.into(), core::slice::from_ref(draw))?;
        Ok(scratch::lend(|scratch| {
            let mut survivors = chain::survivors(self.machine(), logits, sampler, draw, scratch)?;
            let (exact, log_mass) = (survivors.exact(), libm::log(survivors.mass()));
            let mut left = Vec::new();
            survivors.for_each(|id, logit| left.push(candidate(id, logit)));
            order(&mut left);
            for candidate in &mut left {
                candidate.log_probability = exact.exponent(candidate.log_probability as f32) - log_mass;
            }
            Ok(left)
        }))
    }

    /// Masks logits by the steps of a sampler, and finishes each row given the temperature of the steps.
    fn filter(
        &self,
        logits: RowsMut<'_>,
        samplers: Samplers<'_>,
        draws: &[Draw<'_>],
        out: &mut [Result<usize, RowError>],
        finish: impl Fn(&mut [f32], f64) + Sync,
    ) -> Result<(), Error> {
        check(logits.rows(), logits.cols(), samplers, draws)?;
        if logits.rows() != out.len() {
            return Err(Error::LengthMismatch { rows: logits.rows(), len: out.len() });
        }
        let work = |machine, row, logits: &mut [f32], scratch: &mut Scratch, out: &mut _, _: &mut [_]| {
            let (sampler, draw) = (samplers.of_row(row), &draws[row]);
            let left = chain::survivors(machine, logits, sampler, draw, scratch);
            let left =
                left.map(|mut survivors| (survivors.left(), survivors.temperature(), survivors.count()));
            *out = left.map(|(left, temperature, count)| {
                left.mask(chain::changes(sampler, draw), logits, scratch);
                if sampler.temperature >= GREEDY {
                    finish(logits, temperature);
                } else {
                    finish(logits, 1.0);
                }
                count
            });
        };
        per_row::run(self, logits, 0, out, &mut [], &work);
        Ok(())
    }
}

/// Draws one token, and says what the row says of it and of the most probable ones.
fn token(
    engine: Engine,
    machine: Machine,
    logits: &[f32],
    sampler: &Sampler,
    draw: &Draw<'_>,
    scratch: &mut Scratch,
    top: &mut [Candidate],
) -> Result<Token, RowError> {
    let mut survivors = chain::survivors(machine, logits, sampler, draw, scratch)?;
    let mut token = chain::draw(&mut survivors, sampler, draw);
    let of = sampler.log_probability;
    if of == LogProbability::Skip && top.is_empty() {
        return Ok(Token { log_probability: f64::NAN, ..token });
    }
    let (id, mut row) = ([token.id], [RowStatistics::default()]);
    let options = Statistics { chosen: Some(Classes::from(&id)), ..Statistics::default() };
    // One row has one shape, and its token is one of its columns.
    let _ = engine.statistics_with(Rows::one(logits), &options, &mut row, top);
    let chosen = row[0].chosen.unwrap_or_default();
    match of {
        LogProbability::Skip => token.log_probability = f64::NAN,
        LogProbability::Filtered => token.rank = chosen.rank,
        LogProbability::Raw => {
            (token.log_probability, token.rank) = (chosen.log_probability, chosen.rank);
        }
    }
    Ok(token)
}

/// A candidate that is known by its logit so far.
fn candidate(id: u32, logit: f32) -> Candidate {
    Candidate { class: id as usize, log_probability: f64::from(logit) }
}

/// The largest first, and of equal ones the lowest id.
fn order(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(|a, b| {
        let by_logit = b.log_probability.partial_cmp(&a.log_probability).unwrap_or(Ordering::Equal);
        by_logit.then(a.class.cmp(&b.class))
    });
}

/// Checks what comes from the caller.
fn check(rows: usize, cols: usize, samplers: Samplers<'_>, draws: &[Draw<'_>]) -> Result<(), Error> {
    if cols > u32::MAX as usize {
        let range = "below 2^32, as ids are";
        return Err(Error::OutOfRange { what: "the number of columns", value: cols as f64, range });
    }
    if let Kind::Each(samplers) = samplers.0
        && samplers.len() != rows
    {
        return Err(Error::RowsMismatch { what: "samplers", rows, len: samplers.len() });
    }
    if draws.len() != rows {
        return Err(Error::RowsMismatch { what: "draws", rows, len: draws.len() });
    }
    for (row, draw) in draws.iter().enumerate() {
        if let Source::Given { uniform, .. } = draw.source
            && !(0.0..1.0).contains(&uniform)
        {
            let (what, range) = ("the number to draw by", "from 0 on and below 1");
            return Err(Error::OutOfRange { what, value: uniform, range });
        }
        if let Some(mu) = draw.mu
            && mu.is_nan()
        {
            let (what, range) = ("mu of Mirostat", "a number");
            return Err(Error::OutOfRange { what, value: mu, range });
        }
        let sampler = samplers.of_row(row);
        for mask in [sampler.allowed.as_deref(), draw.allowed].into_iter().flatten() {
            if mask.len() < cols.div_ceil(32) {
                return Err(Error::MaskTooShort { row, words: mask.len(), cols });
            }
        }
        let biased = sampler.bias.last().map(|bias| ("bias", bias.0));
        let seen = draw.history.and_then(|history| history.seen().last());
        for (what, token) in biased.into_iter().chain(seen.map(|seen| ("history", seen.token))) {
            if token as usize >= cols {
                return Err(Error::Token { what, row, token, cols });
            }
        }
    }
    Ok(())
}
