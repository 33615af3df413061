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

    /// Under which names it stands in a table, from the widest to its own.
    fn place(&self) -> [String; 3] {
        let Self { op, case, storage, .. } = self;
        [op.clone(), format!("{op}\n{case}"), format!("{op}\n{case}\n{storage}")]
    }
}

/// Draws every results file, and rewrites the README's tables. All is read before anything is written: a file that is wrong must not
/// leave half of a report behind.
pub fn run(workspace: &Workspace) -> Result<(), String> {
    let files = workspace::files_with_extension(&workspace.results(), "csv");
    let mut measured = Vec::new();
    for file in &files {
        let in_file = |e: String| format!("{}: {e}", file.display());
        let rows = parse(&workspace::read_text(file)?).map_err(in_file)?;
        let (rows, others) = newest(&rows).map_err(in_file)?;
        if rows.is_empty() {
            eprintln!("{}: no rows", file.display());
            continue;
        }
        if others > 0 {
            println!("{}: {others} rows by other drivers than {} are left out", file.display(), rows[0].driver);
        }
        measured.push((file.with_extension("svg"), best_plans(rows)));
    }
    if measured.is_empty() {
        return Err(format!("there are no rows in {}: `cargo xtask bench` writes them", workspace.results().display()));
    }
    measured.sort_by_key(|(_, rows)| is_software(&rows[0].adapter));
    let sections: String = measured
        .iter()
        .map(|(picture, rows)| section(rows, picture.strip_prefix(&workspace.root).unwrap_or(picture)))
        .collect();
    let readme = workspace.root.join("README.md");
    let text = workspace::read_text(&readme)?;
    let new = between_markers(&text, &sections)
        .ok_or_else(|| format!("{} has no `{BEGIN}` with `{END}` after it", readme.display()))?;

    for (picture, rows) in &measured {
        workspace::write(picture, &chart::draw(rows))?;
        println!(
            "{}: {} rows of {}, {}, {}",
            picture.display(),
            rows.len(),
            rows[0].adapter,
            dates(rows),
            commits(rows)
        );
    }
    if new == text {
        println!("{}: its tables are up to date", readme.display());
        return Ok(());
    }
    workspace::write(&readme, &new)?;
    println!("{}: tables rewritten", readme.display());
    Ok(())
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

/// What is shown: of each case and storage the rows of the day and commit that measured it last, by the driver of the newest row; and how
/// many rows are of other drivers. So a run of a part of the table replaces that part and leaves the rest. The newest is of the latest date
/// (ISO, so that its order is that of its text), and of one date what stands last in the file. The order is that in which the file first
/// names ops, their cases and the storages of these, which is that of the case table, and stays when some are measured again.
fn newest(rows: &[Row]) -> Result<(Vec<Row>, usize), String> {
    // Of equals, `max_by` has the last.
    let Some(newest) = rows.iter().max_by(|a, b| a.date.cmp(&b.date)) else {
        return Ok((Vec::new(), 0));
    };
    if let Some(other) = rows.iter().find(|row| row.adapter != newest.adapter) {
        // The file is named after its adapter; a chart of two would compare what cannot be compared.
        return Err(format!("it has rows of two adapters, `{}` and `{}`", newest.adapter, other.adapter));
    }
    let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
    for (at, row) in rows.iter().enumerate() {
        for name in row.place() {
            first.entry(name).or_insert(at);
        }
        if row.driver == newest.driver {
            let last = last.entry((&row.case, &row.storage)).or_insert(row);
            if row.date >= last.date {
                *last = row;
            }
        }
    }
    let is_shown = |row: &&Row| {
        let last = last.get(&(&row.case, &row.storage));
        last.is_some_and(|last| (&last.driver, &last.date, &last.commit) == (&row.driver, &row.date, &row.commit))
    };
    let mut shown: Vec<Row> = rows.iter().filter(is_shown).cloned().collect();
    shown.sort_by_cached_key(|row| row.place().map(|name| first.get(&name).copied()));
    Ok((shown, rows.iter().filter(|row| row.driver != newest.driver).count()))
}

/// The days on which they were measured.
pub fn dates(rows: &[Row]) -> String {
    let all: BTreeSet<_> = rows.iter().map(|row| row.date.as_str()).collect();
    match (all.first(), all.last()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, _) => first.copied().unwrap_or_default().to_string(),
    }
}

