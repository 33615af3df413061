//! The chart of one adapter, as an SVG file.
//!
//! It stands in a README as a picture, so it brings what it needs: no script, no font of its own, and colours for light and for
//! dark. Its rows are laid out as a table with a bar in the middle, because the numbers are half of what it says.

use std::fmt::Write;

use crate::report::{Row, commits, dates, error_and_bound, percent, three_digits};

const MARGIN: f64 = 24.0;
/// Where the first row begins: below the titles and the heads of the columns.
const TOP: f64 = 118.0;
const ROW: f64 = 19.0;
const OP: f64 = 34.0;
const GAP_AFTER_CASE: f64 = 5.0;
const BAR_HEIGHT: f64 = 11.0;
const BARS: f64 = 300.0;
/// The mean width of a character of the labels. No font is known here, so it is taken wide.
const CHAR: f64 = 6.9;
/// The end of the axis. A case whose data stays in a cache can beat the roof of the memory by far; its bar is cut here.
const MOST: f64 = 1.25;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif; fill: #24292f;
         font-variant-numeric: tabular-nums }
  .title { font-size: 19px; font-weight: 600 }
  .op { font-size: 14px; font-weight: 600 }
  .soft { fill: #6a737d }
  .head { font-size: 11px; fill: #6a737d }
  .right { text-anchor: end }
  .middle { text-anchor: middle }
  .bad { fill: #c62828; font-weight: 600 }
  .sheet { fill: #fdfcf9; stroke: #e3dfd5 }
  .rail { fill: #efece4 }
  .grid { stroke: #d9d4c7; stroke-dasharray: 2 3 }
  .roof { stroke: #8a8172 }
  .cut { stroke: #fdfcf9; stroke-width: 3 }
  .f32 { fill: #2f6690 }
  .f16 { fill: #c8792b }
  .f16_packed { fill: #a3475f }
  .bf16_packed { fill: #5c7f4b }
  .other { fill: #7a6f9b }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e3dc }
    .soft, .head { fill: #9a968d }
    .bad { fill: #ff8a80 }
    .sheet { fill: #16181c; stroke: #2c2f35 }
    .rail { fill: #22252b }
    .grid { stroke: #3b3f47 }
    .roof { stroke: #8d8779 }
    .cut { stroke: #16181c }
    .f32 { fill: #6ba6d6 }
    .f16 { fill: #e8a35c }
    .f16_packed { fill: #d97f95 }
    .bf16_packed { fill: #94bd80 }
    .other { fill: #aea2d3 }
  }
";

/// Draws the rows of one adapter, which are ordered by op and case.
pub fn draw(rows: &[Row]) -> String {
    let columns = Columns::of(rows);
    let mut body = String::new();
    let mut y = TOP;
    let mut above: Option<&Row> = None;
    for row in rows {
        let new_op = above.is_none_or(|above| above.op != row.op);
        let new_case = new_op || above.is_none_or(|above| above.case != row.case);
        if new_op {
            y += OP;
            text(&mut body, MARGIN, y - 9.0, "op", &row.op);
        } else if new_case {
            y += GAP_AFTER_CASE;
        }
        draw_row(&mut body, &columns, y, row, new_case);
        y += ROW;
        above = Some(row);
    }
    let height = y + MARGIN;

    let mut svg = String::new();
    let width = columns.width;
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">"
    );
    if let Some(first) = rows.first() {
        let _ =
            writeln!(svg, "<title>{}: fraction of the measured roof for each case</title>", escaped(&first.adapter));
    }
    let _ = writeln!(svg, "<style>{STYLE}</style>");
    let _ = writeln!(
        svg,
        "<rect class=\"sheet\" x=\"0.5\" y=\"0.5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"8\"/>",
        width - 1.0,
        height - 1.0
    );
    draw_head(&mut svg, &columns, rows, y);
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    svg
}

/// The titles, the heads of the columns, and the grid down to `bottom`.
fn draw_head(svg: &mut String, columns: &Columns, rows: &[Row], bottom: f64) {
    if let Some(first) = rows.first() {
        text(svg, MARGIN, 38.0, "title", &first.adapter);
        let run = format!("{} · {} · {}", first.driver, dates(rows), commits(rows));
        text(svg, MARGIN, 58.0, "soft", &run);
    }
    text(
        svg,
        MARGIN,
        77.0,
        "soft",
        "Best plan of each case, as a fraction of what this device did in the same run (copy bandwidth, or the rate of what it computes with).",
    );
    let head = TOP - 8.0;
    text(svg, columns.bars + BARS + columns.fraction, head, "head right", "of roof");
    text(svg, columns.bars + BARS + columns.rate, head, "head right", "GB/s");
    text(svg, columns.width - MARGIN, head, "head right", "error ≤ bound");
    for quarter in 0..=4 {
        let fraction = f64::from(quarter) / 4.0;
        let x = columns.bars + BARS * fraction / MOST;
        text(svg, x, head, "head middle", &percent(fraction));
        let class = if quarter == 4 { "roof" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
            TOP + 2.0
        );
    }
}

fn draw_row(svg: &mut String, columns: &Columns, y: f64, row: &Row, with_case: bool) {
    let base = y + 13.0;
    if with_case {
        text(svg, MARGIN + 10.0, base, "", row.case_in_op());
    }
    text(svg, columns.storage, base, "soft", &row.storage);
    let bar = y + (ROW - BAR_HEIGHT) / 2.0;
    let mut rect = |class: &str, width: f64| {
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{bar:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>",
            columns.bars
        );
    };
    if let Some(fraction) = row.roof_fraction {
        rect("rail", BARS / MOST);
        // The least is a bar that can still be seen.
        let width = (BARS * fraction / MOST).clamp(1.5, BARS);
        rect(colour(&row.storage), width);
        if fraction > MOST {
            // A gap near its end: the bar is cut, and the number beside it is not.
            let x = columns.bars + BARS - 12.0;
            let _ = writeln!(
                svg,
                "<line class=\"cut\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                x - 2.0,
                x + 2.0,
                bar + BAR_HEIGHT + 1.0,
                bar - 1.0
            );
        }
        text(svg, columns.bars + BARS + columns.fraction, base, "right", &percent(fraction));
    }
    if let Some(rate) = row.gb_s {
        text(svg, columns.bars + BARS + columns.rate, base, "right soft", &three_digits(rate));
    }
    let within = match (row.error, row.bound) {
        (Some(error), Some(bound)) => error <= bound,
        _ => true,
    };
    let class = if within { "right soft" } else { "right bad" };
    text(svg, columns.width - MARGIN, base, class, &error_and_bound(row));
}

/// Where the columns are: as wide as their longest words.
struct Columns {
    storage: f64,
    bars: f64,
    /// Right edges, from the end of the bars.
    fraction: f64,
    rate: f64,
    width: f64,
}

impl Columns {
    fn of(rows: &[Row]) -> Self {
        let longest = |word: &dyn Fn(&Row) -> usize| rows.iter().map(word).max().unwrap_or(0) as f64 * CHAR;
        let storage = MARGIN + 10.0 + longest(&|row| row.case_in_op().chars().count()).max(80.0) + 14.0;
        let bars = storage + longest(&|row| row.storage.chars().count()).max(24.0) + 14.0;
        let (fraction, rate) = (52.0, 114.0);
        let error = longest(&|row| error_and_bound(row).chars().count()).max(90.0);
        Self { storage, bars, fraction, rate, width: (bars + BARS + rate + 24.0 + error + MARGIN).max(720.0).ceil() }
    }
}

/// The class of a bar; a storage that has no colour yet shares one.
fn colour(storage: &str) -> &str {
    match storage {
        "f32" | "f16" | "f16_packed" | "bf16_packed" => storage,
        _ => "other",
    }
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::rows;

    #[test]
    fn the_svg_is_well_formed_and_says_everything() {
        let svg = draw(&rows());
        let document = roxmltree::Document::parse(&svg).expect("it is well-formed");
        let texts: Vec<_> =
            document.descendants().filter(|node| node.has_tag_name("text")).filter_map(|node| node.text()).collect();
        for words in [
            "Mill, model 1 <&>",
            "stone 1.0 · 2026-11-01 to 2026-11-02 · commits aaa and bbb",
            "rms_norm",
            "layer_norm",
            "prefill",
            "82 %",
            "162 %",
            "21.0",
            "1.0e-7 ≤ 2.0e-7",
        ] {
            assert!(texts.contains(&words), "{words} is not in {texts:?}");
        }
        // One bar a row, and none longer than the axis.
        let bars: Vec<f64> = document
            .descendants()
            .filter(|node| matches!(node.attribute("class"), Some("f32" | "f16")))
            .filter_map(|node| node.attribute("width")?.parse().ok())
            .collect();
        assert_eq!(bars.len(), 5);
        assert!(bars.iter().all(|width| *width <= BARS), "{bars:?}");
        // A result outside of its bound is not hidden.
        assert_eq!(document.descendants().filter(|node| node.attribute("class") == Some("right bad")).count(), 1);
    }

    #[test]
    fn no_rows_are_a_chart_too() {
        assert!(roxmltree::Document::parse(&draw(&[])).is_ok());
    }
}
