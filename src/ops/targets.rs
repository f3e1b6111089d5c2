//! What a row of logits is held against: a class, or a probability for each class.

use core::ops::Range;

use crate::Error;
use crate::rows::Rows;

/// The right answers of a batch: the class of each row, or a row of probabilities for each row.
///
/// Made of a slice of any integer type, one class a row; or of [`Rows`] of probabilities, one a class.
///
/// # Examples
///
/// ```
/// use logits::{Rows, Targets};
///
/// let classes = Targets::from(&[3_i64, 0, -100]);
/// let probabilities = Targets::from(Rows::new(&[0.5, 0.5, 1.0, 0.0], 2)?);
/// assert_eq!((classes.rows(), probabilities.rows()), (3, 2));
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a>(pub(super) Kind<'a>);

#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    Classes(Classes<'a>),
    Probabilities(Rows<'a>),
}

/// A class for each row of a batch: made of a slice of any integer type.
///
/// # Examples
///
/// ```
/// use logits::Classes;
///
/// assert_eq!(Classes::from(&[3_u8, 0]).rows(), 2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a>(Integers<'a>);

impl<'a> From<Classes<'a>> for Targets<'a> {
    fn from(classes: Classes<'a>) -> Self {
        Self(Kind::Classes(classes))
    }
}

macro_rules! classes {
    ($($variant:ident $integer:ty),*) => {
        #[derive(Debug, Clone, Copy)]
        enum Integers<'a> {
            $($variant(&'a [$integer]),)*
        }

        impl Classes<'_> {
            /// Of how many rows.
            #[must_use]
            #[inline(always)]
            pub fn rows(&self) -> usize {
                match self.0 {
                    $(Integers::$variant(classes) => classes.len(),)*
                }
            }

            /// Those of some of the rows.
            pub(super) fn part(self, rows: Range<usize>) -> Self {
                match self.0 {
                    $(Integers::$variant(classes) => Self(Integers::$variant(&classes[rows])),)*
                }
            }

            /// The class of a row that has been checked, unless it is one to be ignored.
            #[inline(always)]
            pub(super) fn unless(self, row: usize, ignored: Option<i64>) -> Option<usize> {
                match self.0 {
                    $(Integers::$variant(classes) => {
                        let class = classes[row];
                        let ignored = ignored.and_then(|ignored| <$integer>::try_from(ignored).ok());
                        if Some(class) == ignored { None } else { Some(class as usize) }
                    })*
                }
            }

            /// The first row with something that is none of so many classes, and not ignored.
            fn first_bad(self, classes: usize, ignored: Option<i64>) -> Option<usize> {
                match self.0 {
                    $(Integers::$variant(targets) => {
                        let ignored = ignored.and_then(|ignored| <$integer>::try_from(ignored).ok());
                        let is_good = |class: $integer| {
                            Some(class) == ignored || usize::try_from(class).is_ok_and(|class| class < classes)
                        };
                        targets.iter().position(|&class| !is_good(class))
                    })*
                }
            }

            /// How many rows are not ignored.
            pub(super) fn counted(self, ignored: Option<i64>) -> usize {
                match self.0 {
                    $(Integers::$variant(targets) => {
                        let ignored = ignored.and_then(|ignored| <$integer>::try_from(ignored).ok());
                        targets.iter().filter(|&&class| Some(class) != ignored).count()
                    })*
                }
            }

            /// The class of a row.
            #[inline(always)]
            pub(super) fn get(self, row: usize) -> i128 {
                match self.0 {
                    $(Integers::$variant(classes) => classes[row] as i128,)*
                }
            }
        }

        $(
            impl<'a> From<&'a [$integer]> for Classes<'a> {
                fn from(classes: &'a [$integer]) -> Self {
                    Self(Integers::$variant(classes))
                }
            }

            impl<'a, const N: usize> From<&'a [$integer; N]> for Classes<'a> {
                fn from(classes: &'a [$integer; N]) -> Self {
                    Self::from(&classes[..])
                }
            }

            #[cfg(feature = "std")]
            impl<'a> From<&'a std::vec::Vec<$integer>> for Classes<'a> {
                fn from(classes: &'a std::vec::Vec<$integer>) -> Self {
                    Self::from(&classes[..])
                }
            }

            impl<'a> From<&'a [$integer]> for Targets<'a> {
                fn from(classes: &'a [$integer]) -> Self {
                    Self(Kind::Classes(classes.into()))
                }
            }

            impl<'a, const N: usize> From<&'a [$integer; N]> for Targets<'a> {
                fn from(classes: &'a [$integer; N]) -> Self {
                    Self(Kind::Classes(classes.into()))
                }
            }

            #[cfg(feature = "std")]
            impl<'a> From<&'a std::vec::Vec<$integer>> for Targets<'a> {
                fn from(classes: &'a std::vec::Vec<$integer>) -> Self {
                    Self(Kind::Classes(classes.into()))
                }
            }
        )*
    };
}

classes! {
    I8 i8, I16 i16, I32 i32, I64 i64, Isize isize, U8 u8, U16 u16, U32 u32, U64 u64, Usize usize
}

impl<'a> From<Rows<'a>> for Targets<'a> {
    fn from(probabilities: Rows<'a>) -> Self {
        Self(Kind::Probabilities(probabilities))
    }
}

impl Targets<'_> {
    /// Of how many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.0 {
            Kind::Classes(classes) => classes.rows(),
            Kind::Probabilities(rows) => rows.rows(),
        }
    }

    /// # Errors
    ///
    /// [`Error::TargetsMismatch`] if these are not the targets of so many rows and classes, [`Error::Target`] if one is not a
    /// class and not ignored.
    pub(super) fn check(&self, rows: usize, classes: usize, ignored: Option<i64>) -> Result<(), Error> {
        let targets = match self.0 {
            Kind::Classes(targets) => {
                if targets.rows() == rows {
                    return match targets.first_bad(classes, ignored) {
                        Some(row) => Err(Error::Target { row, target: targets.get(row), classes }),
                        None => Ok(()),
                    };
                }
                (targets.rows(), None)
            }
            Kind::Probabilities(targets)
                if targets.rows() == rows && (targets.cols() == classes || rows == 0) =>
            {
                return Ok(());
            }
            Kind::Probabilities(targets) => (targets.rows(), Some(targets.cols())),
        };
        Err(Error::TargetsMismatch { rows, classes, targets })
    }
}
