//! `cargo xtask report`: the committed rows of the benchmark, as a chart and a table that a person can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::chart;
use crate::workspace::{self, Workspace};

const BEGIN: &str = "<!-- measured:begin -->";
const END: &str = "<!-- measured:end -->";

/// A line of a results file: one plan of one case, timed in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub date: String,
    pub commit: String,
    pub adapter: String,
    pub driver: String,
    pub case: String,
    pub op: String,
    pub storage: String,
    pub plan: String,
    pub median_us: f64,
    pub gb_s: Option<f64>,
    /// Of what this device can do, measured in the same run; 1 is all of it.
    pub roof_fraction: Option<f64>,
    pub error: Option<f64>,
    pub bound: Option<f64>,
}

impl Row {
    /// The case without its op, under whose heading it stands.
    pub fn case_in_op(&self) -> &str {
        let rest = self.case.strip_prefix(self.op.as_str());
        rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or(&self.case)
    }
}

/// Draws every results file, and rewrites the README's tables.
pub fn run(workspace: &Workspace) -> Result<(), String> {
    let files = workspace::files_with_extension(&workspace.results(), "csv");
    if files.is_empty() {
        return Err(format!(
            "there is no CSV file in {}: `cargo xtask bench` writes one",
            workspace.results().display()
        ));
    }
    let mut measured = Vec::new();
    for file in &files {
        let in_file = |e: String| format!("{}: {e}", file.display());
        let rows = parse(&workspace::read_text(file)?).map_err(in_file)?;
        let rows = best_plans(newest_day(&rows).map_err(in_file)?);
        let Some(first) = rows.first() else {
            eprintln!("{}: no rows", file.display());
            continue;
        };
        let picture = file.with_extension("svg");
        workspace::write(&picture, &chart::draw(&rows))?;
        println!(
            "{}: {} rows of {}, {} at {}",
            picture.display(),
            rows.len(),
            first.adapter,
            first.date,
            commits(&rows)
        );
        let link = picture.strip_prefix(&workspace.root).unwrap_or(&picture);
        measured.push((is_software(&first.adapter), section(&rows, link)));
    }
    measured.sort_by_key(|(software, _)| *software);
    let measured: String = measured.into_iter().map(|(_, section)| section).collect();
    rewrite_readme(&workspace.root.join("README.md"), &measured)
}

/// GPUs come first: a processor's times say little.
fn is_software(adapter: &str) -> bool {
    ["llvmpipe", "SwiftShader"].iter().any(|name| adapter.contains(name))
}

/// Reads a results file. Columns are found by their names, so that a file may have more of them than we know.
fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |name: &str| match header.iter().position(|title| title.trim() == name) {
        Some(at) => Ok((name.to_string(), at)),
        None => Err(format!("there is no column `{name}`")),
    };
    let words = ["date", "commit", "adapter", "driver", "case", "op", "storage", "plan"].map(column);
    let numbers = ["median_us", "gb_s", "roof_fraction", "error", "bound"].map(column);
    let words = words.into_iter().collect::<Result<Vec<_>, _>>()?;
    let numbers = numbers.into_iter().collect::<Result<Vec<_>, _>>()?;

    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let word = |at: usize| {
            let (_, column) = &words[at];
            record.get(*column).unwrap_or_default().trim().to_string()
        };
        let number = |at: usize| {
            let (name, column) = &numbers[at];
            match record.get(*column).unwrap_or_default().trim() {
                // What a row does not have, such as a bound where there is nothing to compare.
                "" => Ok(None),
                text => match text.parse::<f64>() {
                    Ok(number) => Ok(Some(number)),
                    Err(_) => Err(format!("line {line}: {name} is `{text}`, which is no number")),
                },
            }
        };
        rows.push(Row {
            date: word(0),
            commit: word(1),
            adapter: word(2),
            driver: word(3),
            case: word(4),
            op: word(5),
            storage: word(6),
            plan: word(7),
            median_us: number(0)?.ok_or_else(|| format!("line {line}: median_us is empty"))?,
            gb_s: number(1)?,
            roof_fraction: number(2)?,
            error: number(3)?,
            bound: number(4)?,
        });
    }
    Ok(rows)
}

/// The rows of the newest date (ISO, so that its order is that of its text), by one driver, whatever part of the table each run was of.
fn newest_day(rows: &[Row]) -> Result<Vec<Row>, String> {
    let Some(newest) = rows.iter().max_by(|a, b| a.date.cmp(&b.date)) else {
        return Ok(Vec::new());
    };
    if let Some(other) = rows.iter().find(|row| row.adapter != newest.adapter) {
        // The file is named after its adapter; a chart of two would compare what cannot be compared.
        return Err(format!("it has rows of two adapters, `{}` and `{}`", newest.adapter, other.adapter));
    }
    let day = |row: &Row| (row.date.clone(), row.driver.clone());
    Ok(rows.iter().filter(|row| day(row) == day(newest)).cloned().collect())
}

