//! Adapters: small tensors that stand for a change of a weight. Whole weights are merged by
//! [`weight_merge`](super::weight_merge).
//!
//! | op | formula |
//! |---|---|
//! | [`AdapterMerge`] | the weight that a base in any format and an adapter of any kind make together |
//!
//! | kind | weight |
//! |---|---|
//! | [`Kind::Lora`] | `w0 + scale·b·a`; `scale` is α/R, or α/√R for rsLoRA |
//! | [`Kind::Dora`] | `V = w0 + scale·b·a`; row n is `m[n]·V[n]/‖V[n]‖` |
//! | [`Kind::Bora`] | the same with a magnitude for each row and then for each column, or the other way round |
//! | [`Kind::Miss`], [`Kind::MissMini`] | `w0[n,k] + block[k mod R, n]`, or `… n mod Q]` |
//! | [`Kind::Bat`] | in R×R blocks, p along N and q along K: `w0_pq + w0_pq·block[p] + block[p]` |
//! | [`Kind::Loha`] | `w0 + scale·(a1·b1) ∘ (a2·b2)` |
//! | [`Kind::Mpo`] | `w0 + scale·` a matrix product operator, as DoTA has it |
//!
//! Arithmetic is f32 from the decoded base on, and rounded once, to the storage of the result. Norms are of the adapted numbers
//! themselves, which are made from the packed base where they are squared: nothing of the size of the weight is written for them, and
//! nothing cancels where the adapter nearly takes the base away. A row or column whose norm is 0 becomes 0.
//!
//! A live adapter is applied where the base is multiplied, which stays as it is: see [`adapters`](crate::adapters).

use crate::error::{Error, Result, shape_error};
use crate::ops::Operand;
use crate::ops::norm::number;
use crate::tensor::{Layout, Tensor, want_float};

pub(crate) mod merge;

pub use merge::{AdapterMerge, AdapterMergeProblem, AdapterParams, ContractParams, FactorsParams, Merged, SumsAt};

/// What an adapter is made of: its tensors, in any floating storage. R is the rank.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// Low rank. Source: Hu et al., "LoRA", arXiv 2106.09685; with α/√R, Kalajdzievski, arXiv 2312.03732.
    Lora {
        /// `lora_A`, `[R,K]`.
        a: &'a Tensor,
        /// `lora_B`, `[N,R]`.
        b: &'a Tensor,
    },
    /// Low rank, and a magnitude for each row: one norm for each output, as the authors' code and PEFT have it (the paper writes W with
    /// inputs first, and says columns). Source: Liu et al., "DoRA", arXiv 2402.09353.
    Dora {
        /// `lora_A`, `[R,K]`.
        a: &'a Tensor,
        /// `lora_B`, `[N,R]`.
        b: &'a Tensor,
        /// `lora_magnitude_vector`, `[N]`.
        magnitude: &'a Tensor,
    },
    /// Low rank, and magnitudes for rows and columns. The last step's norms are its magnitudes; those of the first are not, so that the
    /// order matters. Which order the paper means, and whether its rows are ours, is not verified: both are here.
    /// Source: Wang et al., "BoRA: Bi-dimensional Weight-Decomposed Low-Rank Adaptation", arXiv 2412.06441.
    Bora {
        /// `lora_A`, `[R,K]`.
        a: &'a Tensor,
        /// `lora_B`, `[N,R]`.
        b: &'a Tensor,
        /// Magnitudes of rows, `[N]`.
        row: &'a Tensor,
        /// Magnitudes of columns, `[K]`.
        col: &'a Tensor,
        /// Which come first.
        order: Order,
    },
    /// A block that is repeated along K. Source: Kang, "MiSS" (also called Bone), arXiv 2409.15371.
    Miss {
        /// `miss_block`, `[R,N]`.
        block: &'a Tensor,
    },
    /// A block that is repeated along both.
    MissMini {
        /// `miss_block`, `[R,Q]`, Q divides N.
        block: &'a Tensor,
    },
    /// A block for each R rows, which is also multiplied with the base. Source: as [`Kind::Miss`], where it is called Bat.
    Bat {
        /// `miss_block`, `[N/R,R,R]`, R divides N and K.
        block: &'a Tensor,
    },
    /// Two low ranks, multiplied element by element. Source: Hyeon-Woo et al., "FedPara", arXiv 2108.06098; LoHa of LyCORIS.
    Loha {
        /// `hada_w1_a`, `[N,R]`.
        a1: &'a Tensor,
        /// `hada_w1_b`, `[R,K]`.
        b1: &'a Tensor,
        /// `hada_w2_a`, `[N,R]`.
        a2: &'a Tensor,
        /// `hada_w2_b`, `[R,K]`.
        b2: &'a Tensor,
    },
    /// A chain of cores `[r_i, N_i, K_i, r_(i+1)]`, whose outer bonds are 1, with ΠN_i = N and ΠK_i = K; n is (n_0, n_1, …), the first
    /// most significant, and k likewise. Source: Hu et al., "DoTA", arXiv 2412.20891.
    Mpo {
        /// The cores.
        cores: &'a [&'a Tensor],
    },
}

