//! The options of softmax and log-softmax.

use crate::error::Error;

use super::temperature::Temperature;

/// Options of [`Engine::softmax_with`](crate::Engine::softmax_with) and its kin; the defaults are the plain operation.
///
/// # Examples
///
/// ```
/// use logits::{Engine, MaskedRows, Rows, RowsMut, Softmax};
///
/// let masked = [f32::NEG_INFINITY; 4];
/// let mut attention = [0.5; 4];
/// let options = Softmax { masked_rows: MaskedRows::Zeros, ..Default::default() };
/// Engine::new().softmax_with(Rows::new(&masked, 4)?, RowsMut::new(&mut attention, 4)?, &options)?;
/// assert_eq!(attention, [0.0; 4]);
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// `T` in `softmax(x / T)`: 1 by default. Smaller is sharper; 0 gives everything to the first maximum, and +inf the
    /// same share to every logit that is not -inf. Between 0 and `2^-160` it counts as `2^-160`, beyond `2^160` as that.
    pub temperature: f64,
    /// What becomes of rows whose logits are all -inf.
    pub masked_rows: MaskedRows,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { temperature: 1.0, masked_rows: MaskedRows::default() }
    }
}

/// What becomes of rows whose logits are all -inf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MaskedRows {
    /// They become NaN, as in PyTorch: 0 / 0 by the definition.
    #[default]
    Nan,
    /// Probabilities become 0 and log-probabilities -inf, as attention over an empty set of keys wants it.
    Zeros,
}

/// How a temperature is computed with.
pub enum Kind {
    /// 0: the limit.
    Zero,
    /// 1: not at all.
    One,
    Other(Temperature),
}

impl Softmax {
    /// # Errors
    ///
    /// [`Error::Temperature`] if it is negative or NaN.
    pub(super) fn temperature(&self) -> Result<Kind, Error> {
        match self.temperature {
            0.0 => Ok(Kind::Zero),
            1.0 => Ok(Kind::One),
            temperature if temperature > 0.0 => Ok(Kind::Other(Temperature::new(temperature))),
            temperature => Err(Error::Temperature { temperature }),
        }
    }
}

/// The temperature of `what`, which has no limit at 0: nothing for 1.
///
/// # Errors
///
/// [`Error::Temperature`] if it is negative or NaN, [`Error::OutOfRange`] if it is 0.
pub fn above_zero(what: &'static str, temperature: f64) -> Result<Option<Temperature>, Error> {
    match (Softmax { temperature, ..Softmax::default() }).temperature()? {
        Kind::One => Ok(None),
        Kind::Other(scale) => Ok(Some(scale)),
        Kind::Zero => Err(Error::OutOfRange { what, value: 0.0, range: "above 0" }),
    }
}

impl MaskedRows {
    /// What the elements of such a row become, given the result for a single logit of -inf.
    pub(super) fn value(self, masked: f32) -> f32 {
        match self {
            MaskedRows::Nan => f32::NAN,
            MaskedRows::Zeros => masked,
        }
    }
}
