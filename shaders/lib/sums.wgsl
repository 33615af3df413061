// Where the sums of squares of rows or columns lie, and the magnitudes that they are to have (src/ops/adapter/merge.rs has the Rust twin).
struct sums_At {
    count: u32,      // rows or columns
    slices: u32,     // sums of each
    magnitude0: u32, // first element of the magnitudes
    to: u32,         // adapter/attach: from the adapter's first quad on to its factors
}
