//! Loops written out, so that arrays that they index stay in registers.
//!
//! An array of a function has no address in a GPU's registers: one that is indexed by what the compiler does not know goes to memory. A compiler
//! knows the counter of a loop that it unrolls, and each decides for itself which. So a loop over registers says `#unroll` above it,
//! and stands in the composed text once for each of its turns, with its counter a constant.

use std::borrow::Cow;
use std::fmt;

/// The file and line that a line of the composed text came from.
pub(super) type Place = (Cow<'static, str>, u32);
pub(super) type Line = (String, Place);

/// The directive.
pub(super) const UNROLL: &str = "#unroll";

/// No loop over registers has more turns.
const TURNS_MOST: i64 = 256;

/// A constant of WGSL.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Bool(bool),
    /// A number, and the ending of its type.
    Whole(i64, &'static str),
}

/// The constants that are known at a place, the innermost last.
#[derive(Default)]
struct Known(Vec<(String, Value)>);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(is) => write!(f, "{is}"),
            Self::Whole(number, ending) => write!(f, "{number}{ending}"),
        }
    }
}

impl Known {
    fn get(&self, name: &str) -> Option<Value> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// The value of an expression of known constants.
    fn value(&self, text: &str) -> Option<Value> {
        let mut parser = Parser { rest: text.trim(), known: self };
        let value = parser.binary(0)?;
        parser.rest.trim().is_empty().then_some(value)
    }

    /// Notes what `const NAME = …;` says, where its value can be told.
    fn note(&mut self, line: &str) {
        let Some(rest) = bare(line).trim().strip_prefix("const ") else { return };
        let Some((name, value)) = rest.strip_suffix(';').and_then(|r| r.split_once('=')) else { return };
        let name = name.split(':').next().unwrap_or_default().trim();
        if let Some(value) = self.value(value).filter(|value| self.get(name) != Some(*value)) {
            self.0.push((name.to_owned(), value));
        }
    }
}

/// A line without its comment.
pub(super) fn bare(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Operators by precedence, the weakest first.
const OPERATORS: [&[&str]; 8] =
    [&["||"], &["&&"], &["&"], &["==", "!="], &["<=", ">=", "<", ">"], &["<<", ">>"], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    rest: &'a str,
    known: &'a Known,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        self.rest = &text[end..];
        &text[..end]
    }

    fn binary(&mut self, level: usize) -> Option<Value> {
        let Some(operators) = OPERATORS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let text = self.rest.trim_start();
            // The first characters of an operator of two are operators too.
            let whole = ["<<", ">>", "<=", ">=", "&&"].into_iter().find(|o| text.starts_with(o));
            let found = operators.iter().find(|o| whole.map_or(text.starts_with(**o), |w| w == **o));
            let Some(operator) = found else { return Some(left) };
            self.rest = &text[operator.len()..];
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
    }

    fn unary(&mut self) -> Option<Value> {
        if self.eat("!").is_some() {
            let Value::Bool(value) = self.unary()? else { return None };
            return Some(Value::Bool(!value));
        }
        if self.eat("~").is_some() {
            let Value::Whole(value, "u") = self.unary()? else { return None };
            return Some(Value::Whole(i64::from(!u32::try_from(value).ok()?), "u"));
        }
        if self.eat("(").is_some() {
            let value = self.binary(0)?;
            self.eat(")")?;
            return Some(value);
        }
        let word = self.word();
        if word.is_empty() {
            return None;
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            if self.rest.starts_with('.') {
                return None;
            }
            let (digits, ending) = match word {
                w if w.starts_with("0x") => return None,
                w if w.ends_with('u') => (&w[..w.len() - 1], "u"),
                w if w.ends_with('i') => (&w[..w.len() - 1], "i"),
                w => (w, ""),
            };
            return Some(Value::Whole(digits.parse().ok()?, ending));
        }
        match word {
            "true" => return Some(Value::Bool(true)),
            "false" => return Some(Value::Bool(false)),
            _ if !self.rest.starts_with('(') => return self.known.get(word),
            _ => self.rest = &self.rest[1..],
        }
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.binary(0)?);
            if self.eat(",").is_none() {
                self.eat(")")?;
                break;
            }
        }
        match (word, arguments.as_slice()) {
            ("select", [no, yes, Value::Bool(is)]) => Some(if *is { *yes } else { *no }),
            ("min" | "max", [Value::Whole(a, ending), Value::Whole(b, other)]) => {
                let value = if word == "min" { a.min(b) } else { a.max(b) };
                Some(Value::Whole(*value, if ending.is_empty() { other } else { ending }))
            }
            ("u32", [Value::Whole(a, _)]) => Some(Value::Whole(*a, "u")),
            _ => None,
        }
    }
}

