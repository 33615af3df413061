//! Weight formats on the CPU: the golden `dequantize` cases, what errors say, encoding, and that no file makes a codec panic.
//!
//! Runs the files of `tests/golden/dequantize` and of every directory in `GRISTMILL_GOLDEN=dir[:dir]`, one named test each; of `linear` cases
//! only that their weights are accepted, or not. No GPU is needed.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by it, and says why")]

mod golden_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use golden_file::{Compare, attrs_of, packed_of, part_of};
use gristmill::formats::{Dtype, Format, Group, Packed, Part};
use gristmill::ops::linear::{Dequantize, Encode, Linear};
use gristmill::proof::{Attrs, Value};
use gristmill::{Caps, Elem, Op as _, Problem as _, Tensor, Weight};
use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::tensor::SafeTensors;

type Parts = BTreeMap<String, Part<'static>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let files = match golden_file::all() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("formats: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = vec![
        Trial::test("every_format_and_error_is_among_our_files", every_format_and_error_is_among_our_files),
        Trial::test("errors_name_format_tensor_rule_and_values", errors_name_format_tensor_rule_and_values),
        Trial::test("numbers_are_judged_when_a_weight_is_made", numbers_are_judged_when_a_weight_is_made),
        Trial::test("what_cannot_be_encoded_is_an_error", what_cannot_be_encoded_is_an_error),
        Trial::test("codes_that_only_pad_are_not_read", codes_that_only_pad_are_not_read),
        Trial::test("the_readme_has_the_table_of_formats", the_readme_has_the_table_of_formats),
    ];
    for name in encoded() {
        trials.push(Trial::test(format!("encode/{name}"), move || encode(name)));
    }
    for name in ROUNDED {
        trials.push(Trial::test(format!("encode_edges/{name}"), move || edges(name)));
        trials.push(Trial::test(format!("encode_exact/{name}"), move || exact(name)));
    }
    for (name, path) in files {
        let op = name.split('/').next().unwrap_or_default().to_owned();
        if op == "dequantize" {
            let (garbled, file) = (format!("garbled/{name}"), path.clone());
            trials.push(Trial::test(name, move || golden(&path)));
            trials.push(Trial::test(garbled, move || garble(&file)));
        } else if op == "linear" {
            trials.push(Trial::test(name, move || of_linear(&path)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

// ---- golden files

/// A case as it stands in its file.
struct File {
    attrs: Attrs,
    compare: Compare,
    expect_error: Option<String>,
    parts: Parts,
    want: Option<Vec<f32>>,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failed> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let meta = header.metadata().as_ref().ok_or("no __metadata__")?;
        let field = |name: &str| meta.get(name).map(String::as_str).ok_or_else(|| Failed::from(format!("no {name}")));
        let (mut parts, mut want) = (Parts::new(), None);
        for (role, view) in file.tensors() {
            if role == "expect.w" {
                want =
                    Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
            } else if !role.starts_with("expect.") {
                let part = part_of(&role, &view)?;
                parts.insert(role, part);
            }
        }
        Ok(Self {
            attrs: attrs_of(field("attrs")?)?,
            compare: Compare::of(field("compare")?)?,
            expect_error: meta.get("expect_error").cloned(),
            parts,
            want,
        })
    }

    /// One of the project's own.
    fn own(name: &str) -> Result<Self, Failed> {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/dequantize/{name}.safetensors")))
    }

    fn size(&self, name: &str) -> usize {
        match self.attrs.0.get(name) {
            Some(Value::Number(v)) => *v as usize,
            _ => 0,
        }
    }

    fn format(&self) -> Result<Format, gristmill::Error> {
        match self.attrs.0.get("format") {
            Some(Value::Text(name)) => Format::parse(name, &self.attrs),
            _ => Format::parse("", &self.attrs),
        }
    }

    fn packed(&self) -> Result<Packed<'static>, gristmill::Error> {
        packed_of(&self.attrs, self.parts.clone())
    }
}

fn golden(path: &Path) -> Result<(), Failed> {
    let file = File::read(path)?;
    if let Some(reason) = &file.expect_error {
        return match file.packed() {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("no error, though {reason}").into()),
        };
    }
    let (packed, want) = (file.packed()?, file.want.as_deref().ok_or("no expect.w")?);
    let got = packed.decode();
    file.compare.check("w", &got, want)?;
    // Rows by themselves, last first, into a place that held something else.
    let mut row = vec![f32::NAN; packed.k()];
    for n in (0..packed.n()).rev() {
        packed.decode_row(n, &mut row)?;
        let all = &got[n * packed.k()..][..packed.k()];
        if row.iter().zip(all).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(format!("row {n} by itself differs").into());
        }
    }
    if packed.decode_row(packed.n(), &mut row).is_ok() || packed.decode_row(0, &mut row[1..]).is_ok() {
        return Err("a row that is not there is decoded".into());
    }
    let name = packed.format();
    if name.encodes() && !packed.parts().keys().any(|role| role.starts_with("sparse.")) {
        again(name, &got, &packed)?;
    }
    Ok(())
}

/// Formats for which what has been encoded is encoded again to the same values: there the scale is that of the largest code.
const STABLE: [&str; 9] =
    ["dense", "gguf.q4_0", "gguf.q5_0", "gguf.q8_0", "gguf.mxfp4", "gguf.tq1_0", "gguf.tq2_0", "bnb.nf4", "bnb.fp4"];

/// Decoded numbers can be encoded, and in the formats where that holds, are then what they were.
fn again(format: Format, values: &[f32], packed: &Packed<'_>) -> Result<(), Failed> {
    if values.iter().any(|v| !v.is_finite()) {
        return Ok(());
    }
    let once = Packed::encode(format, packed.n(), packed.k(), values)?.decode();
    let twice = Packed::encode(format, packed.n(), packed.k(), &once)?.decode();
    if STABLE.contains(&format.name()) {
        Compare::Exact.check("encoded twice", &twice, &once)?;
    }
    Ok(())
}

/// The weight of a `linear` case is accepted, unless the fault of the case is in it.
fn of_linear(path: &Path) -> Result<(), Failed> {
    let mut file = File::read(path)?;
    let known = ["none", "relu", "gelu", "gelu_tanh", "silu"];
    let activation = file.attrs.0.remove("activation");
    file.attrs.0.remove("act_bits");
    let elsewhere = [
        activation.is_some_and(|a| !known.iter().any(|k| a == Value::from(*k))),
        file.parts.remove("x").is_none_or(|x| x.shape.get(1) != Some(&file.size("k"))),
        file.parts.remove("b").is_some_and(|b| b.shape != [file.size("n")]),
    ];
    match (file.packed(), &file.expect_error) {
        (Ok(_), Some(reason)) if !elsewhere.contains(&true) => Err(format!("no error, though {reason}").into()),
        (Err(error), None) => Err(error.into()),
        _ => Ok(()),
    }
}

fn every_format_and_error_is_among_our_files() -> Result<(), Failed> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dequantize");
    let (mut formats, mut errors, mut bytes) = (BTreeSet::new(), 0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        bytes += std::fs::metadata(&path)?.len();
        let file = File::read(&path)?;
        match file.expect_error {
            None => _ = formats.insert(file.format()?.name()),
            Some(_) => errors += 1,
        }
    }
    let missing: Vec<_> = Format::NAMES.iter().filter(|(name, _)| !formats.contains(name)).collect();
    if !missing.is_empty() || errors < 4 || bytes > 700_000 {
        return Err(format!("{missing:?} have no file; {errors} errors; {bytes} bytes").into());
    }
    Ok(())
}

// ---- errors

