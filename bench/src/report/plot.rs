//! Plots in SVG, on a white background of their own: they are legible on any page.

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, ChartContext},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        combinators::{IntoLogRange, LogCoord},
        types::RangedCoordf64,
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Text},
    series::{DashedLineSeries, LineSeries},
    style::{Color, IntoFont, RGBColor, TextStyle, WHITE},
};

use super::{Growth, Row, RowTarget, number};
use crate::Result;

const WIDTH: u32 = 760;
const ROW_HEIGHT: u32 = 240;
const GROWTH_HEIGHT: u32 = 360;
/// Width of the legend beside a plot.
const NAMES: u32 = 250;
const FONT: &str = "sans-serif";
const SMALL: u32 = 13;
const INK: RGBColor = RGBColor(50, 50, 50);
const RULE: RGBColor = RGBColor(225, 225, 225);
const MARK: RGBColor = RGBColor(200, 60, 30);
const LIMIT: RGBColor = RGBColor(130, 130, 130);
/// Okabe and Ito's palette, distinguishable for colour-blind readers.
const LINES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Linear<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Logarithmic<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// Plots every round of a row: the ratio, or the value itself if the target is a value.
pub(super) fn row(row: &Row) -> Result<String> {
    let (ours, limit) = ("Dragoman", row.limit.as_ref());
    let (lines, mark, unit) = match row.mark {
        RowTarget::AtLeast(mark) => (vec![("ratio", row.ratios().values)], (mark, "at least"), ""),
        RowTarget::AtMost(mark) => (vec![("ratio", row.ratios().values)], (mark, "at most"), ""),
        RowTarget::Below(mark) => (vec![(ours, row.ours()), (limit, row.limits())], (mark, "below"), row.unit.as_ref()),
        RowTarget::Reach(mark) => (vec![(ours, row.ours()), (limit, row.limits())], (mark, "at least"), row.unit.as_ref()),
    };
    let top = lines.iter().flat_map(|(_, values)| values).copied().fold(mark.0, f64::max) * 1.1;
    let rounds = row.rounds.len() as f64;
    draw(ROW_HEIGHT, &row.what, |plot, names| {
        let mut chart: Linear = ChartBuilder::on(plot)
            .margin(8)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(0.5..rounds + 0.5, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(RULE)
            .max_light_lines(1)
            .axis_style(INK)
            .label_style(small(INK))
            .x_labels(row.rounds.len())
            .x_desc("round")
            .y_labels(6)
            .y_desc(if unit.is_empty() { "ours / limit" } else { unit })
            .x_label_formatter(&|round| format!("{round:.0}"))
            .y_label_formatter(&|value| if top < 2.0 { format!("{value:.2}") } else { number(*value) })
            .draw()?;
        let across = [(0.5, mark.0), (rounds + 0.5, mark.0)];
        chart.draw_series(DashedLineSeries::new(across, 6, 4, MARK.stroke_width(2)))?;
        let mut place = 0;
        for ((what, values), colour) in lines.iter().zip([LINES[0], LIMIT]) {
            let points = values.iter().zip(1_u32..).map(|(value, round)| (f64::from(round), *value));
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?;
            legend_entry(names, place, colour, what)?;
            place += 1;
        }
        legend_entry(
            names,
            place,
            MARK,
            &format!("to reach: {} {} {unit}", mark.1, if mark.0 < 100.0 { mark.0.to_string() } else { number(mark.0) }),
        )
    })
}

/// Plots the durations at each size: the range of the rounds, and a line through the medians.
pub(super) fn growth(growth: &Growth) -> Result<String> {
    let sizes: Vec<_> = growth.sizes.iter().map(|size| f64::from(*size)).collect();
    let (first, last) = (sizes.first().copied().unwrap_or(1.0), sizes.last().copied().unwrap_or(1.0));
    let taken = || growth.curves.iter().flat_map(|curve| curve.rounds.iter().flatten().copied());
    let low = 10_f64.powf(taken().fold(f64::INFINITY, f64::min).log10().floor());
    let high = 10_f64.powf(taken().fold(0.0, f64::max).log10().ceil());
    draw(GROWTH_HEIGHT, &format!("What it takes with so many {}", growth.over), |plot, names| {
        let mut chart: Logarithmic = ChartBuilder::on(plot)
            .margin(8)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d((first / 1.5..last * 1.5).log_scale(), (low..high).log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(RULE)
            .max_light_lines(1)
            .axis_style(INK)
            .label_style(small(INK))
            .x_desc(growth.over.as_ref())
            .y_desc("microseconds")
            .x_label_formatter(&|size| number(*size))
            .y_label_formatter(&|taken| number(*taken))
            .draw()?;
        for (place, (curve, colour)) in growth.curves.iter().zip(LINES.into_iter().cycle()).enumerate() {
            let spreads: Vec<_> = sizes.iter().enumerate().map(|(at, size)| (*size, curve.at(at))).collect();
            let reach = |(size, spread): &(f64, super::Spread)| {
                PathElement::new([(*size, spread.least), (*size, spread.most)], colour.stroke_width(1))
            };
            chart.draw_series(spreads.iter().map(reach))?;
            chart.draw_series(spreads.iter().map(|(size, spread)| Circle::new((*size, spread.median), 3, colour.filled())))?;
            chart.draw_series(LineSeries::new(spreads.iter().map(|(size, spread)| (*size, spread.median)), colour))?;
            legend_entry(names, place, colour, &curve.what)?;
        }
        Ok(())
    })
}

/// Draws a title, a plot below it, and its legend beside it.
fn draw(height: u32, title: &str, fill: impl FnOnce(&Area<'_>, &Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let style = (FONT, 15).into_font().color(&INK);
        let root = root.titled(&title.replace('`', ""), style)?;
        let (plot, names) = root.split_horizontally(WIDTH - NAMES);
        fill(&plot, &names)?;
        root.present()?;
    }
    Ok(svg)
}

/// Draws one entry of the legend.
fn legend_entry(area: &Area<'_>, place: usize, colour: RGBColor, what: &str) -> Result<()> {
    let y = 20 + 34 * i32::try_from(place)?;
    area.draw(&PathElement::new([(0, y + 6), (14, y + 6)], colour.stroke_width(3)))?;
    for (line, y) in wrap(&what.replace('`', "")).into_iter().zip((y..).step_by(15)) {
        area.draw(&Text::new(line, (20, y), small(INK)))?;
    }
    Ok(())
}

/// Wraps a text to the width of the legend.
fn wrap(text: &str) -> Vec<String> {
    const LONGEST: usize = 34;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LONGEST => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn small(colour: RGBColor) -> TextStyle<'static> {
    (FONT, SMALL).into_font().color(&colour)
}
