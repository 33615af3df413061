//! A row of results: what the terminal, the CSV file and the page show.

use std::fmt::Write as _;

/// One case in one storage by one plan: its error and, where it was timed, its time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The op.
    pub op: String,
    /// The storage of its activations.
    pub storage: String,
    /// The plan.
    pub plan: String,
    /// Every output is within its bound.
    pub ok: bool,
    /// The error of the worst element.
    pub error: f64,
    /// Its bound.
    pub bound: f64,
    /// The output that it is in.
    pub operand: String,
    /// What went wrong, if something did.
    pub message: Option<String>,
    /// GPU time of one run in microseconds: median, 20th and 80th percentile.
    pub us: Option<[f64; 3]>,
    /// Bytes that must move at least.
    pub bytes: u64,
    /// Floating operations.
    pub flops: u64,
    /// The larger of the fractions of the measured copy bandwidth and of the measured rate of what the plan computes with.
    pub roof_fraction: Option<f64>,
    /// Host time to record one dispatch, in microseconds.
    pub host_us: Option<f64>,
}

/// The columns of `benches/results/*.csv`; the first four are the run's.
pub const COLUMNS: &str = "date,commit,adapter,driver,case,op,storage,plan,median_us,p20_us,p80_us,bytes,flops,gb_s,gflop_s,roof_fraction,error,bound,host_us";

impl Row {
    /// Bandwidth in GB/s (1e9 bytes).
    pub fn gb_s(&self) -> Option<f64> {
        self.us.map(|[median, ..]| self.bytes as f64 / median / 1e3)
    }

    /// Rate in GFLOP/s.
    pub fn gflop_s(&self) -> Option<f64> {
        self.us.map(|[median, ..]| self.flops as f64 / median / 1e3)
    }

    /// A line of the CSV file, after the run's date, commit, adapter and driver.
    pub fn csv(&self, run: [&str; 4]) -> String {
        let number = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{v:.6e}"));
        let mut line = String::new();
        for text in run.into_iter().chain([&*self.case, &self.op, &self.storage, &self.plan]) {
            let _ = write!(line, "\"{}\",", text.replace('"', "\"\""));
        }
        let us = |i: usize| number(self.us.map(|us| us[i]));
        let _ = write!(line, "{},{},{},{},{},", us(0), us(1), us(2), self.bytes, self.flops);
        let rest = [self.gb_s(), self.gflop_s(), self.roof_fraction, Some(self.error), Some(self.bound), self.host_us];
        let rest: Vec<String> = rest.into_iter().map(number).collect();
        line + &rest.join(",")
    }

    /// The row as a JSON object.
    pub fn json(&self) -> String {
        let number = |v: f64| if v.is_finite() { format!("{v:e}") } else { "null".to_owned() };
        let maybe = |v: Option<f64>| v.map_or_else(|| "null".to_owned(), number);
        let us = |i: usize| maybe(self.us.map(|us| us[i]));
        let message = self.message.as_deref().map_or_else(|| "null".to_owned(), json_text);
        format!(
            "{{\"case\":{},\"op\":{},\"storage\":{},\"plan\":{},\"ok\":{},\"error\":{},\"bound\":{},\"worst\":{},\
             \"operand\":{},\"message\":{message},\"median_us\":{},\"p20_us\":{},\"p80_us\":{},\"bytes\":{},\"flops\":{},\
             \"gb_s\":{},\"gflop_s\":{},\"roof_fraction\":{},\"host_us\":{}}}",
            json_text(&self.case),
            json_text(&self.op),
            json_text(&self.storage),
            json_text(&self.plan),
            self.ok,
            number(self.error),
            number(self.bound),
            number(if self.bound > 0.0 { self.error / self.bound } else { 0.0 }),
            json_text(&self.operand),
            us(0),
            us(1),
            us(2),
            self.bytes,
            self.flops,
            maybe(self.gb_s()),
            maybe(self.gflop_s()),
            maybe(self.roof_fraction),
            maybe(self.host_us),
        )
    }
}

/// Text as a JSON string.
pub fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_as_wide_as_its_header() {
        let row = Row { case: "a\"b,c".into(), us: Some([2.0, 1.0, 3.0]), bytes: 4000, ..Row::default() };
        let line = row.csv(["2026-01-01", "abc", "device, one", "driver"]);
        assert!(line.starts_with("\"2026-01-01\",\"abc\",\"device, one\",\"driver\",\"a\"\"b,c\","));
        let quoted = line.matches("\",").count();
        assert_eq!(quoted + line.rsplit("\",").next().map_or(0, |r| r.split(',').count()), COLUMNS.split(',').count());
        assert_eq!(row.gb_s(), Some(2.0));
    }

    #[test]
    fn json_text_is_escaped() {
        assert_eq!(json_text("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