/// One fault: what is done to a good file, and words that the error must have.
type Fault = (&'static str, fn(&mut File), &'static [&'static str]);

fn part<'a>(file: &'a mut File, name: &str) -> &'a mut Part<'static> {
    file.parts.get_mut(name).unwrap_or_else(|| panic!("the file has no {name}"))
}

fn reshape(file: &mut File, name: &str, shape: &[usize]) {
    let part = part(file, name);
    part.shape = shape.to_vec();
    let bytes = part.shape.iter().product::<usize>() * part.dtype.bytes();
    part.bytes.to_mut().resize(bytes, 0);
}

fn set(file: &mut File, name: &str, value: impl Into<Value>) {
    file.attrs.0.insert(name.to_owned(), value.into());
}

fn put_index(file: &mut File, name: &str, at: usize, index: i32) {
    part(file, name).bytes.to_mut()[4 * at..4 * at + 4].copy_from_slice(&index.to_le_bytes());
}

const FAULTS: &[Fault] = &[
    ("dense-sp1-n3-k33", |f| set(f, "format", "int3.magic"), &["format", "int3.magic"]),
    ("dense-sp1-n3-k33", |f| set(f, "format", true), &["format", "name"]),
    ("dense-sp1-n3-k33", |f| set(f, "bits", 4.0), &["dense", "bits"]),
    ("dense-sp1-n3-k33", |f| set(f, "n", 0.0), &["dense", "N = 0"]),
    ("dense-sp1-n3-k33", |f| set(f, "k", 1e18), &["dense", "N = 3", "K = 1000000000000000000"]),
    ("dense-sp1-n3-k33", |f| reshape(f, "w", &[3, 32]), &["dense", "w ", "[3, 32]", "[3, 33]"]),
    ("dense-sp1-n3-k33", |f| part(f, "w").dtype = Dtype::I32, &["dense", "w ", "i32", "f32"]),
    ("dense-sp1-n3-k33", |f| _ = part(f, "w").bytes.to_mut().pop(), &["dense", "w ", "395 bytes", "[3, 33]"]),
    ("dense-sp1-n3-k33", |f| part(f, "w").shape = vec![usize::MAX, 8], &["dense", "w ", "396 bytes"]),
    ("dense-sp1-n3-k33", |f| _ = f.parts.remove("w"), &["dense", "w is missing"]),
    ("dense-sp1-n3-k33", |f| _ = f.parts.remove("sparse.col"), &["dense", "sparse.col is missing"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.col", 0, 33), &["dense", "sparse.col[0] = 33", "33"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.row", 0, 3), &["dense", "sparse.row[0] = 3", "3"]),
    ("dense-sp1-n3-k33", |f| put_index(f, "sparse.row", 0, -1), &["dense", "sparse.row[0] = -1"]),
    ("dense-sp1-n3-k33", |f| reshape(f, "sparse.value", &[2]), &["dense", "sparse.value", "[2]", "[1]"]),
    ("dense-n5-k1-random", |f| _ = f.parts.insert("v".into(), f.parts["w"].clone()), &["dense", "tensor v"]),
    ("gguf_q4_k-n1-k256-edge", |f| set(f, "k", 300.0), &["gguf.q4_k", "K = 300", "256"]),
    ("gguf_q4_0-n1-k32-edge", |f| reshape(f, "blocks", &[1, 17]), &["gguf.q4_0", "blocks", "[1, 17]", "[1, 18]"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "version", "marlin"), &["awq", "version", "marlin", "gemm"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "bits", 8.0), &["awq", "bits = 8", "4"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "n", 9.0), &["awq", "N = 9", "8"]),
    ("awq-g32-n8-k64-edge", |f| _ = f.attrs.0.remove("group"), &["awq", "group", "missing"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", 0.0), &["awq", "group = 0"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", -2.0), &["awq", "group = -2"]),
    ("awq-g32-n8-k64-edge", |f| set(f, "group", 32.5), &["awq", "group = 32.5"]),
    ("awq-g32-n8-k64-edge", |f| reshape(f, "scales", &[1, 8]), &["awq", "scales", "[1, 8]", "[2, 8]"]),
    ("awq-gemv-g64-n8-k256-edge", |f| reshape(f, "qzeros", &[8, 0]), &["awq", "qzeros", "[8, 0]", "at least 1"]),
    ("awq-gemv_fast-g64-n8-k256-edge", |f| set(f, "k", 96.0), &["awq", "K = 96", "64"]),
    ("awq-gemv_fast-g64-n8-k256-edge", |f| reshape(f, "scales", &[3, 8]), &["awq", "scales", "[3, 8]", "at least 4"]),
    (
        "gptq-b2-g32-v2-n16-k64-edge",
        |f| set(f, "checkpoint_format", "marlin"),
        &["gptq", "checkpoint_format", "marlin"],
    ),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| set(f, "bits", 5.0), &["gptq", "bits = 5"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| set(f, "k", 65.0), &["gptq", "K·bits = 130", "32"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| put_index(f, "g_idx", 5, 2), &["gptq", "g_idx[5] = 2", "2"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| put_index(f, "g_idx", 5, -7), &["gptq", "g_idx[5] = -7"]),
    ("gptq-b2-g32-v2-n16-k64-edge", |f| _ = f.parts.remove("qzeros"), &["gptq", "qzeros is missing"]),
    ("mlx_affine-b4-g32-n3-k64-random", |f| set(f, "bits", 7.0), &["mlx.affine", "bits = 7"]),
    ("mlx_affine-b4-g32-n3-k64-random", |f| set(f, "group", 16.0), &["mlx.affine", "group = 16"]),
    (
        "mlx_affine-b4-g32-n3-k64-random",
        |f| reshape(f, "biases", &[3, 1]),
        &["mlx.affine", "biases", "[3, 1]", "[3, 2]"],
    ),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "axis", 2.0), &["hqq", "axis = 2"]),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "bits", 5.0), &["hqq", "bits = 5"]),
    ("hqq-b3-g16-n6-k40-random", |f| set(f, "group", 7.0), &["hqq", "N·K = 240", "7"]),
    ("hqq-b2-g32-n16-k48-edge", |f| set(f, "n", 3.0), &["hqq", "N·K = 144", "32"]),
    ("hqq-b2-g32-n16-k48-edge", |f| set(f, "n", 4.0), &["hqq", "6 rows", "4"]),
    ("bitnet-n4-k33-edge", |f| set(f, "n", 10.0), &["bitnet", "N = 10", "4"]),
    ("bitnet-n4-k33-edge", |f| set(f, "scale_is_inverse", 1.0), &["bitnet", "scale_is_inverse"]),
    (
        "fp8_e4m3-row-n1-k33-edge",
        |f| reshape(f, "weight_scale", &[7, 1]),
        &["fp8.e4m3", "weight_scale", "[7, 1]", "[1]"],
    ),
    ("fp8_e4m3-row-n1-k33-edge", |f| set(f, "block", 128.0), &["fp8.e4m3", "block", "128"]),
    (
        "fp8_e4m3-row-n1-k33-edge",
        |f| _ = f.attrs.0.insert("block".into(), Value::List(vec![0.0, 8.0])),
        &["fp8.e4m3", "block = [0, 8]"],
    ),
    (
        "int8-zero-n5-k70-random",
        |f| reshape(f, "weight_zero_point", &[1]),
        &["int8", "weight_zero_point", "[1]", "[5, 1]"],
    ),
    ("bnb_nf4-n1-k33-edge", |f| reshape(f, "absmax", &[2]), &["bnb.nf4", "absmax", "[2]", "[1]"]),
    ("bnb_nf4-n1-k33-edge", |f| set(f, "blocksize", 0.0), &["bnb.nf4", "blocksize = 0"]),
    ("bnb_fp4-nested-n5-k64-edge", |f| reshape(f, "map", &[16]), &["bnb.fp4", "map", "[16]", "[256]"]),
    ("bnb_fp4-nested-n5-k64-edge", |f| _ = f.parts.remove("offset"), &["bnb.fp4", "offset is missing"]),
    ("onnx_bnb4-b16-n1-k33-edge", |f| set(f, "quant_type", 2.0), &["onnx.bnb4", "quant_type = 2"]),
    ("onnx_nbits-f32h-n3-k100-random", |f| set(f, "block", 24.0), &["onnx.nbits", "block = 24"]),
    ("onnx_nbits-f32h-n3-k100-random", |f| set(f, "bits", 3.0), &["onnx.nbits", "bits = 3"]),
    (
        "onnx_nbits-f32h-n3-k100-random",
        |f| reshape(f, "B", &[3, 3, 16]),
        &["onnx.nbits", "B ", "[3, 3, 16]", "[3, 4, 16]"],
    ),
    ("leanquant-b3-n1-k66-edge", |f| set(f, "k", 67.0), &["leanquant", "K = 67", "2"]),
    ("leanquant-b3-n1-k66-edge", |f| set(f, "bits", 4.0), &["leanquant", "quant_grid", "[1, 8]", "[1, 16]"]),
    ("owq-n2-k32-random", |f| put_index(f, "outlieridx", 0, 32), &["owq", "outlieridx[0] = 32", "32"]),
    (
        "owq-n2-k32-random",
        |f| (0..2).for_each(|at| put_index(f, "outlieridx", at, 3)),
        &["owq", "outlieridx[1] = 3", "twice"],
    ),
    ("owq-n2-k32-random", |f| set(f, "n", 3.0), &["owq", "N = 3", "2"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "cols", 8.0), &["bcq", "K = 33", "8"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "cols", 0.0), &["bcq", "cols = 0"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "group", 5.0), &["bcq", "N = 32", "5"]),
    ("bcq-g16-c1-n32-k33-random", |f| set(f, "bits", 0.0), &["bcq", "bits = 0"]),
    ("group_ic-b3-gall1-n3-k40-random", |f| reshape(f, "qzeros", &[1, 3]), &["group_ic", "qzeros", "[1, 3]", "[1, 4]"]),
    ("lut16-n3-k33-random", |f| reshape(f, "table", &[2, 16]), &["lut16", "table", "[2, 16]", "[16] or [3, 16]"]),
    ("sparse24-n3-k36-random", |f| set(f, "k", 38.0), &["sparse24", "K = 38", "4"]),
];

