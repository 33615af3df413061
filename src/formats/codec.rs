//! What a format's file says: its numbers, the shapes of its tensors, a row's values.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::form::Form;
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::{Error, Result, shape_error};
use crate::proof::{Attrs, Value};

/// One format. `format` is the name that errors say.
pub(crate) trait Codec {
    /// Reads the numbers; [`Codec::valid`] judges them.
    fn read(_numbers: &Numbers<'_>) -> Result<Self>
    where
        Self: Sized + Default,
    {
        Ok(Self::default())
    }

    /// The numbers are some that the format has.
    fn valid(&self, _format: &'static str) -> Result<()> {
        Ok(())
    }

    /// The tensors are those of an `[N,K]` weight.
    fn check(&self, w: &mut Check<'_>) -> Result<()>;

    /// Its numeric form, or none that the others share. The tensors have been checked, here and below.
    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        None
    }

    /// The form of a weight of `n` rows and `k` columns, of which one of fewer rows has this form.
    fn grown(&self, form: Form, _n: usize, _k: usize) -> Form {
        form
    }

    /// How a device rounds numbers into it, if it can.
    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        None
    }

    /// The K codes of row n.
    fn codes(&self, _w: &Packed<'_>, _n: usize, _out: &mut [u8]) {}

    /// Scale g of a row of scales (see [`Place`](super::form::Place)), and the zero or bias beside it; where scales are stored in few
    /// bits, those as a number.
    fn scale(&self, _w: &Packed<'_>, _row: usize, _g: usize) -> [f32; 2] {
        [1.0, 0.0]
    }

    /// The numbers of super-block s of a row of scales.
    fn supers(&self, _w: &Packed<'_>, _row: usize, _s: usize) -> [f32; 2] {
        [0.0; 2]
    }

    /// Entry i of the map that nested scales go through.
    fn map(&self, _w: &Packed<'_>, _i: usize) -> f32 {
        0.0
    }

    /// The table of row n.
    fn table(&self, _w: &Packed<'_>, _n: usize) -> [f32; 16] {
        [0.0; 16]
    }

    /// The group of column k, where a list says it.
    fn order(&self, _w: &Packed<'_>, _k: usize) -> usize {
        0
    }

    /// What is added to row n beside the side list, by column.
    fn extra(&self, _w: &Packed<'_>, _n: usize) -> Vec<(usize, f32)> {
        Vec::new()
    }

    /// The K values of row n, without what is added, where there is no form. `out` has K places.
    fn row(&self, _w: &Packed<'_>, _n: usize, _out: &mut [f32]) {}

    /// There is a rule for encoding.
    fn encodes(&self) -> bool {
        false
    }

    /// So many numbers a row of K takes.
    fn padded(&self, k: usize) -> usize {
        k
    }

    /// The tensors that hold these values best, by the format's rule. The values are finite and N·K in number.
    fn encode(&self, _n: usize, _k: usize, _values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        Vec::new()
    }
}

/// How many adjacent numbers share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Group {
    /// All of the axis; −1 in files.
    #[default]
    All,
    /// So many; the last group may have fewer.
    Of(u32),
}

impl Group {
    /// The size on an axis of this length, which is not 0.
    pub(crate) fn size(self, length: usize) -> usize {
        match self {
            Self::All => length,
            Self::Of(size) => size as usize,
        }
    }

    /// The number of groups on an axis of this length.
    pub(crate) fn count(self, length: usize) -> usize {
        length.div_ceil(self.size(length))
    }

