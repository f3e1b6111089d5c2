//! The targets without a fuzzer, which any compiler builds: inputs that once were findings, and some that are made here.

use std::fs;
use std::path::Path;

/// Inputs in `regressions/<target>/` are findings no more.
#[test]
fn findings_stay_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for (name, check) in logits_fuzz::TARGETS {
        let Ok(entries) = fs::read_dir(folder.join(name)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            check(&fs::read(&path).expect("an input"));
        }
    }
}

/// As many of each target as `FUZZ_INPUTS` says, the same on every run.
#[test]
fn made_up_inputs_are_no_findings() {
    let inputs = std::env::var("FUZZ_INPUTS").map_or(20_000, |inputs| inputs.parse().expect("a number"));
    let chosen = std::env::var("FUZZ_TARGET").ok();
    for (name, check) in logits_fuzz::TARGETS {
        if chosen.as_ref().is_some_and(|chosen| chosen != name) {
            continue;
        }
        let mut counter = 0_u64;
        let mut word = || {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        for _ in 0..inputs {
            let words = word() % 24;
            let data: Vec<u8> = (0..words).flat_map(|_| word().to_le_bytes()).collect();
            check(&data);
        }
    }
}