/// Which norms of [`Kind::Bora`] are taken first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Rows, then columns.
    #[default]
    RowCol,
    /// Columns, then rows.
    ColRow,
}

impl Order {
    /// As in `attrs.order` of a golden case.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowCol => "row_col",
            Self::ColRow => "col_row",
        }
    }
}

/// What makes the delta, as kernels see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Delta {
    Lora {
        rank: u64,
    },
    Miss {
        rank: u64,
        wide: u64,
    },
    Bat {
        rank: u64,
    },
    Loha {
        rank: u64,
    },
    /// `[r, N, K, r']` of each core.
    Mpo {
        cores: Vec<[u64; 4]>,
    },
}

/// An adapter with its numbers: what the delta is, and where its tensors lie; they are in the order of [`Kind::operands`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Adapted {
    pub(crate) delta: Delta,
    pub(crate) tensors: Vec<Layout>,
    /// The magnitudes of rows and of columns.
    pub(crate) row: Option<Layout>,
    pub(crate) col: Option<Layout>,
    pub(crate) order: Order,
    pub(crate) scale: u32,
}

impl<'a> Kind<'a> {
    /// Its tensors by the names of the files: those of the delta, then magnitudes.
    pub fn operands(&self) -> Vec<Operand<'a>> {
        let list: Vec<(&'static str, &'a Tensor)> = match *self {
            Self::Lora { a, b } => vec![("lora_A", a), ("lora_B", b)],
            Self::Dora { a, b, magnitude } => {
                vec![("lora_A", a), ("lora_B", b), ("lora_magnitude_vector", magnitude)]
            }
            Self::Bora { a, b, row, col, .. } => {
                vec![("lora_A", a), ("lora_B", b), ("m_row", row), ("m_col", col)]
            }
            Self::Miss { block } | Self::MissMini { block } | Self::Bat { block } => vec![("miss_block", block)],
            Self::Loha { a1, b1, a2, b2 } => {
                vec![("hada_w1_a", a1), ("hada_w1_b", b1), ("hada_w2_a", a2), ("hada_w2_b", b2)]
            }
            Self::Mpo { cores } => cores.iter().map(|core| ("core", *core)).collect(),
        };
        list.into_iter().map(|(name, tensor)| (name, Some(tensor))).collect()
    }

    /// The rank that an [`AdapterSet`](crate::AdapterSet) must have room for; none where the kind is of no low rank and must be merged.
    pub fn live_rank(&self) -> Option<usize> {
        let rows = |tensor: &Tensor| tensor.shape().dims().first().copied();
        match self {
            Self::Lora { a, .. } | Self::Dora { a, .. } | Self::Bora { a, .. } => rows(a),
            Self::Miss { block } | Self::MissMini { block } => rows(block),
            Self::Loha { b1, .. } => rows(b1).map(|rank| rank.saturating_mul(rank)),
            Self::Bat { .. } | Self::Mpo { .. } => None,
        }
    }

    /// The scale may change its sign, which takes the adapter out again.
    fn is_added(&self) -> bool {
        !matches!(self, Self::Dora { .. } | Self::Bora { .. } | Self::Bat { .. })
    }

    /// Checks the tensors against a weight of this shape.
    pub(crate) fn adapted(&self, op: &'static str, [n, k]: [usize; 2], scale: f32) -> Result<Adapted> {
        number(op, "scale", scale, |_| true, "it must be a finite number")?;
        for (name, tensor) in self.operands() {
            let Some(tensor) = tensor else { continue };
            want_float(op, name, tensor)?;
            if tensor.elements() == 0 {
                return Err(shape_error!(op, "{name} has shape {}, which is empty", tensor.shape()));
            }
        }
        let (mut row, mut col, mut order) = (None, None, Order::RowCol);
        let delta = match *self {
            Self::Lora { a, b } => Delta::Lora { rank: low_rank(op, ("lora_A", a), ("lora_B", b), [n, k])? },
            Self::Dora { a, b, magnitude } => {
                row = Some(magnitudes(op, "lora_magnitude_vector", magnitude, ("N", n))?);
                Delta::Lora { rank: low_rank(op, ("lora_A", a), ("lora_B", b), [n, k])? }
            }
            Self::Bora { a, b, row: of_rows, col: of_cols, order: first } => {
                row = Some(magnitudes(op, "m_row", of_rows, ("N", n))?);
                col = Some(magnitudes(op, "m_col", of_cols, ("K", k))?);
                order = first;
                Delta::Lora { rank: low_rank(op, ("lora_A", a), ("lora_B", b), [n, k])? }
            }
            Self::Miss { block } => match *block.shape().dims() {
                [rank, wide] if wide == n => Delta::Miss { rank: rank as u64, wide: wide as u64 },
                _ => return Err(shape_error!(op, "miss_block has shape {}, but w0 has N = {n}", block.shape())),
            },
            Self::MissMini { block } => match *block.shape().dims() {
                [rank, wide] if n.is_multiple_of(wide) => Delta::Miss { rank: rank as u64, wide: wide as u64 },
                _ => {
                    let shape = block.shape();
                    return Err(shape_error!(op, "miss_block has shape {shape}, whose width does not divide N = {n}"));
                }
            },
            Self::Bat { block } => {
                let shape = block.shape();
                let rank = shape.dims().last().copied().unwrap_or(1);
                if !n.is_multiple_of(rank) || !k.is_multiple_of(rank) {
                    return Err(shape_error!(op, "w0 is [{n}, {k}], which blocks of {rank} × {rank} do not divide"));
                }
                if shape.dims() != [n / rank, rank, rank] {
                    return Err(shape_error!(
                        op,
                        "miss_block has shape {shape}, but w0 of {n} rows wants [{}, {rank}, {rank}]",
                        n / rank
                    ));
                }
                if scale != 1.0 {
                    let rule = "BAT has no scale: it must be 1";
                    return Err(Error::Value { op, name: "scale", value: scale.to_string(), rule });
                }
                Delta::Bat { rank: rank as u64 }
            }
            Self::Loha { a1, b1, a2, b2 } => {
                let rank = low_rank(op, ("hada_w1_b", b1), ("hada_w1_a", a1), [n, k])?;
                let second = low_rank(op, ("hada_w2_b", b2), ("hada_w2_a", a2), [n, k])?;
                if second != rank {
                    return Err(shape_error!(op, "hada_w1_a has rank {rank}, but hada_w2_a has {second}"));
                }
                Delta::Loha { rank }
            }
            Self::Mpo { cores } => Delta::Mpo { cores: chain(op, cores, [n, k])? },
        };
        let count = self.operands().len() - usize::from(row.is_some()) - usize::from(col.is_some());
        let tensors = self.operands().iter().filter_map(|(_, t)| t.map(Tensor::layout)).take(count).collect();
        Ok(Adapted { delta, tensors, row, col, order, scale: scale.to_bits() })
    }
}