    /// It is not a group of none.
    pub(crate) fn valid(self, format: &'static str) -> Result<()> {
        match self {
            Self::Of(0) => Err(value_error(format, "group", 0, "it must be -1 (all) or at least 1")),
            _ => Ok(()),
        }
    }
}

/// A number that a format does not have.
pub(crate) fn value_error(op: &'static str, name: &'static str, value: impl ToString, rule: &'static str) -> Error {
    Error::Value { op, name, value: value.to_string(), rule }
}

/// `value` is among these, of which `rule` tells.
pub(crate) fn among<T: PartialEq + ToString>(
    format: &'static str,
    name: &'static str,
    value: T,
    known: &[T],
    rule: &'static str,
) -> Result<()> {
    if known.contains(&value) { Ok(()) } else { Err(value_error(format, name, value, rule)) }
}

/// Reads a format's numbers, and notes which were asked for, so that none is passed over in silence.
pub(crate) struct Numbers<'a> {
    /// The name that errors say.
    pub format: &'static str,
    attrs: &'a Attrs,
    used: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Numbers<'a> {
    pub fn new(attrs: &'a Attrs) -> Self {
        Self { format: "format", attrs, used: RefCell::new(BTreeSet::from(["format", "n", "k"])) }
    }

    fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.used.borrow_mut().insert(name);
        self.attrs.0.get(name)
    }

    fn number(&self, name: &'static str, value: f64) -> Result<i32> {
        let whole = value as i32;
        if f64::from(whole) == value {
            return Ok(whole);
        }
        Err(value_error(self.format, name, value, "it must be a whole number of 32 bits"))
    }

    /// A whole number; one that has no default must be there.
    pub fn whole(&self, name: &'static str, absent: Option<i32>) -> Result<i32> {
        match (self.get(name), absent) {
            (Some(Value::Number(v)), _) => self.number(name, *v),
            (Some(other), _) => Err(shape_error!(self.format, "{name} = {other:?} is not a number")),
            (None, Some(absent)) => Ok(absent),
            (None, None) => Err(shape_error!(self.format, "the number {name} is missing")),
        }
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &'static str, absent: Option<i32>) -> Result<u32> {
        let value = self.whole(name, absent)?;
        u32::try_from(value).map_err(|_| value_error(self.format, name, value, "it must not be negative"))
    }

    /// `group`, where −1 means all.
    pub fn group(&self) -> Result<Group> {
        match self.whole("group", None)? {
            -1 => Ok(Group::All),
            size => u32::try_from(size)
                .map(Group::Of)
                .map_err(|_| value_error(self.format, "group", size, "it must be -1 (all) or at least 1")),
        }
    }

    /// A switch.
    pub fn flag(&self, name: &'static str, absent: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(absent),
            Some(Value::Flag(v)) => Ok(*v),
            Some(other) => Err(shape_error!(self.format, "{name} = {other:?} is not true or false")),
        }
    }

    /// What a name stands for; the first where it is absent.
    pub fn choice<T: Copy>(
        &self,
        name: &'static str,
        first: (&str, T),
        others: &[(&str, T)],
        rule: &'static str,
    ) -> Result<T> {
        let text = match self.get(name) {
            None => return Ok(first.1),
            Some(Value::Text(text)) => text,
            Some(other) => return Err(value_error(self.format, name, format!("{other:?}"), rule)),
        };
        std::iter::once(&first)
            .chain(others)
            .find(|(known, _)| known == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| value_error(self.format, name, format!("{text:?}"), rule))
    }

    /// Two whole numbers that are not negative.
    pub fn pair(&self, name: &'static str) -> Result<Option<[u32; 2]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::List(list)) if list.len() == 2 => {
                let of = |i: usize| {
                    let value = self.number(name, list[i])?;
                    u32::try_from(value).map_err(|_| value_error(self.format, name, value, "it must not be negative"))
                };
                Ok(Some([of(0)?, of(1)?]))
            }
            Some(other) => Err(shape_error!(self.format, "{name} = {other:?} is not two numbers")),
        }
    }

    /// All have been asked for.
    pub fn finish(&self) -> Result<()> {
        let used = self.used.borrow();
        match self.attrs.0.iter().find(|(name, _)| !used.contains(name.as_str())) {
            None => Ok(()),
            Some((name, value)) => Err(shape_error!(self.format, "it has no number {name} (= {value:?})")),
        }
    }
}