/// The commits at which they were measured.
pub fn commits(rows: &[Row]) -> String {
    let all: BTreeSet<_> = rows.iter().map(|row| row.commit.as_str()).collect();
    let all: Vec<_> = all.into_iter().collect();
    match all.split_last() {
        Some((last, before)) if !before.is_empty() => format!("commits {} and {last}", before.join(", ")),
        _ => format!("commit {}", all.concat()),
    }
}

/// The plan with the least time for each case and storage, in the order in which they come. A plan that was timed twice counts with its
/// last time. Of what [`newest`] hands over, only rows of one day and commit compete.
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

/// A part of the README: the chart, and the same numbers as a table, folded. Where not all are of one day, each says of which it is.
fn section(rows: &[Row], picture: &Path) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let link = picture.to_string_lossy().replace('\\', "/");
    let cell = |text: &str| text.replace('|', "\\|");
    let number = |number: Option<f64>| number.map_or_else(String::new, three_digits);
    let dated = rows.iter().any(|row| row.date != first.date);
    let (head, rule) = if dated { (" date |", "---|") } else { ("", "") };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n### {}\n\nDriver {}, {}, {}.\n\n![{}: fraction of the measured roof for each case]({link})\n\n\
         <details><summary>The same as a table</summary>\n\n\
         | op | case | storage | plan | µs | GB/s | of roof | error and bound |{head}\n\
         |---|---|---|---|--:|--:|--:|--:|{rule}\n",
        first.adapter,
        first.driver,
        dates(rows),
        commits(rows),
        first.adapter
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |{}",
            cell(&row.op),
            cell(row.case_in_op()),
            cell(&row.storage),
            cell(&row.plan),
            three_digits(row.median_us),
            number(row.gb_s),
            row.roof_fraction.map_or_else(String::new, percent),
            error_and_bound(row),
            if dated { format!(" {} |", row.date) } else { String::new() },
        );
    }
    text.push_str("\n</details>\n");
    text
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
        shown(CSV).0
    }

    /// The best plans, and how many rows are of other drivers.
    fn shown(text: &str) -> (Vec<Row>, usize) {
        let (rows, others) = newest(&parse(text).expect("it is well-formed")).expect("it has one adapter");
        (best_plans(rows), others)
    }

    /// A row in f32 by the plan `row`.
    fn line(date: &str, commit: &str, driver: &str, case: &str, us: u32) -> String {
        let op = case.split('/').next().expect("it has an op");
        format!("{date},{commit},\"Mill, model 1 <&>\",{driver},{case},{op},f32,row,{us},1,1,1,1,1,1,0.5,1,1,1\n")
    }

    #[test]
    fn the_best_plans_by_op() {
        let rows = rows();
        let got: Vec<_> = rows
            .iter()
            .map(|row| (row.op.as_str(), row.case_in_op(), row.storage.as_str(), row.plan.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                ("rms_norm", "old", "f32", "row"),
                ("rms_norm", "prefill", "f32", "row_wide"),
                ("rms_norm", "prefill", "f16", "row_wide"),
                ("rms_norm", "decode", "f32", "row"),
                ("layer_norm", "decode", "f32", "row"),
            ]
        );
        assert_eq!(rows[0].adapter, "Mill, model 1 <&>");
        assert_eq!(rows[1].roof_fraction, Some(0.82));
        assert_eq!(rows[2].bound, None);
    }

    #[test]
    fn a_run_of_a_part_replaces_that_part_and_leaves_the_rest() {
        let of = |rows: &[Row]| rows.iter().map(|row| (row.case.clone(), row.storage.clone())).collect::<Vec<_>>();
        let text = format!("{CSV}{}", line("2026-11-03", "ccc", "stone 1.0", "rms_norm/prefill", 150));
        let (rows, others) = shown(&text);
        // At its place, and although a plan was quicker at the commit before.
        assert_eq!((of(&rows), others), (of(&self::rows()), 0));
        assert_eq!((rows[1].commit.as_str(), rows[1].plan.as_str(), rows[1].median_us), ("ccc", "row", 150.0));
        assert_eq!(rows.iter().filter(|row| row.commit == "bbb").count(), 3);
        assert_eq!(commits(&rows), "commits aaa, bbb and ccc");
        assert_eq!(commits(&rows[2..4]), "commit bbb");
        assert_eq!(dates(&rows), "2026-11-01 to 2026-11-03");
        assert_eq!(dates(&rows[2..4]), "2026-11-02");
        // What is dated earlier is older, wherever it stands; of one date, what stands first is.
        let prefill = |date: &str| {
            shown(&format!("{CSV}{}", line(date, "ccc", "stone 1.0", "rms_norm/prefill", 150))).0[1].commit.clone()
        };
        assert_eq!((prefill("2026-11-01").as_str(), prefill("2026-11-02").as_str()), ("bbb", "ccc"));
    }

    #[test]
    fn rows_of_other_drivers_are_left_out_and_counted() {
        let newer = line("2026-11-02", "bbb", "stone 2.0", "rms_norm/decode", 45);
        let (rows, others) = shown(&format!("{CSV}{newer}"));
        assert_eq!((rows.len(), others), (1, 8));
        assert_eq!((rows[0].case_in_op(), rows[0].median_us), ("decode", 45.0));
        let older = line("2026-10-31", "bbb", "stone 0.9", "rms_norm/rare", 45);
        assert_eq!(shown(&format!("{CSV}{older}")), (self::rows(), 1));
    }

    #[test]
    fn a_report_is_whole_or_not_at_all() {
        let root = std::env::temp_dir().join(format!("gristmill-report-{}", std::process::id()));
        let workspace = Workspace { root: root.clone(), target: root.join("target"), tests: Vec::new() };
        std::fs::create_dir_all(workspace.results()).expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("a file");
        let fails = |named: &str| {
            let reason = run(&workspace).expect_err(named);
            assert!(reason.contains(named), "{reason}");
            assert!(workspace::files_with_extension(&workspace.results(), "svg").is_empty(), "{named}");
        };
        let readme = format!("# Mill\n{BEGIN}\nold\n{END}\nend\n");
        write("README.md", &readme);
        fails("there are no rows in");
        // A header alone.
        let header = CSV.lines().next().expect("a line");
        write("benches/results/mill.csv", header);
        fails("there are no rows in");
        assert_eq!(std::fs::read_to_string(root.join("README.md")).expect("a file"), readme);
        // The second file of two is wrong.
        write("benches/results/mill.csv", CSV);
        write("benches/results/other.csv", "date,commit\n");
        fails("other.csv: there is no column");
        // One without rows is no mistake beside one that has them.
        write("benches/results/other.csv", header);
        write("README.md", "# Mill\n");
        fails("README.md has no `<!-- measured:begin -->`");
        write("README.md", &readme);
        run(&workspace).expect("all is there");
        let text = std::fs::read_to_string(root.join("README.md")).expect("a file");
        assert!(text.contains("| rms_norm | prefill | f32 |") && text.ends_with("end\n"), "{text}");
        assert!(root.join("benches/results/mill.svg").is_file());
        assert!(!root.join("benches/results/other.svg").exists());
        std::fs::remove_dir_all(&root).expect("it was there");
    }

    #[test]
    fn errors_name_the_column_the_line_and_the_value() {
        let reason = |text: &str| parse(text).expect_err("it is wrong");
        assert!(reason("date,commit\n").contains("`adapter`"));
        let wrong = CSV.replace(",90,80,99,", ",quick,80,99,");
        assert_eq!(reason(&wrong), "line 2: median_us is `quick`, which is no number");
        let two = CSV.replacen("model 1", "model 2", 1);
        let reason = newest(&parse(&two).expect("it is well-formed")).expect_err("two adapters");
        assert!(reason.contains("model 1") && reason.contains("model 2"), "{reason}");
        assert_eq!(newest(&[]), Ok((Vec::new(), 0)));
    }

    #[test]
    fn the_readme_keeps_what_is_around_the_markers() {
        let text = format!("# Mill\n{BEGIN}\nstale\n{END}\nend\n");
        let measured = section(&rows(), Path::new("benches/results/mill.svg"));
        let new = between_markers(&text, &measured).expect("it has markers");
        assert!(new.starts_with(&format!("# Mill\n{BEGIN}\n")) && new.ends_with(&format!("{END}\nend\n")));
        assert!(new.contains("](benches/results/mill.svg)") && !new.contains("stale"));
        assert!(new.contains("Driver stone 1.0, 2026-11-01 to 2026-11-02, commits aaa and bbb."), "{new}");
        let row = "| rms_norm | prefill | f32 | row_wide | 100 | 21.0 | 82 % | 1.0e-7 ≤ 2.0e-7 |";
        assert!(new.contains(&format!("{row} 2026-11-02 |\n")) && new.contains(" error and bound | date |\n"), "{new}");
        // One date is said once.
        let one = section(&rows()[1..], Path::new("benches/results/mill.svg"));
        assert!(one.contains("Driver stone 1.0, 2026-11-02, commit bbb.") && !one.contains(" date |"), "{one}");
        assert!(one.contains(&format!("{row}\n")), "{one}");
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