fn errors_name_format_tensor_rule_and_values() -> Result<(), Failed> {
    for (at, (name, fault, words)) in FAULTS.iter().enumerate() {
        let mut file = File::own(name)?;
        file.packed()?;
        fault(&mut file);
        let said = match file.packed() {
            Ok(_) => return Err(format!("fault {at} of {name}: no error; expected {words:?}").into()),
            Err(error) => error.to_string(),
        };
        if let Some(word) = words.iter().find(|word| !said.contains(**word)) {
            return Err(format!("fault {at} of {name}: `{said}` does not say `{word}`").into());
        }
    }
    Ok(())
}

/// Numbers may come from elsewhere than [`Format::parse`].
fn numbers_are_judged_when_a_weight_is_made() -> Result<(), Failed> {
    use gristmill::formats::{awq::Awq, bnb::Bnb, hqq::Hqq, mlx_affine::MlxAffine, onnx::OnnxNbits};
    let wrong = [
        Format::Awq(Awq { group: Group::Of(0), ..Awq::default() }),
        Format::BnbNf4(Bnb { blocksize: 0, blocksize2: 0 }),
        Format::Hqq(Hqq { bits: 0, ..Hqq::default() }),
        Format::MlxAffine(MlxAffine { bits: 32, group: 0 }),
        Format::OnnxNbits(OnnxNbits { bits: 0, block: 0 }),
    ];
    for format in wrong {
        if Packed::new(format, 8, 64, Parts::new()).is_ok() || Packed::encode(format, 8, 64, &[0.0; 512]).is_ok() {
            return Err(format!("{format:?} is accepted").into());
        }
    }
    // A block is longer than a row, and 64 rows of them would be a gigabyte.
    let long = Format::OnnxNbits(OnnxNbits { bits: 8, block: 1 << 24 });
    let said = Packed::encode(long, 64, 8, &[0.0; 512]).err().map(|e| e.to_string()).unwrap_or_default();
    if said != "onnx.nbits: 64 rows of K = 8 would be stored as 16777216 numbers each" {
        return Err(format!("blocks of 2^24: `{said}`").into());
    }
    Ok(())
}

/// What stands in places that nothing is said of makes no difference.
fn codes_that_only_pad_are_not_read() -> Result<(), Failed> {
    let mut file = File::own("leanquant-b3-n1-k66-edge")?;
    let before = file.packed()?.decode();
    part(&mut file, "weight_codes").bytes.to_mut().iter_mut().for_each(|byte| *byte |= 0x88);
    Compare::Exact.check("unused bits", &file.packed()?.decode(), &before)?;

    let mut file = File::own("onnx_nbits-f32h-n3-k100-random")?;
    let before = file.packed()?.decode();
    // Of the fourth block of 16 bytes only four codes, 2 bytes, are of K = 100.
    for row in part(&mut file, "B").bytes.to_mut().chunks_exact_mut(64) {
        row[50..].fill(0xff);
    }
    Compare::Exact.check("codes beyond K", &file.packed()?.decode(), &before)
}

// ---- encoding

/// Formats whose encoding is bound in [`encode`] itself.
const PLAIN: [&str; 17] = [
    "dense",
    "int8",
    "gguf.q4_0",
    "gguf.q4_1",
    "gguf.q5_0",
    "gguf.q5_1",
    "gguf.q8_0",
    "gguf.tq1_0",
    "gguf.tq2_0",
    "gguf.mxfp4",
    "bnb.nf4",
    "bnb.fp4",
    "onnx.bnb4",
    "mlx.affine",
    "fp8.e4m3",
    "fp8.e5m2",
    "fp8.e4m3 in blocks",
];

/// Those whose bounds are in [`rounded_bound`].
const ROUNDED: [&str; 21] = [
    "gguf.q2_k",
    "gguf.q3_k",
    "gguf.q4_k",
    "gguf.q5_k",
    "gguf.q6_k",
    "gguf.iq4_nl",
    "gguf.iq4_xs",
    "gguf.nvfp4",
    "awq",
    "gptq",
    "group_ic",
    "onnx.nbits",
    "hqq",
    "mlx.mxfp4",
    "mlx.mxfp8",
    "mlx.nvfp4",
    "bitnet",
    "sparse24",
    "bcq",
    "lut16",
    "owq",
];

/// Every format that encodes, and a layout or two more.
fn encoded() -> impl Iterator<Item = &'static str> {
    PLAIN.into_iter().chain(ROUNDED)
}

/// Numbers as in weights, in the same order each time: of all magnitudes, with zeros, outliers, and groups of one value.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let mut values: Vec<f32> = (0..count).map(|_| (0..6).map(|_| random.unit() - 0.5).sum::<f32>() * 0.02).collect();
    for group in values.chunks_mut(32) {
        match random.below(12) {
            0 => group.fill(0.0),
            1 => group.fill(-0.37),
            2 => group.iter_mut().for_each(|v| *v = v.abs() + 1.0),
            3 => group.iter_mut().for_each(|v| *v *= 1e3),
            4 => group.iter_mut().for_each(|v| *v *= 1e-3),
            5 => group[random.below(group.len())] = 3.0,
            _ => {}
        }
    }
    values
}

fn attrs(list: &[(&str, f64)]) -> Attrs {
    list.iter().fold(Attrs::default(), |attrs, (name, value)| attrs.with(name, *value))
}

/// No value is further from what it was than the rule of the format allows: half a step, a whole one where the code is at its end, and
/// what the rounding of the scale to f16 adds.
fn encode(name: &str) -> Result<(), Failed> {
    let many = numbers(name);
    let (n, k) = match name {
        // One group, over which each bound sums.
        "bitnet" => (16, 48),
        _ if ROUNDED.contains(&name) => (64, 512),
        _ => (37, 512),
    };
    for (seed, attrs) in (1..).zip(&many) {
        let format = Format::parse(name.split(' ').next().unwrap_or_default(), attrs)?;
        let values = values(n * k, seed);
        let packed = held(name, format, n, k, &values)?;
        again(format, &packed.decode(), &packed)?;
        // The smallest numbers, and the largest that f32 has.
        let n = least(format).0;
        for extreme in [1e-45f32, 1e-38, f32::MAX] {
            let values: Vec<f32> = (0..n * 512).map(|i| extreme * (1.0 - (i % 512) as f32 / 300.0)).collect();
            let packed = Packed::encode(format, n, 512, &values)?;
            if packed.decode().iter().any(|v| v.is_nan()) {
                return Err(format!("{format:?}: {extreme} makes NaN").into());
            }
        }
    }
    Ok(())
}

