//! The ratio to the fastest peer, a bar for each cell.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use timing::Layout;

use crate::report::{Contest, Report};

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FASTER: RGBColor = RGBColor(0x3b, 0x82, 0xd0);
const SLOWER: RGBColor = RGBColor(0xd0, 0x4f, 0x3b);
const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);
const FONT: &str = "Helvetica, Arial, sans-serif";

const WIDTH: i32 = 960;
const LINE: i32 = 16;
const HEAD: i32 = 64;
const LEFT: i32 = 300;
/// Ratios from the left edge to the right one.
const RANGE: (f64, f64) = (0.5, 16.0);

pub fn draw(report: &Report) -> Result<String> {
    let contests = report.contests();
    let height = HEAD + LINE * contests.len() as i32 + 16;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let text = |size: i32, at: HPos| (FONT, size).into_font().color(&INK).pos(Pos::new(at, VPos::Center));
        let title = "logits against the fastest peer of each cell: its time over ours";
        area.draw_text(title, &text(16, HPos::Left), (16, 20))?;
        for ratio in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0] {
            let style = if ratio == 1.0 { INK.stroke_width(1) } else { GRID.stroke_width(1) };
            area.draw(&PathElement::new(vec![(x(ratio), HEAD - 8), (x(ratio), height - 12)], style))?;
            area.draw_text(&format!("{ratio}"), &text(11, HPos::Center), (x(ratio), HEAD - 18))?;
        }
        for (index, contest) in contests.iter().enumerate() {
            let y = HEAD + LINE * index as i32 + LINE / 2;
            area.draw_text(&label(contest), &text(11, HPos::Right), (LEFT - 8, y))?;
            let colour = if contest.ratio >= 1.0 { FASTER } else { SLOWER };
            let (from, to) = (x(1.0).min(x(contest.ratio)), x(1.0).max(x(contest.ratio)));
            area.draw(&Rectangle::new([(from, y - 5), (to, y + 5)], colour.filled()))?;
            let note = format!("{:.2} {}", contest.ratio, contest.fastest_peer);
            area.draw_text(&note, &text(10, HPos::Left), (to + 4, y))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Where a ratio stands, on a logarithmic axis.
fn x(ratio: f64) -> i32 {
    let (low, high) = (RANGE.0.ln(), RANGE.1.ln());
    let share = (ratio.ln().clamp(low, high) - low) / (high - low);
    LEFT + (share * f64::from(WIDTH - LEFT - 120)) as i32
}

fn label(contest: &Contest) -> String {
    let layout = match contest.layout {
        Layout::OutOfPlace => "",
        Layout::InPlace => ", in place",
        Layout::Misaligned => ", one off",
    };
    let threads = if contest.threads == 1 { String::new() } else { format!(", {} threads", contest.threads) };
    format!("{} {}{threads}{layout}", contest.operation.name(), contest.shape)
}
