//! Weight formats: how a weight `w[N,K]` is stored in files, from 1 to 32 bits a number, and what each stored bit means.
//!
//! ```
//! use gristmill::formats::{Format, Packed};
//!
//! let weight = Packed::encode(Format::Q8_0, 1, 32, &[0.5; 32])?; // or Packed::new over the tensors of a file
//! assert_eq!(weight.part("blocks").map(|part| part.shape.as_slice()), Some(&[1, 34][..]));
//! assert!((weight.decode()[7] - 0.5).abs() < 1e-3);
//! # Ok::<(), gristmill::Error>(())
//! ```
//!
//! Nothing here needs a GPU. A [`Format`] is plain data: which layout, and its numbers (bits, group, …). A [`Packed`] is a weight on
//! the host: the tensors of its format, each checked once against N, K and the numbers; from there on decoding cannot fail. It
//! borrows from a memory map as well as it owns, and decodes row by row, so that a weight need not fit twice.
//!
//! # A decode is a specification
//!
//! Each file below has the bits of one format, or of the few that share them, and its formula in f32. Products are formed first, the
//! difference or sum last, and nothing is fused, so that a decode is exact or one rounding, and a shader gives the same bits.
//! `K` is the number of input features, which lie side by side in a row; `N` the number of rows. `G` is the group size and
//! `g = ⌊k/G⌋` the group: the last may be short. A *stream* of b bits packs fields into 32-bit words, lowest bits first; field i is
//! bits `[i·b, i·b + b)`, and may cross into the next word. Unused bits, and codes and rows that only pad, may hold anything.
//!
//! Any format may have a sparse side list beside it ([`Packed`]).
//!
//! # A new format
//!
//! A file with a codec, and a line in the table of this file. What else there is to do, `shaders/README.md` says in its order.

pub mod awq;
pub mod bcq;
pub mod bitnet;
pub(crate) mod bits;
pub mod bnb;
mod codec;
pub mod dense;
pub(crate) mod form;
pub mod fp8;
pub mod gguf;
pub mod gptq;
pub mod group_ic;
pub mod hqq;
pub mod int8;
pub(crate) mod laid;
pub mod leanquant;
pub mod lut16;
mod mean;
pub mod mlx_affine;
pub mod mlx_float;
pub(crate) mod nearest;
pub mod onnx;
pub mod owq;
mod packed;
mod round;
pub mod sparse24;
pub(crate) mod stack;

pub use codec::Group;
pub use laid::WeightAt;
pub use packed::{Dtype, Packed, Part};

use codec::{Codec, Numbers};

use crate::error::{Error, Result};
use crate::proof::Attrs;

