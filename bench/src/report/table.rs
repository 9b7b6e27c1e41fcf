//! The tables of the report, in Markdown.

use super::{Dated, Growth, Results, Row, RowTarget, Run};
use crate::load::median;

/// Head of the table that is printed during a run.
pub(crate) const HEAD: &str = "\
| what | against | ours | limit | ratio: min | median | max | to reach | | remark |
|---|---|--:|--:|--:|--:|--:|---|---|---|";

/// A row of that table.
pub(crate) fn row_line(row: &Row) -> String {
    let Row { what, limit, unit, remark, .. } = row;
    let (ours, limits, ratios) = (number(median(&row.ours())), number(median(&row.limits())), row.ratios());
    let (least, ratio, most, mark, judgement) =
        (ratios.least, ratios.median, ratios.most, mark(row), judgement(row.meets_target()));
    format!(
        "| {what} | {limit} | {ours} {unit} | {limits} {unit} | {least:.2} | **{ratio:.2}** | {most:.2} | {mark} | {judgement} | {remark} |"
    )
}

/// The whole report.
pub(super) fn report(results: &Results) -> String {
    let mut text = String::from(
        "# What was measured\n\n\
         `bench/run` writes this folder; [../README.md](../README.md) says what each row means. Ours and its limit were\n\
         measured in turns in the same run, and what counts is the ratio: of the ratios of all rounds the least, the median\n\
         and the greatest are told. Figures of different machines, and of hours in which a machine had other things to do, are\n\
         not comparable; ratios are, roughly. `results.json` has every round.\n\n## Runs\n",
    );
    for run in &results.runs {
        text += &run_line(run);
    }
    let (sqlite, others): (Vec<_>, Vec<_>) = results.rows.iter().partition(|row| row.result.key.starts_with("sqlite-"));
    for (title, rows) in [("Beside the limits", others), ("SQLite beside PostgreSQL and PocketBase", sqlite)] {
        text += &format!(
            "\n## {title}\n\n| what | against | ours | limit | ratio: min | median | max | to reach | | remark | run of |\n\
             |---|---|--:|--:|--:|--:|--:|---|---|---|---|\n"
        );
        for row in rows {
            text += &format!("{} {} |\n", row_line(&row.result), row.run);
        }
    }
    text += "\n## How cost grows\n\n\
             Microseconds at the median, at each size, and how many times as long the largest takes as the smallest.\n";
    for growth in &results.growth {
        let Growth { key, over, .. } = &growth.result;
        text += &format!("\n### {over}\n\nRun of {}.\n\n![{over}]({key}.svg)\n{}", growth.run, growth_table(&growth.result));
    }
    text += "\n## Every round\n";
    for Dated { result: Row { key, what, .. }, .. } in &results.rows {
        text += &format!("\n![{what}]({key}.svg)\n");
    }
    text
}

fn run_line(run: &Run) -> String {
    let Run { at, command, seconds, machine } = run;
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("\n- {at}: `{command}`, in {minutes} min {seconds} s, on {machine}\n")
}

/// The table of one growth, with a column for each size.
pub(crate) fn growth_table(growth: &Growth) -> String {
    let Growth { over, sizes, curves, .. } = growth;
    let mut text = format!("\n| {over}: |");
    for size in sizes {
        text += &format!(" {} |", number(f64::from(*size)));
    }
    text += " ratio: min | median | max | to reach | | remark |\n|---|";
    text += &"--:|".repeat(sizes.len() + 3);
    text += "---|---|---|\n";
    for curve in curves {
        text += &format!("| {} |", curve.what);
        for size in 0..sizes.len() {
            text += &format!(" {} |", number(curve.at(size).median));
        }
        let ratios = curve.ratios();
        let (least, ratio, greatest, remark) = (ratios.least, ratios.median, ratios.most, &curve.remark);
        let (mark, judgement) = match curve.most {
            Some(most) => (format!("at most {most}"), judgement(ratio <= most)),
            None => (String::new(), ""),
        };
        text += &format!(" {least:.2} | **{ratio:.2}** | {greatest:.2} | {mark} | {judgement} | {remark} |\n");
    }
    text
}

fn mark(row: &Row) -> String {
    let unit = &row.unit;
    match row.mark {
        RowTarget::AtLeast(ratio) => format!("at least {ratio}"),
        RowTarget::AtMost(ratio) => format!("at most {ratio}"),
        RowTarget::Reach(least) => format!("at least {} {unit}", number(least)),
        RowTarget::Below(most) => format!("below {} {unit}", number(most)),
    }
}

fn judgement(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// Formats a number with its significant digits: one decimal below 100, and groups of three digits.
pub(crate) fn number(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn large_numbers_are_grouped_and_small_ones_keep_a_digit() {
        let said: Vec<_> = [4.96, 24.0, 100.4, 1_000.0, 1_234_567.8].map(number).into();
        assert_eq!(said, ["5.0", "24", "100", "1,000", "1,234,568"]);
    }
}