/// Encodes, and sees that each value comes back within its bound.
fn held(name: &str, format: Format, n: usize, k: usize, values: &[f32]) -> Result<Packed<'static>, Failed> {
    let packed = Packed::encode(format, n, k, values)?;
    let groups = groups(format, n, k);
    for (i, (v, got)) in values.iter().zip(packed.decode()).enumerate() {
        let bound = bound(name, &packed, values, i, &groups);
        let (v, got) = (f64::from(*v), f64::from(got));
        if got.is_nan() || (got - v).abs() > bound + 1e-7 * v.abs() {
            return Err(format!("{format:?}: {v} at {i} came back as {got}; the bound is {bound}").into());
        }
    }
    nearest_codes(&packed, values)?;
    Ok(packed)
}

/// The numbers with which a format is tried.
fn numbers(name: &str) -> Vec<Attrs> {
    let bits_and_groups = |bits: &[f64], groups: &[f64]| -> Vec<Attrs> {
        bits.iter().flat_map(|b| groups.iter().map(|g| attrs(&[("bits", *b), ("group", *g)]))).collect()
    };
    match name {
        "awq" => ["gemm", "gemv", "gemv_fast"]
            .iter()
            .flat_map(|version| [32., 100., -1.].map(|g| attrs(&[("group", g)]).with("version", *version)))
            .collect(),
        "gptq" => ["gptq", "gptq_v2"]
            .iter()
            .flat_map(|version| {
                let all = bits_and_groups(&[2., 3., 4., 8.], &[32., 100., -1.]);
                all.into_iter().map(|attrs| attrs.with("checkpoint_format", *version))
            })
            .collect(),
        "group_ic" => bits_and_groups(&[2., 3., 4., 8.], &[16., 24., -1.]),
        "onnx.nbits" => {
            [2., 4., 8.].iter().flat_map(|b| [16., 128.].map(|g| attrs(&[("bits", *b), ("block", g)]))).collect()
        }
        "hqq" => (0..2)
            .flat_map(|axis| {
                let all = bits_and_groups(&[1., 2., 3., 4., 8.], &[32., 64., -1.]);
                all.into_iter().map(move |attrs| attrs.with("axis", f64::from(axis)))
            })
            .collect(),
        "bitnet" => [true, false].map(|inverse| Attrs::default().with("scale_is_inverse", inverse)).to_vec(),
        "bcq" => [(1., 8., 8.), (3., -1., 8.), (4., 32., 1.)]
            .map(|(bits, group, cols)| attrs(&[("bits", bits), ("group", group), ("cols", cols)]))
            .to_vec(),
        "lut16" => [32., 100., -1.].map(|g| attrs(&[("group", g)])).to_vec(),
        "owq" => [3., 4.].map(|bits| attrs(&[("bits", bits)])).to_vec(),
        "mlx.affine" => bits_and_groups(&[2., 3., 4., 5., 6., 8.], &[32., 64., 128.]),
        "onnx.bnb4" => (0..2).map(|t| attrs(&[("quant_type", f64::from(t)), ("block", 32.)])).collect(),
        "fp8.e4m3 in blocks" => {
            let mut attrs = Attrs::default();
            attrs.0.insert("block".into(), Value::List(vec![2.0, 48.0]));
            vec![attrs]
        }
        _ => vec![Attrs::default()],
    }
}