/// The commits at which they were measured.
pub fn commits(rows: &[Row]) -> String {
    let all: BTreeSet<_> = rows.iter().map(|row| row.commit.as_str()).collect();
    let all: Vec<_> = all.into_iter().collect();
    format!("{} {}", if all.len() == 1 { "commit" } else { "commits" }, all.join(" and "))
}

/// The plan with the least time for each case and storage, ordered by op; within an op in the order of the file, which is the
/// order of the case table. A plan that was timed twice counts with its last time.
fn best_plans(rows: Vec<Row>) -> Vec<Row> {
    let mut timed: Vec<Row> = Vec::new();
    for row in rows {
        let same = |old: &&mut Row| (&old.case, &old.storage, &old.plan) == (&row.case, &row.storage, &row.plan);
        match timed.iter_mut().find(same) {
            Some(old) => *old = row,
            None => timed.push(row),
        }
    }
    let mut best: Vec<Row> = Vec::new();
    for row in timed {
        let same = |old: &&mut Row| (&old.case, &old.storage) == (&row.case, &row.storage);
        match best.iter_mut().find(same) {
            Some(old) if row.median_us < old.median_us => *old = row,
            Some(_) => {}
            None => best.push(row),
        }
    }
    // The storages of a case stand together, and the cases of an op, each where its first row was.
    let mut first = BTreeMap::new();
    for (at, row) in best.iter().enumerate() {
        first.entry(row.op.clone()).or_insert(at);
        first.entry(format!("{}\n{}", row.op, row.case)).or_insert(at);
    }
    let place = |row: &Row| (first.get(&row.op).copied(), first.get(&format!("{}\n{}", row.op, row.case)).copied());
    best.sort_by_key(place);
    best
}

/// A fraction of the roof as a person reads it.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// A number with three digits that count.
pub fn three_digits(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_string(),
        size if !(0.01..10_000.0).contains(&size) => format!("{number:.1e}"),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// An error beside its bound: `1.2e-7 ≤ 9.5e-7`.
pub fn error_and_bound(row: &Row) -> String {
    let tiny = |number: f64| {
        if number == 0.0 { "0".to_string() } else { format!("{number:.1e}") }
    };
    match (row.error, row.bound) {
        (Some(error), Some(bound)) => {
            let sign = if error <= bound { '≤' } else { '>' };
            format!("{} {sign} {}", tiny(error), tiny(bound))
        }
        (Some(error), None) => tiny(error),
        _ => String::new(),
    }
}

/// A part of the README: the chart, and the same numbers as a table, folded.
fn section(rows: &[Row], picture: &Path) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let link = picture.to_string_lossy().replace('\\', "/");
    let cell = |text: &str| text.replace('|', "\\|");
    let number = |number: Option<f64>| number.map_or_else(String::new, three_digits);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n### {}\n\nDriver {}, {}, {}.\n\n![{}: fraction of the measured roof for each case]({link})\n\n\
         <details><summary>The same as a table</summary>\n\n\
         | op | case | storage | plan | µs | GB/s | of roof | error and bound |\n\
         |---|---|---|---|--:|--:|--:|--:|\n",
        first.adapter,
        first.driver,
        first.date,
        commits(rows),
        first.adapter
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&row.op),
            cell(row.case_in_op()),
            cell(&row.storage),
            cell(&row.plan),
            three_digits(row.median_us),
            number(row.gb_s),
            row.roof_fraction.map_or_else(String::new, percent),
            error_and_bound(row),
        );
    }
    text.push_str("\n</details>\n");
    text
}

fn rewrite_readme(file: &Path, measured: &str) -> Result<(), String> {
    if !file.is_file() {
        return Ok(());
    }
    let text = workspace::read_text(file)?;
    let name = file.display();
    match between_markers(&text, measured) {
        Some(new) if new == text => println!("{name}: its tables are up to date"),
        Some(new) => {
            workspace::write(file, &new)?;
            println!("{name}: tables rewritten");
        }
        None => eprintln!("{name} has no `{BEGIN}` and `{END}`: left as it is"),
    }
    Ok(())
}

