//! The instruction set and the threads that a command line asks for.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use logits::{Engine, Isa};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Usage;

/// What `--isa` takes.
pub fn isa_parser() -> impl TypedValueParser<Value = Isa> {
    PossibleValuesParser::new(Isa::ALL.map(Isa::name)).try_map(|name| name.parse::<Isa>())
}

/// What `--temperature` takes.
pub fn parse_temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(temperature) if temperature >= 0.0 => Ok(temperature),
        _ => Err("a temperature is a number from 0 (one-hot) to inf (uniform)".into()),
    }
}

/// What `--temperature` takes where there is nothing to say of one-hot rows.
pub fn parse_positive_temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(temperature) if temperature > 0.0 => Ok(temperature),
        _ => Err("the temperature here is a number above 0, up to inf (uniform)".into()),
    }
}

/// What `--threads` takes. The bound is there for a slip of the finger: millions of threads take minutes to start.
pub fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: usize = 4096;
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= MOST => Ok(threads),
        _ => Err(format!("a number of threads is from 1 to {MOST}")),
    }
}

/// The names of these instruction sets, for messages.
pub fn names(isas: impl IntoIterator<Item = Isa>) -> String {
    isas.into_iter().map(Isa::name).collect::<Vec<_>>().join(", ")
}

/// `--isa`, else `LOGITS_ISA`, else none: the best there is.
pub fn chosen_isa(option: Option<Isa>) -> Result<Option<Isa>> {
    if option.is_some() {
        return Ok(option);
    }
    Isa::from_env().map_err(|error| {
        let value = std::env::var_os("LOGITS_ISA").unwrap_or_default();
        anyhow!(Usage(format!("LOGITS_ISA={}: {error}", value.display())))
    })
}

/// An engine on this instruction set, over the threads of the pool it runs in.
pub fn engine(isa: Option<Isa>) -> Result<Engine> {
    match isa {
        None => Ok(Engine::new()),
        Some(isa) => Engine::new()
            .with_isa(isa)
            .with_context(|| format!("cannot use {isa} (available here: {})", names(Isa::available()))),
    }
}

/// What an operation is computed with.
#[derive(Debug, clap::Args)]
pub struct Computing {
    /// The instruction set to use; else the one in LOGITS_ISA, else the best
    #[arg(long, value_name = "NAME", value_parser = isa_parser())]
    isa: Option<Isa>,

    /// Threads to use; all without it
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZeroUsize>,
}

impl Computing {
    pub fn workers(&self) -> Result<Workers> {
        Workers::new(chosen_isa(self.isa)?, self.threads)
    }
}

/// An engine and the threads it uses.
pub struct Workers {
    engine: Engine,
    pool: Option<ThreadPool>,
}

impl Workers {
    /// No number of threads means all of them.
    fn new(isa: Option<Isa>, threads: Option<NonZeroUsize>) -> Result<Self> {
        let engine = engine(isa)?;
        Ok(match threads.map(NonZeroUsize::get) {
            None => Self { engine, pool: None },
            Some(1) => Self { engine: engine.serial(), pool: None },
            Some(threads) => Self { engine, pool: Some(thread_pool(threads)?) },
        })
    }

    /// The engine, for what one thread does.
    pub fn engine(&self) -> Engine {
        self.engine.serial()
    }

    /// Runs `work` with the engine, on the threads.
    pub fn run<T: Send>(&self, work: impl FnOnce(&Engine) -> T + Send) -> T {
        match &self.pool {
            None => work(&self.engine),
            Some(pool) => pool.install(|| work(&self.engine)),
        }
    }
}

pub fn thread_pool(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .with_context(|| format!("cannot start {threads} threads"))
}
