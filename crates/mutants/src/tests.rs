//! The tests of the copy: one by one, each with the sites that it passes and the time that it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Test {
    /// What runs the binary, where that is for another processor.
    pub runner: Option<String>,
    pub binary: PathBuf,
    /// None where the program is one test.
    pub name: Option<String>,
    pub seconds: f64,
    pub sites: Vec<usize>,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Good,
    Failed,
    TooLong,
}

impl Test {
    pub fn label(&self) -> String {
        let file = self.binary.file_name().unwrap_or_default().to_string_lossy();
        let program = file.rsplit_once('-').map_or(&*file, |(program, _)| program);
        format!("{program} {}", self.name.as_deref().unwrap_or_default())
    }

    /// Runs it in a directory, with at most so many kilobytes of memory: a mutant may ask for all there is.
    pub fn run(&self, directory: &Path, variable: (&str, &str), limit: Duration) -> Result<End> {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 0; ulimit -v 12000000; exec \"$0\" \"$@\""]);
        command.args(&self.runner).arg(&self.binary);
        if let Some(name) = &self.name {
            command.args(["--exact", name]);
        }
        command.current_dir(directory).env("LOGITS_EMULATED", "1").env(variable.0, variable.1);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(if status.success() { End::Good } else { End::Failed });
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                return Ok(End::TooLong);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

/// Builds the tests of the copy, and gives back the programs.
pub fn build(copy: &Path, mut cargo: Command, programs: &str) -> Result<Vec<PathBuf>> {
    let arguments = ["test", "--no-run", "-p", "logits", "--features", "rand", "--message-format=json"];
    cargo.current_dir(copy).args(arguments).args(programs.split_whitespace());
    let output = cargo.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the tests of the copy do not compile");
    let mut programs = Vec::new();
    for line in output.stdout.split(|&byte| byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        if let (Some(program), true) = (message["executable"].as_str(), message["profile"]["test"] == true) {
            programs.push(program.into());
        }
    }
    Ok(programs)
}

/// The tests of a program.
fn of_program(runner: Option<&str>, program: &Path) -> Result<Vec<Test>> {
    let list = |more: &[&str]| -> Result<String> {
        let mut command = Command::new(runner.map_or(program, Path::new));
        command.args(runner.map(|_| program)).args(["--list", "--format=terse"]).args(more);
        Ok(String::from_utf8(command.output()?.stdout)?)
    };
    let (names, ignored) = (list(&[])?, list(&["--ignored"])?);
    let names: Vec<_> =
        names.lines().filter(|name| !ignored.lines().any(|ignored| ignored == *name)).collect();
    let names: Vec<_> = names.iter().filter_map(|line| line.strip_suffix(": test")).collect();
    let test = |name: Option<&str>| Test {
        runner: runner.map(str::to_owned),
        binary: program.to_owned(),
        name: name.map(str::to_owned),
        seconds: 0.0,
        sites: Vec::new(),
    };
    Ok(if names.is_empty() {
        vec![test(None)]
    } else {
        names.into_iter().map(|name| test(Some(name))).collect()
    })
}

/// Runs every test of some programs once, with no mutant: those that take too long, and those that fail, are left out.
pub fn record(
    copy: &Path,
    runner: Option<&str>,
    programs: &[PathBuf],
    limit: Duration,
    scratch: &Path,
) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for program in programs {
        for mut test in of_program(runner, program)? {
            let _ = fs::remove_file(scratch);
            let path = scratch.to_str().context("a path in UTF-8")?;
            let start = Instant::now();
            let end = test.run(copy, ("MUTANT_RECORD", path), limit)?;
            test.seconds = start.elapsed().as_secs_f64();
            let Ok(passed) = fs::read(scratch) else {
                println!("{}: {end:?} after {:.1} s, and no record: left out", test.label(), test.seconds);
                continue;
            };
            if end != End::Good {
                println!("{}: {end:?} without a mutant: left out", test.label());
                continue;
            }
            test.sites = (0..passed.len()).filter(|&site| passed[site] == 1).collect();
            tests.push(test);
        }
    }
    Ok(tests)
}
