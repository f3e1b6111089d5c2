//! What the whole program is compiled for, as one `cfg` and one string.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(portable_fma)");

    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let has = |name: &str| features.split(',').any(|feature| feature == name);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();

    // Where `wide::f32x8::mul_add` is one instruction: FMA with AVX registers, or with SSE ones; NEON on 64-bit Arm.
    let fused = match arch.as_str() {
        "x86" | "x86_64" => has("fma"),
        "aarch64" => has("neon"),
        _ => false,
    };
    if fused {
        println!("cargo::rustc-cfg=portable_fma");
    }

    println!("cargo::rustc-env=LOGITS_TARGET_FEATURES={features}");
}
