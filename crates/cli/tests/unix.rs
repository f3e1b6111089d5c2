//! Signals, pipes, devices and terminals.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{OCR_LOGITS, Place, assert_softmax, finish, npy, parse_npy, some_logits};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

mod common;

fn make_pipe(place: &Place, name: &str) {
    mkfifo(&place.path(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

#[test]
fn a_signal_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = Place::new();
        make_pipe(&place, "pipe");
        place.write("y.npy", "precious");
        let mut child = place.command("softmax pipe -o y.npy").stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = File::create(place.path("pipe")).unwrap();
        pipe.write_all(&npy(&[1000, 1000], &some_logits(1_000_000))[..100_000]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !place.files().iter().any(|name| name.ends_with(".partial")) {
            assert!(Instant::now() < deadline, "no temporary file appears: {:?}", place.files());
            thread::sleep(Duration::from_millis(5));
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        // Ended by the signal itself, which a shell reports as 130 or 143.
        assert_eq!(status.signal(), Some(signal as i32));
        assert_eq!(place.files(), ["pipe", "y.npy"]);
        assert_eq!(fs::read(place.path("y.npy")).unwrap(), b"precious");
    }
}

#[test]
fn a_shell_sees_130() {
    let place = Place::new();
    make_pipe(&place, "pipe");
    let binary = env!("CARGO_BIN_EXE_logits");
    let script = format!("{binary} softmax pipe -o y.npy & sleep 0.5; kill -TERM $!; wait $!; echo $?");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(place.path("")).stdout(Stdio::piped());
    let child = shell.spawn().unwrap();
    let _open = File::create(place.path("pipe")).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"143\n");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    place.save("x.npy", &[300, 10_000], &some_logits(3_000_000));
    for arguments in [
        "softmax x.npy",
        "explain x.npy --all",
        "explain x.npy --all --top 3",
        "stats x.npy",
        "stats x.npy --format csv",
        "stats x.npy --format json",
        "kl x.npy x.npy",
        "bench --shapes 1x7",
    ] {
        let mut child =
            place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{arguments}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let place = Place::new();
    place.save("x.npy", &[3, 4], &some_logits(12));
    place.run("softmax x.npy -o /dev/full").says(1, &["logits: /dev/full: cannot write: No space left"]);
    place.save("t.npy", &[3], &[0_i64, 1, 2]);
    for arguments in [
        "softmax x.npy",
        "explain x.npy",
        "explain x.npy --all",
        "stats x.npy",
        "stats x.npy --format csv",
        "stats x.npy --format json",
        "loss x.npy t.npy",
        "kl x.npy x.npy",
        "calibrate x.npy t.npy",
        "bench --shapes 1x7 --format json",
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = finish(place.command(arguments).stdout(full).stderr(Stdio::piped()));
        run.says(1, &["logits: standard output: cannot write: No space left"]);
    }
    assert_eq!(place.files(), ["t.npy", "x.npy"]);
}

#[cfg(target_os = "linux")]
#[test]
fn warnings_that_nobody_can_read_change_nothing() {
    let place = Place::new();
    place.save("x.npy", &[1, 2], &[f32::NAN, 0.0]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = place.command("softmax x.npy -o y.npy").stderr(full).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(place.load("y.npy").0, [1, 2]);
}

#[test]
fn named_pipes_work_at_both_ends() {
    let place = Place::new();
    let logits = some_logits(12);
    make_pipe(&place, "in");
    make_pipe(&place, "out");
    let child = place.command("softmax in -o out").stderr(Stdio::piped()).spawn().unwrap();
    File::create(place.path("in")).unwrap().write_all(&npy(&[3, 4], &logits)).unwrap();
    // Whoever opens a pipe waits for the other side: were it never to come, this test would not end.
    let (sender, receiver) = mpsc::channel();
    let out = place.path("out");
    thread::spawn(move || sender.send(fs::read(out).unwrap()));
    let result = receiver.recv_timeout(Duration::from_secs(60)).expect("the output pipe is not opened");
    assert!(child.wait_with_output().unwrap().status.success());
    assert_softmax(&parse_npy(&result).1, &logits, 4, 1.0, false);
    assert!(fs::metadata(place.path("out")).unwrap().file_type().is_fifo(), "the pipe is still one");
}

#[test]
fn links_and_permissions_survive() {
    let place = Place::new();
    let logits = some_logits(12);
    place.save("x.npy", &[3, 4], &logits);
    place.write("target.npy", "old");
    fs::set_permissions(place.path("target.npy"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("target.npy", place.path("link.npy")).unwrap();
    place.run("softmax x.npy -o link.npy").quietly();
    assert!(fs::symlink_metadata(place.path("link.npy")).unwrap().is_symlink());
    assert_eq!(fs::metadata(place.path("target.npy")).unwrap().mode() & 0o777, 0o640);
    assert_softmax(&place.load("target.npy").1, &logits, 4, 1.0, false);

    // A new file gets what any program's new files get, not what temporary ones do.
    place.run("softmax x.npy -o new.npy").quietly();
    File::create(place.path("plain")).unwrap();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("new.npy"), mode("plain"));
}

#[test]
fn standard_input_is_not_overwritten_either() {
    let place = Place::new();
    place.save("x.npy", &[3, 4], &some_logits(12));
    let mut command = place.command("softmax - -o x.npy");
    command.stdin(File::open(place.path("x.npy")).unwrap());
    finish(&mut command).says(1, &["is the input file too (standard input)"]);
}

/// What the command writes to a terminal that is its standard output, and its exit code.
fn on_terminal(command: &mut Command) -> (String, Option<i32>) {
    let pty = openpty(None, None).unwrap();
    let mut terminal = File::from(pty.master);
    let mut child =
        command.env("TERM", "xterm-256color").stdout(pty.slave).stderr(Stdio::null()).spawn().unwrap();
    command.stdout(Stdio::null()); // the last handle on the terminal but the child's
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // When the child has closed the terminal reading fails, or finds nothing.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        shown.extend(&buffer[..count]);
    }
    (String::from_utf8(shown).unwrap(), child.wait().unwrap().code())
}

#[test]
fn colours_are_for_terminals_and_can_be_refused() {
    let place = Place::new();
    let explain = format!("explain {OCR_LOGITS}");
    assert!(on_terminal(&mut place.command(&explain)).0.contains("\x1b["));
    let (refused, code) = on_terminal(place.command(&explain).env("NO_COLOR", "1"));
    assert_eq!(code, Some(0));
    assert!(refused.contains("confidence") && !refused.contains('\x1b'), "{refused}");
    assert!(!place.run(&explain).quietly().text().contains('\x1b'));
    assert!(finish(place.command(&explain).env("CLICOLOR_FORCE", "1")).quietly().text().contains("\x1b["));
}

#[test]
fn a_terminal_is_spared_the_bytes_of_an_array() {
    let place = Place::new();
    place.save("x.npy", &[3, 4], &some_logits(12));
    assert_eq!(on_terminal(&mut place.command("softmax x.npy")), (String::new(), Some(2)));
}