/// How far value i may be from what it was.
fn bound(name: &str, packed: &Packed<'_>, values: &[f32], i: usize, groups: &[Vec<usize>]) -> f64 {
    let f = f64::from;
    let group = |size: usize| &values[i / size * size..][..size];
    let amax = |values: &[f32]| values.iter().fold(0.0f64, |most, v| most.max(f(*v).abs()));
    let least = |values: &[f32]| values.iter().fold(f64::INFINITY, |m, v| m.min(f(*v)));
    let most = |values: &[f32]| values.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f(*v)));
    let number = |name: &str, i: usize| {
        let bytes = &packed.part(name).unwrap_or_else(|| panic!("no {name}")).bytes[4 * i..];
        f(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let v = f(values[i]);
    // Half a unit in the last place of f16, relative, and half its smallest subnormal.
    let (ulp16, tiny16) = (2f64.powi(-11), 2f64.powi(-25));
    let nearest = |table: &[f32; 16], block: usize| {
        let scale = number("absmax", i / block);
        // Division and products are in f32.
        table.iter().map(|entry| (f(*entry) * scale - v).abs()).fold(f64::INFINITY, f64::min) + scale * 1e-6
    };
    match name {
        "dense" => 0.0,
        "int8" => amax(&values[i / 512 * 512..][..512]) / 127.0 * 0.5001,
        "gguf.q4_0" | "gguf.q5_0" => {
            let half = if name == "gguf.q4_0" { 8.0 } else { 16.0 };
            let (all, d) = (amax(group(32)), amax(group(32)) / half);
            let step = if v.abs() > (half - 1.0) * d { 1.0 } else { 0.5001 };
            step * d + all * ulp16 + half * tiny16
        }
        "gguf.q4_1" | "gguf.q5_1" => {
            let codes = if name == "gguf.q4_1" { 15.0 } else { 31.0 };
            let (low, range) = (least(group(32)), most(group(32)) - least(group(32)));
            range / codes * 0.5001 + (range + low.abs()) * ulp16 + (codes + 1.0) * tiny16
        }
        "gguf.q8_0" => amax(group(32)) * (0.5001 / 127.0 + ulp16) + 127.0 * tiny16,
        "gguf.tq1_0" | "gguf.tq2_0" => amax(group(256)) * (0.5001 + ulp16) + tiny16,
        "gguf.mxfp4" => {
            let scale = 2f64.powi((amax(group(32)).log2().floor() as i32).max(-125) - 2);
            match v.abs() / scale {
                0.0..2.0 => 0.25 * scale,
                2.0..4.0 => 0.5 * scale,
                4.0..6.0 => scale,
                _ => v.abs() - 6.0 * scale,
            }
        }
        "bnb.nf4" => nearest(&nf4(), 64),
        "bnb.fp4" => nearest(&fp4(), 64),
        "onnx.bnb4" => nearest(&nf4(), 32).max(nearest(&fp4(), 32)),
        "mlx.affine" => {
            let words = packed.part("scales").map_or(1, |s| s.shape[1]);
            let (scale, bias) = (number("scales", i * words / 512), number("biases", i * words / 512));
            let Format::MlxAffine(numbers) = packed.format() else { panic!("another format") };
            // The edge is put on a code by a change of the scale, which may leave up to one code too few at the other end.
            let beyond = (v - bias) / scale - f64::from((1 << numbers.bits) - 1);
            scale.abs() * (if beyond > 0.5 { beyond.min(1.0) } else { 0.5 }) * 1.0001 + bias.abs() * 1e-6
        }
        "fp8.e4m3" => v.abs() * 0.0626 + number("weight_scale", i / 512) * 2f64.powi(-10),
        "fp8.e5m2" => v.abs() * 0.126 + number("weight_scale", i / 512) * 2f64.powi(-17),
        "fp8.e4m3 in blocks" => {
            v.abs() * 0.0626 + number("weight_scale", i / 1024 * 11 + i % 512 / 48) * 2f64.powi(-10)
        }
        _ => rounded_bound(packed, values, i, groups),
    }
}

/// The least N and K that a format has.
fn least(format: Format) -> (usize, usize) {
    use gristmill::formats::awq::AwqVersion;
    match format {
        Format::Q2K | Format::Q3K | Format::Q4K | Format::Q5K | Format::Q6K | Format::Iq4Xs => (1, 256),
        Format::Iq4Nl | Format::MlxMxfp4 | Format::MlxMxfp8 => (1, 32),
        Format::Nvfp4 => (1, 64),
        Format::MlxNvfp4 => (1, 16),
        Format::Sparse24 => (1, 4),
        Format::Awq(f) => match f.version {
            AwqVersion::Gemm => (8, 1),
            AwqVersion::Gemv => (1, 8),
            AwqVersion::GemvTiled => (4, 64),
        },
        Format::Gptq(f) => match f.bits {
            2 => (16, 16),
            3 => (32, 32),
            4 => (8, 8),
            _ => (4, 4),
        },
        Format::Hqq(f) => match f.group {
            Group::All => (8, 8),
            Group::Of(group) => (8, group as usize),
        },
        Format::Bitnet(_) => (4, 1),
        Format::Bcq(f) => (32, f.cols as usize),
        Format::Owq(f) => (2, if f.bits == 3 { 32 } else { 8 }),
        _ => (1, 1),
    }
}

/// The group of value i, and the numbers of groups that it counts among; by the words of `tests/golden/FORMAT.md`.
fn group_of(format: Format, n: usize, k: usize, i: usize) -> usize {
    let along_k = |size: usize| i / k * k.div_ceil(size) + i % k / size;
    let size = |group: Group, all: usize| match group {
        Group::All => all,
        Group::Of(size) => size as usize,
    };
    match format {
        Format::Q2K | Format::Q3K | Format::Q6K | Format::Nvfp4 | Format::MlxNvfp4 => i / 16,
        Format::Q4K | Format::Q5K | Format::Iq4Nl | Format::Iq4Xs | Format::MlxMxfp4 | Format::MlxMxfp8 => i / 32,
        Format::Sparse24 => i / 4,
        Format::Awq(f) => along_k(size(f.group, k)),
        Format::Gptq(f) => along_k(size(f.group, k)),
        Format::Lut16(f) => along_k(size(f.group, k)),
        Format::OnnxNbits(f) => along_k(f.block as usize),
        Format::Owq(_) => along_k(k),
        Format::GroupIc(f) => i / k / size(f.group, n) * k + i % k,
        Format::Hqq(f) if f.axis == 1 => i / size(f.group, k),
        Format::Hqq(f) => i % (n * k / size(f.group, k)),
        Format::Bcq(f) => i % k / f.cols as usize * (n / size(f.group, n)) + i / k / size(f.group, n),
        Format::Bitnet(_) => 0,
        other => panic!("no groups of {other}"),
    }
}

/// The members of each group, in the formats of [`ROUNDED`].
fn groups(format: Format, n: usize, k: usize) -> Vec<Vec<usize>> {
    if !ROUNDED.contains(&format.name()) {
        return Vec::new();
    }
    let mut groups = Vec::new();
    for i in 0..n * k {
        let group = group_of(format, n, k, i);
        if groups.len() <= group {
            groups.resize(group + 1, Vec::new());
        }
        groups[group].push(i);
    }
    groups
}

/// Bits, the least zero, and whether the scale is f16, in the formats of the affine rule.
fn affine(format: Format) -> Option<(u32, f64, bool)> {
    match format {
        Format::Awq(_) => Some((4, 0.0, true)),
        Format::Gptq(f) => Some((f.bits, f64::from(u8::from(f.zero_less_one)), true)),
        Format::GroupIc(f) => Some((f.bits, 0.0, true)),
        Format::Owq(f) => Some((f.bits, 0.0, true)),
        Format::OnnxNbits(f) => Some((f.bits, 0.0, false)),
        _ => None,
    }
}

/// The codes of a sub-block about a least value, or about 0: of such formats, the largest code or half of their number, the largest
/// scale, and the numbers of a sub-block.
fn sub_blocks(format: Format) -> Option<(bool, f64, f64, usize)> {
    match format {
        Format::Q2K => Some((true, 3.0, 15.0, 16)),
        Format::Q4K => Some((true, 15.0, 63.0, 32)),
        Format::Q5K => Some((true, 31.0, 63.0, 32)),
        Format::Q3K => Some((false, 4.0, 32.0, 16)),
        Format::Q6K => Some((false, 32.0, 128.0, 16)),
        Format::Iq4Xs => Some((false, 127.0, 32.0, 32)),
        _ => None,
    }
}

const KV: [f64; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];
const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// [`bound`], from the values alone: what half a step of the rule is, and what each number that is rounded when it is stored adds.
fn rounded_bound(packed: &Packed<'_>, values: &[f32], i: usize, groups: &[Vec<usize>]) -> f64 {
    let (format, n, k) = (packed.format(), packed.n(), packed.k());
    let v = f64::from(values[i]);
    let (ulp16, tiny16) = (2f64.powi(-11), 2f64.powi(-25));
    if let Some((about_least, most, limit, size)) = sub_blocks(format) {
        let block = &values[i / 256 * 256..][..256];
        let sub = i % 256 / size;
        let range = |values: &[f32]| {
            let all = values.iter().map(|v| f64::from(*v));
            (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max))
        };
        let ranges: Vec<_> = block.chunks_exact(size).map(range).collect();
        if about_least {
            let step = |(low, high): (f64, f64)| (high - low.min(0.0)) / most;
            let d = ranges.iter().map(|r| step(*r)).fold(0.0, f64::max) / limit;
            let m = ranges.iter().map(|r| -r.0.min(0.0)).fold(0.0, f64::max) / limit;
            // Half a step as stored; what the ends of the range lack, by the rounding of step and least value and of d and m.
            let half = (step(ranges[sub]) + d * 0.5) * 0.5;
            let ends = most * d * 0.5 + m * 0.5;
            return half * 1.001 + ends + limit * (most * d + m) * ulp16 + limit * (most + 1.0) * tiny16;
        }
        let peak = |(low, high): (f64, f64)| if -low > high { low } else { high };
        let step = peak(ranges[sub]).abs() / most;
        let d = ranges.iter().map(|r| peak(*r).abs()).fold(0.0, f64::max) / most / limit;
        let stored = most * limit * (d * ulp16 + tiny16);
        // The greatest code of a step is half a step or a whole one short; the greatest scale is one short.
        if most == 127.0 {
            let near = |sign: f64| KV.iter().map(|q| (q * step * sign - v).abs()).fold(f64::INFINITY, f64::min);
            let (low, high) = ranges[sub];
            let near = if -low == high { near(1.0).max(near(-1.0)) } else { near(-peak(ranges[sub]).signum()) };
            return near + 127.0 * d + stored + step * 1e-5;
        }
        let whole = if v.abs() > (most - 1.0) * step - most * d { 1.0 } else { 0.5 };
        return (step + d) * whole * 1.001 + most * d + stored;
    }
    let members = &groups[group_of(format, n, k, i)];
    let all = || members.iter().map(|j| f64::from(values[*j]));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let amax = (-low).max(high).max(0.0);
    let near = |table: &[f64], scale: f64| {
        table.iter().flat_map(|q| [q * scale, -q * scale]).map(|w| (w - v).abs()).fold(f64::INFINITY, f64::min)
    };
    if let Some((bits, least, f16)) = affine(format) {
        let most = f64::from((1u32 << bits) - 1);
        let high = high.max(0.0);
        let low = low.min(0.0).min(-high * least / (most - least));
        let step = (high - low) / most;
        let tiled = matches!(format, Format::Awq(f) if f.version == gristmill::formats::awq::AwqVersion::GemvTiled);
        let scale = if f16 { most * (step * ulp16 + tiny16) } else { 0.0 };
        let zero = if tiled { (step - low) * ulp16 + tiny16 } else { 0.0 };
        return step * 0.5 * 1.0001 + scale + zero;
    }
    match format {
        Format::Iq4Nl => {
            let near = |d: f64| KV.iter().map(|q| (q * d - v).abs()).fold(f64::INFINITY, f64::min);
            let (up, down) = (near(amax / 127.0), near(-amax / 127.0));
            let near = if -low == high {
                up.max(down)
            } else if -low > high {
                up
            } else {
                down
            };
            near + amax * (ulp16 + 1e-6) + 127.0 * tiny16
        }
        // A scale of 4 bits of precision; below 2^-6 in steps of 2^-9.
        Format::Nvfp4 | Format::MlxNvfp4 => near(&E2M1, amax / 6.0) + amax / 16.0 + 6.0 * 2f64.powi(-10),
        Format::MlxMxfp4 | Format::MlxMxfp8 => {
            let (emax, largest, bits) = if format == Format::MlxMxfp4 { (2, 6.0, 2) } else { (8, 448.0, 4) };
            let scale = 2f64.powi((amax.log2().floor() as i32).max(-126) - emax).max(2f64.powi(-127));
            let least_step = if format == Format::MlxMxfp4 { 0.25 } else { 2f64.powi(-10) };
            let over = v.abs() - largest * scale;
            if over > 0.0 { over } else { (v.abs() * 2f64.powi(-bits)).max(least_step * scale) }
        }
        Format::Hqq(f) => {
            let step = ((high - low) / f64::from((1u32 << f.bits) - 1)).max(amax / 65536.0);
            step * (0.5 + 1.0 / 256.0) + amax * 1e-6
        }
        Format::Bitnet(_) => {
            let mean = all().map(f64::abs).sum::<f64>() / members.len() as f64;
            near(&[0.0, 1.0], mean) + amax * 1e-6
        }
        Format::Sparse24 => {
            let before = |j: usize| {
                let other = f64::from(values[j]).abs();
                other > v.abs() || (other == v.abs() && j < i)
            };
            if members.iter().filter(|j| before(**j)).count() < 2 { 0.0 } else { v.abs() }
        }
        Format::Bcq(f) => {
            // | |r| − alpha | has no jumps, whichever way the sign of a small r falls.
            let mut left: Vec<f64> = all().map(f64::abs).collect();
            for _ in 0..f.bits {
                let alpha = left.iter().sum::<f64>() / left.len() as f64;
                left.iter_mut().for_each(|r| *r = (*r - alpha).abs());
            }
            members.iter().zip(&left).find(|(j, _)| **j == i).map_or(0.0, |(_, r)| *r) + amax * 1e-5
        }
        Format::Lut16(_) => {
            let table = nf4();
            let nearest = table.iter().map(|q| (f64::from(*q) * amax - v).abs()).fold(f64::INFINITY, f64::min);
            nearest + amax * 1e-6
        }
        other => panic!("no bound for {other}"),
    }
}

