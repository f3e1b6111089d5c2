//! Which instruction sets there are, which of them are here, and a kernel run on one.

use core::fmt;
use core::str::FromStr;

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
use super::neon::Neon;
use super::{Kernel, Simd, portable::Portable, scalar::Scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// An instruction set that the kernels are compiled for.
///
/// All of them have the same bits, except [`Isa::Portable`] in a program compiled without fused multiply-add
/// ([`Isa::is_fused`]).
///
/// # Examples
///
/// ```
/// use logits::{Engine, Isa};
///
/// println!("the best here: {}", Isa::detect());
/// for isa in Isa::available() {
///     let engine = Engine::new().with_isa(isa)?;
///     assert_eq!(engine.isa(), isa);
/// }
/// assert_eq!("avx2".parse(), Ok(Isa::Avx2));
/// # Ok::<(), logits::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// One lane at a time, in plain Rust: the machine that judges the others. Always available, and slow.
    Scalar,
    /// `wide::f32x8`, for whatever the program is compiled for. Always available.
    Portable,
    /// AVX2 with FMA, F16C, BMI1, BMI2 and POPCNT (x86-64-v3: Intel from Haswell, AMD from Zen).
    Avx2,
    /// AVX-512 F, VL, BW and DQ (x86-64-v4: Intel servers from Skylake, AMD from Zen 4).
    Avx512,
    /// NEON on 64-bit Arm.
    Neon,
}

impl Isa {
    /// Every instruction set that the crate knows, from the plainest to the best.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The best instruction set of this CPU.
    ///
    /// With the feature `std` the CPU is asked; without it, the answer is what the program was compiled for.
    #[must_use]
    pub fn detect() -> Isa {
        Machine::detect().isa()
    }

    /// Whether this CPU and this build have the instruction set.
    #[must_use]
    pub fn is_available(self) -> bool {
        Machine::new(self).is_some()
    }

    /// The instruction sets available here, from the plainest to the best.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether multiply-add rounds once, and the bits are therefore those of all other fused instruction sets.
    ///
    /// False only for [`Isa::Portable`], in a program that was not compiled for a CPU with fused multiply-add.
    #[must_use]
    pub fn is_fused(self) -> bool {
        match self {
            Isa::Portable => Portable::FUSED,
            _ => true,
        }
    }

    /// The name that [`Display`](fmt::Display) writes and [`FromStr`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// What the environment variable `LOGITS_ISA` asks for: `None` where it is unset or empty.
    ///
    /// The library never reads the environment by itself; a program that wants the override passes the answer to
    /// [`Engine::with_isa`](crate::Engine::with_isa).
    ///
    /// # Errors
    ///
    /// If the variable is set to anything but the name of an instruction set.
    #[cfg(feature = "std")]
    pub fn from_env() -> Result<Option<Isa>, ParseIsaError> {
        match std::env::var_os("LOGITS_ISA") {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => value.to_str().ok_or(ParseIsaError(()))?.parse().map(Some),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = ParseIsaError;

    fn from_str(name: &str) -> Result<Self, ParseIsaError> {
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or(ParseIsaError(()))
    }
}

/// A name that is not the name of an instruction set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIsaError(());

impl fmt::Display for ParseIsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an instruction set: it must be one of ")?;
        for (i, isa) in Isa::ALL.into_iter().enumerate() {
            write!(f, "{}{isa}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl core::error::Error for ParseIsaError {}

/// An instruction set with the proof that it is here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Machine {
    Scalar(Scalar),
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(Neon),
}

impl Machine {
    #[inline]
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = Avx512::new() {
                return Machine::Avx512(token);
            }
            if let Some(token) = Avx2::new() {
                return Machine::Avx2(token);
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        if let Some(token) = Neon::new() {
            return Machine::Neon(token);
        }
        Machine::Portable(Portable)
    }

    pub(crate) fn new(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Scalar => Some(Machine::Scalar(Scalar)),
            Isa::Portable => Some(Machine::Portable(Portable)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::new().map(Machine::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::new().map(Machine::Avx512),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon => Neon::new().map(Machine::Neon),
            // Those of other architectures.
            _ => None,
        }
    }

    pub(crate) fn isa(self) -> Isa {
        match self {
            Machine::Scalar(_) => Isa::Scalar,
            Machine::Portable(_) => Isa::Portable,
            #[cfg(target_arch = "x86_64")]
            Machine::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Machine::Avx512(_) => Isa::Avx512,
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Machine::Neon(_) => Isa::Neon,
        }
    }

    /// Whether it can store past the caches.
    pub(crate) fn streams(self) -> bool {
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::STREAMS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::STREAMS,
            _ => false,
        }
    }

    /// Runs a kernel, compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Machine::Scalar(token) => token.vectorize(kernel),
            Machine::Portable(token) => token.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Machine::Avx2(token) => token.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Machine::Avx512(token) => token.vectorize(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Machine::Neon(token) => token.vectorize(kernel),
        }
    }
}
