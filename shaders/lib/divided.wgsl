// What the workgroups of a divided sample tell each other: for each sample three histograms, the choice, and of each tile the tokens
// that are kept whatever comes and the ties.
#import select
#const CHUNKS = 2u // of 1024 tokens, of a tile
@group(0) @binding(8) var<storage, read_write> divided_state: array<atomic<u32>>; // [samples, words of a sample]
const divided_CHOICE = select_DIGITS * select_BINS;
const divided_SUMS = divided_CHOICE + 2u;
const divided_TILE = CHUNKS * 1024u;

// Where the words of a sample begin.
fn divided_at(sample: u32) -> u32 {
    return sample * (divided_SUMS + 2u * select_params.tiles);
}