/// In blocks of GGUF, with the scales as they are stored, no other code is nearer: all codes are tried.
fn nearest_codes(packed: &Packed<'_>, values: &[f32]) -> Result<(), Failed> {
    /// Bytes of a block, and what is in each where all codes are c.
    type Plane = (std::ops::Range<usize>, fn(u8) -> u8);
    let (size, codes, planes): (usize, u8, &[Plane]) = match packed.format() {
        Format::Q2K => (84, 4, &[(16..80, |c| c * 0x55)]),
        Format::Q3K => (110, 8, &[(32..96, |c| (c & 3) * 0x55), (0..32, |c| c >> 2 & 1)]),
        Format::Q4K => (144, 16, &[(16..144, |c| c * 17)]),
        Format::Q5K => (176, 32, &[(48..176, |c| (c & 15) * 17), (16..48, |c| c >> 4)]),
        Format::Q6K => (210, 64, &[(0..128, |c| (c & 15) * 17), (128..192, |c| (c >> 4) * 0x55)]),
        Format::Iq4Nl => (18, 16, &[(2..18, |c| c * 17)]),
        Format::Iq4Xs => (136, 16, &[(8..136, |c| c * 17)]),
        Format::Nvfp4 => (36, 16, &[(4..36, |c| c * 17)]),
        format if affine(format).is_some_and(|(.., f16)| f16) => return nearest_steps(packed, values),
        _ => return Ok(()),
    };
    let one_bit = matches!(packed.format(), Format::Q3K | Format::Q5K);
    let blocks = packed.part("blocks").ok_or("no blocks")?;
    let mut least = vec![f32::INFINITY; values.len()];
    for c in 0..codes {
        let mut part = blocks.clone();
        for b in part.bytes.to_mut().chunks_exact_mut(size) {
            for (at, (bytes, fill)) in planes.iter().enumerate() {
                let fill = if one_bit && at == 1 { fill(c) * 255 } else { fill(c) };
                b[bytes.clone()].fill(fill);
            }
        }
        let parts = Parts::from([("blocks".to_owned(), Part::new(part.dtype, &part.shape, part.bytes.into_owned()))]);
        let all = Packed::new(packed.format(), packed.n(), packed.k(), parts)?.decode();
        least.iter_mut().zip(values.iter().zip(&all)).for_each(|(least, (v, w))| *least = least.min((v - w).abs()));
    }
    for (i, (v, got)) in values.iter().zip(packed.decode()).enumerate() {
        if (v - got).abs() > least[i] * (1.0 + 1e-4) + v.abs() * 1e-6 {
            return Err(format!("{}: {v} at {i} came back as {got}; {} is possible", packed.format(), least[i]).into());
        }
    }
    Ok(())
}

/// In formats of the affine rule with f16 scales: no value is further than half a step as stored, but those at the ends of their group.
fn nearest_steps(packed: &Packed<'_>, values: &[f32]) -> Result<(), Failed> {
    let (format, n, k) = (packed.format(), packed.n(), packed.k());
    let scales = packed.part("scales").ok_or("no scales")?;
    let decoded = packed.decode();
    for (group, members) in groups(format, n, k).iter().enumerate() {
        // Groups are counted row by row; `scales` is [g, n], but for `gemv` [n, g] with padding, and for `group_ic` [g, k].
        let along_n = matches!(format, Format::GroupIc(_));
        let per_row = groups_of_row(format, k);
        let at = match format {
            Format::Awq(f) if f.version == gristmill::formats::awq::AwqVersion::Gemv => {
                group / per_row * scales.shape[1] + group % per_row
            }
            _ if along_n => group,
            _ => group % per_row * n + group / per_row,
        };
        let step = f32::from(half::f16::from_le_bytes([scales.bytes[2 * at], scales.bytes[2 * at + 1]]));
        let all = members.iter().map(|i| decoded[*i]);
        let (low, high) = (all.clone().fold(f32::INFINITY, f32::min), all.fold(f32::NEG_INFINITY, f32::max));
        for i in members {
            let (v, got) = (values[*i], decoded[*i]);
            let end = (got == low && v < got) || (got == high && v > got);
            if !end && (v - got).abs() > step * 0.500_02 + v.abs() * 1e-6 {
                return Err(format!("{format:?}: {v} at {i} came back as {got}, but the stored step is {step}").into());
            }
        }
    }
    Ok(())
}

/// The groups of a row.
fn groups_of_row(format: Format, k: usize) -> usize {
    group_of(format, 1, k, k - 1) + 1
}