fn apply(operator: &str, left: Value, right: Value) -> Option<Value> {
    Some(match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Value::Bool(match operator {
            "||" => a || b,
            "&&" => a && b,
            "==" => a == b,
            "!=" => a != b,
            _ => return None,
        }),
        (Value::Whole(a, ending), Value::Whole(b, other)) => {
            let value = match operator {
                "+" => a.checked_add(b)?,
                "-" => a.checked_sub(b)?,
                "*" => a.checked_mul(b)?,
                "/" => a.checked_div(b)?,
                "%" => a.checked_rem(b)?,
                "&" => a & b,
                "<<" => a.checked_shl(u32::try_from(b).ok()?)?,
                ">>" => a.checked_shr(u32::try_from(b).ok()?)?,
                "<" => return Some(Value::Bool(a < b)),
                "<=" => return Some(Value::Bool(a <= b)),
                ">" => return Some(Value::Bool(a > b)),
                ">=" => return Some(Value::Bool(a >= b)),
                "==" => return Some(Value::Bool(a == b)),
                "!=" => return Some(Value::Bool(a != b)),
                _ => return None,
            };
            Value::Whole(value, if ending.is_empty() { other } else { ending })
        }
        _ => return None,
    })
}

/// The head of a loop: its counter's name and values, and what stands behind the brace.
fn head<'a>(line: &'a str, known: &Known) -> Result<(&'a str, Vec<Value>, &'a str), String> {
    let bad = || {
        "a loop to unroll is `for (var i = FROM; i < TO; i++) {`, or `i += STEP`, with bounds of constants".to_owned()
    };
    let text = line.trim_start().strip_prefix("for (var ").ok_or_else(bad)?;
    let (from, text) = text.split_once(';').ok_or_else(bad)?;
    let (to, text) = text.split_once(';').ok_or_else(bad)?;
    let (step, body) = text.split_once(") {").ok_or_else(bad)?;
    let (name, from) = from.split_once('=').ok_or_else(bad)?;
    let name = name.trim();
    let (counter, to) = to.split_once('<').ok_or_else(bad)?;
    let (inclusive, to) = to.strip_prefix('=').map_or((false, to), |to| (true, to));
    let step = step.trim().strip_prefix(name).ok_or_else(bad)?.trim();
    let step = if step == "++" { "1" } else { step.strip_prefix("+=").ok_or_else(bad)? };
    let number = |text: &str| match known.value(text) {
        Some(Value::Whole(value, ending)) => Ok((value, ending)),
        _ => Err(format!("{}: `{}` is no constant that can be told here", bad(), text.trim())),
    };
    let ((from, ending), (to, other), (step, _)) = (number(from)?, number(to)?, number(step)?);
    let to = to + i64::from(inclusive);
    if counter.trim() != name || step < 1 {
        return Err(bad());
    }
    let ending = if ending.is_empty() { other } else { ending };
    let turns = ((to - from).max(0) + step - 1) / step;
    if turns > TURNS_MOST {
        return Err(format!("a loop of {turns} turns is too long to unroll"));
    }
    Ok((name, (0..turns).map(|turn| Value::Whole(from + turn * step, ending)).collect(), body))
}

/// The lines with their loops written out; or the place of what cannot be, and why.
pub(super) fn unrolled(lines: &[Line]) -> Result<Vec<Line>, (Place, String)> {
    let (mut known, mut out) = (Known::default(), Vec::with_capacity(lines.len()));
    // Constants of a module stand in any order.
    let mut before = usize::MAX;
    while before != known.0.len() {
        before = known.0.len();
        lines.iter().filter(|(text, _)| text.starts_with("const ")).for_each(|(text, _)| known.note(text));
    }
    write(lines, &mut known, &mut out)?;
    Ok(out)
}

fn write(lines: &[Line], known: &mut Known, out: &mut Vec<Line>) -> Result<(), (Place, String)> {
    let mut at = 0;
    while let Some((text, place)) = lines.get(at) {
        at += 1;
        if text.trim() != UNROLL {
            known.note(text);
            out.push((text.clone(), place.clone()));
            continue;
        }
        let rest = lines.get(at..).unwrap_or_default();
        let line = rest.first().map_or("", |(text, _)| text);
        let found = head(line, known).and_then(|found| Ok((body(rest, found.2)?, found)));
        let (count, (name, turns, first)) = found.map_err(|message| (place.clone(), message))?;
        // What the first line has of the body, and the others as they are.
        let mut inner = rest[..count].to_vec();
        first.clone_into(&mut inner[0].0);
        for value in turns {
            let outside = known.0.len();
            out.push((format!("{{ const {name} = {value};"), place.clone()));
            known.0.push((name.to_owned(), value));
            write(&inner, known, out)?;
            known.0.truncate(outside);
        }
        at += count;
    }
    Ok(())
}