fn between_markers(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{measured}\n{END}{after}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Made up.
    pub const CSV: &str = "\
date,commit,adapter,driver,case,op,storage,plan,median_us,p20_us,p80_us,bytes,flops,gb_s,gflop_s,roof_fraction,error,bound,host_us
2026-11-01,aaa,\"Mill, model 1 <&>\",stone 1.0,rms_norm/old,rms_norm,f32,row,90,80,99,1,1,1.0,1.0,0.10,1e-7,2e-7,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/prefill,rms_norm,f32,row,200,190,210,1,1,10.5,1.0,0.41,1e-7,2e-7,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,layer_norm/decode,layer_norm,f32,row,40,30,50,1,1,2.5,1.0,1.62,0,2e-7,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/decode,rms_norm,f32,row,50,40,60,1,1,1.5,1.0,0.06,3e-7,2e-7,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/prefill,rms_norm,f32,row_wide,100,90,110,1,1,21.0,1.0,0.82,1e-7,2e-7,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/prefill,rms_norm,f16,row_wide,70,60,80,1,1,19.0,1.0,0.77,4e-4,,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/prefill,rms_norm,f16,row,60,60,80,1,1,,1.0,,4e-4,,3
2026-11-02,bbb,\"Mill, model 1 <&>\",stone 1.0,rms_norm/prefill,rms_norm,f16,row,80,60,80,1,1,,1.0,,4e-4,,3
";

    pub fn rows() -> Vec<Row> {
        best_plans(newest_day(&parse(CSV).expect("it is well-formed")).expect("it has one adapter"))
    }

    #[test]
    fn the_newest_run_and_the_best_plans_by_op() {
        let rows = rows();
        let got: Vec<_> = rows
            .iter()
            .map(|row| (row.op.as_str(), row.case_in_op(), row.storage.as_str(), row.plan.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                ("rms_norm", "prefill", "f32", "row_wide"),
                ("rms_norm", "prefill", "f16", "row_wide"),
                ("rms_norm", "decode", "f32", "row"),
                ("layer_norm", "decode", "f32", "row"),
            ]
        );
        assert_eq!(rows[0].adapter, "Mill, model 1 <&>");
        assert_eq!(rows[0].roof_fraction, Some(0.82));
        assert_eq!(rows[1].bound, None);
    }

    #[test]
    fn of_one_date_all_runs() {
        let text = format!("{CSV}2026-11-02,ccc,\"Mill, model 1 <&>\",stone 1.0,a,a,f32,row,1,1,1,1,1,1,1,1,1,1,1\n");
        let rows = newest_day(&parse(&text).expect("it is well-formed")).expect("it has one adapter");
        assert_eq!(rows.len(), 8);
        assert_eq!(commits(&rows), "commits bbb and ccc");
        assert_eq!(commits(&rows[..1]), "commit bbb");
    }

    #[test]
    fn errors_name_the_column_the_line_and_the_value() {
        let reason = |text: &str| parse(text).expect_err("it is wrong");
        assert!(reason("date,commit\n").contains("`adapter`"));
        let wrong = CSV.replace(",90,80,99,", ",quick,80,99,");
        assert_eq!(reason(&wrong), "line 2: median_us is `quick`, which is no number");
        let two = CSV.replacen("model 1", "model 2", 1);
        let reason = newest_day(&parse(&two).expect("it is well-formed")).expect_err("two adapters");
        assert!(reason.contains("model 1") && reason.contains("model 2"), "{reason}");
        assert_eq!(newest_day(&[]), Ok(Vec::new()));
    }

    #[test]
    fn the_readme_keeps_what_is_around_the_markers() {
        let text = format!("# Mill\n{BEGIN}\nold\n{END}\nend\n");
        let measured = section(&rows(), Path::new("benches/results/mill.svg"));
        let new = between_markers(&text, &measured).expect("it has markers");
        assert!(new.starts_with(&format!("# Mill\n{BEGIN}\n")) && new.ends_with(&format!("{END}\nend\n")));
        assert!(new.contains("](benches/results/mill.svg)") && !new.contains("old"));
        assert!(new.contains("| rms_norm | prefill | f32 | row_wide | 100 | 21.0 | 82 % | 1.0e-7 ≤ 2.0e-7 |"), "{new}");
        assert_eq!(between_markers(&new, &measured).as_deref(), Some(new.as_str()));
        assert_eq!(between_markers("# Mill\n", "x"), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        let cases =
            [(0.0, "0"), (0.001, "1.0e-3"), (0.5, "0.50"), (12.34, "12.3"), (567.8, "568"), (123456.0, "1.2e5")];
        for (number, text) in cases {
            assert_eq!(three_digits(number), text);
        }
    }
}
