//! Throughput of single rows that stay in cache: what every instruction set takes for an element, for each operation and
//! length, beside the scalar loop and memcpy.

use anyhow::{Result, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

/// Rows and columns.
pub const SHAPES: [(usize, usize); 4] = [(1, 1000), (1, 4096), (1, 32_000), (1, 128_256)];

const OPERATIONS: [&str; 3] = ["softmax", "log-softmax", "logsumexp"];

/// Subjects in the order they are drawn, the colour of each, and how it is called. The scalar backend is a reference,
/// not a contender.
const SUBJECTS: [(&str, RGBColor, &str); 6] = [
    ("scalar loop", RGBColor(0xb8, 0xbc, 0xc4), "scalar loop (f32::exp)"),
    ("portable", RGBColor(0x86, 0xb6, 0xe8), "portable"),
    ("neon", RGBColor(0x3b, 0x82, 0xd0), "neon"),
    ("avx2", RGBColor(0x3b, 0x82, 0xd0), "avx2"),
    ("avx512", RGBColor(0x14, 0x4f, 0x94), "avx512"),
    ("memcpy", RGBColor(0xe0, 0x9f, 0x3e), "memcpy"),
];

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const PALE_INK: RGBColor = RGBColor(0x6e, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);
const FONT: &str = "Helvetica, Arial, sans-serif";

const WIDTH: u32 = 960;
const TITLE_HEIGHT: u32 = 84;
const PANEL_HEIGHT: u32 = 190;
const FOOT_HEIGHT: u32 = 20;

/// The columns of `logits bench --format csv` that are drawn.
#[derive(Debug, Deserialize)]
struct Measurement {
    rows: usize,
    cols: usize,
    threads: usize,
    layout: String,
    operation: String,
    subject: String,
    ns_per_element: f64,
    cpu: String,
    version: String,
}

/// The picture of what `logits bench --format csv` printed.
pub fn draw(csv: &str) -> Result<String> {
    let measurements: Vec<Measurement> =
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>()?;
    let drawn: Vec<&Measurement> = measurements
        .iter()
        .filter(|it| it.threads == 1 && it.layout == "out-of-place" && SHAPES.contains(&(it.rows, it.cols)))
        .collect();
    ensure!(
        !drawn.is_empty(),
        "none of the shapes of the picture has been measured out of place on one thread"
    );

    let mut svg = String::new();
    let height = TITLE_HEIGHT + PANEL_HEIGHT * OPERATIONS.len() as u32 + FOOT_HEIGHT;
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (title, panels) = root.split_vertically(TITLE_HEIGHT);
        let subjects: Vec<_> =
            SUBJECTS.iter().filter(|(name, _, _)| drawn.iter().any(|it| it.subject == *name)).collect();
        draw_title(&title, drawn[0], &subjects)?;
        for (operation, panel) in OPERATIONS.iter().zip(panels.split_evenly((OPERATIONS.len(), 1))) {
            draw_panel(&panel, operation, &drawn, &subjects)?;
        }
        root.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Subject = (&'static str, RGBColor, &'static str);

fn font(size: u32, colour: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour).pos(Pos::new(horizontal, vertical))
}

fn draw_title(area: &Area<'_>, any: &Measurement, subjects: &[&Subject]) -> Result<()> {
    area.draw_text(
        "Nanoseconds per element, one row, one thread (logarithmic; shorter is better)",
        &font(19, INK, HPos::Left, VPos::Center),
        (24, 26),
    )?;
    let machine = format!("logits {} on {}", any.version, any.cpu);
    area.draw_text(&machine, &font(13, PALE_INK, HPos::Right, VPos::Center), (WIDTH as i32 - 24, 26))?;
    let mut left = 24;
    for (_, colour, label) in subjects {
        area.draw(&Rectangle::new([(left, 52), (left + 13, 65)], colour.filled()))?;
        area.draw_text(label, &font(14, INK, HPos::Left, VPos::Center), (left + 19, 59))?;
        left += 44 + 7 * label.len() as i32;
    }
    Ok(())
}

/// Bars of one operation, grouped by length of row, on a logarithmic scale.
fn draw_panel(area: &Area<'_>, operation: &str, drawn: &[&Measurement], subjects: &[&Subject]) -> Result<()> {
    const LEFT: i32 = 136;
    const RIGHT: i32 = WIDTH as i32 - 24;
    const TOP: i32 = 22;
    const BOTTOM: i32 = PANEL_HEIGHT as i32 - 28;
    /// Nanoseconds at the foot and at the head of the scale.
    const SCALE: (f64, f64) = (0.03, 10.0);

    let y = |ns: f64| {
        let fraction = (ns.clamp(SCALE.0, SCALE.1) / SCALE.0).ln() / (SCALE.1 / SCALE.0).ln();
        BOTTOM - ((BOTTOM - TOP) as f64 * fraction).round() as i32
    };
    for tick in [0.1, 1.0, 10.0] {
        area.draw(&PathElement::new([(LEFT, y(tick)), (RIGHT, y(tick))], GRID))?;
        area.draw_text(
            &tick.to_string(),
            &font(12, PALE_INK, HPos::Right, VPos::Center),
            (LEFT - 8, y(tick)),
        )?;
    }
    area.draw_text(operation, &font(15, INK, HPos::Left, VPos::Center), (24, TOP))?;

    let group = (RIGHT - LEFT) / SHAPES.len() as i32;
    let bar = (group - 36) / subjects.len() as i32;
    for (index, &(rows, cols)) in SHAPES.iter().enumerate() {
        let left = LEFT + group * index as i32 + (group - bar * subjects.len() as i32) / 2;
        for (position, (name, colour, _)) in subjects.iter().enumerate() {
            let measured = drawn.iter().find(|it| {
                (it.rows, it.cols) == (rows, cols)
                    && it.subject == *name
                    && (it.operation == operation || it.operation.is_empty())
            });
            let Some(measured) = measured else { continue };
            let x = left + bar * position as i32;
            let top = y(measured.ns_per_element);
            area.draw(&Rectangle::new([(x + 2, top), (x + bar - 2, BOTTOM)], colour.filled()))?;
            let value = if measured.ns_per_element < 1.0 {
                format!("{:.2}", measured.ns_per_element)
            } else {
                format!("{:.1}", measured.ns_per_element)
            };
            area.draw_text(&value, &font(11, INK, HPos::Center, VPos::Bottom), (x + bar / 2, top - 3))?;
        }
        let middle = LEFT + group * index as i32 + group / 2;
        area.draw_text(
            &format!("{cols} logits"),
            &font(12, PALE_INK, HPos::Center, VPos::Top),
            (middle, BOTTOM + 6),
        )?;
    }
    area.draw(&PathElement::new([(LEFT, BOTTOM), (RIGHT, BOTTOM)], PALE_INK))?;
    Ok(())
}