/// How many lines a loop takes, whose body begins with `first` in the first of these.
fn body(lines: &[Line], first: &str) -> Result<usize, String> {
    // For each brace that is open, whether `break` and `continue` inside are its own.
    let mut braces = vec![false];
    let mut statement = String::new();
    for (count, line) in (1..).zip(lines) {
        let text = bare(if count == 1 { first } else { &line.0 });
        if text.trim() == UNROLL {
            continue;
        }
        for (i, c) in text.char_indices() {
            match c {
                '{' => {
                    let word = statement.trim_start();
                    braces.push(["for", "while", "loop", "switch"].iter().any(|w| word.starts_with(w)));
                    statement.clear();
                }
                '}' => {
                    braces.pop();
                    statement.clear();
                    if braces.is_empty() {
                        let rest = text[i + 1..].trim();
                        return if rest.is_empty() {
                            Ok(count)
                        } else {
                            Err(format!("`{rest}` stands behind the loop"))
                        };
                    }
                }
                ';' => {
                    let word = statement.trim();
                    if ["break", "continue"].contains(&word) && !braces.iter().any(|b| *b) {
                        return Err(format!("a loop with `{word}` cannot be unrolled"));
                    }
                    // The head of a loop has two of them.
                    if !word.starts_with("for") {
                        statement.clear();
                    }
                }
                c => statement.push(c),
            }
        }
    }
    Err("the loop does not end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(text: &str) -> Result<String, String> {
        let lines: Vec<Line> =
            (1..).zip(text.lines()).map(|(at, line)| (line.to_owned(), (Cow::Borrowed("test"), at))).collect();
        let lines = unrolled(&lines).map_err(|((_, line), message)| format!("{line}: {message}"))?;
        Ok(lines.into_iter().map(|(line, (_, at))| format!("{at} {}\n", line.trim())).collect())
    }

    #[test]
    fn a_loop_is_written_out_with_its_counter_a_constant() {
        let text =
            "const N = M + 1u;\nconst M = 1u;\n#unroll\nfor (var i = 0u; i < N; i++) { a[i] = i; }\nlet b = a[0];";
        let want = "1 const N = M + 1u;\n2 const M = 1u;\n3 { const i = 0u;\n4 a[i] = i; }\n3 { const i = 1u;\n4 a[i] = i; }\n5 let b = a[0];\n";
        assert_eq!(composed(text).as_deref(), Ok(want));
        // Inside another, by its counter; and one that has no turns.
        let text =
            "#unroll\nfor (var i = 2; i <= 4; i += 2) {\n#unroll\nfor (var j = i; j < 4; j++) {\nb[i] = j;\n}\n}";
        let want = "1 { const i = 2;\n2 \n3 { const j = 2;\n4 \n5 b[i] = j;\n6 }\n3 { const j = 3;\n4 \n5 b[i] = j;\n6 }\n7 }\n1 { const i = 4;\n2 \n7 }\n";
        assert_eq!(composed(text).as_deref(), Ok(want));
    }

    #[test]
    fn what_cannot_be_written_out_is_an_error() {
        for (text, want) in [
            ("for (var i = 0u; i < n; i++) { a[i] = i; }", "`n` is no constant"),
            ("for (var i = 4u; i > 0u; i--) { a[i] = i; }", "a loop to unroll is"),
            ("while (true) { }", "a loop to unroll is"),
            ("for (var i = 0u; i < 999u; i++) { a[i] = i; }", "999 turns"),
            ("for (var i = 0u; i < 4u; i++) { if (a[i] > 1u) { break; } }", "`break`"),
            ("for (var i = 0u; i < 4u; i++) { continue; }", "`continue`"),
            ("for (var i = 0u; i < 4u; i++) { a[i] = i; } let b = 1;", "stands behind"),
            ("for (var i = 0u; i < 4u; i++) {", "does not end"),
        ] {
            let told = composed(&format!("#unroll\n{text}")).expect_err(text);
            assert!(told.starts_with("1: ") && told.contains(want), "{told}");
        }
        // What is a loop's own.
        let inner = "#unroll\nfor (var i = 0u; i < 1u; i++) { for (var j = 0u; j < n; j++) { if (b) { break; } } }";
        assert!(composed(inner).is_ok());
    }

    #[test]
    fn constants_are_told_as_wgsl_has_them() {
        let mut known = Known::default();
        known.note("const ROWS = 12u; // a comment");
        known.note("const WIDE: bool = ROWS > 8u && !false;");
        known.note("const SCALE = 0.5;");
        for (text, want) in [
            ("ROWS / 4u * 3u + 1u", Some(Value::Whole(10, "u"))),
            ("(ROWS + 3u) / 4u", Some(Value::Whole(3, "u"))),
            ("select(1u, 2u, WIDE)", Some(Value::Whole(2, "u"))),
            ("min(ROWS, max(3, 5))", Some(Value::Whole(5, "u"))),
            ("min(4u, ROWS & (~ROWS + 1u))", Some(Value::Whole(4, "u"))),
            ("1u << 3u", Some(Value::Whole(8, "u"))),
            ("ROWS <= 12u || 1 / 0 == 0", None),
            ("ROWS - 2u - 1u", Some(Value::Whole(9, "u"))),
            ("SCALE", None),
            ("lane + 1u", None),
            ("ROWS)", None),
        ] {
            assert_eq!(known.value(text), want, "{text}");
        }
    }
}
