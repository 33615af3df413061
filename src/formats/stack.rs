//! Matrices of one format below each other, which a device has as one weight.

use super::Format;
use super::form::{Form, Level, Place, Scale, greatest_divisor};
use super::packed::Packed;
use crate::error::{Result, shape_error};

const OP: &str = "weight_stacked";

/// Rows at most that share a copy of what was the scale of a whole matrix.
const WHOLE_SERVES: u32 = 64;

/// A matrix, and how many of its rows share a scale.
struct Part<'s, 'p> {
    w: &'s Packed<'p>,
    serves: u32,
}

/// The rows of matrices below each other. Past the last they begin again.
pub(crate) struct Stack<'s, 'p> {
    parts: Vec<Part<'s, 'p>>,
    n: usize,
}

/// How many rows share a scale.
fn serves(w: &Packed<'_>) -> u32 {
    match w.codec().form(w).map(|form| form.place) {
        Some(Place::Block { rows, .. }) => rows,
        _ => 1,
    }
}

impl<'s, 'p> Stack<'s, 'p> {
    /// Of any number of matrices.
    ///
    /// # Errors
    /// There is none, one is of another format, width or form than the first, 2^32 rows, or what rows share cannot be told for those of several
    /// matrices: scales that follow no rows or are nested, two lists of columns, two tables.
    pub fn new(all: &[&'s Packed<'p>]) -> Result<Self> {
        let Some((first, others)) = all.split_first() else {
            return Err(shape_error!(OP, "there are no matrices"));
        };
        let mut n = first.n();
        for (i, w) in (1..).zip(others) {
            alike(first, w).map_err(|why| shape_error!(OP, "matrix {i} of {}: {why}", all.len()))?;
            n += w.n();
        }
        if u32::try_from(n).is_err() {
            return Err(shape_error!(OP, "the matrices have {n} rows, which 32 bits do not hold"));
        }
        Ok(Self::of(all, n))
    }

    /// One matrix.
    pub fn one(w: &'s Packed<'p>) -> Self {
        Self::of(&[w], w.n())
    }

    fn of(all: &[&'s Packed<'p>], n: usize) -> Self {
        Self { parts: all.iter().map(|w| Part { w, serves: serves(w) }).collect(), n }
    }

    /// The first, whose format and form all have.
    pub fn first(&self) -> &'s Packed<'p> {
        self.parts[0].w
    }

    /// Every matrix.
    pub fn all(&self) -> impl Iterator<Item = &'s Packed<'p>> {
        self.parts.iter().map(|part| part.w)
    }

    /// How many numbers are added to each of so many rows beside its codes.
    pub fn sides(&self, n: usize) -> Vec<u32> {
        let own: Vec<u32> = self.all().flat_map(|w| (0..w.n()).map(|n| w.side(n).len() as u32)).collect();
        (0..n).map(|row| own[row % own.len()]).collect()
    }

    /// Rows.
    pub fn n(&self) -> usize {
        self.n
    }

    fn find(&self, row: usize) -> (&Part<'s, 'p>, usize) {
        let mut n = row % self.n;
        let mut part = &self.parts[0];
        for next in &self.parts[1..] {
            if n < part.w.n() {
                break;
            }
            n -= part.w.n();
            part = next;
        }
        (part, n)
    }

    /// The matrix that a row is in, and which of its rows that is.
    pub fn row(&self, row: usize) -> (&'s Packed<'p>, usize) {
        let (part, n) = self.find(row);
        (part.w, n)
    }

    /// The matrix that a row is in, and which of its rows of scales serves that.
    pub fn scales(&self, row: usize) -> (&'s Packed<'p>, usize) {
        let (part, n) = self.find(row);
        (part.w, n / part.serves as usize)
    }

    /// The form of all. A scale serves so many rows that those of each matrix begin with one of their own: a scale of a whole matrix is there
    /// several times, for few rows each, so that it can be parted anywhere.
    pub fn form(&self) -> Option<Form> {
        let form = self.first().codec().form(self.first())?;
        let (Place::Block { cols, .. }, true) = (form.place, self.parts.len() > 1) else { return Some(form) };
        if form.scale == Scale::One {
            return Some(form);
        }
        let (mut rows, mut start) = (0, 0);
        for Part { w, serves } in &self.parts {
            let own = if (*serves as usize) < w.n() { *serves } else { 0 };
            rows = greatest_divisor(rows, greatest_divisor(start, own));
            start += w.n() as u32;
        }
        if self.parts.iter().all(|Part { w, serves }| *serves as usize >= w.n()) {
            rows = greatest_divisor(rows, WHOLE_SERVES);
        }
        Some(Form { place: Place::Block { rows, cols }, ..form })
    }
}

/// Whether a matrix can stand below another.
fn alike(first: &Packed<'_>, w: &Packed<'_>) -> std::result::Result<(), String> {
    if w.format() != first.format() {
        return Err(format!("it is {}, but the first is {}", w.format(), first.format()));
    }
    if w.k() != first.k() {
        return Err(format!("it has K = {}, but the first has {}", w.k(), first.k()));
    }
    if let Format::Bcq(bcq) = w.format() {
        let [of_first, own] = [first, w].map(|w| bcq.group.size(w.n()));
        if own != of_first {
            return Err(format!("its groups are of {own} rows, but those of the first of {of_first}"));
        }
    }
    let codec = w.codec();
    let (Some(of_first), Some(form)) = (codec.form(first), codec.form(w)) else {
        // Numbers as they are, or sums of signs, which are always f32.
        let numbers = match w.format() {
            Format::Dense => "w",
            Format::Sparse24 => "values",
            _ => return Ok(()),
        };
        let same = w.get(numbers).dtype == first.get(numbers).dtype;
        return if same { Ok(()) } else { Err("its numbers are stored otherwise than those of the first".to_owned()) };
    };
    if matches!(form.scale, Scale::Nested(_)) {
        return Err("its scales are nested, and what they share is of one matrix".to_owned());
    }
    if [of_first, form].iter().any(|form| matches!(form.place, Place::Flat(_) | Place::Wrapped(_))) {
        return Err("its scales follow no rows, and would run over its end".to_owned());
    }
    let anywhere = |form: Form| match form.place {
        Place::Block { cols, .. } => Form { place: Place::Block { rows: 1, cols }, ..form },
        _ => form,
    };
    if anywhere(of_first) != anywhere(form) {
        return Err("its codes or scales are stored otherwise than those of the first".to_owned());
    }
    if form.place == Place::Ordered && (0..w.k()).any(|k| codec.order(w, k) != codec.order(first, k)) {
        return Err("its columns have other groups than those of the first".to_owned());
    }
    if form.level == Level::Table && codec.table(w, 0) != codec.table(first, 0) {
        return Err("it has another table than the first".to_owned());
    }
    Ok(())
}
