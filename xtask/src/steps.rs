//! A list of steps that all run, and the table of how they went.

use std::fmt;
use std::time::Instant;

/// The steps so far.
pub struct Steps {
    began: Instant,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    result: Outcome,
    seconds: f64,
}

enum Outcome {
    Passed,
    Failed(String),
    /// Left out, because the person said so or because a step failed on which this one depends.
    NotRun(String),
}

impl Steps {
    pub fn new() -> Self {
        Self { began: Instant::now(), rows: Vec::new() }
    }

    /// Runs a step under a heading. None when it failed: the caller goes on with the steps that do not depend on it.
    pub fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T, String>) -> Option<T> {
        eprintln!("\n==== {name}");
        let began = Instant::now();
        let (result, value) = match step() {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(reason) => (Outcome::Failed(reason), None),
        };
        let seconds = began.elapsed().as_secs_f64();
        match &result {
            Outcome::Failed(reason) => {
                eprintln!("---- {name}: FAILED after {seconds:.1} s: {reason}")
            }
            _ => eprintln!("---- {name}: passed in {seconds:.1} s"),
        }
        self.rows.push(Row { name: name.to_string(), result, seconds });
        value
    }

    /// Lists a step that cannot or need not run; it counts neither as passed nor as failed.
    pub fn leave_out(&mut self, name: &str, reason: &str) {
        self.rows.push(Row { name: name.to_string(), result: Outcome::NotRun(reason.to_string()), seconds: 0.0 });
    }

    /// Prints the table, and fails if a step did.
    pub fn end(self) -> Result<(), String> {
        println!("\n{self}");
        let failed = self.rows.iter().filter(|row| matches!(row.result, Outcome::Failed(_))).count();
        match failed {
            0 => Ok(()),
            1 => Err("1 step failed".to_string()),
            _ => Err(format!("{failed} steps failed")),
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "{:<width$}  {:<7}  {:>7}", "step", "result", "seconds")?;
        for row in &self.rows {
            let (result, reason) = match &row.result {
                Outcome::Passed => ("passed", None),
                Outcome::Failed(reason) => ("FAILED", Some(reason)),
                Outcome::NotRun(reason) => ("not run", Some(reason)),
            };
            write!(f, "{:<width$}  {result:<7}  {:>7.1}", row.name, row.seconds)?;
            match reason {
                Some(reason) => writeln!(f, "  {}", reason.lines().next().unwrap_or_default())?,
                None => writeln!(f)?,
            }
        }
        write!(f, "{:<width$}  {:<7}  {:>7.1}", "all", "", self.began.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stops_nothing_and_is_in_the_table() {
        let mut steps = Steps::new();
        assert_eq!(steps.run("grind", || Ok(3)), Some(3));
        assert_eq!(steps.run("sieve", || Err::<(), _>("the sieve\nis torn".to_string())), None);
        steps.leave_out("bake", "nothing was sieved");
        let table = steps.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        assert_eq!(lines[0], "step   result   seconds");
        assert_eq!(lines[1].trim_end(), "grind  passed       0.0");
        assert_eq!(lines[2], "sieve  FAILED       0.0  the sieve");
        assert_eq!(lines[3], "bake   not run      0.0  nothing was sieved");
        assert_eq!(steps.end(), Err("1 step failed".to_string()));
    }

    #[test]
    fn what_is_left_out_fails_nothing() {
        let mut steps = Steps::new();
        steps.leave_out("bake", "nobody is hungry");
        assert_eq!(steps.end(), Ok(()));
    }
}
