//! Functions that nobody calls, left out.
//!
//! A library has what every kernel wants of it, and a filling each verb of its slot: of the functions of a composed text a kernel calls half.
//! Nobody who compiles it, browsers least of all, should read the others.

use super::MARK;
use super::unroll::{Line, bare};

/// Where a function stands: its comment from `start` on, itself from `head` on, something else from `end` on.
struct Function<'a> {
    name: &'a str,
    start: usize,
    head: usize,
    end: usize,
}

/// The lines without the functions that `main` does not reach, and the comments right above those.
pub(super) fn reached(mut lines: Vec<Line>) -> Vec<Line> {
    let functions = functions(&lines);
    let mut keep = vec![true; lines.len()];
    functions.iter().for_each(|f| keep[f.start..f.end].fill(false));
    // Lines that may call: at first those that are in none of these functions.
    let mut todo: Vec<usize> = (0..lines.len()).filter(|at| keep[*at]).collect();
    while let Some(at) = todo.pop() {
        for name in called(bare(&lines[at].0)) {
            if let Some(f) = functions.iter().find(|f| f.name == name && !keep[f.head]) {
                keep[f.start..f.end].fill(true);
                todo.extend(f.head..f.end);
            }
        }
    }
    let mut keep = keep.into_iter();
    lines.retain(|_| keep.next().unwrap_or(true));
    lines
}

/// The functions, without `main`. What does not begin and end lines of its own is none of these.
fn functions(lines: &[Line]) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    let (mut depth, mut comment, mut current) = (0usize, None, None);
    for (at, (line, _)) in lines.iter().enumerate() {
        let text = bare(line).trim();
        if depth == 0 && text.is_empty() {
            let is_comment = line.trim_start().starts_with("//") && !line.starts_with(MARK);
            comment = is_comment.then(|| comment.unwrap_or(at));
            continue;
        }
        if let Some(rest) = text.strip_prefix("fn ").filter(|_| depth == 0) {
            let name = rest.split('(').next().unwrap_or_default().trim();
            current = Some((name, comment.unwrap_or(at), at)).filter(|_| name != "main" && !rest.contains("fn "));
        }
        comment = None;
        for c in text.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 && text.ends_with('}') {
            functions.extend(current.take().map(|(name, start, head)| Function { name, start, head, end: at + 1 }));
        }
    }
    functions
}

/// The names of what is called in a line: a name and its parenthesis stand on one.
fn called(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('(').map(move |(at, _)| {
        let before = text[..at].trim_end();
        &before[before.trim_end_matches(inside).len()..]
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn left(text: &str) -> Vec<String> {
        let lines = (1..).zip(text.lines()).map(|(at, line)| (line.to_owned(), (Cow::Borrowed("test"), at)));
        reached(lines.collect()).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn functions_that_main_does_not_reach_are_left_out() {
        let text = "\
// A header.

// ---- lib/a.wgsl
// Calls b.
fn a(x: u32) -> u32 {
    if (x > 1u) { return b(x); }
    return 0u;
}
fn b(x: u32) -> u32 { return x; }

// Two lines that say
// what c is: it calls d, and nobody calls c.
fn c(
    x: u32,
) -> u32 {
    return d(x);
}
// ---- back in kernel.wgsl
const N = 4u; // not d()
fn d(x: u32) -> u32 { return a(x); }
struct S { c: u32 }

@compute @workgroup_size(1)
fn main() {
    _ = a(N); // and not c()
}";
        let want = "\
// A header.

// ---- lib/a.wgsl
// Calls b.
fn a(x: u32) -> u32 {
    if (x > 1u) { return b(x); }
    return 0u;
}
fn b(x: u32) -> u32 { return x; }

// ---- back in kernel.wgsl
const N = 4u; // not d()
struct S { c: u32 }

@compute @workgroup_size(1)
fn main() {
    _ = a(N); // and not c()
}";
        assert_eq!(left(text), want.lines().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_written_otherwise_stays() {
        let two = "fn a() {} fn b() {}\nfn main() { b(); }";
        assert_eq!(left(two).join("\n"), two);
        // A brace that closes too much, or nothing.
        for odd in ["}\nfn a() {}\nfn main() { a(); }", "fn main() { a(); }\nfn a() {"] {
            assert_eq!(left(odd).join("\n"), odd);
        }
    }
}