/// The enum and all that is looked up by format, from the lines of the table: variant, name in files, codec, what it holds.
macro_rules! table {
    (
        plain { $($plain:ident $plain_name:literal $plain_codec:path, $plain_holds:literal;)* }
        numbered { $($variant:ident $name:literal $codec:path, $holds:literal;)* }
    ) => {
        /// How a weight is stored, with the format's own numbers. Plain data.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Format {
            $(
                #[doc = concat!("`", $plain_name, "`: ", $plain_holds, ". See [its file](", stringify!($plain_codec), ").")]
                $plain,
            )*
            $(
                #[doc = concat!("`", $name, "`: ", $holds, ".")]
                $variant($codec),
            )*
        }

        impl Format {
            /// The names of all formats, and what each holds, in the order of the table.
            pub const NAMES: &[(&str, &str)] = &[$(($plain_name, $plain_holds),)* $(($name, $holds),)*];

            /// Every format, with default numbers.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$plain,)* $(Self::$variant(<$codec>::default()),)*]
            }

            /// The name, as in `attrs.format` of a golden case.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_name,)*
                    $(Self::$variant(_) => $name,)*
                }
            }

            pub(crate) fn codec(&self) -> &dyn Codec {
                match self {
                    $(Self::$plain => &$plain_codec,)*
                    $(Self::$variant(codec) => codec,)*
                }
            }

            fn read(name: &str, numbers: &mut Numbers<'_>) -> Result<Option<Self>> {
                Ok(Some(match name {
                    $($plain_name => Self::$plain,)*
                    $($name => { numbers.format = $name; Self::$variant(<$codec>::read(numbers)?) })*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

table! {
    plain {
        Dense     "dense"        dense::Dense,            "numbers of 32 or 16 bits as they are";
        Int8      "int8"         int8::Int8,              "signed bytes with a scale per tensor or row";
        Q4_0      "gguf.q4_0"    gguf::q4_0::Q4_0,        "4 bits about −8, an f16 scale for 32";
        Q4_1      "gguf.q4_1"    gguf::q4_1::Q4_1,        "4 bits, an f16 scale and least value for 32";
        Q5_0      "gguf.q5_0"    gguf::q5_0::Q5_0,        "5 bits about −16, an f16 scale for 32";
        Q5_1      "gguf.q5_1"    gguf::q5_1::Q5_1,        "5 bits, an f16 scale and least value for 32";
        Q8_0      "gguf.q8_0"    gguf::q8_0::Q8_0,        "signed bytes, an f16 scale for 32";
        Q2K       "gguf.q2_k"    gguf::q2_k::Q2K,         "2 bits, a 4-bit scale and least value for 16, two f16 for 256";
        Q3K       "gguf.q3_k"    gguf::q3_k::Q3K,         "3 bits, a 6-bit scale for 16, an f16 for 256";
        Q4K       "gguf.q4_k"    gguf::q4_k::Q4K,         "4 bits, a 6-bit scale and least value for 32, two f16 for 256";
        Q5K       "gguf.q5_k"    gguf::q5_k::Q5K,         "5 bits, a 6-bit scale and least value for 32, two f16 for 256";
        Q6K       "gguf.q6_k"    gguf::q6_k::Q6K,         "6 bits, an 8-bit scale for 16, an f16 for 256";
        Iq4Nl     "gguf.iq4_nl"  gguf::iq4_nl::Iq4Nl,     "4 bits into a fixed table, an f16 scale for 32";
        Iq4Xs     "gguf.iq4_xs"  gguf::iq4_xs::Iq4Xs,     "4 bits into a fixed table, a 6-bit scale for 32, an f16 for 256";
        Tq1_0     "gguf.tq1_0"   gguf::tq1_0::Tq1_0,      "three values, five to a byte, an f16 scale for 256";
        Tq2_0     "gguf.tq2_0"   gguf::tq2_0::Tq2_0,      "three values in 2 bits, an f16 scale for 256";
        Mxfp4     "gguf.mxfp4"   gguf::mxfp4::Mxfp4,      "E2M1 floats, a power of two for 32";
        Nvfp4     "gguf.nvfp4"   gguf::nvfp4::Nvfp4,      "E2M1 floats, an E4M3 scale for 16";
        MlxMxfp4  "mlx.mxfp4"    mlx_float::MlxMxfp4,     "E2M1 floats, a power of two for 32";
        MlxMxfp8  "mlx.mxfp8"    mlx_float::MlxMxfp8,     "E4M3 floats, a power of two for 32";
        MlxNvfp4  "mlx.nvfp4"    mlx_float::MlxNvfp4,     "E2M1 floats, an E4M3 scale for 16";
        Sparse24  "sparse24"     sparse24::Sparse24,      "two of every four numbers, the others 0";
    }
    numbered {
        Awq       "awq"          awq::Awq,                "4 bits with a zero and an f16 scale per group, three layouts";
        Gptq      "gptq"         gptq::Gptq,              "2, 3, 4 or 8 bits with a zero and an f16 scale per group, in any order of groups";
        GroupIc   "group_ic"     group_ic::GroupIc,       "2, 3, 4 or 8 bits with groups along the outputs";
        BnbNf4    "bnb.nf4"      bnb::Bnb<true>,          "4 bits into the NF4 table, a scale per block";
        BnbFp4    "bnb.fp4"      bnb::Bnb<false>,         "4 bits into the FP4 table, a scale per block";
        OnnxBnb4  "onnx.bnb4"    bnb::OnnxBnb4,           "4 bits into the NF4 or FP4 table, a scale per block";
        OnnxNbits "onnx.nbits"   onnx::OnnxNbits,         "2, 4 or 8 bits with an integer or float zero per block";
        MlxAffine "mlx.affine"   mlx_affine::MlxAffine,   "2, 3, 4, 5, 6 or 8 bits with a scale and a bias per group";
        Hqq       "hqq"          hqq::Hqq,                "8, 4, 3, 2 or 1 bits with a float zero, groups along either axis";
        Fp8E4m3   "fp8.e4m3"     fp8::Fp8<3>,             "E4M3 floats with a scale per tensor, row or block";
        Fp8E5m2   "fp8.e5m2"     fp8::Fp8<2>,             "E5M2 floats with a scale per tensor, row or block";
        Bitnet    "bitnet"       bitnet::Bitnet,          "three values in 2 bits, one scale";
        Leanquant "leanquant"    leanquant::Leanquant,    "2, 3 or 4 bits into a table per row";
        Owq       "owq"          owq::Owq,                "3 or 4 bits with a scale per row, and whole columns in f16";
        Bcq       "bcq"          bcq::Bcq,                "a sum of signed scales, a bit each";
        Lut16     "lut16"        lut16::Lut16,            "4 bits into a table of the tensor or row, a scale and float zero per group";
    }
}

impl Format {
    /// The format of this name with the numbers among `attrs`, which are named as in `tests/golden/FORMAT.md` and have its
    /// defaults. `format`, `n` and `k` may be among them and are not read.
    ///
    /// # Errors
    /// An unknown name; a number that is missing, unknown, or none that the format has.
    pub fn parse(name: &str, attrs: &Attrs) -> Result<Self> {
        let mut numbers = Numbers::new(attrs);
        let Some(format) = Self::read(name, &mut numbers)? else {
            let rule = "there is no format of this name (Format::NAMES has them all)";
            return Err(Error::Value { op: "format", name: "name", value: name.to_owned(), rule });
        };
        numbers.format = format.name();
        numbers.finish()?;
        format.codec().valid(format.name())?;
        Ok(format)
    }

    /// What it holds, in a few words.
    pub fn holds(&self) -> &'static str {
        Self::NAMES.iter().find(|(name, _)| *name == self.name()).map_or("", |(_, holds)| holds)
    }

    /// True where [`Packed::encode`] has a rule for it.
    pub fn encodes(&self) -> bool {
        self.codec().encodes()
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
