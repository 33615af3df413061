//! Golden cases as files: where they lie, their attributes, how their outputs are compared (`tests/golden/FORMAT.md`).

#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::proof::{Attrs, Value};
use libtest_mimic::Failed;
use safetensors::tensor::{Dtype as Stored, TensorView};

/// The files of `tests/golden` and of every directory in `GRISTMILL_GOLDEN=dir[:dir]`, by `op/name`.
pub fn all() -> Result<BTreeMap<String, PathBuf>, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let more = std::env::var("GRISTMILL_GOLDEN").unwrap_or_default();
    let mut files = BTreeMap::new();
    for dir in std::iter::once(own).chain(std::env::split_paths(&more).filter(|p| !p.as_os_str().is_empty())) {
        collect(&dir, &mut files).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    Ok(files)
}

/// The files of `dir/<op>/*.safetensors`, by `op/name`. The same name in a later directory takes the place of the former.
fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for op in std::fs::read_dir(dir)? {
        let op = op?.path();
        if !op.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&op)? {
            let file = file?.path();
            if file.extension().is_some_and(|e| e == "safetensors") {
                let part = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(format!("{}/{}", part(&op), part(&file)), file);
            }
        }
    }
    Ok(())
}

/// `attrs` of the metadata.
pub fn attrs_of(json: &str) -> Result<Attrs, Failed> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)?;
    let mut attrs = Attrs::default();
    for (name, value) in object {
        let value = match value {
            serde_json::Value::Number(n) => Value::Number(n.as_f64().ok_or("a number that is none")?),
            serde_json::Value::Bool(b) => Value::Flag(b),
            serde_json::Value::String(s) => Value::Text(s),
            serde_json::Value::Array(list) => Value::List(
                list.iter().map(|v| v.as_f64().ok_or("a list of something else")).collect::<Result<_, _>>()?,
            ),
            other => return Err(format!("attribute {name} = {other}").into()),
        };
        attrs.0.insert(name, value);
    }
    Ok(attrs)
}

/// A tensor of a file as part of a weight.
pub fn part_of(role: &str, view: &TensorView<'_>) -> Result<Part<'static>, Failed> {
    let dtype = match view.dtype() {
        Stored::F32 => Dtype::F32,
        Stored::F16 => Dtype::F16,
        Stored::BF16 => Dtype::Bf16,
        Stored::I32 => Dtype::I32,
        Stored::U32 => Dtype::U32,
        Stored::I16 => Dtype::I16,
        Stored::U16 => Dtype::U16,
        Stored::I8 => Dtype::I8,
        Stored::U8 => Dtype::U8,
        other => return Err(format!("{role} is stored as {other:?}").into()),
    };
    Ok(Part::new(dtype, view.shape(), view.data().to_vec()))
}

/// The weight of a case: its format by the attributes, its tensors by role.
pub fn packed_of(attrs: &Attrs, parts: BTreeMap<String, Part<'static>>) -> Result<Packed<'static>, gristmill::Error> {
    let size = |name: &str| match attrs.0.get(name) {
        Some(Value::Number(v)) => *v as usize,
        _ => 0,
    };
    let format = match attrs.0.get("format") {
        Some(Value::Text(name)) => Format::parse(name, attrs)?,
        _ => Format::parse("", attrs)?,
    };
    Packed::new(format, size("n"), size("k"), parts)
}

/// How outputs are compared.
#[derive(Clone, Copy)]
pub enum Compare {
    /// Within `atol + rtol·|want| + of_largest·max|want|`.
    Close {
        rtol: f64,
        atol: f64,
        of_largest: f64,
    },
    Exact,
}

impl Compare {
    /// `compare` of the metadata.
    pub fn of(json: &str) -> Result<Self, Failed> {
        let value: serde_json::Value = serde_json::from_str(json)?;
        let number = |name: &str| value[name].as_f64().ok_or_else(|| Failed::from(format!("compare has no {name}")));
        match value["mode"].as_str() {
            Some("close") => Ok(Self::Close { rtol: number("rtol")?, atol: number("atol")?, of_largest: 0.0 }),
            Some("exact") => Ok(Self::Exact),
            other => Err(format!("compare mode {other:?}").into()),
        }
    }

    /// For plans that round operands to f16, for which the files do not allow: by 2^-9 of the largest output as well. What such a plan loses is
    /// judged more closely, by the operands themselves, in `tests/correctness.rs`.
    pub fn of_rounded_operands(self) -> Self {
        match self {
            Self::Close { rtol, atol, .. } => Self::Close { rtol, atol, of_largest: 2f64.powi(-9) },
            Self::Exact => self,
        }
    }

    /// The output called `what` is what it should be.
    pub fn check(&self, what: &str, got: &[f32], want: &[f32]) -> Result<(), Failed> {
        if got.len() != want.len() {
            return Err(format!("{what} has {} elements, not {}", got.len(), want.len()).into());
        }
        let largest = want.iter().map(|v| f64::from(v.abs())).filter(|v| v.is_finite()).fold(0.0, f64::max);
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let (g, w) = (f64::from(*got), f64::from(*want));
            let same = got == want || (got.is_nan() && want.is_nan());
            let ok = same
                || match self {
                    Self::Exact => false,
                    Self::Close { rtol, atol, of_largest } => {
                        (g - w).abs() <= atol + rtol * w.abs() + of_largest * largest
                    }
                };
            if !ok {
                return Err(format!("{what}[{i}] is {g:?}, not {w:?}").into());
            }
        }
        Ok(())
    }
}
