//! A terminal with a command and what it printed.

use anstyle_svg::{Palette, Term, WIN10_CONSOLE};

const PALETTE: Palette = WIN10_CONSOLE;
const PAPER: (u8, u8, u8) = (0x0d, 0x11, 0x17);
const INK: (u8, u8, u8) = (0xe6, 0xed, 0xf3);

/// `command` at a prompt, and `output` with its escape sequences.
pub fn draw(command: &str, output: &str) -> String {
    let output = output.replace("examples/data/", "");
    let terminal = Term::new().palette(PALETTE).fg_color(INK.into()).bg_color(PAPER.into());
    terminal.render_svg(&format!("\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\n\n{}\n", output.trim_end()))
}