/// Zeros, groups of one value, ties, small and large magnitudes, and the least sizes.
fn edges(name: &str) -> Result<(), Failed> {
    for attrs in numbers(name) {
        let format = Format::parse(name, &attrs)?;
        let (n, k) = least(format);
        let many = if name == "bitnet" { (8, 30) } else { (32, 256) };
        for (n, k) in [(n, k), (n * 2, k * 3), many] {
            let zeros = held(name, format, n, k, &vec![0.0; n * k])?.decode();
            if zeros.iter().any(|v| *v != 0.0) {
                return Err(format!("{format:?}: zeros of [{n}, {k}] come back as others").into());
            }
            for constant in [1.0, -1.0, 0.3, -77.7, 1e-4] {
                held(name, format, n, k, &vec![constant; n * k])?;
            }
            for all in [[-1.0f32, 1.0], [0.0, 1.0], [-3.0, 0.0], [5.0, 5.1], [-5.1, -5.0], [1e-7, 1.0]] {
                let values: Vec<f32> = (0..n * k).map(|i| all[(i + i / 7) % 2]).collect();
                held(name, format, n, k, &values)?;
            }
            let ties: Vec<f32> = (0..n * k).map(|i| ((i * 7 + i / k) % 33) as f32 * 0.5 - 8.0).collect();
            held(name, format, n, k, &ties)?;
            // Steps that f16 has as subnormal numbers, or not at all.
            for scale in [1e-3f32, 1e-6, 1e-9] {
                let values: Vec<f32> = values(n * k, 9).iter().map(|v| v * scale).collect();
                held(name, format, n, k, &values)?;
            }
            let f32_scales = !name.starts_with("gguf") && !affine(format).is_some_and(|(.., f16)| f16);
            if f32_scales && format != Format::MlxNvfp4 {
                let values: Vec<f32> = values(n * k, 9).iter().map(|v| v * 1e30).collect();
                held(name, format, n, k, &values)?;
            }
        }
    }
    Ok(())
}

/// Values that a format has, with scales that its rule finds again: the ends of each group are among them. They come back as they were.
fn exact(name: &str) -> Result<(), Failed> {
    let mut random = Random(77);
    for attrs in numbers(name) {
        let format = Format::parse(name, &attrs)?;
        let (n, k) = (64, 512);
        let mut values = vec![0.0f32; n * k];
        for (g, members) in groups(format, n, k).iter().enumerate() {
            // A code for each member: the ends first, then any.
            let code = |random: &mut Random, j: usize, most: usize| match j {
                0 => 0,
                1 => most,
                _ => random.below(most + 1),
            };
            let step = (1 + g % 7) as f32 / 64.0;
            let in_block = |size: usize| g % (256 / size);
            for (j, at) in members.iter().enumerate() {
                values[*at] = match (format, affine(format), sub_blocks(format)) {
                    (_, Some((bits, ..)), _) => {
                        let most = (1 << bits) - 1;
                        step * (code(&mut random, j, most) as f32 - (1 + g % most) as f32)
                    }
                    (Format::Hqq(f), ..) => {
                        let most = (1 << f.bits) - 1;
                        step * (code(&mut random, j, most) as f32 - (g % 5) as f32)
                    }
                    (_, _, Some((true, most, limit, size))) => {
                        let u = in_block(size) as f32;
                        let (limit, most) = (limit as f32, most as usize);
                        let scale = if u == 0.0 { limit } else { 1.0 + (u * 5.0) % limit };
                        let least = if u == 1.0 { limit } else { (u * 3.0) % limit };
                        3.0 / 128.0 * scale * code(&mut random, j, most) as f32 - 5.0 / 128.0 * least
                    }
                    (_, _, Some((false, most, limit, size))) => {
                        let u = in_block(size) as f32;
                        let scale = if u == 2.0 { -limit as f32 } else { limit as f32 - 1.0 - u * 3.5 };
                        let d = 3.0 / 1024.0 * scale.trunc();
                        match format {
                            Format::Iq4Xs => d * KV[code(&mut random, j, 15)] as f32,
                            _ => d * (code(&mut random, j, 2 * most as usize - 1) as f32 - most as f32),
                        }
                    }
                    (Format::Iq4Nl, ..) => {
                        step * KV[code(&mut random, j, 15)] as f32 * if g % 2 == 0 { 1.0 } else { -1.0 }
                    }
                    (Format::Nvfp4 | Format::MlxNvfp4, ..) => {
                        let scale = (8 + g % 8) as f32 * 2f32.powi((g % 9) as i32 - 7);
                        let sign = if random.below(2) == 0 { scale } else { -scale };
                        sign * E2M1[code(&mut random, j, 7)] as f32
                    }
                    (Format::MlxMxfp4, ..) => {
                        let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
                        sign * E2M1[code(&mut random, j, 7)] as f32 * 2f32.powi((g % 90) as i32 - 45)
                    }
                    (Format::MlxMxfp8, ..) => {
                        let byte = code(&mut random, j, 126);
                        let (e, m) = ((byte >> 3) as i32, (byte & 7) as f32 / 8.0);
                        let v = if e == 0 { m * 2f32.powi(-6) } else { (1.0 + m) * 2f32.powi(e - 7) };
                        v * 2f32.powi((g % 90) as i32 - 45)
                    }
                    (Format::Bitnet(_), ..) => {
                        if random.below(2) == 0 {
                            0.25
                        } else {
                            -0.25
                        }
                    }
                    (Format::Sparse24, ..) => {
                        if (j + g) % 4 < 2 {
                            random.unit() - 0.5
                        } else {
                            0.0
                        }
                    }
                    (Format::Bcq(f), ..) => {
                        // All sums of the signs, as many of each.
                        let most = (1usize << f.bits) - 1;
                        (2.0 * (j % (most + 1)) as f32 - most as f32) * step
                    }
                    (Format::Lut16(_), ..) => nf4()[if j == 1 { 15 } else { random.below(16) }] * step,
                    (other, ..) => panic!("no values of {other}"),
                };
            }
        }
        let packed = Packed::encode(format, n, k, &values)?;
        Compare::Exact.check(&format!("{format:?}"), &packed.decode(), &values)?;
    }
    Ok(())
}

/// The tables as the formats' page in `tests/golden/FORMAT.md` has them: a decode of every code with scale 1.
fn table(name: &str) -> [f32; 16] {
    let codes: Vec<u8> = (0..8).map(|i| (2 * i) << 4 | (2 * i + 1)).collect();
    let parts = Parts::from([
        ("packed".to_owned(), Part::new(Dtype::U8, &[8, 1], codes)),
        ("absmax".to_owned(), Part::new(Dtype::F32, &[1], 1f32.to_le_bytes().to_vec())),
    ]);
    let decoded = Format::parse(name, &Attrs::default()).and_then(|format| Packed::new(format, 1, 16, parts));
    let decoded = decoded.unwrap_or_else(|error| panic!("{error}")).decode();
    std::array::from_fn(|i| decoded[i])
}

fn nf4() -> [f32; 16] {
    table("bnb.nf4")
}

fn fp4() -> [f32; 16] {
    table("bnb.fp4")
}

fn what_cannot_be_encoded_is_an_error() -> Result<(), Failed> {
    let none = Attrs::default();
    let q4_0 = Format::parse("gguf.q4_0", &none)?;
    let mlx = Format::parse("mlx.affine", &attrs(&[("bits", 3.), ("group", 32.)]))?;
    let wrong = [
        Packed::encode(q4_0, 1, 33, &[0.0; 33]),
        Packed::encode(mlx, 3, 33, &[0.0; 99]),
        Packed::encode(q4_0, 1, 64, &[0.0; 32]),
        Packed::encode(q4_0, usize::MAX, 2, &[0.0; 32]),
        Packed::encode(q4_0, 0, 32, &[]),
        Packed::encode(q4_0, 1, 32, &[f32::NAN; 32]),
        Packed::encode(q4_0, 1, 32, &[f32::INFINITY; 32]),
        Packed::encode(Format::parse("leanquant", &attrs(&[("bits", 4.)]))?, 1, 256, &[0.0; 256]),
    ];
    if let Some(at) = wrong.iter().position(Result::is_ok) {
        return Err(format!("number {at} is encoded").into());
    }
    // Sizes that are none of a format are told by its check: no encoder falls over them.
    for name in encoded() {
        for attrs in numbers(name) {
            let format = Format::parse(name.split(' ').next().unwrap_or_default(), &attrs)?;
            for (n, k) in [(1, 1), (3, 5), (9, 33), (6, 66), (5, 7), (33, 63), (7, 100), (12, 260)] {
                if let Err(error) = Packed::encode(format, n, k, &vec![0.5; n * k]) {
                    if !error.to_string().contains("multiple") {
                        return Err(format!("{format:?} of [{n}, {k}]: {error}").into());
                    }
                }
            }
        }
    }
    // Those that say they have a rule are those that are tested.
    let said: BTreeSet<&str> = encoded().filter_map(|name| name.split(' ').next()).collect();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dequantize"))? {
        if let Ok(format) = File::read(&entry?.path())?.format() {
            if format.encodes() != said.contains(format.name()) {
                return Err(format!("{format} says encodes() = {}", format.encodes()).into());
            }
        }
    }
    Ok(())
}