/// The rank of a product `b[N,R]·a[R,K]`.
fn low_rank(
    op: &'static str,
    (a_name, a): (&'static str, &Tensor),
    (b_name, b): (&'static str, &Tensor),
    [n, k]: [usize; 2],
) -> Result<u64> {
    let (a_shape, b_shape) = (a.shape(), b.shape());
    let &[rank, width] = a_shape.dims() else {
        return Err(shape_error!(op, "{a_name} has shape {a_shape}, but must be [R, K]"));
    };
    let &[height, rank_b] = b_shape.dims() else {
        return Err(shape_error!(op, "{b_name} has shape {b_shape}, but must be [N, R]"));
    };
    if rank != rank_b {
        return Err(shape_error!(op, "{a_name} has rank {rank}, but {b_name} has {rank_b}"));
    }
    if width != k {
        return Err(shape_error!(op, "{a_name} has shape {a_shape}, but w0 has K = {k}"));
    }
    if height != n {
        return Err(shape_error!(op, "{b_name} has shape {b_shape}, but w0 has N = {n}"));
    }
    Ok(rank as u64)
}

fn magnitudes(op: &'static str, name: &'static str, tensor: &Tensor, (letter, count): (&str, usize)) -> Result<Layout> {
    // PEFT keeps those of convolutions with dimensions of 1.
    if tensor.elements() == count && tensor.shape().dims().iter().filter(|d| **d != 1).count() <= 1 {
        return Ok(tensor.layout());
    }
    Err(shape_error!(op, "{name} has shape {}, but w0 has {letter} = {count}", tensor.shape()))
}

/// The dimensions of the cores of an MPO.
fn chain(op: &'static str, cores: &[&Tensor], [n, k]: [usize; 2]) -> Result<Vec<[u64; 4]>> {
    let mut dims: Vec<[u64; 4]> = Vec::new();
    for (i, core) in cores.iter().enumerate() {
        let shape = core.shape();
        let &[left, n, k, right] = shape.dims() else {
            return Err(shape_error!(op, "core {i} has shape {shape}, but must have 4 dimensions"));
        };
        let before = dims.last().map_or(1, |d| d[3]);
        if left as u64 != before {
            return Err(shape_error!(op, "core {i} has shape {shape}, but the bond before it is {before}"));
        }
        dims.push([left, n, k, right].map(|d| d as u64));
    }
    let last = dims.last().map_or(0, |d| d[3]);
    if last != 1 {
        return Err(shape_error!(op, "the last of {} cores ends with a bond of {last}, but it must be 1", cores.len()));
    }
    let all = |at: usize| dims.iter().fold(1u64, |all, d| all.saturating_mul(d[at]));
    if [all(1), all(2)] != [n as u64, k as u64] {
        return Err(shape_error!(op, "the cores make [{}, {}], but w0 is [{n}, {k}]", all(1), all(2)));
    }
    Ok(dims)
}
