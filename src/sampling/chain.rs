//! The steps of a sampler, from a row of logits to a token.

use core::f64::consts::LN_2;

use crate::simd::isa::Machine;

use super::draw::{Draw, Purpose, RowError, Token};
use super::gumbel;
use super::order::{Amount, Order, first_where};
use super::philox::unit;
use super::sampler::{Filter, GREEDY, LogProbability, Method, Mirostat, Sampler, TopKTies};
use super::scores::{Changes, Scores};
use super::scratch::Scratch;
use super::survivors::{Survivors, Unfit};

/// What changes a row of logits before all steps.
pub fn changes<'a>(sampler: &'a Sampler, draw: &Draw<'a>) -> Changes<'a> {
    let allowed = [sampler.allowed.as_deref(), draw.allowed];
    Changes::new(allowed, &sampler.bias, sampler.penalties, draw.history)
}

/// What is left of a row when all steps are done.
pub fn survivors<'a, 's>(
    machine: Machine,
    logits: &'a [f32],
    sampler: &'a Sampler,
    draw: &Draw<'a>,
    scratch: &'s mut Scratch,
) -> Result<Survivors<'a, 's>, RowError> {
    let scores = Scores::new(logits, changes(sampler, draw));
    let token = |is_it: fn(f32) -> bool| {
        (0..scores.len()).find(|&token| is_it(scores.get(token))).unwrap_or_default() as u32
    };
    let mut survivors = Survivors::new(machine, scores, scratch).map_err(|unfit| match unfit {
        Unfit::NotANumber => RowError::NotANumber { token: token(f32::is_nan) },
        Unfit::Infinite => RowError::Infinite { token: token(|x| x == f32::INFINITY) },
        Unfit::Nothing => RowError::NothingAllowed,
    })?;
    for filter in sampler.steps() {
        step(&mut survivors, filter, sampler, draw);
    }
    Ok(survivors)
}

fn step(survivors: &mut Survivors<'_, '_>, filter: Filter, sampler: &Sampler, draw: &Draw<'_>) {
    let min_keep = sampler.min_keep;
    match filter {
        Filter::Temperature if sampler.temperature < GREEDY => {
            keep(survivors, Order::Largest, Amount::Tokens(1), 1);
        }
        Filter::Temperature => survivors.set_temperature(sampler.temperature),
        Filter::TopK => {
            let amount = Amount::Tokens(sampler.top_k.max(min_keep));
            if let Some(last) = survivors.last(Order::Largest, amount) {
                survivors.keep_through(last, sampler.top_k_ties == TopKTies::Keep);
            }
        }
        Filter::TopP => keep(survivors, Order::Largest, Amount::Mass(sampler.top_p), min_keep),
        Filter::Typical => {
            let order = survivors.typical();
            keep(survivors, order, Amount::Mass(sampler.typical), min_keep);
        }
        Filter::MinP => {
            let least = libm::log(sampler.min_p);
            let low = first_where(|x| survivors.exponent(x) >= least);
            survivors.keep_from(low, min_keep);
        }
        Filter::TopNSigma => {
            let least = f64::from(survivors.top()) - sampler.top_n_sigma * survivors.standard_deviation();
            survivors.keep_from(first_where(|x| f64::from(x) >= least), min_keep);
        }
        Filter::Xtc => {
            if unit(draw.source.words(Purpose::Xtc, 0)[0]) < sampler.xtc.chance {
                exclude_top_choices(survivors, sampler.xtc.threshold, min_keep);
            }
        }
        Filter::Mirostat => {
            if let Some(Mirostat { tau, .. }) = sampler.mirostat {
                let low = from_probability(survivors, -draw.mu.unwrap_or(2.0 * tau) * LN_2);
                survivors.keep_from(low, min_keep);
            }
        }
    }
}

/// Keeps an amount, and so many tokens in any case.
fn keep(survivors: &mut Survivors<'_, '_>, order: Order, amount: Amount, min_keep: usize) {
    let last = match amount {
        Amount::Mass(0.0) => None,
        amount => match survivors.last(order, amount) {
            None => return,
            last => last,
        },
    };
    let last = last.filter(|last| min_keep == 1 || survivors.count_through(order, *last) >= min_keep);
    let Some(last) = last.or_else(|| survivors.last(order, Amount::Tokens(min_keep))) else { return };
    match order {
        Order::Largest => survivors.keep_through(last, false),
        Order::Nearest { .. } => survivors.keep_before(order, last),
    }
}

/// The least logit whose probability has at least this logarithm.
fn from_probability(survivors: &mut Survivors<'_, '_>, log_probability: f64) -> f32 {
    let least = log_probability + libm::log(survivors.mass());
    first_where(|x| survivors.exponent(x) >= least)
}

/// Of the tokens that are at least as probable as that, all but the least probable go.
fn exclude_top_choices(survivors: &mut Survivors<'_, '_>, threshold: f64, min_keep: usize) {
    let low = from_probability(survivors, libm::log(threshold));
    let choices = survivors.count_from(low);
    if choices < 2 || survivors.count() - (choices - 1) < min_keep {
        return;
    }
    if let Some(first) = survivors.last(Order::Largest, Amount::Tokens(choices)) {
        survivors.keep_behind(first);
    }
}

/// Draws a token, whose log-probability is that of what is left, and whose rank is not known yet.
pub fn draw(survivors: &mut Survivors<'_, '_>, sampler: &Sampler, draw: &Draw<'_>) -> Token {
    let (id, logit) = match sampler.method {
        Method::InverseCdf => survivors.draw(draw.source.uniform()),
        Method::Gumbel => gumbel::draw(survivors, draw.source),
    };
    let mut token = Token { id, ..Token::default() };
    if sampler.log_probability == LogProbability::Filtered || sampler.mirostat.is_some() {
        token.log_probability = survivors.exponent(logit) - libm::log(survivors.mass());
    }
    if let Some(Mirostat { tau, eta }) = sampler.mirostat {
        let surprise = -token.log_probability / LN_2;
        token.mu = Some(draw.mu.unwrap_or(2.0 * tau) - eta * (surprise - tau));
    }
    token
}
