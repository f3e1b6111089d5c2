//! Speculative decoding: which tokens of a draft are kept, and what comes behind them.
//!
//! The rule of Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding" (2023): a token that was drawn
//! with probability `q` and should have been with `p` is accepted if `u q < p`. The first one that is not is replaced by a draw from
//! `max(p - q, 0)`, normalised; if all are accepted, one more is drawn from the next row. So the tokens are distributed as if all of them had been drawn
//! from the target.

use crate::rows::{Rows, same_shape};
use crate::{Engine, Error};

use super::draw::{Draw, Purpose};
use super::inverse_cdf::pick;
use super::philox::unit;

/// How far a draft was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many tokens of the draft are accepted, from the first on.
    pub accepted: usize,
    /// The token behind them: instead of the first that was not accepted, or one more.
    pub next: u32,
}

impl Engine {
    /// Verifies a draft of some tokens of one sequence.
    ///
    /// `target` has the probabilities of the target model, [filtered](Engine::renormalise) as it is to be drawn from: one row for each token, and
    /// one more. `draft` has those that the tokens were drawn with, one row for each; `None` stands for tokens that were not drawn but
    /// proposed, as by a lookup, with certainty. Neither needs to add up to exactly 1.
    ///
    /// Of `draw` the random numbers are used; each position of the draft has its own.
    ///
    /// # Errors
    ///
    /// [`Error::RowsMismatch`] if `target` does not have one row more than there are tokens; [`Error::ShapesDiffer`] if `draft` does not have
    /// one row of as many columns for each; [`Error::Token`] for a token that is no column; [`Error::OutOfRange`] for
    /// one whose probability is negative or not finite, and for a row to draw from that has no mass.
    ///
    /// # Examples
    ///
    /// ```
    /// use logits::{Draw, Engine, Rows};
    ///
    /// // The draft was sure of token 0; so is the target, and then of 2.
    /// let target = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    /// let draft = [1.0, 0.0, 0.0];
    /// let (target, draft) = (Rows::new(&target, 3)?, Rows::new(&draft, 3)?);
    /// let verified = Engine::new().verify(target, Some(draft), &[0], &Draw::counted(1, 0, 0))?;
    /// assert_eq!((verified.accepted, verified.next), (1, 2));
    /// # Ok::<(), logits::Error>(())
    /// ```
    pub fn verify(
        &self,
        target: Rows<'_>,
        draft: Option<Rows<'_>>,
        tokens: &[u32],
        draw: &Draw<'_>,
    ) -> Result<Verified, Error> {
        let cols = target.cols();
        if target.rows() != tokens.len() + 1 {
            let what = "draft tokens, where there must be one less";
            return Err(Error::RowsMismatch { what, rows: target.rows(), len: tokens.len() });
        }
        if let Some(draft) = draft {
            let shapes = [(tokens.len(), cols), (draft.rows(), draft.cols())];
            same_shape(["the tokens and the columns of the target", "the draft's probabilities"], shapes)?;
        }
        for (row, &token) in tokens.iter().enumerate() {
            if token as usize >= cols {
                return Err(Error::Token { what: "draft", row, token, cols });
            }
            let of = |rows: Rows<'_>| rows.row(row)[token as usize];
            for (what, value) in
                [("a target probability", Some(of(target))), ("a draft probability", draft.map(of))]
            {
                if let Some(value) = value
                    && !(0.0..f32::INFINITY).contains(&value)
                {
                    return Err(Error::OutOfRange {
                        what,
                        value: value.into(),
                        range: "0 or more, and finite",
                    });
                }
            }
        }
        for (row, &token) in tokens.iter().enumerate() {
            let words = draw.source.words(Purpose::Accept, row as u64);
            let p = target.row(row);
            let q = draft.map(|draft| draft.row(row));
            let drawn_with = q.map_or(1.0, |q| f64::from(q[token as usize]));
            if unit(words[0]) * drawn_with < f64::from(p[token as usize]) {
                continue;
            }
            let rest = |i: usize| match q {
                // What is less than nothing leaves no more than there is.
                Some(q) => f64::from(p[i]) - f64::from(q[i]).max(0.0),
                None if i == token as usize => 0.0,
                None => f64::from(p[i]),
            };
            let rests = (0..cols).map(|i| rest(i).max(0.0));
            // Nothing is left of probabilities that are the same but for their rounding.
            let next = if rests.clone().any(|rest| rest > 0.0) {
                pick(rests, unit(words[1])).0 as u32
            } else {
                draw_from(p, unit(words[1]))?
            };
            return Ok(Verified { accepted: row, next });
        }
        let words = draw.source.words(Purpose::Accept, tokens.len() as u64);
        let next = draw_from(target.row(tokens.len()), unit(words[1]))?;
        Ok(Verified { accepted: tokens.len(), next })
    }
}

/// A token from probabilities.
fn draw_from(probabilities: &[f32], uniform: f64) -> Result<u32, Error> {
    let masses = probabilities.iter().map(|&p| f64::from(p));
    let sum: f64 = masses.clone().sum();
    if sum > 0.0 && sum.is_finite() {
        return Ok(pick(masses.map(|p| p.max(0.0)), uniform).0 as u32);
    }
    let (what, range) = ("the sum of a row of target probabilities", "above 0 and finite");
    Err(Error::OutOfRange { what, value: sum, range })
}
