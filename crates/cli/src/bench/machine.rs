//! The machine that is measured.

use std::fs;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use logits::Isa;
use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub version: &'static str,
    pub cpu: String,
    pub architecture: &'static str,
    pub threads: usize,
    pub compiled_target_features: &'static str,
    pub available: Vec<&'static str>,
    pub detected: &'static str,
}

impl Machine {
    pub fn here() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
                .unwrap_or_else(|| "unknown CPU".into()),
            architecture: std::env::consts::ARCH,
            threads: available_parallelism().map_or(1, NonZeroUsize::get),
            compiled_target_features: logits::COMPILED_TARGET_FEATURES,
            available: Isa::available().map(Isa::name).collect(),
            detected: Isa::detect().name(),
        }
    }
}

/// The first model that the kernel's list of CPUs names, if it does.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        ["model name", "Model", "cpu"].contains(&key.trim()).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        let x86 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9R14\n";
        assert_eq!(cpu_model(x86).as_deref(), Some("AMD EPYC 9R14"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS : 50\n"), None);
    }
}
