//! Draws the pictures of the documentation, each from what the command `logits` prints:
//!
//! ```text
//! cargo run --release -p pictures                    # measures, and draws all into docs/
//! cargo run --release -p pictures -- throughput.csv  # draws what `logits bench --format csv` measured elsewhere
//! ```

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

mod screenshot;
mod throughput;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let docs = root.join("docs");
    fs::create_dir_all(&docs)?;

    let explained = logits(
        &root,
        &[
            "explain",
            "examples/data/ocr_logits.npy",
            "--classes",
            "examples/data/ocr_classes.txt",
            "--row",
            "44",
            "--ctc",
        ],
    )?;
    let typed = "logits explain ocr_logits.npy --classes ocr_classes.txt --row 44 --ctc";
    draw(docs.join("explain.svg"), &screenshot::draw(typed, &explained))?;

    let reliability = docs.join("reliability.svg");
    let set = |name: &str| format!("examples/data/digits_{name}.npy");
    logits(
        &root,
        &[
            "calibrate",
            &set("val_logits"),
            &set("val_labels"),
            "--apply",
            &set("test_logits"),
            &set("test_labels"),
            "--plot",
            reliability.to_str().context("the name of the folder is not UTF-8")?,
        ],
    )?;
    println!("{}", reliability.display());

    let measured = match std::env::args_os().nth(1) {
        Some(file) => fs::read_to_string(&file).with_context(|| file.display().to_string())?,
        None => {
            let shapes = throughput::SHAPES.map(|(rows, cols)| format!("{rows}x{cols}")).join(",");
            let layout = ["--threads", "1", "--layout", "out-of-place"];
            logits(&root, &[&["bench", "--format", "csv", "--shapes", &shapes][..], &layout].concat())?
        }
    };
    draw(docs.join("throughput.svg"), &throughput::draw(&measured)?)
}

fn draw(path: PathBuf, svg: &str) -> Result<()> {
    fs::write(&path, svg).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(())
}

/// What the command prints, colours and all.
fn logits(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--package", "logits-cli", "--bin", "logits", "--"])
        .args(arguments)
        .current_dir(root)
        .env("CLICOLOR_FORCE", "1")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "logits {}: {}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}