/// Floats of any width.
pub(crate) const FLOATS: &[Dtype] = &[Dtype::F32, Dtype::F16, Dtype::Bf16];
/// The floats of most scales.
pub(crate) const F32_F16: &[Dtype] = &[Dtype::F32, Dtype::F16];
/// Words of bits: the sign of the type says nothing.
pub(crate) const WORDS: &[Dtype] = &[Dtype::I32, Dtype::U32];
/// Bytes of bits.
pub(crate) const BYTES: &[Dtype] = &[Dtype::U8];

/// Checks the tensors of a weight, and notes which were asked for.
pub(crate) struct Check<'p> {
    pub format: &'static str,
    pub n: usize,
    pub k: usize,
    parts: &'p BTreeMap<String, Part<'p>>,
    used: BTreeSet<&'static str>,
}

impl<'p> Check<'p> {
    pub fn new(format: &'static str, n: usize, k: usize, parts: &'p BTreeMap<String, Part<'p>>) -> Self {
        Self { format, n, k, parts, used: BTreeSet::new() }
    }

    /// True where there is such a tensor; it need not be looked at any more.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// A tensor of one of these types, if it is there.
    pub fn maybe(&mut self, name: &'static str, dtypes: &[Dtype]) -> Result<Option<&'p Part<'p>>> {
        self.used.insert(name);
        let Some(part) = self.parts.get(name) else { return Ok(None) };
        if !dtypes.contains(&part.dtype) {
            let known = dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(" or ");
            return Err(shape_error!(self.format, "{name} is stored as {}, but must be {known}", part.dtype.name()));
        }
        Ok(Some(part))
    }

    /// A tensor of one of these types.
    pub fn need(&mut self, name: &'static str, dtypes: &[Dtype]) -> Result<&'p Part<'p>> {
        let part = self.maybe(name, dtypes)?;
        part.ok_or_else(|| shape_error!(self.format, "the tensor {name} is missing"))
    }

    /// The tensor has one of these shapes.
    pub fn shape(&self, name: &str, part: &Part<'_>, shapes: &[&[usize]]) -> Result<()> {
        if shapes.contains(&part.shape.as_slice()) {
            return Ok(());
        }
        let known = shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" or ");
        Err(self.follow(name, part, &known))
    }

    /// The error of a shape that does not follow.
    pub fn follow(&self, name: &str, part: &Part<'_>, rule: &str) -> Error {
        let Self { format, n, k, .. } = self;
        shape_error!(format, "{name} has shape {:?}, but for N = {n}, K = {k} it must be {rule}", part.shape)
    }

    /// A tensor of one of these types and of this shape.
    pub fn exact(&mut self, name: &'static str, dtypes: &[Dtype], shape: &[usize]) -> Result<&'p Part<'p>> {
        let part = self.need(name, dtypes)?;
        self.shape(name, part, &[shape])?;
        Ok(part)
    }

    /// As [`Check::exact`], if it is there.
    pub fn exact_maybe(&mut self, name: &'static str, dtypes: &[Dtype], shapes: &[&[usize]]) -> Result<()> {
        match self.maybe(name, dtypes)? {
            None => Ok(()),
            Some(part) => self.shape(name, part, shapes),
        }
    }

    /// `value`, which is called `name`, is a multiple of `of`.
    pub fn multiple(&self, name: &str, value: usize, of: usize) -> Result<()> {
        if value.is_multiple_of(of) {
            return Ok(());
        }
        Err(shape_error!(self.format, "{name} = {value} is not a multiple of {of}"))
    }

    /// All numbers of an index tensor are below `end`.
    pub fn indices(&self, name: &str, part: &Part<'_>, end: usize) -> Result<()> {
        for at in 0..part.elements() {
            let index = part.word(at) as i32;
            if usize::try_from(index).map_or(true, |index| index >= end) {
                return Err(shape_error!(self.format, "{name}[{at}] = {index} is out of range: there are {end}"));
            }
        }
        Ok(())
    }

    /// All tensors have been asked for.
    pub fn finish(&self) -> Result<()> {
        match self.parts.keys().find(|name| !self.used.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => Err(shape_error!(self.format, "it has no tensor {name} here")),
        }
    }
}
