//! A reliability diagram: how often a classifier is right when it is so sure, before and after.

use anyhow::Result;
use logits::{Calibration, CalibrationBin};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::text;

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const PALE_INK: RGBColor = RGBColor(0x6e, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);
const ACCURACY: RGBColor = RGBColor(0x3b, 0x82, 0xd0);
const TOO_SURE: RGBColor = RGBColor(0xe0, 0x9f, 0x3e);
const NOT_SURE_ENOUGH: RGBColor = RGBColor(0x14, 0x4f, 0x94);
const COUNT: RGBColor = RGBColor(0xb8, 0xbc, 0xc4);
const FONT: &str = "Helvetica, Arial, sans-serif";

const PANEL: (u32, u32) = (480, 600);
const TITLE_HEIGHT: u32 = 76;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture, on paper of its own, so that it can be read wherever it is shown.
pub fn draw(title: &str, both: &[Calibration; 2]) -> Result<String> {
    let mut svg = String::new();
    {
        let size = (2 * PANEL.0, TITLE_HEIGHT + PANEL.1);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, panels) = root.split_vertically(TITLE_HEIGHT);
        draw_head(&head, title)?;
        let most = both.iter().flat_map(|it| it.bins.map(|bin| bin.count)).max().unwrap_or(0);
        let names = ["before", "after"];
        for ((panel, name), calibration) in panels.split_evenly((1, 2)).iter().zip(names).zip(both) {
            draw_panel(panel, name, calibration, most)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn font(size: u32, colour: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour).pos(Pos::new(horizontal, vertical))
}

fn draw_head(area: &Area<'_>, title: &str) -> Result<()> {
    let heading = format!("Reliability: {title}");
    area.draw_text(&heading, &font(19, INK, HPos::Left, VPos::Center), (24, 26))?;
    let mut left = 24;
    for (colour, label) in [
        (ACCURACY, "accuracy"),
        (TOO_SURE, "confidence above it"),
        (NOT_SURE_ENOUGH, "confidence below it"),
        (COUNT, "rows"),
    ] {
        area.draw(&Rectangle::new([(left, 50), (left + 13, 63)], colour.filled()))?;
        area.draw_text(label, &font(14, INK, HPos::Left, VPos::Center), (left + 19, 57))?;
        left += 44 + 7 * label.len() as i32;
    }
    area.draw(&DashedPathElement::new([(left, 57), (left + 24, 57)], 4, 3, PALE_INK))?;
    area.draw_text("perfectly calibrated", &font(14, INK, HPos::Left, VPos::Center), (left + 30, 57))?;
    Ok(())
}

const LEFT: i32 = 68;
const RIGHT: i32 = PANEL.0 as i32 - 24;
const TOP: i32 = 40;
const BOTTOM: i32 = TOP + RIGHT - LEFT;
const COUNTS_TOP: i32 = BOTTOM + 28;
const COUNTS_BOTTOM: i32 = PANEL.1 as i32 - 52;

/// Where a fraction lies on the axis of confidence, and on that of accuracy.
fn x(fraction: f64) -> i32 {
    LEFT + (f64::from(RIGHT - LEFT) * fraction).round() as i32
}

fn y(fraction: f64) -> i32 {
    BOTTOM - (f64::from(BOTTOM - TOP) * fraction).round() as i32
}

/// `most` is the number of rows that the scale of counts ends at.
fn draw_panel(area: &Area<'_>, name: &str, calibration: &Calibration, most: usize) -> Result<()> {
    let Calibration { temperature, ece, .. } = *calibration;
    let caption = format!("{name}: T = {}, ECE {}", text::whole(temperature, 4), text::number(ece));
    area.draw_text(&caption, &font(15, INK, HPos::Left, VPos::Center), (LEFT, TOP - 20))?;
    for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        area.draw(&PathElement::new([(LEFT, y(tick)), (RIGHT, y(tick))], GRID))?;
        area.draw(&PathElement::new([(x(tick), TOP), (x(tick), BOTTOM)], GRID))?;
        let label = tick.to_string();
        area.draw_text(&label, &font(12, PALE_INK, HPos::Right, VPos::Center), (LEFT - 8, y(tick)))?;
        let below = (x(tick), COUNTS_BOTTOM + 6);
        area.draw_text(&label, &font(12, PALE_INK, HPos::Center, VPos::Top), below)?;
    }
    for (index, bin) in calibration.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        draw_bin(area, index, bin, calibration.bins.len(), most)?;
    }
    area.draw(&DashedPathElement::new([(x(0.0), y(0.0)), (x(1.0), y(1.0))], 4, 3, PALE_INK))?;
    for bottom in [BOTTOM, COUNTS_BOTTOM] {
        area.draw(&PathElement::new([(LEFT, bottom), (RIGHT, bottom)], PALE_INK))?;
    }

    let most_at = (LEFT - 8, COUNTS_TOP);
    area.draw_text(&most.to_string(), &font(12, PALE_INK, HPos::Right, VPos::Center), most_at)?;
    let upwards = |label: &str, middle: i32| {
        let style = (FONT, 13).into_font().transform(FontTransform::Rotate270).color(&INK);
        area.draw_text(label, &style.pos(Pos::new(HPos::Center, VPos::Center)), (18, middle))
    };
    upwards("accuracy", i32::midpoint(TOP, BOTTOM))?;
    upwards("rows", i32::midpoint(COUNTS_TOP, COUNTS_BOTTOM))?;
    let below = (i32::midpoint(LEFT, RIGHT), COUNTS_BOTTOM + 26);
    area.draw_text("confidence", &font(13, INK, HPos::Center, VPos::Top), below)?;
    Ok(())
}

fn draw_bin(area: &Area<'_>, index: usize, bin: &CalibrationBin, bins: usize, most: usize) -> Result<()> {
    let [left, right] = [index, index + 1].map(|edge| x(edge as f64 / bins as f64));
    let (left, right) = (left + 1, right - 1);
    let [accuracy, confidence] = [bin.accuracy, bin.confidence].map(y);
    area.draw(&Rectangle::new([(left, accuracy), (right, BOTTOM)], ACCURACY.filled()))?;
    let gap = if bin.confidence > bin.accuracy { TOO_SURE } else { NOT_SURE_ENOUGH };
    area.draw(&Rectangle::new([(left, accuracy), (right, confidence)], gap.filled()))?;
    let height = f64::from(COUNTS_BOTTOM - COUNTS_TOP) * bin.count as f64 / most as f64;
    let top = COUNTS_BOTTOM - (height.round() as i32).max(1);
    area.draw(&Rectangle::new([(left, top), (right, COUNTS_BOTTOM)], COUNT.filled()))?;
    Ok(())
}
