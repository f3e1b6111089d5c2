//! Classes of all rows read in order, as the output of a CTC model is read.

use std::io::{self, Write};

use crate::classes::Classes;
use crate::{style, text};

/// The class between repeats that are meant.
const BLANK: usize = 0;

#[derive(Default)]
pub struct Ctc {
    last: Option<usize>,
    classes: Vec<usize>,
}

impl Ctc {
    pub fn push(&mut self, class: usize) {
        if class != BLANK && self.last != Some(class) {
            self.classes.push(class);
        }
        self.last = Some(class);
    }

    pub fn write(&self, out: &mut impl Write, classes: &Classes) -> io::Result<()> {
        let reading = match classes.name(BLANK) {
            Some(_) => self.classes.iter().filter_map(|&class| classes.name(class)).collect::<String>(),
            None => self.classes.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
        };
        writeln!(out, "{}  {}", style::dim("reads"), style::bold(&text::printable(&reading)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_collapse_and_blanks_drop() {
        let mut ctc = Ctc::default();
        [0, 3, 3, 0, 3, 5, 5, 3, 0, 0].into_iter().for_each(|class| ctc.push(class));
        assert_eq!(ctc.classes, [3, 3, 5, 3]);
    }
}