// ---- any bytes

/// xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// A size that hurts.
fn size(random: &mut Random, was: usize) -> usize {
    match random.below(8) {
        0 => 0,
        1 => was.saturating_sub(1),
        2 => was.saturating_add(1),
        3 => was.saturating_mul(2),
        4 => was / 2,
        5 => usize::MAX >> random.below(64),
        6 => 1 << random.below(63),
        _ => random.below(300),
    }
}

/// Whatever is done to a file: a weight or an error, never a panic. A weight then decodes.
fn garble(path: &Path) -> Result<(), Failed> {
    // By the file's own name: the same everywhere.
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut random =
        Random(name.bytes().fold(0x9e37_79b9_7f4a_7c15, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)) | 1);
    for _ in 0..150 {
        let mut file = File::read(path)?;
        for _ in 0..=random.below(3) {
            mutate(&mut file, &mut random);
        }
        let Ok(packed) = file.packed() else { continue };
        let mut row = vec![0.0; packed.k()];
        for n in [0, packed.n() / 2, packed.n() - 1] {
            packed.decode_row(n, &mut row)?;
        }
    }
    Ok(())
}

fn mutate(file: &mut File, random: &mut Random) {
    let names: Vec<String> = file.parts.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = &names[random.below(names.len())];
    match random.below(10) {
        // A number of the format, or N or K.
        0 | 1 => {
            let numbers: Vec<String> = file.attrs.0.keys().cloned().collect();
            let number = &numbers[random.below(numbers.len())];
            let value = match file.attrs.0.get(number) {
                Some(Value::Number(v)) => Value::Number(match random.below(4) {
                    0 => f64::NAN,
                    1 => -1.0,
                    2 => f64::from(i32::MAX),
                    _ => size(random, *v as usize) as f64,
                }),
                Some(Value::List(list)) => Value::List(list.iter().map(|v| size(random, *v as usize) as f64).collect()),
                other => other.cloned().unwrap_or(Value::Flag(true)),
            };
            file.attrs.0.insert(number.clone(), value);
        }
        // A shape alone.
        2 => {
            let shape = &mut part(file, name).shape;
            if !shape.is_empty() {
                let at = random.below(shape.len());
                shape[at] = size(random, shape[at]);
            }
        }
        // A shape and the bytes that it says.
        3 | 4 => {
            let mut shape = part(file, name).shape.clone();
            let at = random.below(shape.len());
            if let Some(dimension) = shape.get_mut(at) {
                *dimension = size(random, *dimension).min(4096);
                if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_some_and(|n| n < 1 << 20) {
                    reshape(file, name, &shape);
                }
            }
        }
        5 => {
            let bytes = part(file, name).bytes.to_mut();
            bytes.truncate(random.below(bytes.len() + 1));
        }
        6 => {
            let dtypes = [Dtype::F32, Dtype::F16, Dtype::I32, Dtype::U16, Dtype::I8, Dtype::U8];
            part(file, name).dtype = dtypes[random.below(dtypes.len())];
        }
        7 => _ = file.parts.remove(name),
        // Any bytes: all but indices must be accepted.
        _ => {
            for byte in part(file, name).bytes.to_mut() {
                *byte = random.next() as u8;
            }
        }
    }
}

// ---- the table of the README

const BLESS: &str = "GRISTMILL_BLESS";

/// A weight of few rows and 4096 columns in each format: with default numbers, or in groups of 128 where those take all.
fn samples() -> Vec<Packed<'static>> {
    let (n, k) = (64, 4096);
    let values: Vec<f32> = (0..n * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let grouped = |format: Format| {
        let attrs = Attrs::default().with("group", 128.0).with("bits", 4.0);
        let with_group = ["awq", "lut16"].contains(&format.name()).then(|| {
            let attrs = if format.name() == "awq" { attrs } else { Attrs::default().with("group", 128.0) };
            Format::parse(format.name(), &attrs)
        });
        with_group.and_then(Result::ok).unwrap_or(format)
    };
    let made = |format: Format| {
        if format.encodes() {
            return Packed::encode(format, n, k, &values);
        }
        // LeanQuant's grid is learnt; zeros will do here.
        let parts = Parts::from([
            ("quant_grid".to_owned(), Part::new(Dtype::F16, &[n, 16], vec![0; n * 32])),
            ("weight_codes".to_owned(), Part::new(Dtype::U8, &[n, k / 2], vec![0; n * k / 2])),
        ]);
        Packed::new(format, n, k, parts)
    };
    Format::all().into_iter().map(|format| made(grouped(format)).unwrap_or_else(|e| panic!("{format}: {e}"))).collect()
}

/// A line for each format, from what the code makes of it.
fn formats_table() -> Result<String, gristmill::Error> {
    // What any device does, and one that multiplies codes.
    let caps = Caps { int8_products: true, ..Caps::baseline() };
    let mut text = String::from(
        "| format | what it holds | bits | decode | few rows | many rows | int8 activations | encode |\n\
         |---|---|--:|---|---|---|---|---|\n",
    );
    for sample in samples() {
        let (format, w) = (sample.format(), Weight::outline(&sample, 4096)?);
        let plans = |m: usize, codes: bool| -> Result<String, gristmill::Error> {
            let x = Tensor::outline([m, w.k()], if codes { Elem::I8 } else { Elem::F32 })?;
            let (scale, y) = (Tensor::outline([m], Elem::F32)?, Tensor::outline([m, w.n()], Elem::F32)?);
            let op = Linear { x_scale: codes.then_some(&scale), ..Linear::new(&x, &w, &y) };
            Ok(op.problem()?.plans(&caps)?.into_iter().map(|plan| plan.name + " ").collect())
        };
        let numbers = Tensor::outline([w.n(), w.k()], Elem::F32)?;
        let decodes = !Dequantize { w: &w, y: &numbers }.problem()?.plans(&caps)?.is_empty();
        let tick = |yes: bool| if yes { "✓" } else { "" };
        let on_device = Encode { x: &numbers, w: &w }.problem().and_then(|p| p.plans(&caps)).is_ok();
        let encodes = match (format.encodes(), on_device) {
            (true, true) => "host, GPU",
            (true, false) => "host",
            (false, true) => "GPU",
            (false, false) => "",
        };
        text += &format!(
            "| `{format}` | {} | {:.2} | {} | {} | {} | {} | {} |\n",
            format.holds(),
            w.bits(),
            tick(decodes),
            tick(plans(1, false)?.contains("gemv/")),
            tick(plans(64, false)?.contains("tiled/")),
            tick(plans(1, true)?.contains("gemv_dot/") && plans(64, true)?.contains("tiled_dot/")),
            encodes,
        );
    }
    Ok(text)
}

fn the_readme_has_the_table_of_formats() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path)?;
    let (before, rest) = readme.split_once("<!-- formats:begin -->\n").ok_or("README.md has no formats:begin")?;
    let (_, after) = rest.split_once("<!-- formats:end -->").ok_or("README.md has no formats:end")?;
    let right = format!("{before}<!-- formats:begin -->\n\n{}\n<!-- formats:end -->{after}", formats_table()?);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, right)?;
    } else if right != readme {
        return Err(format!("the table of formats in README.md is another; {BLESS}=1 writes it").into());
    }
    Ok(())
}
