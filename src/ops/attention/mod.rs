//! Attention, and what comes before it: positions, norms of queries and keys, and the cache.

mod attend;
pub mod prologue;
pub mod rope;
pub mod tables;

pub use attend::{Attention, AttentionParams, AttentionProblem, HeadMix};

/// The order of the dimensions of queries, and of what is made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[B, H, L, D]`.
    #[default]
    HeadsFirst,
    /// `[B, L, H, D]`, as a projection leaves them.
    TokensFirst,
}
